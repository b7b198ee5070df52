"""redis-py as anybody uses it, with its default settings, while primaries are killed: not one exception.

It writes TORC_STARTED_FILE when it is under way, and ends when TORC_STOP_FILE is there. A write that was acknowledged by
its primary alone may be lost with it; then an older value comes back, never another key's or a newer one.
"""

import os
import time

import redis
from common import HOST, PORT

r = redis.Redis(host=HOST, port=PORT)
KEYS = 64
rounds = lost = 0
longest = 0.0
while not os.path.exists(os.environ["TORC_STOP_FILE"]):
    for n in range(KEYS):
        began = time.monotonic()
        assert r.set(f"loop:{n}", f"{n}:{rounds}") is True
        key, _, value = r.get(f"loop:{n}").partition(b":")
        longest = max(longest, time.monotonic() - began)
        assert int(key) == n and int(value) <= rounds, (n, rounds, key, value)
        lost += int(value) < rounds
    rounds += 1
    if rounds == 3:
        with open(os.environ["TORC_STARTED_FILE"], "w"):
            pass
print(f"redis_through_failover: {rounds * KEYS * 2} requests, {lost} writes lost, the longest pair took {longest:.2f} s")
