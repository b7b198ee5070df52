//! `torc hot`: the keys that are asked for most, summed over proxies.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use torc_protocol::resp::{Value, request_arg, request_header};

use super::tool::{DEFAULT_DIR, block_on};
use super::up::state::ClusterFile;

/// How long a proxy may take to answer.
const PROXY_TIME: Duration = Duration::from_secs(2);
/// Bytes of one answer: a proxy tells of some hundred keys.
const MAX_REPLY_BYTES: usize = 4 << 20;
/// Bytes of a key's name on a line.
const SHOWN_KEY_BYTES: usize = 64;

/// Options of `torc hot`.
#[derive(Args, Debug)]
pub struct HotArgs {
    /// RESP addresses of proxies [default: the proxies that `torc up` runs from the folder]
    #[arg(value_name = "HOST:PORT")]
    proxies: Vec<String>,
    /// Folder of a cluster that `torc up` runs on this machine
    #[arg(long, env = "TORC_DIR", value_name = "FOLDER", default_value = DEFAULT_DIR)]
    dir: std::path::PathBuf,
    /// Keys that are shown
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    count: usize,
    /// The proxies' password
    #[arg(long, env = "TORC_PROXY_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    password: Option<String>,
    /// Ask again every so many seconds, until interrupted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
    /// As JSON, one line for each time
    #[arg(long)]
    json: bool,
    /// Let the proxies forget what they have counted
    #[arg(long, conflicts_with_all = ["watch", "json"])]
    reset: bool,
}

