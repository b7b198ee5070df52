//! Sequences of random commands from a seed, each on empty servers: sent in pipelined batches to two of them, and the
//! whole keyspace compared at the end.
//!
//! A family is a file `differential/random/*.gen`: a list (see [`super::list`]) of commands up to the
//! first `#! reset`, which make the first state, then templates. A template holds places to fill such as
//! `{key}` or a choice `{NX|XX|}` (an argument that comes out empty from a choice is left out).
//! Few keys of every type make wrong types common; besides, some commands lose an argument, gain one, or
//! get one replaced. Behind a command with a `{soon}` the sequence waits until that time is over.
//!
//! On a difference the commands of the sequence are written as a list to `target/differential/`, which
//! `TORC_DIFF_FILE=<file>` runs again. `TORC_DIFF_SEED` and `TORC_DIFF_SEQUENCES` change the defaults.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::compare::{self, Check};
use super::keyspace;
use super::list::{Action, List, Of};
use super::{Pair, Report, SHOWN_ARG_BYTES};
use crate::client::{self, Connection};
use crate::quote;

/// Sequences of one family when `TORC_DIFF_SEQUENCES` does not say otherwise.
pub const DEFAULT_SEQUENCES: usize = 300;
/// Commands of a sequence, at most.
const MAX_COMMANDS: usize = 24;
/// Every so many sequences one is this many times longer: collections grow beyond their packed forms.
const LONG_EVERY: usize = 10;
const LONG_TIMES: usize = 10;
/// Commands sent before their replies are read.
const MAX_BATCH: usize = 24;
/// Sequences that may differ before the run is given up.
const MAX_DIFFERING: usize = 12;
/// A `{soon}` is less than this away, milliseconds.
const SOON_MS: u64 = 15;
/// The time, in seconds, that blocking commands wait.
const SHORT_WAIT: &str = "0.01";
/// How long both servers have, behind a `{soon}`.
const SOON_PAUSE: Duration = Duration::from_millis(2 * SOON_MS + 10);

/// A family of commands to draw from.
#[derive(Debug)]
pub struct Family {
    name: String,
    setup: Vec<Vec<Vec<u8>>>,
    templates: Vec<Template>,
}

/// A command with places to fill.
#[derive(Debug)]
struct Template {
    parts: Vec<String>,
    check: Check,
    of: Of,
}

impl Family {
    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read or parsed.
    pub fn read(path: &Path) -> Self {
        let list = List::read(path);
        let mut family = Self { name: list.name, setup: Vec::new(), templates: Vec::new() };
        let mut in_setup = true;
        for step in list.steps {
            match step.action {
                Action::Reset => in_setup = false,
                Action::Call { args, .. } if in_setup => family.setup.push(args),
                Action::Call { args, check, of, .. } => {
                    let text = |arg: &Vec<u8>| String::from_utf8_lossy(arg).into_owned();
                    family.templates.push(Template { parts: args.iter().map(text).collect(), check, of });
                }
                other => panic!("{}:{}: {other:?} has no meaning here", family.name, step.line),
            }
        }
        assert!(!family.templates.is_empty(), "{}: no templates after `#! reset`", family.name);
        family
    }
}

/// Seed and number of sequences of a family, from the environment or the defaults.
pub fn settings() -> (u64, usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let sequences = number("TORC_DIFF_SEQUENCES").and_then(|n| usize::try_from(n).ok());
    (number("TORC_DIFF_SEED").unwrap_or(1), sequences.unwrap_or(DEFAULT_SEQUENCES))
}

/// Runs `count` sequences of a family.
pub fn run(pair: &Pair, family: &Family, seed: u64, count: usize) -> Report {
    let mut report = Report::default();
    let mut rng = StdRng::seed_from_u64(seed);
    let version = super::redis::version(&pair.theirs).unwrap_or_default();
    let rules = Run { pair, family, version };
    let mut differing = 0;
    for number in 0..count {
        let mut log = Vec::new();
        let before = report.differences.len();
        let times = if number % LONG_EVERY == LONG_EVERY - 1 { LONG_TIMES } else { 1 };
        let length = rng.random_range(1..=MAX_COMMANDS) * times;
        if let Err(error) = sequence(&rules, &mut rng, length, &mut log, &mut report) {
            report.differences.push(format!("{} seed {seed}: {error}", family.name));
        }
        report.sequences += 1;
        if report.differences.len() > before {
            differing += 1;
            let file = save(&family.name, seed, number, &log);
            report
                .differences
                .push(format!("    run again: TORC_DIFF_FILE={} (seed {seed})", file.display()));
        }
        if differing >= MAX_DIFFERING || report.is_full() {
            break;
        }
    }
    report
}

/// What all sequences of a run share.
struct Run<'a> {
    pair: &'a Pair,
    family: &'a Family,
    /// Of the peer.
    version: (u32, u32),
}

