//! The in-memory store of Torc: RESP and memcached on the same keys.
