//! PROXY EXPLAIN: the plan of a command, with the shards, nodes and policies that it would meet now. Nothing is sent.

use torc_cluster::ShardId;
use torc_protocol::command::{Command, FOREVER, Route, resolve};
use torc_protocol::context::{Ack, ReadFrom, ReadLevel};
use torc_protocol::resp::ReplyWriter;
use torc_protocol::slot::{Slot, key_slot};

use crate::call::Call;
use crate::downstream::request::Request;
use crate::downstream::resp::{Step, lane};
use crate::hot::serve::{is_plain_read, takes_copies};
use crate::plan::{self, Plan, Retry};
use crate::reads;
use crate::scatter::gather;
use crate::upstream::pending::{Dest, Lane};

/// Keys of one part that are shown; the others are counted.
const MAX_SHOWN_KEYS: usize = 32;

/// What one shard would get.
#[derive(Debug, Default)]
struct Target<'a> {
    /// The shard's place in the table; `None`: nobody owns the slot.
    place: Option<usize>,
    slot: Option<Slot>,
    keys: Vec<&'a [u8]>,
    /// The key whose policy holds for it; empty: there is none.
    key: &'a [u8],
}

/// `PROXY EXPLAIN command [argument …]`
pub(super) fn answer(call: &mut Call<'_>) -> Step {
    let args = call.request.args.tail(2);
    let command = match resolve(&args) {
        Ok(command) => command,
        Err(unknown) => return call.reply(|reply| unknown.write(args, reply)),
    };
    let request = Request::of(command, args);
    let table = &call.routes.table;
    let plan = plan::of(&request, table, call.session, call.client.id());
    let targets = targets(call, &request, &plan);
    let key = Some(plan::policy_key(&request, table, call.session, request.is_write()))
        .filter(|key| !key.is_empty());
    let rule = key.and_then(|key| table.rule(key));
    let (ack, level) = call.session.levels(rule);
    let lane = lane(call.session, call.routes, &request);
    let elsewhere = may_go_elsewhere(call, command, &plan);
    let read = key.filter(|_| elsewhere).and_then(|key| reads::rule(call.session, table, key));
    let parts: Vec<Vec<Field>> = targets.iter().map(|target| part(call, target, lane, elsewhere)).collect();
    let mut fields: Vec<Field> = vec![
        ("command", Shown::Text(request.spec.name.to_owned())),
        ("route", Shown::Text(request.spec.route.name().to_owned())),
        ("merge", Shown::Text(if targets.len() > 1 { request.spec.merge.name() } else { "" }.to_owned())),
        ("decision", Shown::Text(decision(&request, &plan, targets.len()))),
        ("epoch", Shown::Number(table.epoch as i64)),
        ("prefix", Shown::Bytes(rule.map_or(&[][..], |rule| &rule.prefix).to_vec())),
        ("ack", Shown::Text(ack.map_or("default", Ack::as_str).to_owned())),
        ("read", Shown::Text(level.map_or("default", ReadLevel::as_str).to_owned())),
        ("read-from", Shown::Text(read.map_or(ReadFrom::Primary, |read| read.from).to_string())),
        ("max-staleness-ms", Shown::Number(read.map_or(-1, |read| i64::from(read.max_staleness_ms)))),
        ("connection", Shown::Text(connection(&plan, lane).to_owned())),
        ("retry", Shown::Text(retry_words(&request).to_owned())),
        ("copies", Shown::Text(copies(call, command, key).to_owned())),
        ("coalesce", Shown::Text(coalesce(call, command, key, lane).to_owned())),
        ("timeout-ms", Shown::Number(i64::from(call.session.timeout_ms))),
        ("wait-ms", Shown::Number(wait_ms(&plan))),
    ];
    fields.push(("parts", Shown::Parts(parts)));
    call.reply(|reply| write(&fields, reply))
}

/// A named value of the reply.
type Field = (&'static str, Shown);

/// What is shown as a value.
#[derive(Debug)]
enum Shown {
    Text(String),
    Bytes(Vec<u8>),
    Number(i64),
    List(Vec<Vec<u8>>),
    Parts(Vec<Vec<Field>>),
}

fn write(fields: &[Field], reply: &mut ReplyWriter<'_>) {
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        match value {
            Shown::Text(text) => reply.bulk(text.as_bytes()),
            Shown::Bytes(bytes) => reply.bulk(bytes),
            Shown::Number(number) => reply.integer(*number),
            Shown::List(items) => {
                reply.array(items.len());
                items.iter().for_each(|item| reply.bulk(item));
            }
            Shown::Parts(parts) => {
                reply.array(parts.len());
                parts.iter().for_each(|part| write(part, reply));
            }
        }
    }
}

