//! WAIT: how many replicas have what this client wrote last, on every shard it wrote to.
//!
//! Each shard is asked with `TORC.WAIT offset numreplicas timeout-ms` for the position that came with the client's
//! last write there; the smallest answer is the client's. When a shard has changed its primary since, the answer is 0
//! until the client has written there again.

use torc_cluster::ShardId;
use torc_protocol::error;
use torc_protocol::resp::{parse_i64, request_arg};

use crate::call::Call;
use crate::downstream::resp::Step;
use crate::join::{How, Join};
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, NEVER, Way};

/// The longest time-out, in milliseconds: a day.
const MAX_TIMEOUT_MS: i64 = 86_400_000;

pub(super) fn answer(call: &mut Call<'_>) -> Step {
    let request = call.request;
    let Some(replicas) = parse_i64(request.arg(1)) else { return call.refuse(error::NOT_AN_INTEGER) };
    let Some(timeout_ms) = parse_i64(request.arg(2)) else {
        return call.refuse(error::TIMEOUT_NOT_AN_INTEGER);
    };
    if timeout_ms < 0 {
        return call.refuse(error::TIMEOUT_NEGATIVE);
    }
    // The positions of earlier writes are known when these are answered.
    if !call.is_first() {
        return Step::NotYet;
    }
    let Some(any) = call.any_place() else { return call.refuse(text::NO_MAP) };
    let written = call.client.positions.borrow().clone();
    let reign = |shard: ShardId| call.routes.table.map.shard(shard).map_or(0, |state| state.term.0);
    if written.iter().any(|(shard, term, _)| reign(*shard) > *term) {
        // Another primary has come since: nobody can say from an offset alone that it has the write.
        return call.reply(|reply| reply.integer(0));
    }
    let mut positions: Vec<(ShardId, u64)> =
        written.iter().map(|(shard, _, offset)| (*shard, *offset)).collect();
    if positions.is_empty() {
        // Nothing was written: any shard says how many replicas it has.
        positions.push((call.routes.shard_id(any), 0));
    }
    let timeout_ms = timeout_ms.min(MAX_TIMEOUT_MS);
    call.client.begin_waiting();
    let seq = call.open_join(Join::new(How::Min, positions.len()));
    for (part, (shard, offset)) in positions.into_iter().enumerate() {
        let mut args = Vec::new();
        request_arg(&mut args, b"TORC.WAIT");
        for number in [i64::try_from(offset).unwrap_or(i64::MAX), replicas, timeout_ms] {
            request_arg(&mut args, itoa::Buffer::new().format(number).as_bytes());
        }
        let time_ms =
            if timeout_ms == 0 { 0 } else { call.session.timeout_ms.saturating_add(timeout_ms as u32) };
        let prefix = call.session.prefix_with_time(&call.routes.table, false, b"", time_ms);
        let dest = Dest::Shard(shard);
        let mut pending = call.pending(seq, dest, time_ms);
        if timeout_ms == 0 {
            pending.deadline_ns = NEVER;
        }
        pending.part = part as u32;
        pending.way = Way::OneShot;
        call.worker.submit_alone(call.routes, pending, Body::One { count: 4, prefix: &prefix, args: &args });
    }
    Step::DoneAlone
}
