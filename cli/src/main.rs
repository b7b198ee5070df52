//! torc: one binary for the whole cluster.

mod allocator;
mod bench;
mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator of the whole process; [`allocator`] says which thread has which of its arenas.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "torc", version, about = "A distributed cache cluster that speaks RESP and memcached.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Brings up a whole cluster on this machine, with its proxy.
    ///
    /// Three of its nodes vote in the control plane. Fewer than three nodes (shards times replicas + 1) have one voter:
    /// the control plane does not survive the loss of that node, and while it is away no shard fails over.
    Up(Box<commands::up::UpArgs>),
    /// Runs a server: an in-memory store for RESP and memcached clients.
    Server(Box<commands::server::ServerArgs>),
    /// Runs a proxy: one address in front of a cluster.
    Proxy(Box<commands::proxy::ProxyArgs>),
    /// Shows a cluster: shards, primaries, replicas, terms, keys, memory.
    Status(commands::status::StatusArgs),
    /// Makes and changes a cluster.
    #[command(subcommand)]
    Cluster(commands::cluster::ClusterCommand),
    /// Makes cluster secrets.
    #[command(subcommand)]
    Secret(commands::secret::SecretCommand),
    /// Asks a server or proxy on this machine whether it works: exit code 0 or 1
    Health(commands::health::HealthArgs),
    /// Shows the keys that are asked for most, summed over proxies.
    Hot(commands::hot::HotArgs),
    /// Loads a RESP or memcached server and prints throughput and latency.
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    commands::up::follow_parent();
    torc_runtime::threads::at_worker_start(allocator::begin_worker);
    let result = match Cli::parse().command {
        Command::Up(args) => commands::up::run(*args),
        Command::Proxy(args) => commands::proxy::run(*args),
        Command::Status(args) => commands::status::run(args),
        Command::Cluster(command) => commands::cluster::run(command),
        Command::Secret(command) => commands::secret::run(command),
        Command::Server(args) => commands::server::run(*args),
        Command::Health(args) => commands::health::run(args),
        Command::Hot(args) => commands::hot::run(args),
        Command::Bench(args) => bench::run(args).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torc: {error}");
            ExitCode::FAILURE
        }
    }
}
