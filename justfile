# Recipes for working on Torc; `just --list` shows them. CI runs `just ci`.

# Formats the sources.
fmt:
    cargo fmt --all

# Format and lints, as CI checks them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Every test; missing peers are skipped, loudly.
test *args:
    cargo test --workspace {{ args }}

# All that CI runs: installs the peers, then format, lints, tests.
ci:
    bash .ci/run

# Compares with other servers on this machine, e.g. `just bench --mode memcached`.
bench *args:
    cargo build --release -p torc
    bench/compare {{ args }}

# Collections beside redis-server's: CPU per request, bytes per element, e.g. `just types --only ZADD,HGETALL`.
types *args:
    cargo build --release -p torc
    bench/types {{ args }}

# Memory beside other servers' and what growing costs, e.g. `just memory --parts keys --scale 0.5`.
memory *args:
    cargo build --release -p torc
    bench/memory {{ args }}

# Hit ratios of the eviction policies beside redis-server's, e.g. `just hit-ratio --part 0.05`.
hit-ratio *args:
    cargo build --release -p torc
    bench/hit-ratio {{ args }}

# Kills, pauses, cuts and stalls nodes under clients whose histories are judged; as root for network namespaces, e.g. `just faults 100 7`.
faults rounds="40" seed="1":
    TORC_FAULT_ROUNDS={{ rounds }} TORC_FAULT_SEED={{ seed }} cargo test -p torc-tests --test faults -- --include-ignored --nocapture

# How long a failover takes on this machine.
failover *args:
    cargo build --release -p torc
    bench/failover {{ args }}

# A full sync of many keys beside redis-server's: its time, and the longest wait of a client meanwhile, e.g. `just full-sync --keys 10000000`.
full-sync *args:
    cargo build --release -p torc
    bench/full-sync {{ args }}

# Units of Valkey's own test suite, given a checkout of Valkey, e.g. `just tcl ~/valkey type/list`.
tcl path *units:
    cargo build -p torc
    tests/valkey-suite {{ path }} {{ units }}

# Sequences of random commands of each family against redis-server from another seed, e.g. `just differential 7 10000`.
differential seed="1" sequences="2000":
    TORC_DIFF_SEED={{ seed }} TORC_DIFF_SEQUENCES={{ sequences }} cargo test -p torc-tests --test differential_redis random_

# The simulation of the cluster over more seeds; a violation prints how to repeat it.
sim seeds="20000" first="1":
    TORC_SIM_SEEDS={{ seeds }} TORC_SIM_FIRST={{ first }} cargo test --profile quick -p torc-cluster --lib no_invariant_breaks -- --nocapture

# The simulation of consensus over more seeds; a violation prints how to repeat it.
sim-raft seeds="1000" first="1":
    TORC_RAFT_SIM_SEEDS={{ seeds }} TORC_RAFT_SIM_FIRST={{ first }} cargo test --profile quick -p torc-runtime --lib consensus_keeps_its_promises -- --nocapture

# Every order in which a few threads can touch what they share without a lock.
loom:
    RUSTFLAGS="--cfg torc_loom" cargo test --release --target-dir target/loom -p torc-server --lib shard::bell

# How long commits, confirmations and elections of the control plane take with three voters; asserts nothing.
raft-timings:
    cargo test -p torc-runtime --lib -- --ignored --nocapture timings_of_three_voters

# The container image.
docker:
    DOCKER_BUILDKIT=1 docker build -f deploy/Dockerfile -t torc .

# Brings deploy/compose.yaml up for real, kills a container, and sees the cluster go on; pulls no image.
try-compose *args:
    deploy/try-compose {{ args }}

# One fuzz target of protocol/fuzz, proxy/fuzz or server/fuzz (needs cargo-fuzz), e.g. `just fuzz memcached 60 proxy`.
fuzz target seconds="60" crate="protocol":
    cd {{ crate }} && mkdir -p fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} && \
        RUSTC_BOOTSTRAP=1 cargo fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} -- \
        -max_total_time={{ seconds }}

# Licences, duplicates and sources of the dependencies (needs cargo-deny).
deny:
    cargo deny check licenses bans sources

# What shared requests and local copies bring under a load with hot keys.
hot-keys *args:
    cargo build --release -p torc
    bench/hot-keys {{ args }}

# What a proxy beside an application takes: time to start, memory with many clients, the peak of one big value.
sidecar *args:
    cargo build --release -p torc
    bench/sidecar {{ args }}

# Which functions a node runs, and the linker's script that puts them side by side, for both optimised profiles.
layout *args:
    cargo build --release -p torc
    cargo build --profile quick -p torc
    bench/layout --torc target/release/torc --torc target/quick/torc --write cli/layout.ld {{ args }}
