"""redis-py's Lock: exclusive, extended, run out, released by its owner alone."""

import threading

import redis
from common import PROTOCOL, client, fails, until

r = client()
r.flushall()

lock = r.lock("lock:a", timeout=30)
assert lock.acquire(blocking=False) and lock.locked() and lock.owned()
other = r.lock("lock:a", timeout=30)
assert not other.acquire(blocking=False)
assert not other.acquire(blocking=True, blocking_timeout=0.2)
assert lock.extend(30) and r.ttl("lock:a") > 31
assert lock.reacquire() and r.ttl("lock:a") <= 30
lock.release()
assert not lock.locked()
fails(redis.exceptions.LockError, lock.release)

# Run out and taken by another: the first owner must not release it.
short = r.lock("lock:b", timeout=0.05)
assert short.acquire()
until(lambda: r.get("lock:b") is None, "the lock runs out")
assert other.acquire(blocking=False)
taken = r.lock("lock:b", timeout=30)
assert taken.acquire(blocking=False)
fails(redis.exceptions.LockNotOwnedError, short.release)
assert taken.owned()
taken.release()

# Exclusion: an unguarded read and write loses nothing under the lock.
r.set("guarded", 0)


def count():
    own = client()
    for _ in range(15):
        with own.lock("lock:c", timeout=30, sleep=0.001):
            own.set("guarded", int(own.get("guarded")) + 1)


threads = [threading.Thread(target=count) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert int(r.get("guarded")) == 60
print(f"redis_lock in RESP{PROTOCOL}: fine")
