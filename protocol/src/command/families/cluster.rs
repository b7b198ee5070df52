//! What cluster-aware clients ask.

use super::*;

family! {
    /// Commands about the cluster, as cluster-aware clients use them.
    ClusterCommand, "cluster", Acl::NONE;
    Asking = row("asking", 1).flags(Flags::FAST).acl(Acl::CONNECTION).since("3.0.0")
        .summary("Lets the next command use a slot that is being imported.");
    Cluster = row("cluster", -2).flags(Flags::CONTAINER).since("3.0.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about the cluster.");
    ClusterCountkeysinslot = row("cluster|countkeysinslot", 3).flags(Flags::STALE).route(Route::AllShards)
        .merge(Merge::Sum).since("3.0.0").usage("slot").summary("Counts the keys of a slot.");
    ClusterGetkeysinslot = row("cluster|getkeysinslot", 4).flags(Flags::STALE).route(Route::AllShards)
        .merge(Merge::Concat).since("3.0.0").complexity("O(N) with N the number of keys that are given")
        .usage("slot count").tips(&["nondeterministic_output"]).summary("Gives keys of a slot.");
    ClusterHelp = row("cluster|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    ClusterInfo = row("cluster|info", 2).flags(Flags::STALE).since("3.0.0").tips(&["nondeterministic_output"])
        .summary("Describes the state of the cluster.");
    ClusterKeyslot = row("cluster|keyslot", 3).flags(Flags::STALE).since("3.0.0")
        .complexity("O(N) with N the length of the key").usage("key").summary("Gives the slot of a key.");
    ClusterLinks = row("cluster|links", 2).flags(Flags::STALE).since("7.0.0").complexity("O(N) with N the number of nodes")
        .tips(&["nondeterministic_output"]).summary("Describes the connections between nodes.");
    ClusterMyid = row("cluster|myid", 2).flags(Flags::STALE).since("3.0.0").summary("Gives the id of the node.");
    ClusterNodes = row("cluster|nodes", 2).flags(Flags::STALE).since("3.0.0").complexity("O(N) with N the number of nodes")
        .tips(&["nondeterministic_output"]).summary("Describes the nodes and their slots, a line each.");
    ClusterShards = row("cluster|shards", 2).flags(ALWAYS).since("7.0.0").complexity("O(N) with N the number of nodes")
        .tips(&["nondeterministic_output"]).summary("Describes the shards, their slots and nodes.");
    ClusterSlots = row("cluster|slots", 2).flags(ALWAYS).since("3.0.0").complexity("O(N) with N the number of nodes")
        .tips(&["nondeterministic_output"]).summary("Says which nodes serve which slots.");
    Readonly = row("readonly", 1).flags(ALWAYS.or(Flags::FAST)).acl(Acl::CONNECTION).since("3.0.0")
        .summary("Lets the connection read from a replica.");
    Readwrite = row("readwrite", 1).flags(ALWAYS.or(Flags::FAST)).acl(Acl::CONNECTION).since("3.0.0")
        .summary("Ends READONLY.");
}
