"""redis-py's cluster client, straight to the nodes by CLUSTER SLOTS and MOVED."""

from redis.cluster import RedisCluster
from common import DEADLINE_SECONDS, HOST, PORT, PROTOCOL

r = RedisCluster(
    host=HOST, port=PORT, protocol=PROTOCOL, decode_responses=True, socket_timeout=DEADLINE_SECONDS
)
r.flushall(target_nodes=RedisCluster.PRIMARIES)
assert r.ping(target_nodes=RedisCluster.ALL_NODES)
for i in range(500):
    assert r.set(f"key:{i}", i) is True
assert [r.get(f"key:{i}") for i in range(500)] == [str(i) for i in range(500)]
assert r.mset_nonatomic({f"m:{i}": i for i in range(50)})
assert r.mget_nonatomic([f"m:{i}" for i in range(50)]) == [str(i) for i in range(50)]
assert r.hset("{tag}h", mapping={"a": 1}) == 1 and r.hgetall("{tag}h") == {"a": "1"}
assert r.mset({"{tag}1": 1, "{tag}2": 2}) is True and r.mget("{tag}1", "{tag}2") == ["1", "2"]
with r.pipeline() as pipe:
    for i in range(100):
        pipe.get(f"key:{i}")
    assert pipe.execute() == [str(i) for i in range(100)]
assert r.register_script("return redis.call('GET', KEYS[1])")(keys=["key:7"]) == "7"
assert len(set(r.scan_iter("key:*"))) == 500
assert sum(r.dbsize(target_nodes=node) for node in r.get_primaries()) == 553
assert r.delete(*[f"{{tag}}{i}" for i in (1, 2)]) == 2
covered = set()
for (low, high), node in r.cluster_slots().items():
    assert node["primary"][1] > 0
    covered.update(range(low, high + 1))
assert len(covered) == 16384
print(f"redis_cluster in RESP{PROTOCOL}: fine, {len(r.get_primaries())} primaries")