/// Whether the command is MULTI or WATCH inside of MULTI, which aborts in Valkey 8 and in Torc, and not in Redis 7.
/// `multi` says whether there may be an open one.
fn aborts_here(args: &[Vec<u8>], multi: &mut bool) -> bool {
    let named = |name: &str| args.first().is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    let aborts = *multi && (named("MULTI") || named("WATCH"));
    *multi = (*multi || named("MULTI")) && !(args.len() == 1 && (named("EXEC") || named("DISCARD")));
    aborts
}

/// Draws and compares `length` commands, or up to the first difference.
fn sequence(
    run: &Run<'_>,
    rng: &mut StdRng,
    length: usize,
    log: &mut Vec<Vec<Vec<u8>>>,
    report: &mut Report,
) -> io::Result<()> {
    let Run { pair, family, version } = *run;
    let mut ours = Connection::open(&pair.ours)?;
    let mut theirs = Connection::open(&pair.theirs)?;
    let mut batch: Vec<(Vec<Vec<u8>>, Check)> = vec![(vec![b"FLUSHALL".to_vec()], Check::Exact)];
    let placed = |args: Vec<Vec<u8>>| if pair.several_shards { super::tagged(&args) } else { args };
    batch.extend(family.setup.iter().map(|args| (placed(args.clone()), Check::Exact)));
    let (mut multi, mut left, mut soon) = (false, length, false);
    loop {
        let bytes: Vec<u8> = batch.iter().flat_map(|(args, _)| client::encode(args)).collect();
        theirs.send(&bytes)?;
        ours.send(&bytes)?;
        log.extend(batch.iter().map(|(args, _)| args.clone()));
        let mut differs = false;
        for (args, check) in &batch {
            let right = theirs.read_frame().map_err(|e| io::Error::other(format!("theirs: {e}")))?;
            let command = quote::show_command(args, SHOWN_ARG_BYTES);
            let found = ours.read_frame().map_err(|e| {
                io::Error::other(format!(
                    "{command}\n    ours: {e}\n    theirs: {}",
                    quote::show(&right, 200)
                ))
            })?;
            report.compared += 1;
            if let Err(why) = compare::compare(check.for_peer(version), &found, &right) {
                report.differences.push(compare::describe(&family.name, &command, &why, &found, &right));
                differs = true;
            }
        }
        if differs {
            return Ok(());
        }
        if std::mem::take(&mut soon) {
            // What was about to expire has expired in both.
            std::thread::sleep(SOON_PAUSE);
        }
        if left == 0 {
            break;
        }
        batch.clear();
        for _ in 0..rng.random_range(1..=MAX_BATCH.min(left)) {
            let Template { parts, check, of } = family.templates.choose(rng).unwrap_or(&family.templates[0]);
            left -= 1;
            if pair.leaves_out(*of) {
                continue;
            }
            // A damaged command may be another one, which its check does not fit.
            let may_damage = matches!(check, Check::Exact | Check::Doubles | Check::ErrorsSince(_));
            let args = command(parts, may_damage, rng);
            if !aborts_here(&args, &mut multi) {
                batch.push((placed(args), check.clone()));
            }
            soon = parts.iter().any(|part| part.contains("{soon}"));
            if soon {
                break;
            }
        }
    }
    report.compared += 1;
    let (ours, theirs) = (keyspace::of(&pair.ours)?, keyspace::of(&pair.theirs)?);
    if let Some(difference) = keyspace::difference(&ours, &theirs) {
        report.differences.push(format!("{}: the keyspaces differ at the end{difference}", family.name));
    }
    Ok(())
}

fn save(name: &str, seed: u64, restart: usize, log: &[Vec<Vec<u8>>]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/differential");
    let file = folder.join(format!("{name}-{seed}-{restart}.cmds"));
    let lines: String = log.iter().map(|args| quote::show_command(args, usize::MAX) + "\n").collect();
    if let Err(error) = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, lines)) {
        eprintln!("{}: {error}", file.display());
    }
    file
}

fn command(template: &[String], may_damage: bool, rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut args: Vec<Vec<u8>> = Vec::with_capacity(template.len());
    for part in template {
        if let Some(arg) = fill(part, rng) {
            args.push(arg);
        }
    }
    // An expiry time must not come out short by accident: then the moment of the next command decides.
    let fixed = template.iter().any(|part| ["ttl}", "at}", "{soon}"].iter().any(|time| part.contains(time)));
    // Nor may a command wait for long: any argument could become its time.
    let waits = template.iter().any(|part| part == SHORT_WAIT);
    if !may_damage || waits {
        return args;
    }
    match rng.random_range(0..100) {
        0..=2 if args.len() > 1 && !fixed => {
            args.pop();
        }
        3..=5 => args.push(value(rng)),
        6..=7 if args.len() > 1 && !fixed => {
            let at = rng.random_range(1..args.len());
            args[at] = value(rng);
        }
        8..=10 => args[0].make_ascii_lowercase(),
        _ => {}
    }
    args
}

