//! Tests of Torc across its parts: differential, end to end, failover.