fn targets<'a>(call: &Call<'_>, request: &Request<'a>, plan: &Plan<'a>) -> Vec<Target<'a>> {
    let routes = call.routes;
    let keys = || -> Vec<&'a [u8]> {
        let keys = request.spec.find_keys(&request.args).unwrap_or_default();
        keys.iter().filter_map(|index| request.args.get(*index)).collect()
    };
    let at = |place| Target { place: Some(place), ..Target::default() };
    match plan {
        Plan::Local | Plan::Refused(_) | Plan::Transaction(None) => Vec::new(),
        Plan::Everywhere => {
            let mut targets: Vec<Target<'a>> = Vec::new();
            for key in keys() {
                let slot = key_slot(key);
                let place = routes.place(Dest::Slot(slot));
                match targets.iter_mut().find(|target| target.place == place) {
                    Some(target) => target.keys.push(key),
                    None => targets.push(Target { place, slot: Some(slot), keys: vec![key], key: b"" }),
                }
            }
            targets
        }
        Plan::Keyed(keyed) => {
            let slot = match keyed.dest {
                Dest::Slot(slot) => Some(slot),
                Dest::Shard(_) => None,
            };
            vec![Target { place: routes.place(keyed.dest), slot, keys: keys(), key: keyed.key }]
        }
        Plan::Transaction(Some(slot)) => {
            let place = routes.place(Dest::Slot(*slot));
            vec![Target { place, slot: Some(*slot), keys: keys(), key: b"" }]
        }
        Plan::Split(parts) => {
            let all = keys();
            let mine = |part: usize| {
                let with_parts = all.iter().zip(&parts.order);
                with_parts.filter(|(_, of)| usize::from(**of) == part).map(|(key, _)| *key).collect()
            };
            let each = parts.parts.iter().enumerate();
            each.map(|(part, to)| Target {
                place: to.place,
                slot: Some(to.slot),
                keys: mine(part),
                key: to.key,
            })
            .collect()
        }
        Plan::AllShards => (0..routes.shards()).map(at).collect(),
        Plan::AnyShard(place) | Plan::Cursor { place, .. } => vec![at(*place)],
    }
}

/// Whether members other than the primary may answer, where a policy says so.
fn may_go_elsewhere(call: &Call<'_>, command: Command, plan: &Plan<'_>) -> bool {
    let one_shot = matches!(plan, Plan::Keyed(keyed) if keyed.wait_ms.is_none());
    call.session.transaction.is_none()
        && (one_shot || matches!(plan, Plan::Split(_)))
        && reads::can_be_read_elsewhere(command)
}

fn part(call: &Call<'_>, target: &Target<'_>, lane: Lane, elsewhere: bool) -> Vec<Field> {
    let routes = call.routes;
    let shard = target.place.map(|place| routes.shard_id(place));
    // Each part of a command that is split has a policy of its own.
    let rule = reads::rule(call.session, &routes.table, target.key);
    let rule = rule.filter(|_| elsewhere && !target.key.is_empty());
    let members = target.place.and_then(|place| routes.members(place));
    let choice = rule.map(|rule| reads::member(call.worker, call.client, members, rule));
    let replica = choice.as_ref().and_then(|choice| choice.link.as_ref());
    let primary = target.place.and_then(|place| routes.table.shards.get(place)?.primary.as_ref());
    let (member, link, lane) = match replica {
        Some(replica) => (Some(&replica.target), Some(replica), Lane::Quick),
        None => (primary, target.place.and_then(|place| routes.link(place)), lane),
    };
    let state = match link {
        Some(link) => link.state(call.worker, call.client.id(), lane),
        None if shard.is_none() => "no owner: requests wait for a map",
        None => "no primary: requests wait for one",
    };
    let mut slots: Vec<Slot> = target.keys.iter().map(|key| key_slot(key)).collect();
    slots.extend(target.slot.filter(|_| slots.is_empty()));
    slots.sort_unstable();
    slots.dedup();
    let term = shard.and_then(|shard| routes.table.map.shard(shard)).map_or(0, |state| state.term.0);
    vec![
        ("shard", Shown::Number(shard.map_or(-1, |ShardId(shard)| i64::from(shard)))),
        ("slots", Shown::List(shown(slots.iter().map(|slot| slot.to_string().into_bytes())))),
        ("term", Shown::Number(term as i64)),
        ("node", Shown::Text(member.map_or(String::new(), |target| target.node.0.to_string()))),
        ("address", Shown::Text(member.map_or(String::new(), |target| target.address.to_string()))),
        ("role", Shown::Text(if replica.is_some() { "replica" } else { "primary" }.to_owned())),
        ("why", Shown::Text(choice.map_or("primary: no other member may answer it", |it| it.why).to_owned())),
        ("state", Shown::Text(state.to_owned())),
        ("keys", Shown::List(shown(target.keys.iter().map(|key| key.to_vec())))),
    ]
}