/// What one proxy says, or the sum of what all say. Rates are requests in a second.
#[derive(Debug, Default, PartialEq)]
struct Told {
    per_second: f64,
    keys: BTreeMap<(i64, Vec<u8>), Rates>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rates {
    requests: f64,
    error: f64,
    writes: f64,
    /// Proxies that tell of the key.
    proxies: usize,
}

/// Prints the keys; fails when no proxy answers.
pub fn run(args: HotArgs) -> Result<(), Box<dyn Error>> {
    let proxies = addresses(&args)?;
    block_on(async move {
        loop {
            let command = if args.reset { "RESET" } else { "-1" };
            let mut told = Vec::new();
            for (address, answer) in ask_all(&proxies, args.password.as_deref(), command).await {
                match answer {
                    Ok(value) => told.push(value),
                    Err(problem) => eprintln!("torc: {address}: {problem}"),
                }
            }
            if told.is_empty() {
                return Err(format!("none of {} proxies answered", proxies.len()).into());
            }
            if args.reset {
                println!("{} of {} proxies have forgotten their counts", told.len(), proxies.len());
                return Ok(());
            }
            let answered = told.len();
            let sum = sum(told.into_iter().map(told_of).collect::<Result<Vec<_>, _>>()?);
            if args.json {
                println!("{}", json(&sum, args.count, answered));
            } else {
                if args.watch.is_some() && std::io::stdout().is_terminal() {
                    print!("\x1b[H\x1b[2J");
                }
                print!("{}", table(&sum, args.count, (answered, proxies.len())));
            }
            match args.watch {
                None => return Ok(()),
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            }
        }
    })
}

fn addresses(args: &HotArgs) -> Result<Vec<String>, Box<dyn Error>> {
    if !args.proxies.is_empty() {
        if let Some(wrong) = args.proxies.iter().find(|address| !address.contains(':')) {
            return Err(format!("'{wrong}' is no address of a proxy: say HOST:PORT").into());
        }
        return Ok(args.proxies.clone());
    }
    let file = ClusterFile::read(&args.dir)?.ok_or_else(|| {
        format!(
            "no cluster runs in {}: name the proxies, as in `torc hot 10.0.0.5:6379 10.0.0.6:6379`",
            args.dir.display()
        )
    })?;
    let proxies = file.processes.iter().filter(|process| process.role == "proxy");
    let found: Vec<String> = proxies.map(|process| format!("{}:{}", process.host, process.port)).collect();
    match found.is_empty() {
        true => Err(format!("the cluster in {} runs without a proxy", args.dir.display()).into()),
        false => Ok(found),
    }
}

/// Asks all proxies at once; the answers in the order of the addresses.
async fn ask_all(
    proxies: &[String],
    password: Option<&str>,
    word: &'static str,
) -> Vec<(String, Result<Value, String>)> {
    let mut asked = tokio::task::JoinSet::new();
    for (index, address) in proxies.iter().cloned().enumerate() {
        let password = password.map(str::to_owned);
        asked.spawn(async move {
            let answer = tokio::time::timeout(PROXY_TIME, ask(&address, password.as_deref(), word)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PROXY_TIME:?}")));
            (index, address, answer)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(index, ..)| *index);
    answers.into_iter().map(|(_, address, answer)| (address, answer)).collect()
}

async fn ask(address: &str, password: Option<&str>, word: &str) -> Result<Value, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|cause| format!("cannot connect: {cause}"))?;
    let mut request = Vec::new();
    let mut replies = 1;
    if let Some(password) = password {
        write(&mut request, &["AUTH", password]);
        replies += 1;
    }
    write(&mut request, &["PROXY", "HOT", word]);
    stream.write_all(&request).await.map_err(|cause| cause.to_string())?;
    let mut bytes = Vec::new();
    loop {
        while let Some((value, used)) = Value::decode(&bytes).map_err(|cause| cause.to_string())? {
            bytes.drain(..used);
            if let Some(error) = value.as_error() {
                return Err(explained(&error));
            }
            replies -= 1;
            if replies == 0 {
                return Ok(value);
            }
        }
        if bytes.len() > MAX_REPLY_BYTES {
            return Err("the answer is too long to be a proxy's".to_owned());
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Err("the connection was closed without an answer".to_owned()),
            Ok(_) => {}
            Err(cause) => return Err(cause.to_string()),
        }
    }
}

/// An error reply with what to do about it.
fn explained(error: &str) -> String {
    let advice = if error.starts_with("NOAUTH") {
        ": give --password"
    } else if error.contains("unknown command") || error.contains("PROXY") {
        ": is this the RESP port of a Torc proxy of this version?"
    } else {
        ""
    };
    format!("{error}{advice}")
}

fn write(out: &mut Vec<u8>, words: &[&str]) {
    request_header(out, words.len());
    words.iter().for_each(|word| request_arg(out, word.as_bytes()));
}

/// The fields of a map, which RESP2 gives as a flat list.
fn fields(value: Value) -> BTreeMap<String, Value> {
    let name = |value: &Value| String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned();
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(key, value)| (name(&key), value)).collect(),
        other => {
            let mut items = other.into_array().unwrap_or_default().into_iter();
            let mut fields = BTreeMap::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                fields.insert(name(&key), value);
            }
            fields
        }
    }
}

fn told_of(value: Value) -> Result<Told, Box<dyn Error>> {
    let mut answer = fields(value);
    let number = |fields: &BTreeMap<String, Value>, name: &str| {
        fields.get(name).and_then(Value::as_int).map(|number| number as f64)
    };
    let per_second = number(&answer, "requests-per-second").ok_or("a proxy's answer has no total")?;
    let keys = answer.remove("keys").and_then(Value::into_array).ok_or("a proxy's answer has no keys")?;
    let mut told = Told { per_second, keys: BTreeMap::new() };
    for key in keys {
        let key = fields(key);
        let name = key.get("key").and_then(Value::as_bytes).unwrap_or_default().to_vec();
        let db = key.get("db").and_then(Value::as_int).unwrap_or(0);
        let rate = |name| number(&key, name).unwrap_or(0.0);
        let (requests, error, writes) =
            (rate("requests-per-second"), rate("error-per-second"), rate("writes-per-second"));
        told.keys.insert((db, name), Rates { requests, error, writes, proxies: 1 });
    }
    Ok(told)
}

fn sum(all: Vec<Told>) -> Told {
    let mut sum = Told::default();
    for told in all {
        sum.per_second += told.per_second;
        for (key, rates) in told.keys {
            let known = sum.keys.entry(key).or_default();
            known.requests += rates.requests;
            known.error += rates.error;
            known.writes += rates.writes;
            known.proxies += rates.proxies;
        }
    }
    sum
}

