"""redis-py: blocking commands over several keys, which a proxy finds on several shards."""

import collections
import random
import threading
import time

import redis
from common import DEADLINE_SECONDS, PROTOCOL, client, until

r = client(decode_responses=True)
r.flushall()
KEYS = [f"queue{n}" for n in range(12)]
CONSUMERS, ELEMENTS = 8, 600

# In the order of the keys.
r.rpush("queue7", "seven")
r.rpush("queue3", "three")
assert tuple(r.blpop(KEYS, timeout=5)) == ("queue3", "three")
assert tuple(r.brpop(KEYS, timeout=5)) == ("queue7", "seven")
began = time.monotonic()
assert r.blpop(KEYS, timeout=1) is None and time.monotonic() - began >= 1
assert r.execute_command("LMPOP", len(KEYS), *KEYS, "LEFT") is None

# Who waits is woken, wherever the element comes.
for key in KEYS:
    got = []
    waits = threading.Thread(target=lambda: got.append(client(decode_responses=True).blpop(KEYS, timeout=DEADLINE_SECONDS)))
    waits.start()
    time.sleep(0.02)
    r.rpush(key, "x")
    waits.join()
    assert [tuple(g) for g in got] == [(key, "x")], (key, got)
    got = []
    waits = threading.Thread(target=lambda: got.append(client(decode_responses=True).bzpopmax(KEYS, timeout=DEADLINE_SECONDS)))
    waits.start()
    time.sleep(0.02)
    r.zadd(key, {"a": 1, "b": 2})
    waits.join()
    assert [tuple(g) for g in got] == [(key, "b", 2.0)], (key, got)
    r.delete(key)

# Many take from many queues: each element once.
taken, lock = collections.Counter(), threading.Lock()


def consume():
    own = client(decode_responses=True)
    while True:
        keys = random.sample(KEYS, 5)
        # Not for long: what is left may be in a queue that nobody waits for.
        found = own.blpop(keys + ["end"], timeout=0.2)
        if found is None:
            continue
        if found[0] == "end":
            own.rpush("end", "x")
            return
        assert found[0] in keys
        with lock:
            taken[found[1]] += 1


consumers = [threading.Thread(target=consume) for _ in range(CONSUMERS)]
[c.start() for c in consumers]
for n in range(ELEMENTS):
    r.rpush(random.choice(KEYS), n)
until(lambda: sum(taken.values()) >= ELEMENTS, "all are taken")
r.rpush("end", "x")
[c.join() for c in consumers]
assert taken == {str(n): 1 for n in range(ELEMENTS)}, [t for t in taken.items() if t[1] != 1]
assert all(r.llen(key) == 0 for key in KEYS)
r.delete("end")

# A client that goes away takes nothing with it that was not on its way.
for n in range(10):
    gone = client().connection_pool.get_connection("BLPOP") if redis.VERSION[0] < 5 else client().connection_pool.get_connection()
    gone.send_command("BLPOP", *KEYS, 0)
    time.sleep(0.02)
    gone.disconnect()
time.sleep(0.2)
r.rpush("queue1", "stays")
time.sleep(0.1)
assert r.lrange("queue1", 0, -1) == ["stays"]
r.delete("queue1")

# Streams, in the order in which they are named.
streams = ["stream1", "stream2", "stream3", "stream4"]
for n, stream in enumerate(streams):
    r.xadd(stream, {"f": n}, id="1-1")
found = r.xread(dict.fromkeys(reversed(streams), "0"))
names = list(found) if isinstance(found, dict) else [name for name, _ in found]
assert names == list(reversed(streams)), found
assert not r.xread(dict.fromkeys(streams, "1-1"), block=50)
got = []
waits = threading.Thread(target=lambda: got.append(client(decode_responses=True).xread(dict.fromkeys(streams, "$"), block=DEADLINE_SECONDS * 1000)))
waits.start()
time.sleep(0.2)
r.xadd("stream3", {"f": "new"}, id="2-1")
waits.join()
assert "stream3" in str(got) and "new" in str(got) and "stream1" not in str(got), got

# Groups: what is given to one consumer is given to no other.
for stream in streams:
    r.xgroup_create(stream, "g", id="0")
found = r.xreadgroup("g", "c", dict.fromkeys(streams, ">"))
assert str(found).count("1-1") == 4 and "2-1" in str(found), found
seen, lock = collections.Counter(), threading.Lock()


def read(name):
    own = client(decode_responses=True)
    while sum(seen.values()) < 200:
        found = own.xreadgroup("g", name, dict.fromkeys(streams, ">"), count=3, block=200)
        pairs = found.items() if isinstance(found, dict) else found or []
        for stream, entries in pairs:
            if isinstance(found, dict):
                entries = entries[0] if entries and isinstance(entries[0], list) else entries
            with lock:
                seen.update((stream, entry[0]) for entry in entries)


readers = [threading.Thread(target=read, args=(f"c{n}",)) for n in range(4)]
[t.start() for t in readers]
for n in range(200):
    r.xadd(random.choice(streams), {"f": n})
[t.join() for t in readers]
assert len(seen) == 200 and set(seen.values()) == {1}, [s for s in seen.items() if s[1] != 1]
print(f"redis_blocking in RESP{PROTOCOL}: fine")