/// The first of a row, and how many more there are.
fn shown(items: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let more = items.len().saturating_sub(MAX_SHOWN_KEYS);
    let mut shown: Vec<Vec<u8>> = items.take(MAX_SHOWN_KEYS).collect();
    shown.extend((more > 0).then(|| format!("... ({more} more)").into_bytes()));
    shown
}

fn decision(request: &Request<'_>, plan: &Plan<'_>, parts: usize) -> String {
    match plan {
        Plan::Local => "the proxy answers, from the state of the client or its own".into(),
        Plan::Refused(text) => format!("refused: {text}"),
        Plan::Keyed(keyed) if keyed.wait_ms.is_some() => {
            "sent to one shard when all requests before it are answered; it may wait there".into()
        }
        Plan::Keyed(_) if matches!(request.spec.route, Route::SplitKeys) && parts == 1 => {
            "sent to one shard as it is: all keys are there".into()
        }
        Plan::Keyed(_) => "sent to one shard as it is".into(),
        Plan::Split(split) => {
            let mut shards: Vec<_> = split.parts.iter().map(|part| part.place).collect();
            shards.sort_unstable();
            shards.dedup();
            let policies = match shards.len() == parts {
                true => String::new(),
                false => format!(" and by their policies into {parts} parts"),
            };
            let shards = shards.len();
            format!("split over {shards} shards{policies}; each part is retried by itself, so it is not atomic")
        }
        Plan::Everywhere if gather::is_gathered(request.command) => {
            "each shard gives the values of its keys, and one node runs the command on all of them; not atomic".into()
        }
        Plan::Everywhere => {
            "asked of one shard after the other in the order of the keys (streams: of all at once), waiting at all".into()
        }
        Plan::AllShards => format!("sent to all {parts} shards as it is"),
        Plan::AnyShard(_) => "sent to one shard, always the same for this client".into(),
        Plan::Cursor { node_cursor, .. } => {
            format!("sent to the shard that the cursor names, with the node's cursor {node_cursor}")
        }
        Plan::Transaction(_) => {
            "kept at the proxy: commands are queued, and EXEC sends them in one go to the shard of their slot"
                .into()
        }
    }
}

/// Whether a copy may answer while the key is hot.
fn copies(call: &Call<'_>, command: Command, key: Option<&[u8]>) -> &'static str {
    match key.filter(|_| is_plain_read(command)) {
        None => NOT_PLAIN,
        Some(key) if !call.worker.hot.copies_for(&call.routes.table, key) => "no: switched off",
        Some(key) if !takes_copies(call.session, &call.routes.table, key) => {
            "no: strong reads, WATCH or locks of this connection"
        }
        Some(_) => "yes: while the key is hot",
    }
}

/// Whether it may share another client's request.
fn coalesce(call: &Call<'_>, command: Command, key: Option<&[u8]>, lane: Lane) -> &'static str {
    let table = &call.routes.table;
    match key.filter(|_| is_plain_read(command)) {
        None => NOT_PLAIN,
        Some(key) if !call.worker.hot.coalesces_for(table, key) => "no: switched off",
        Some(_) if lane == Lane::Slow => "no: replies may be held back by the node",
        Some(key) if reads::rule(call.session, table, key).is_some() => "no: a replica may answer it",
        Some(_) => "yes: while no other request of this connection is under way",
    }
}

const NOT_PLAIN: &str = "no: not a plain read of one key";

fn connection(plan: &Plan<'_>, lane: Lane) -> &'static str {
    match plan {
        Plan::Local | Plan::Refused(_) | Plan::Transaction(None) => "none",
        Plan::Keyed(keyed) if keyed.wait_ms.is_some() => "dedicated",
        Plan::Transaction(Some(_)) => "dedicated",
        _ if lane == Lane::Slow => "shared, slow lane",
        _ => "shared",
    }
}

fn retry_words(request: &Request<'_>) -> &'static str {
    match plan::retry(request) {
        Retry::Repeated => "sent again if the connection breaks",
        Retry::Numbered => "sent again under its request id if the connection breaks",
        Retry::Never => "answered UNCERTAIN if the connection breaks after it was sent",
    }
}

/// -1: it does not wait; 0: without an end.
fn wait_ms(plan: &Plan<'_>) -> i64 {
    match plan {
        Plan::Keyed(keyed) => match keyed.wait_ms {
            None => -1,
            Some(FOREVER) => 0,
            Some(wait_ms) => i64::try_from(wait_ms).unwrap_or(i64::MAX),
        },
        _ => -1,
    }
}
