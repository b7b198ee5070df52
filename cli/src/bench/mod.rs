//! `torc bench`: a load generator for RESP and memcached servers.
//!
//! Closed loop (each connection keeps `--pipeline` requests in flight) or, with `--rate`, open loop:
//! requests are due at fixed times, and latency counts from the time a request was due, so that a server
//! that stalls is charged for all that should have been sent meanwhile (no coordinated omission).
//!
//! Each thread owns its connections, random generator and histograms ([`worker`]); nothing is shared while
//! it runs. Results are merged at the end ([`report`]).

// The edge of the project: a load generator measures real time.
#![allow(clippy::disallowed_methods)]

mod args;
mod connection;
mod keys;
mod reply;
mod report;
mod request;
mod worker;

pub use args::BenchArgs;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use report::Outcome;
use worker::{Plan, Stop, Worker};

/// Requests that a connection keeps in flight while the keys are loaded.
const PRELOAD_PIPELINE: usize = 64;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The arguments contradict each other.
    #[error("{0}")]
    Arguments(String),
    /// The name has no address.
    #[error("{0} has no address: {1}")]
    Resolve(String, std::io::Error),
    /// No connection at the start.
    #[error("cannot connect to {0}: {1}; is a server running there?")]
    Connect(SocketAddr, std::io::Error),
    /// The machinery of the loop failed.
    #[error("the load generator failed: {0}")]
    Io(#[from] std::io::Error),
    /// A thread ended by a panic.
    #[error("a thread of the load generator panicked")]
    Thread,
    /// The keys could not be loaded.
    #[error("preload: {0} of {1} requests failed; the first answer: {2}")]
    Preload(u64, u64, String),
    /// The server answered nothing but errors.
    #[error("every request failed; the first answer: {0}")]
    AllFailed(String),
}

/// Runs what the arguments ask for and prints the result on standard output.
///
/// # Errors
/// See [`BenchError`]; single failed requests are counted in the result instead.
pub fn run(args: BenchArgs) -> Result<(), BenchError> {
    args.check().map_err(BenchError::Arguments)?;
    let address = resolve(&args)?;
    if args.preload {
        preload(&args, address)?;
    }
    if args.is_preload_only() {
        return Ok(());
    }
    if args.warmup_seconds > 0.0 {
        let warmup = BenchArgs { requests: None, seconds: Some(args.warmup_seconds), ..args.clone() };
        load(&warmup, address)?;
    }
    let outcome = load(&args, address)?;
    if outcome.answered > 0 && outcome.errors == outcome.answered {
        return Err(BenchError::AllFailed(outcome.first_error.unwrap_or_default()));
    }
    println!("{}", if args.json { outcome.json(&args) } else { outcome.text(&args) });
    Ok(())
}

fn resolve(args: &BenchArgs) -> Result<SocketAddr, BenchError> {
    let name = format!("{}:{}", args.host, args.port());
    let none = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let found =
        (args.host.as_str(), args.port()).to_socket_addrs().and_then(|mut list| list.next().ok_or_else(none));
    found.map_err(|error| BenchError::Resolve(name, error))
}

/// Sets each key once.
fn preload(args: &BenchArgs, address: SocketAddr) -> Result<(), BenchError> {
    let began = Instant::now();
    let plan = Plan::new(&BenchArgs { pipeline: PRELOAD_PIPELINE, rate: None, ..args.clone() }, address, 0);
    let outcome = Worker::new(plan.preload(), Stop::Requests(args.keys))?.run(began)?;
    let failed = outcome.errors + outcome.lost;
    if failed > 0 || outcome.answered < args.keys {
        return Err(BenchError::Preload(failed, args.keys, outcome.first_error.unwrap_or_default()));
    }
    if !args.json {
        let seconds = began.elapsed().as_secs_f64();
        println!("preloaded {} keys of {} bytes in {seconds:.2} s", args.keys, args.value_bytes);
    }
    Ok(())
}

/// One measured run over all threads.
fn load(args: &BenchArgs, address: SocketAddr) -> Result<Outcome, BenchError> {
    let threads = args.threads;
    let mut workers = Vec::with_capacity(threads);
    for thread in 0..threads {
        let stop = match (args.requests, args.seconds) {
            (Some(requests), _) => Stop::Requests(share(requests, threads, thread)),
            (None, seconds) => Stop::After(Duration::from_secs_f64(seconds.unwrap_or(args::DEFAULT_SECONDS))),
        };
        workers.push(Worker::new(Plan::new(args, address, thread), stop)?);
    }
    let began = Instant::now();
    let handles: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|(thread, worker)| {
            std::thread::Builder::new().name(format!("torc-bench-{thread}")).spawn(move || worker.run(began))
        })
        .collect();
    let mut merged = Outcome::new();
    for handle in handles {
        merged.merge(handle?.join().map_err(|_| BenchError::Thread)??);
    }
    Ok(merged)
}

/// The part of `total` that falls to `thread` of `threads`.
fn share(total: u64, threads: usize, thread: usize) -> u64 {
    let (threads, thread) = (threads as u64, thread as u64);
    total / threads + u64::from(thread < total % threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for total in [0, 1, 7, 1000] {
            for threads in 1..9 {
                assert_eq!((0..threads).map(|t| share(total, threads, t)).sum::<u64>(), total);
            }
        }
    }
}
