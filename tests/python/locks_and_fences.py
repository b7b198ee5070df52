"""LOCK.* and FENCE, as a redis-py user calls them."""

import threading
import time

import redis
from common import client, fails, until

r = client()
call = r.execute_command
Refused = redis.exceptions.ResponseError

# Exclusive, with a token and what is left of its time.
token, left_ms = call("LOCK.ACQUIRE", "job", "TTL", 30000, "OWNER", "ada")
assert token > 0 and 0 < left_ms <= 30000
assert call("LOCK.ACQUIRE", "job", "TTL", 30000, "OWNER", "bob") is None
info = call("LOCK.INFO", "job")
assert b"ada" in str(info).encode(), info
renewed = call("LOCK.EXTEND", "job", token, "TTL", 40000)
assert renewed, renewed
assert not call("LOCK.RELEASE", "job", token + 1)
assert call("LOCK.RELEASE", "job", token)
assert not call("LOCK.RELEASE", "job", token)

# Who waits is served in order, with a higher token.
token, _ = call("LOCK.ACQUIRE", "line", "TTL", 30000)
served = []


def wait(name):
    answer = client().execute_command("LOCK.ACQUIRE", "line", "TTL", 30000, "WAIT", 15000)
    served.append((name, answer[0]))
    assert client().execute_command("LOCK.RELEASE", "line", answer[0])


waiters = []
for name in ("first", "second", "third"):
    thread = threading.Thread(target=wait, args=(name,))
    thread.start()
    waiters.append(thread)
    time.sleep(0.2)
assert not served
assert call("LOCK.RELEASE", "line", token)
[thread.join() for thread in waiters]
assert [name for name, _ in served] == ["first", "second", "third"], served
tokens = [token] + [one for _, one in served]
assert tokens == sorted(set(tokens)), tokens

# A lock that nobody releases is free after its time.
old, _ = call("LOCK.ACQUIRE", "short", "TTL", 100)
new = until(lambda: call("LOCK.ACQUIRE", "short", "TTL", 30000), "the lock runs out")[0]
assert new > old

# The cache refuses the holder of an old token, in writes and in reads.
assert call("FENCE", "short", new, "SET", "guarded", "by the new one")
fails(Refused, call, "FENCE", "short", old, "SET", "guarded", "by the old one", text="FENCED")
fails(Refused, call, "FENCE", "short", old, "GET", "guarded", text="FENCED")
assert call("FENCE", "short", new, "GET", "guarded") == b"by the new one"
assert r.get("guarded") == b"by the new one"
fails(Refused, call, "LOCK.ACQUIRE", "long", "TTL", 10**9)
print("locks_and_fences: fine")