/// One argument of a template; `None` when a choice came out empty.
fn fill(part: &str, rng: &mut StdRng) -> Option<Vec<u8>> {
    let mut filled = Vec::new();
    let mut rest = part;
    while let Some((before, inner, after)) = rest
        .split_once('{')
        .and_then(|(before, rest)| rest.split_once('}').map(|(inner, after)| (before, inner, after)))
    {
        filled.extend_from_slice(before.as_bytes());
        if inner.contains('|') {
            let choices: Vec<_> = inner.split('|').collect();
            let choice = choices.choose(rng).copied().unwrap_or_default();
            if choice.is_empty() && part.len() == inner.len() + 2 {
                return None;
            }
            filled.extend_from_slice(choice.as_bytes());
        } else {
            filled.extend(place(inner, rng));
        }
        rest = after;
    }
    filled.extend_from_slice(rest.as_bytes());
    Some(filled)
}

fn pick(rng: &mut StdRng, choices: &[&str]) -> Vec<u8> {
    choices.choose(rng).copied().unwrap_or_default().as_bytes().to_vec()
}

const INTEGERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "2",
    "10",
    "100",
    "-10",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "01",
    " 1",
    "1.5",
    "abc",
];
const FLOATS: [&str; 14] =
    ["0", "-0", "1.5", "-2.25", "0.1", "1e3", "3.0e-5", "1e308", "inf", "-inf", "nan", "1.", " 1", "x"];
const PATTERNS: [&str; 12] =
    ["*", "k*", "k?", "k[0-2]", "k[^0]", "*1", "f*", "", "[", "\\k1", "k\\", "*a*b*"];

fn place(name: &str, rng: &mut StdRng) -> Vec<u8> {
    match name {
        "key" => format!("k{}", rng.random_range(0..6)).into_bytes(),
        "field" => match rng.random_range(0..20) {
            0 => Vec::new(),
            1 => vec![b'F'; 70],
            2 => vec![0, 255, b'\r', b'\n'],
            n => format!("f{}", n % 5).into_bytes(),
        },
        "value" => value(rng),
        "int" => match rng.random_range(0..3) {
            0 => pick(rng, &INTEGERS),
            _ => rng.random_range(-20..20).to_string().into_bytes(),
        },
        "small" => rng.random_range(-300..300).to_string().into_bytes(),
        "index" => match rng.random_range(0..6) {
            0 => pick(rng, &INTEGERS),
            _ => rng.random_range(-12..24).to_string().into_bytes(),
        },
        "offset" => match rng.random_range(0..12) {
            0 => pick(rng, &["-1", "536870912", "9223372036854775807", "x", "", "0"]),
            _ => rng.random_range(0..300).to_string().into_bytes(),
        },
        "bit" => match rng.random_range(0..12) {
            0 => pick(rng, &["-1", "4294967296", "9223372036854775807", "x", "", "0", "7", "8"]),
            _ => rng.random_range(0..400).to_string().into_bytes(),
        },
        "float" => match rng.random_range(0..3) {
            0 => format!("{}", f64::from(rng.random_range(-1000..1000)) / 8.0).into_bytes(),
            _ => pick(rng, &FLOATS),
        },
        "count" => pick(rng, &["0", "1", "2", "5", "10", "-3", "100", "x"]),
        // Hardly ever twice the same time: whether it is later than itself is decided by the moment of the request.
        "ttl" => match rng.random_range(0..9) {
            0..4 => rng.random_range(50_000..2_000_000).to_string().into_bytes(),
            _ => pick(rng, &["0", "-1", "-100", "9223372036854775807", "x", "1.5"]),
        },
        "pttl" => match rng.random_range(0..6) {
            0..3 => rng.random_range(70_000_000..200_000_000).to_string().into_bytes(),
            _ => pick(rng, &["0", "-1", "9223372036854775807", "x"]),
        },
        "at" => pick(rng, &["4000000000", "5000000000", "1", "0", "-1", "9223372036854775807", "x"]),
        "pat" => pick(rng, &["4000000000000", "5000000000000", "1", "0", "-1", "9223372036854775807", "x"]),
        "soon" => rng.random_range(1..SOON_MS).to_string().into_bytes(),
        "pattern" => pick(rng, &PATTERNS),
        "type" => pick(rng, &["u8", "i8", "u63", "i64", "u1", "i5", "u64", "i0", "i65", "x", "u", "u16"]),
        other => panic!("no place called {{{other}}}"),
    }
}

fn value(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..10) {
        0 => Vec::new(),
        1 => vec![b'x'; rng.random_range(1..200)],
        2 => (0..rng.random_range(1..40)).map(|_| rng.random()).collect(),
        3 => pick(rng, &FLOATS),
        4 => pick(rng, &INTEGERS),
        5 => b"hello\r\nworld".to_vec(),
        6 => "€uro".as_bytes().to_vec(),
        _ => rng.random_range(-1000..1000).to_string().into_bytes(),
    }
}
