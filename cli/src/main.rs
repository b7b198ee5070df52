//! torc: one binary for the whole cluster.

mod bench;
mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator of the whole process; its number of arenas is bounded in `.cargo/config.toml`.
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
    /// Runs a server: an in-memory store for RESP and memcached clients.
    Server(Box<commands::server::ServerArgs>),
    /// Loads a RESP or memcached server and prints throughput and latency.
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Server(args) => commands::server::run(*args),
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
