//! Wire formats and the command table of Torc; no I/O.
