//! The consistent-hashing proxy of Torc.
