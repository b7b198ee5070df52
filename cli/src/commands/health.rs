//! `torc health`: asks a server or proxy on this machine whether it works. For the health checks of containers,
//! whose image holds no other program that could ask.

use std::error::Error;
use std::time::Duration;

use clap::Args;
use torc_runtime::{current_thread, http};

/// Port of HTTP in the container image; a process elsewhere has none unless it is chosen.
const DEFAULT_HTTP_PORT: u16 = 9180;

/// Options of `torc health`.
#[derive(Args, Debug)]
pub struct HealthArgs {
    /// Where its HTTP listens: HOST:PORT, or unix:/PATH [default: 127.0.0.1 and the port of TORC_HTTP_PORT, or 9180]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Ask whether it can serve requests now (/readyz), not only whether it works (/healthz)
    #[arg(long)]
    ready: bool,
    /// How long it may take to answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    timeout_ms: u64,
}

/// Ends well when the answer is 200; the error says what was answered, or why nothing was.
pub fn run(args: HealthArgs) -> Result<(), Box<dyn Error>> {
    let address = match args.http {
        Some(address) => address,
        None => default_address(std::env::var("TORC_HTTP_PORT").ok().as_deref())?,
    };
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let timeout = Duration::from_millis(args.timeout_ms);
    let answer = current_thread::block_on(current_thread::new()?, http::get(&address, path, timeout))?;
    let text = answer.body_text();
    let text = text.trim_end();
    if answer.status != 200 {
        return Err(format!("{address}{path} answers {}: {text}", answer.status).into());
    }
    println!("{text}");
    Ok(())
}

/// Where a process listens that was started with the same environment.
fn default_address(port: Option<&str>) -> Result<String, String> {
    match port {
        None => Ok(format!("127.0.0.1:{DEFAULT_HTTP_PORT}")),
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port != 0 => Ok(format!("127.0.0.1:{port}")),
            _ => Err(format!("TORC_HTTP_PORT is '{text}': nobody can know the port; say --http HOST:PORT")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_environment_is_asked() {
        assert_eq!(default_address(None).unwrap(), "127.0.0.1:9180");
        assert_eq!(default_address(Some("8080")).unwrap(), "127.0.0.1:8080");
        assert!(default_address(Some("auto")).unwrap_err().contains("--http"));
        assert!(default_address(Some("0")).is_err());
    }
}
