//! GEOSEARCH, GEOSEARCHSTORE, GEORADIUS and its kin.

use torc_protocol::resp::{Args, ReplyWriter};

use super::grid::{Area, Place};
use super::places::{write_coordinate, write_distance};
use super::request::{Form, Order, Request};
use crate::exec::families::sorted_set;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::{ScoreRange, SortedSetValue};

/// A member that was found.
#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    member: &'a [u8],
    score: f64,
    place: Place,
    /// Metres from the middle.
    distance: f64,
}

/// The members in an area: in the order asked for, and as many.
fn find<'s>(set: &'s SortedSetValue, area: &Area, request: &Request<'_>) -> Vec<Found<'s>> {
    let limit = if request.any { request.count } else { usize::MAX };
    let mut found = Vec::new();
    for (min, max) in area.ranges() {
        let (start, end) = set.by_score(&ScoreRange { min, min_open: false, max, max_open: true });
        for (member, score) in set.range(start, end - start, false) {
            let place = Place::of_score(score);
            let Some(distance) = area.distance(place) else { continue };
            found.push(Found { member, score, place, distance });
            if found.len() >= limit {
                break;
            }
        }
        if found.len() >= limit {
            break;
        }
    }
    match request.order {
        Order::Found => {}
        Order::Ascending => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Descending => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    if request.count > 0 {
        found.truncate(request.count);
    }
    found
}

fn write(reply: &mut ReplyWriter<'_>, found: &[Found<'_>], unit: f64, request: &Request<'_>) {
    let Request { with_distance, with_hash, with_place, .. } = *request;
    let parts = usize::from(with_distance) + usize::from(with_hash) + usize::from(with_place);
    reply.array(found.len());
    for item in found {
        if parts > 0 {
            reply.array(parts + 1);
        }
        reply.bulk(item.member);
        if with_distance {
            write_distance(reply, item.distance / unit);
        }
        if with_hash {
            reply.integer(item.score as i64);
        }
        if with_place {
            reply.array(2);
            write_coordinate(reply, item.place.longitude);
            write_coordinate(reply, item.place.latitude);
        }
    }
}

/// All of them: see [`Form`].
pub fn search(cx: &mut Cx<'_, '_>, args: &Args<'_>, form: Form) -> CommandResult {
    let source = cx.key(args.get(form.source()).unwrap_or_default());
    let env = cx.env();
    let stored = cx.read_as_and(&source, |set: Option<&SortedSetValue>, mut reply| {
        let request = Request::parse(args, form, set)?;
        let area = request.area;
        let found = set.zip(area).map(|(set, area)| find(set, &area, &request)).unwrap_or_default();
        let unit = area.map_or(1.0, |area| area.unit);
        let Some(key) = request.store else {
            write(&mut reply, &found, unit, &request);
            return Ok(None);
        };
        let mut result = SortedSetValue::default();
        for item in found {
            let score = if request.store_distance { item.distance / unit } else { item.score };
            result.set(item.member, score, &env.limits.sorted_set, env.hasher);
        }
        Ok::<_, CommandError>(Some((key, result)))
    })??;
    if let Some((key, result)) = stored {
        let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
        let key = cx.key(key);
        sorted_set::store(cx, &key, result, event);
    }
    Ok(())
}
