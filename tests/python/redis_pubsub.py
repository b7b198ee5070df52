"""redis-py: channels, patterns, shard channels and keyspace events."""

import threading

import redis
from common import DEADLINE_SECONDS, PROTOCOL, client, fails, until

r = client(decode_responses=True)
r.flushall()
LISTENERS = 30


def take(pubsub, kind, count=1):
    """The next messages of a kind, in their order; confirmations are passed over."""
    found = []

    def look():
        message = pubsub.get_message(timeout=0.1)
        if message and message["type"] == kind:
            found.append(message)
        return len(found) >= count

    until(look, f"{count} of {kind}")
    return found


def confirmed(pubsub, word, count=1):
    take(pubsub, word, count)


# Many listen to one channel: PUBLISH counts each of them, and each gets every message in the order of sending.
own = [client(decode_responses=True) for _ in range(LISTENERS)]
listeners = [c.pubsub() for c in own]
for p in listeners:
    p.subscribe("news")
for p in listeners:
    confirmed(p, "subscribe")
assert r.pubsub_numsub("news", "other") == [("news", LISTENERS), ("other", 0)]
assert r.pubsub_channels() == ["news"] and r.pubsub_channels("x*") == []
for n in range(20):
    assert r.publish("news", n) == LISTENERS
for p in listeners:
    assert [m["data"] for m in take(p, "message", 20)] == [str(n) for n in range(20)]
assert r.publish("other", "x") == 0

# Who leaves is counted no more, at once.
for p in listeners[10:]:
    p.unsubscribe("news")
    confirmed(p, "unsubscribe")
assert r.publish("news", "x") == 10
for p in listeners:
    p.close()
until(lambda: r.publish("news", "x") == 0, "nobody listens")

# Patterns, and a message for each match.
p = r.pubsub()
p.psubscribe("n?ws", "n*")
confirmed(p, "psubscribe", 2)
p.subscribe("news")
confirmed(p, "subscribe")
assert r.pubsub_numpat() == 2
assert r.publish("news", "x") == 3
seen = [m for m in (p.get_message(timeout=DEADLINE_SECONDS) for _ in range(3))]
assert {(m["type"], m["pattern"]) for m in seen if m} == {("message", None), ("pmessage", "n?ws"), ("pmessage", "n*")}
p.punsubscribe()
p.unsubscribe()
until(lambda: r.pubsub_numpat() == 0 and r.pubsub_numsub("news") == [("news", 0)], "nothing is listened to")
p.close()

# Published by scripts and transactions, on whatever shard.
p = r.pubsub()
p.subscribe("from")
confirmed(p, "subscribe")
sent = []
for n in range(20):
    assert r.eval("return redis.call('PUBLISH', 'from', ARGV[1])", 1, f"key{n}", n) == 1
    with r.pipeline() as pipe:
        assert pipe.set(f"key{n}", n).publish("from", f"t{n}").execute() == [True, 1]
    sent += [str(n), f"t{n}"]
assert sorted(m["data"] for m in take(p, "message", 40)) == sorted(sent)
p.close()

# Shard channels.
p = r.pubsub()
names = [f"shard{n}" for n in range(10)]
for name in names:
    p.execute_command("SSUBSCRIBE", name)
seen = [p.parse_response(timeout=DEADLINE_SECONDS) for _ in names]
assert sorted(s[1] for s in seen) == names
for name in names:
    assert r.execute_command("SPUBLISH", name, "x") == 1
    assert r.publish(name, "not there") == 0
seen = [p.parse_response(timeout=DEADLINE_SECONDS) for _ in names]
assert sorted(s[1] for s in seen) == names and {s[0] for s in seen} == {"smessage"}
assert sorted(r.execute_command("PUBSUB", "SHARDCHANNELS")) == names
p.close()

# Keyspace events of keys on all shards.
r.config_set("notify-keyspace-events", "KEA")
p = r.pubsub()
p.psubscribe("__keyspace@0__:*")
q = r.pubsub()
q.subscribe("__keyevent@0__:set")
confirmed(p, "psubscribe")
confirmed(q, "subscribe")
keys = [f"event{n}" for n in range(50)]
for key in keys:
    r.set(key, 1)
assert sorted(m["channel"].split(":", 1)[1] for m in take(p, "pmessage", 50)) == sorted(keys)
assert sorted(m["data"] for m in take(q, "message", 50)) == sorted(keys)
r.config_set("notify-keyspace-events", "")
p.close()
q.close()

# A thread of redis-py's own, with a handler.
got, done = [], threading.Event()


def handler(message):
    got.append(message["data"])
    if message["data"] == "99":
        done.set()


p = r.pubsub()
p.subscribe(threaded=handler)
thread = p.run_in_thread(sleep_time=0.05, daemon=True)
until(lambda: r.publish("threaded", "-") == 1, "the thread listens")
got.clear()
for n in range(100):
    r.publish("threaded", n)
assert done.wait(DEADLINE_SECONDS), got
assert [g for g in got if g != "-"] == [str(n) for n in range(100)]
thread.stop()
thread.join()

if PROTOCOL == 2:
    raw = r.connection_pool.get_connection("SUBSCRIBE") if redis.VERSION[0] < 5 else r.connection_pool.get_connection()
    raw.send_command("SUBSCRIBE", "a")
    assert raw.read_response()[0] == "subscribe"
    raw.send_command("GET", "a")
    fails(redis.ResponseError, raw.read_response, text="only (P|S)SUBSCRIBE")
    raw.send_command("PING")
    assert raw.read_response() == ["pong", ""]
    raw.disconnect()
print(f"redis_pubsub in RESP{PROTOCOL}: fine")
