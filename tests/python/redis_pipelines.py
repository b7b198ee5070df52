"""redis-py: pipelines, MULTI/EXEC, WATCH and scripts."""

import threading

import redis
from common import PROTOCOL, client, fails

r = client(decode_responses=True)
r.flushall()

# A pipeline without a transaction: replies in order, errors in their place.
pipe = r.pipeline(transaction=False)
for i in range(500):
    pipe.set(f"k{i}", i).get(f"k{i}").incr("count")
replies = pipe.execute()
assert replies[1::3] == [str(i) for i in range(500)] and replies[2::3] == list(range(1, 501))
pipe = r.pipeline(transaction=False)
pipe.set("x", "text").incr("x").get("x")
replies = pipe.execute(raise_on_error=False)
assert replies[0] is True and isinstance(replies[1], redis.ResponseError) and replies[2] == "text"

# The default: MULTI and EXEC around it (all keys under one hash tag).
with r.pipeline() as pipe:
    pipe.set("{t}a", 1).incr("{t}a").get("{t}a").get("{t}nosuch")
    assert pipe.execute() == [True, 2, "2", None]
with r.pipeline() as pipe:
    pipe.set("{t}a", "text").incr("{t}a").set("{t}b", "after")
    fails(redis.ResponseError, pipe.execute, text="not an integer")
assert r.get("{t}b") == "after"
with r.pipeline() as pipe:
    pipe.set("{t}c", 1).execute_command("GET", "a", "b")
    fails(redis.ResponseError, pipe.execute)
assert r.get("{t}c") is None

# WATCH: of two that count, each success counts once.
r.set("watched", 0)


def count(times):
    own = client()
    for _ in range(times):
        own.transaction(
            lambda pipe: (lambda now: (pipe.multi(), pipe.set("watched", now + 1)))(int(pipe.get("watched"))),
            "watched",
        )


threads = [threading.Thread(target=count, args=(40,)) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
assert r.get("watched") == "120", r.get("watched")
with r.pipeline() as pipe:
    pipe.watch("watched")
    r.set("watched", "changed")
    pipe.multi()
    pipe.set("watched", "lost")
    fails(redis.WatchError, pipe.execute)
assert r.get("watched") == "changed"

# Scripts: registered, by digest, forgotten and loaded again.
double = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1] * 2)")
assert double(keys=["s"], args=[4]) == 8
assert double(keys=["s"], args=[1]) == 10
r.script_flush()
assert r.script_exists(double.sha) == [False]
assert double(keys=["s"], args=[1]) == 12
assert r.script_exists(double.sha) == [True]
with r.pipeline() as pipe:
    double(keys=["s"], args=[1], client=pipe)
    pipe.get("s")
    assert pipe.execute() == [14, "14"]
assert r.eval("return {KEYS[1], ARGV[1], 3, false}", 1, "k", "v") == ["k", "v", 3, None]
fails(redis.ResponseError, r.eval, "return redis.error_reply('MINE no')", 0, text="MINE no")
fails(redis.exceptions.NoScriptError, r.evalsha, "f" * 40, 0)

# Many connections at once.
def work(n):
    own = client()
    for i in range(200):
        own.set(f"w{n}", i)
        assert own.get(f"w{n}") == str(i).encode()


threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
assert r.mget([f"w{n}" for n in range(16)]) == ["199"] * 16
print(f"redis_pipelines in RESP{PROTOCOL}: fine")
