//! INFO: sections of `name:value` lines, with the names that Redis's tools look for.

mod process;
mod stats;
mod store;

use std::fmt::{Display, Write};

use torc_protocol::info::human_bytes;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};
use crate::store::{DATABASES, STRIPES};

/// Writes a section's lines.
type Section = fn(&mut Cx<'_, '_>, &mut Lines);

/// (name, heading, shown when nothing is asked for, writer), in Redis's order.
const SECTIONS: [(&str, &str, bool, Section); 14] = [
    ("server", "Server", true, process::server),
    ("clients", "Clients", true, process::clients),
    ("memory", "Memory", true, process::memory),
    ("persistence", "Persistence", true, store::persistence),
    ("stats", "Stats", true, stats::stats),
    ("replication", "Replication", true, store::replication),
    ("cpu", "CPU", true, process::cpu),
    ("modules", "Modules", true, |_, _| {}),
    ("commandstats", "Commandstats", false, stats::commands),
    ("errorstats", "Errorstats", true, stats::errors),
    ("latencystats", "Latencystats", false, stats::latencies),
    ("cluster", "Cluster", true, store::cluster),
    ("keyspace", "Keyspace", true, store::keyspace),
    ("torc", "Torc", true, store::torc),
];

/// The text under way.
pub struct Lines(String);

impl Lines {
    /// Adds `name:value`.
    pub fn line(&mut self, name: impl Display, value: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// Adds a number of bytes and, under `…_human`, what people read more easily.
    pub fn bytes(&mut self, name: &str, bytes: u64) {
        self.line(name, bytes);
        self.line(format_args!("{name}_human"), human_bytes(bytes));
    }
}

/// `INFO [section …]`
pub fn info(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let asked = args.tail(1);
    let names = |name: &str| asked.iter().any(|section| section.eq_ignore_ascii_case(name.as_bytes()));
    let default = asked.is_empty() || names("default");
    let all = names("all") || names("everything");
    let mut lines = Lines(String::with_capacity(4096));
    for (name, heading, by_default, write) in SECTIONS {
        let wanted = (default && by_default) || (all && name != "modules") || names(name);
        if wanted || (names("everything") && name == "modules") {
            if !lines.0.is_empty() {
                lines.0.push_str("\r\n");
            }
            let _ = write!(lines.0, "# {heading}\r\n");
            write(cx, &mut lines);
        }
    }
    cx.reply().verbatim(b"txt", lines.0.as_bytes());
    Ok(())
}

/// A database that holds something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Its number.
    pub index: usize,
    /// Keys in it.
    pub keys: u64,
    /// Those of them that expire.
    pub expires: u64,
    /// Milliseconds that the sampled ones have left, together.
    ttl_sum_ms: u128,
    sampled: u64,
}

impl Database {
    /// How long its keys that expire have, in milliseconds, by a sample.
    pub fn mean_ttl_ms(&self) -> u64 {
        if self.expires == 0 {
            return 0;
        }
        u64::try_from(self.ttl_sum_ms.checked_div(u128::from(self.sampled)).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

/// Expiry times that are looked at in each stripe.
const SAMPLED_PER_STRIPE: usize = 8;

/// All databases that hold something. Stripes that a script holds are left out: a look must not wait.
pub fn databases(cx: &mut Cx<'_, '_>) -> Vec<Database> {
    let mut found = [Database::default(); DATABASES];
    let now_ms = cx.now_ms;
    for index in 0..STRIPES as u16 {
        let mut count = |stripe: &crate::store::Stripe| {
            for db in stripe.databases() {
                if let Some(database) = found.get_mut(usize::from(db)) {
                    database.keys += stripe.len(db) as u64;
                    database.expires += stripe.expiring_in(db) as u64;
                }
            }
            for (db, at_ms) in stripe.sample_expiries(SAMPLED_PER_STRIPE) {
                if let Some(database) = found.get_mut(usize::from(db)) {
                    database.ttl_sum_ms += u128::from(at_ms.saturating_sub(now_ms));
                    database.sampled += 1;
                }
            }
        };
        if cx.holds_stripe(index) {
            count(cx.stripe(index));
        } else if let Some(stripe) = cx.node.store.peek_stripe(index) {
            count(&stripe);
        }
    }
    let numbered = found.into_iter().enumerate().map(|(index, database)| Database { index, ..database });
    numbered.filter(|database| database.keys > 0).collect()
}
