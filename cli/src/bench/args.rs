//! The arguments of `torc bench`.

use std::str::FromStr;

/// Length of a run that names neither requests nor seconds.
pub const DEFAULT_SECONDS: f64 = 10.0;
/// Connections of one run.
pub const MAX_CONNECTIONS: usize = 60_000;
/// Requests in flight on one connection.
pub const MAX_PIPELINE: usize = 10_000;
/// The longest value, bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 20;
/// The longest key, bytes (memcached's limit).
pub const MAX_KEY_BYTES: usize = 250;
/// Letters that a key starts with.
pub const KEY_PREFIX: &[u8] = b"k";

/// Loads a RESP or memcached server and prints throughput and latency.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Host name or address of the server.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the server; 6379 for resp and 11211 for memcached when not given.
    #[arg(long, short)]
    pub port: Option<u16>,
    /// What the server speaks.
    #[arg(long, value_enum, default_value = "resp")]
    pub protocol: Protocol,
    /// Open connections, over all threads.
    #[arg(long, short, default_value_t = 50)]
    pub connections: usize,
    /// Threads of the load generator.
    #[arg(long, short, default_value_t = 1)]
    pub threads: usize,
    /// Requests in flight on each connection. With --rate it is their upper bound.
    #[arg(long, short = 'P', default_value_t = 1)]
    pub pipeline: usize,
    /// Requests to send in all; 0 together with --preload loads the keys and ends.
    #[arg(long, short = 'n', conflicts_with = "seconds")]
    pub requests: Option<u64>,
    /// Seconds to run [default: 10].
    #[arg(long, short)]
    pub seconds: Option<f64>,
    /// Seconds of load before the measured run.
    #[arg(long, default_value_t = 0.0)]
    pub warmup_seconds: f64,
    /// How many different keys there are.
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Bytes of each key.
    #[arg(long, default_value_t = 16)]
    pub key_bytes: usize,
    /// Bytes of each value.
    #[arg(long, default_value_t = 64)]
    pub value_bytes: usize,
    /// Writes to reads, as SET:GET.
    #[arg(long, default_value = "1:10")]
    pub ratio: Ratio,
    /// Sets each key once before the run.
    #[arg(long)]
    pub preload: bool,
    /// Open loop: requests per second in all, due at even intervals; latency counts from the due time.
    #[arg(long, short)]
    pub rate: Option<f64>,
    /// How keys are drawn: `uniform`, or `zipf:THETA` (0.99 is usual).
    #[arg(long, default_value = "uniform")]
    pub distribution: Distribution,
    /// Password for AUTH on each connection (resp).
    #[arg(long, env = "TORC_BENCH_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// When writes are answered (resp, a cluster of Torc): `none`, `primary` or `in-sync`.
    #[arg(long)]
    pub ack: Option<String>,
    /// Seed of the random keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    /// The port, or the usual one of the protocol.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.protocol {
            Protocol::Resp => 6379,
            Protocol::Memcached => 11211,
        })
    }

    /// Whether keys are loaded and nothing is measured.
    pub fn is_preload_only(&self) -> bool {
        self.preload && self.requests == Some(0)
    }

    /// Checks what clap cannot; the error is for the user.
    pub fn check(&self) -> Result<(), String> {
        let digits = self.keys.saturating_sub(1).max(1).ilog10() as usize + 1;
        let wanted = KEY_PREFIX.len() + digits;
        let checks = [
            (self.keys > 0, "--keys must be at least 1".to_owned()),
            (
                (wanted..=MAX_KEY_BYTES).contains(&self.key_bytes),
                format!("--key-bytes must be from {wanted} (for so many keys) to {MAX_KEY_BYTES}"),
            ),
            (self.value_bytes <= MAX_VALUE_BYTES, format!("--value-bytes must be at most {MAX_VALUE_BYTES}")),
            (self.threads > 0, "--threads must be at least 1".to_owned()),
            (
                (self.threads..=MAX_CONNECTIONS).contains(&self.connections),
                format!("--connections must be from the number of threads to {MAX_CONNECTIONS}"),
            ),
            (
                (1..=MAX_PIPELINE).contains(&self.pipeline),
                format!("--pipeline must be from 1 to {MAX_PIPELINE}"),
            ),
            (
                self.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0 && rate <= 1e9),
                "--rate must be above 0".to_owned(),
            ),
            (
                [self.seconds.unwrap_or(1.0), self.warmup_seconds].iter().all(|s| (0.0..=1e6).contains(s)),
                "--seconds and --warmup-seconds must be from 0 to 1000000".to_owned(),
            ),
            (self.requests != Some(0) || self.preload, "--requests 0 is for --preload".to_owned()),
            (
                self.password.is_none() || self.protocol == Protocol::Resp,
                "--password is for --protocol resp".to_owned(),
            ),
        ];
        checks.into_iter().find(|(fine, _)| !fine).map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// The wire protocol of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Redis's.
    Resp,
    /// memcached's classic text protocol.
    Memcached,
}

/// Writes to reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Parts that are SET.
    pub sets: u32,
    /// Parts that are GET.
    pub gets: u32,
}

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not SET:GET such as 1:10");
        let (sets, gets) = text.split_once(':').ok_or_else(wrong)?;
        let ratio =
            Self { sets: sets.parse().map_err(|_| wrong())?, gets: gets.parse().map_err(|_| wrong())? };
        if ratio.sets.checked_add(ratio.gets).is_none_or(|sum| sum == 0) {
            return Err(wrong());
        }
        Ok(ratio)
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sets, self.gets)
    }
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each as often as the others.
    Uniform,
    /// By Zipf's law with this exponent.
    Zipf(f64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let theta = text.strip_prefix("zipf:").and_then(|theta| theta.parse::<f64>().ok());
        match theta {
            Some(theta) if theta > 0.0 && theta <= 10.0 => Ok(Self::Zipf(theta)),
            _ => Err(format!("{text:?} is neither uniform nor zipf:THETA with THETA from above 0 to 10")),
        }
    }
}

impl std::fmt::Display for Distribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(theta) => write!(f, "zipf:{theta}"),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    /// Arguments as from the command line.
    pub fn parse(words: &[&str]) -> Result<BenchArgs, String> {
        let cli = Cli::try_parse_from([&["bench"], words].concat()).map_err(|e| e.to_string())?;
        cli.bench.check().map(|()| cli.bench)
    }

    #[test]
    fn defaults_are_fine_and_mistakes_are_named() {
        let args = parse(&[]).expect("defaults");
        assert_eq!((args.port(), args.connections, args.pipeline), (6379, 50, 1));
        assert_eq!(parse(&["--protocol", "memcached"]).expect("parses").port(), 11211);
        assert_eq!(
            parse(&["--distribution", "zipf:0.99"]).expect("parses").distribution,
            Distribution::Zipf(0.99)
        );
        for (words, error) in [
            (&["--keys", "0"][..], "--keys"),
            (&["--keys", "1000000", "--key-bytes", "6"], "--key-bytes must be from 7"),
            (&["--connections", "1", "--threads", "2"], "--connections"),
            (&["--ratio", "0:0"], "SET:GET"),
            (&["--ratio", "x"], "SET:GET"),
            (&["--distribution", "zipf:x"], "uniform"),
            (&["--rate", "0"], "--rate"),
            (&["--requests", "0"], "--preload"),
            (&["--requests", "1", "--seconds", "1"], "cannot be used with"),
        ] {
            let found = parse(words).expect_err("wrong");
            assert!(found.contains(error), "{words:?}: {found}");
        }
    }
}