fn ranked(told: &Told, count: usize) -> Vec<(&(i64, Vec<u8>), &Rates)> {
    let mut keys: Vec<_> = told.keys.iter().collect();
    keys.sort_by(|a, b| b.1.requests.total_cmp(&a.1.requests));
    keys.truncate(count);
    keys
}

fn share(told: &Told, rates: &Rates) -> f64 {
    if told.per_second > 0.0 { rates.requests / told.per_second } else { 0.0 }
}

fn table(told: &Told, count: usize, (answered, asked): (usize, usize)) -> String {
    let mut text = format!(
        "{:.0} requests/s for keys, sampled, over about the last 7 s; {answered} of {asked} proxies answered\n",
        told.per_second
    );
    let keys = ranked(told, count);
    if keys.is_empty() {
        text.push_str("no key is asked for often\n");
        return text;
    }
    text.push_str(&format!(
        "{:>4} {:>10} {:>7} {:>10} {:>8} {:>7} {:>3}  {}\n",
        "rank", "requests/s", "share", "writes/s", "+-", "proxies", "db", "key"
    ));
    for (rank, ((db, name), rates)) in keys.into_iter().enumerate() {
        text.push_str(&format!(
            "{:>4} {:>10.0} {:>6.2}% {:>10.0} {:>8.0} {:>7} {:>3}  {}\n",
            rank + 1,
            rates.requests,
            share(told, rates) * 100.0,
            rates.writes,
            rates.error,
            rates.proxies,
            db,
            shown(name)
        ));
    }
    text
}

/// A name as it is safe on a terminal.
fn shown(name: &[u8]) -> String {
    let cut = name.get(..SHOWN_KEY_BYTES);
    let text: String = cut.unwrap_or(name).escape_ascii().to_string();
    if cut.is_some_and(|cut| cut.len() < name.len()) { format!("{text}...") } else { text }
}

fn json(told: &Told, count: usize, answered: usize) -> serde_json::Value {
    let keys: Vec<_> = ranked(told, count)
        .into_iter()
        .map(|((db, name), rates)| {
            serde_json::json!({
                "key": name.escape_ascii().to_string(),
                "db": db,
                "requests_per_second": rates.requests,
                "writes_per_second": rates.writes,
                "error_per_second": rates.error,
                "share": share(told, rates),
                "proxies": rates.proxies,
            })
        })
        .collect();
    serde_json::json!({ "requests_per_second": told.per_second, "proxies": answered, "keys": keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a proxy answers, under RESP2.
    fn answer(total: i64, keys: &[(&str, i64)]) -> Value {
        let word = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let keys = keys.iter().map(|(name, rate)| {
            Value::Array(vec![
                word("key"),
                word(name),
                word("db"),
                Value::Integer(0),
                word("requests-per-second"),
                Value::Integer(*rate),
            ])
        });
        let keys = Value::Array(keys.collect());
        Value::Array(vec![word("requests-per-second"), Value::Integer(total), word("keys"), keys])
    }

    #[test]
    fn proxies_are_summed_and_ranked() {
        let first = told_of(answer(1000, &[("a", 100), ("b", 90)])).expect("sound");
        let second = told_of(answer(1000, &[("b", 60), ("c\n", 1)])).expect("sound");
        let sum = sum(vec![first, second]);
        let text = table(&sum, 2, (2, 3));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("2000 requests/s") && lines[0].ends_with("2 of 3 proxies answered"));
        assert!(lines[2].contains("150") && lines[2].contains("7.50%") && lines[2].ends_with("  b"));
        assert!(lines[3].ends_with("  a"));
        assert_eq!(lines.len(), 4);
        assert_eq!(json(&sum, 9, 2)["keys"][2]["key"], "c\\n");
    }

    #[test]
    fn nothing_is_a_sound_answer_and_nonsense_is_not() {
        let told = told_of(answer(0, &[])).expect("sound");
        assert!(table(&told, 5, (1, 1)).ends_with("no key is asked for often\n"));
        assert!(told_of(Value::Integer(1)).is_err());
        assert!(explained("NOAUTH x").ends_with("give --password"));
    }
}
