//! The subcommands, a file each.

pub mod cluster;
pub mod health;
pub mod hot;
pub mod options;
pub mod proxy;
pub mod secret;
pub mod server;
pub mod status;
pub mod tool;
pub mod up;
