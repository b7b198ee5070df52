//! Map, ring, leases, in-sync sets and failover rules of Torc as pure state machines.
