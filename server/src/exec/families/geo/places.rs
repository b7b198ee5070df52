//! GEOADD, GEOPOS, GEOHASH and GEODIST.

use smallvec::SmallVec;
use torc_protocol::resp::{Args, ReplyWriter, Version};

use super::grid::Place;
use super::request::{place, unit};
use crate::exec::families::sorted_set;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::SortedSetValue;

/// GEOADD key \[NX | XX\] \[CH\] longitude latitude member \[…\]
pub fn geoadd(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (mut nx, mut xx, mut ch) = (false, false, false);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match () {
            () if is(b"NX") => nx = true,
            () if is(b"XX") => xx = true,
            () if is(b"CH") => ch = true,
            () => break,
        }
        at += 1;
    }
    let places = args.tail(at);
    if !places.len().is_multiple_of(3) || places.is_empty() || (nx && xx) {
        return Err(CommandError::Syntax);
    }
    let mut scores: SmallVec<[f64; 8]> = SmallVec::with_capacity(places.len() / 3);
    for index in 0..places.len() / 3 {
        scores.push(place(&places, index * 3)?.score());
    }
    let key = cx.key(&args[1]);
    let element = |index: usize| Some((places.get(index * 3 + 2)?, *scores.get(index)?));
    let done = sorted_set::add_all(cx, &key, (nx, xx), element)?;
    cx.reply().integer((done.added + if ch { done.updated } else { 0 }) as i64);
    Ok(())
}

/// A coordinate with all the digits that it has, up to seventeen behind the point.
pub fn write_coordinate(reply: &mut ReplyWriter<'_>, degrees: f64) {
    let text = format!("{degrees:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    match reply.version() {
        Version::Resp2 => reply.bulk(text.as_bytes()),
        Version::Resp3 => {
            reply.raw(b",");
            reply.raw(text.as_bytes());
            reply.raw(b"\r\n");
        }
    }
}

/// A distance with four digits behind the point.
pub fn write_distance(reply: &mut ReplyWriter<'_>, distance: f64) {
    // To the nearest, to the even one where there are two: as a whole number of ten thousandths.
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    let (sign, whole) = (if scaled < 0 { "-" } else { "" }, scaled.unsigned_abs());
    reply.bulk_fmt(format_args!("{sign}{}.{:04}", whole / 10_000, whole % 10_000));
}

/// Answers with something for the place of each member that is asked for.
fn each(
    cx: &mut Cx<'_, '_>,
    args: &Args<'_>,
    write: impl Fn(&mut ReplyWriter<'_>, Option<Place>),
) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&SortedSetValue>, mut reply| {
        let members = args.tail(2);
        reply.array(members.len());
        for member in members {
            write(&mut reply, set.and_then(|set| set.score(member)).map(Place::of_score));
        }
    })
}

/// GEOPOS key \[member …\]
pub fn geopos(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    each(cx, args, |reply, place| match place {
        None => reply.null_array(),
        Some(place) => {
            reply.array(2);
            write_coordinate(reply, place.longitude);
            write_coordinate(reply, place.latitude);
        }
    })
}

/// GEOHASH key \[member …\]
pub fn geohash(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    each(cx, args, |reply, place| match place {
        None => reply.null(),
        Some(place) => reply.bulk(&place.geohash()),
    })
}

/// GEODIST key member1 member2 \[M | KM | FT | MI\]
pub fn geodist(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let unit = match (args.get(4), args.len()) {
        (None, _) => 1.0,
        (Some(name), 5) => unit(name)?,
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&SortedSetValue>, mut reply| {
        let place = |member| set.and_then(|set| set.score(member)).map(Place::of_score);
        match (place(&args[2]), place(&args[3])) {
            (Some(from), Some(to)) => write_distance(&mut reply, from.distance(to) / unit),
            _ => reply.null(),
        }
    })
}
