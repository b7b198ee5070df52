"""pymemcache: the classic commands, and keys shared with RESP."""

import os
import threading

from common import DEADLINE_SECONDS, HOST, MEMCACHED_PORT, client, fails, until
from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError

options = {"timeout": DEADLINE_SECONDS, "connect_timeout": DEADLINE_SECONDS, "default_noreply": False}
m = Client((HOST, MEMCACHED_PORT), **options)
m.flush_all()

assert m.version()
assert m.set("a", b"1") is True and m.get("a") == b"1" and m.get("nosuch") is None
assert m.add("a", b"2") is False and m.add("b", b"2") is True
assert m.replace("nosuch", b"x") is False and m.replace("b", b"3") is True
assert m.append("b", b"+") and m.prepend("b", b"-") and m.get("b") == b"-3+"
value, cas = m.gets("a")
assert m.cas("a", b"new", cas) is True
assert m.cas("a", b"newer", cas) is False
assert m.cas("nosuch", b"x", cas) is None
assert m.set_many({f"k{i}": str(i) for i in range(100)}) == []
assert m.get_many([f"k{i}" for i in range(110)]) == {f"k{i}": str(i).encode() for i in range(100)}
assert len(m.gets_many(["k1", "k2", "nosuch"])) == 2
m.set("n", "10")
assert m.incr("n", 5) == 15 and m.decr("n", 20) == 0 and m.incr("nosuch", 1) is None
fails(MemcacheClientError, m.incr, "b", 1, text="non-numeric")
assert m.touch("a", 100) is True and m.touch("nosuch", 100) is False
assert m.raw_command("gat 100 a", end_tokens="END\r\n").startswith(b"VALUE a 0 3\r\nnew\r\n")
assert m.delete("a") is True and m.delete("a") is False
assert m.delete_many(["k1", "k2"]) is True and m.get("k1") is None
m.set("short", b"x", expire=1)
until(lambda: m.get("short") is None, "the key expires")
m.set("past", b"x", expire=-1)
assert m.get("past") is None
fails(MemcacheIllegalInputError, m.set, "a b", b"x")
fails(MemcacheServerError, m.set, "big", b"x" * (1 << 20) + b"y" * 100, text="too large")
assert m.get("big") is None
large = bytes(range(256)) * 3000
assert m.set("large", large) and m.get("large") == large
assert m.set("empty", b"") and m.get("empty") == b""
stats = m.stats()
assert int(stats[b"pid"]) > 0 and int(stats[b"cmd_get"]) > 0

# Without waiting for replies.
quiet = Client((HOST, MEMCACHED_PORT), **{**options, "default_noreply": True})
for i in range(200):
    quiet.set(f"q{i}", str(i))
assert quiet.get("q199") == b"199"
quiet.delete("q199")
assert quiet.get("q199") is None

# Many threads on a pool.
pool = PooledClient((HOST, MEMCACHED_PORT), max_pool_size=8, **options)


def work(n):
    for i in range(100):
        pool.set(f"t{n}", str(i))
        assert pool.get(f"t{n}") == str(i).encode()


threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]

# The same keys over RESP.
if os.environ.get("TORC_SHARED_KEYS", "1") == "1":
    r = client()
    m.set("shared", b"from memcached")
    assert r.get("shared") == b"from memcached"
    r.set("shared2", "from redis", ex=1000)
    assert m.get("shared2") == b"from redis"
    r.set("shared3", "5")
    assert m.incr("shared3", 2) == 7 and r.get("shared3") == b"7"
    m.set("shared4", b"x", expire=100)
    assert 90 < r.ttl("shared4") <= 100
    r.delete("shared")
    assert m.get("shared") is None
assert m.flush_all() and m.get("b") is None
print("memcached_basics: fine")
