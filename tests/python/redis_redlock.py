"""Redlock libraries against one address or several independent servers.

TORC_ENDPOINTS holds the ports, by commas (default: TORC_PORT alone); those in TORC_DEAD answer nobody, and a
majority must go on without them.
"""

import os
import threading

from common import HOST, PORT, client, fails, until
from pottery import Redlock as PotteryLock
from pottery import ReleaseUnlockedLock
from redis import Redis
from redlock import Redlock

ports = [int(port) for port in os.environ.get("TORC_ENDPOINTS", str(PORT)).split(",")]
dead = [int(port) for port in os.environ.get("TORC_DEAD", "").split(",") if port]
live = [client() if port == PORT else Redis(host=HOST, port=port, socket_timeout=20) for port in ports]
for server in live:
    server.flushall()
masters = live + [Redis(host=HOST, port=port, socket_timeout=1) for port in dead]


def holders(name):
    return {server.get(name) for server in live}


# redlock-py: SET NX PX and a script that compares and deletes.
if not dead:
    first = Redlock(masters, retry_count=1)
    second = Redlock(masters, retry_count=1)
    held = first.lock("redlock:a", 30_000)
    assert held and 0 < held.validity <= 30_000
    assert holders("redlock:a") == {held.key}
    assert second.lock("redlock:a", 30_000) is False
    # A failed attempt takes back only its own.
    assert holders("redlock:a") == {held.key}
    # Somebody else's key does not release it.
    second.unlock(held._replace(key=b"not mine"))
    assert holders("redlock:a") == {held.key}
    first.unlock(held)
    assert holders("redlock:a") == {None}
    assert first.lock("redlock:b", 80)
    patient = Redlock(masters, retry_count=100, retry_delay=0.05)
    late = patient.lock("redlock:b", 30_000)
    assert late, "the first lock runs out"
    patient.unlock(late)

# pottery: EVALSHA with its scripts, a quorum of answers, extension.
lock = PotteryLock(key="a", masters=set(masters), auto_release_time=30)
other = PotteryLock(key="a", masters=set(masters), auto_release_time=30)
assert lock.acquire(blocking=False)
assert 0 < lock.locked() <= 30
assert not other.acquire(blocking=False)
lock.extend()
assert 29 < lock.locked() <= 30
lock.release()
assert not lock.locked()
fails(ReleaseUnlockedLock, lock.release)
assert other.acquire(blocking=False)
other.release()
short = PotteryLock(key="b", masters=set(masters), auto_release_time=0.2)
assert short.acquire(blocking=False)
until(lambda: not short.locked(), "the lock runs out")

# Exclusion: an unguarded read and write loses nothing under the lock.
counter = live[0]
counter.set("guarded", 0)


def count():
    own = PotteryLock(key="c", masters=set(masters), auto_release_time=30)
    for _ in range(5):
        with own:
            counter.set("guarded", int(counter.get("guarded")) + 1)


threads = [threading.Thread(target=count) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
assert int(counter.get("guarded")) == 15
print(f"redis_redlock on {len(live)} of {len(masters)} endpoints: fine")
