//! Listeners, bus, HTTP, logging, signals and the raft transport and storage of Torc.
