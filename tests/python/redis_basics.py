"""redis-py: commands of each family, in the protocol that TORC_PROTOCOL names."""

import redis
from common import PROTOCOL, client, fails, until

r = client(decode_responses=True, client_name="basics")
r.flushall()

# Connection.
assert r.ping() is True
assert r.echo("hello") == "hello"
assert r.client_getname() == "basics"
assert r.client_id() > 0
assert int(r.client_info()["id"]) == r.client_id()
assert any(c["name"] == "basics" for c in r.client_list())
assert r.info("server")["redis_version"]
assert len(r.time()) == 2
assert "get" in r.command()
assert r.config_get("maxmemory-policy")["maxmemory-policy"]

# Strings.
assert r.set("s", "välue") is True
assert r.get("s") == "välue"
assert r.get("nosuch") is None
assert r.set("s", "x", nx=True) is None
assert r.set("s", "x", xx=True, get=True) == "välue"
assert r.set("t", "1", ex=100) is True
assert 90 < r.ttl("t") <= 100
assert r.getex("t", persist=True) == "1"
assert r.ttl("t") == -1
assert r.incr("n", 5) == 5 and r.decr("n", 2) == 3
assert r.incrbyfloat("f", 1.5) == 1.5
assert r.append("s", "yz") == 3 and r.strlen("s") == 3
assert r.getrange("s", 1, -1) == "yz"
assert r.mset({"a": 1, "b": 2, "c": 3}) is True
assert r.mget("a", "nosuch", "c") == ["1", None, "3"]
# Keys of one command that is not split over shards share a hash tag.
assert r.msetnx({"a": 9, "{a}new": 9}) is False and not r.exists("{a}new")
assert r.getdel("a") == "1" and r.get("a") is None
assert r.setbit("bits", 7, 1) == 0 and r.getbit("bits", 7) == 1 and r.bitcount("bits") == 1
assert r.bitfield("bf").set("u8", 0, 200).incrby("u8", 0, 100, overflow="SAT").execute() == [0, 255]
assert r.lcs("s", "s") == "xyz"
fails(redis.ResponseError, r.incr, "s", text="not an integer")

# Generic commands and expiry.
assert r.exists("b", "c", "nosuch") == 2
assert r.type("b") == "string" and r.type("nosuch") == "none"
assert r.touch("b", "nosuch") == 1
assert r.rename("b", "{b}d") is True and r.get("{b}d") == "2"
assert r.copy("{b}d", "{b}e") is True
assert r.unlink("{b}d", "{b}e") == 2
assert r.object("encoding", "n") == "int"
r.set("short", "x", px=50)
until(lambda: r.get("short") is None, "the key expires")
assert r.expire("c", 100) is True and r.expire("nosuch", 100) is False
assert r.expiretime("c") > 1_600_000_000
assert r.persist("c") is True

# Hashes.
assert r.hset("h", "one", 1) == 1
assert r.hset("h", mapping={"two": 2, "three": "3.5"}) == 2
assert r.hgetall("h") == {"one": "1", "two": "2", "three": "3.5"}
assert r.hget("h", "nosuch") is None
assert r.hmget("h", "one", "nosuch") == ["1", None]
assert r.hincrby("h", "one", 4) == 5
assert r.hincrbyfloat("h", "three", 0.25) == 3.75
assert r.hexists("h", "two") and not r.hexists("h", "nosuch")
assert r.hlen("h") == 3 and sorted(r.hkeys("h")) == ["one", "three", "two"]
assert r.hdel("h", "one", "nosuch") == 1
assert sorted(r.hscan_iter("h")) == [("three", "3.75"), ("two", "2")]
fails(redis.ResponseError, r.hget, "s", "f", text="WRONGTYPE")
fails(redis.ResponseError, r.execute_command, "NOSUCH", "x", text="unknown command")
fails(redis.ResponseError, r.execute_command, "GET", text="wrong number of arguments")

# Bytes of every kind and length.
raw = client()
for length in [0, 1, 44, 45, 1000, 16384, 100_000, 3_000_000]:
    value = bytes(i * 7 % 256 for i in range(min(length, 256))) * (length // 256 + 1)
    value = value[:length]
    assert raw.set(b"bin\x00\xff\r\n", value) and raw.get(b"bin\x00\xff\r\n") == value, length

# SCAN over many keys.
with r.pipeline(transaction=False) as pipe:
    for i in range(3000):
        pipe.set(f"scan:{i}", i)
    assert all(pipe.execute())
assert {int(k[5:]) for k in r.scan_iter("scan:*", count=100)} == set(range(3000))
assert set(r.scan_iter(_type="hash")) == {"h"}
assert len(r.keys("scan:1?")) == 10
assert r.delete(*[f"scan:{i}" for i in range(3000)]) == 3000

# The shape of a map tells the protocol.
hello = r.execute_command("COMMAND", "DOCS", "nosuch")
assert hello == ({} if PROTOCOL == 3 else []) or hello == {}
assert r.dbsize() > 0 and r.flushall() and r.dbsize() == 0
print(f"redis_basics in RESP{PROTOCOL}: fine")
