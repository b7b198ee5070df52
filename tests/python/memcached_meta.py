"""Meta commands as clients use them: quiet pipelines, base64 keys, leases. (pymemcache knows none of them yet.)"""

import base64
import os
import socket
import threading

from common import DEADLINE_SECONDS, HOST, MEMCACHED_PORT, client


def connect():
    return socket.create_connection((HOST, MEMCACHED_PORT), timeout=DEADLINE_SECONDS)


def exchange(connection, text, end):
    connection.sendall(text.encode() + b"\r\n")
    answer = b""
    while not answer.endswith(end.encode()):
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    return answer.decode()


m = connect()


def ask(text, end="\r\n"):
    """One request; the answer, which ends so."""
    return exchange(m, text, end)


def lines(text):
    """The answers to a pipeline that is ended by mn."""
    return ask(text + "mn", end="MN\r\n").removesuffix("MN\r\n").split("\r\n")[:-1]


assert ask("flush_all") == "OK\r\n"
assert ask("mn") == "MN\r\n"
assert ask("ms a 2 T0 F7\r\nab") == "HD\r\n"
assert ask("mg a v f t s", end="ab\r\n") == "VA 2 f7 t-1 s2\r\nab\r\n"

# Only what is new is answered, in the order of the requests.
keys = [f"q{i}" for i in range(300)]
stores = "".join(f"ms {key} {len(key)} q\r\n{key}\r\n" for key in keys)
assert lines(stores) == []
reads = "".join(f"mg {key} v k q O{i}\r\n" for i, key in enumerate(["nosuch", *keys, "nosuch2"]))
found = lines(reads)
assert found == [line for i, key in enumerate(keys) for line in (f"VA {len(key)} k{key} O{i + 1}", key)], found
assert lines("".join(f"md {key} q\r\n" for key in keys)) == []
assert lines(reads) == []

binary = base64.b64encode(b"a key\r\nof bytes").decode()
assert ask(f"ms {binary} 1 b k\r\nx") == f"HD k{binary} b\r\n"
assert ask(f"mg {binary} b k v", end="x\r\n") == f"VA 1 k{binary} b\r\nx\r\n"
assert ask("ma n N0 J10 v", end="10\r\n") == "VA 2\r\n10\r\n"
assert ask("ma n D5 v", end="15\r\n") == "VA 2\r\n15\r\n"

# Of many clients one is told to load.
won = []


def miss():
    with connect() as mine:
        won.append(exchange(mine, "mg herd N30 s", "\r\n"))


threads = [threading.Thread(target=miss) for _ in range(20)]
[t.start() for t in threads]
[t.join() for t in threads]
assert sorted(won) == ["HD s0 W\r\n"] + ["HD s0 Z\r\n"] * 19, won

if os.environ.get("TORC_SHARED_KEYS", "1") == "1":
    r = client()
    assert r.execute_command("GETLEASE", "herd", 1000)[0] in (b"wait", "wait")
    r.set("lease", "old")
    assert ask("md lease I T60") == "HD\r\n"
    state, token, old = r.execute_command("GETLEASE", "lease", 5000)
    assert state in (b"load", "load") and old in (b"old", "old")
    assert ask("mg lease v", end="old\r\n") == "VA 3 Z X\r\nold\r\n"
    assert r.execute_command("SETLEASE", "lease", token, "new") == 1
    assert ask("mg lease v", end="new\r\n") == "VA 3\r\nnew\r\n"
assert ask("flush_all") == "OK\r\n"
print("memcached_meta: fine")
