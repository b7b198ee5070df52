//! What GEOSEARCH and its older names ask for.

use torc_protocol::resp::{Args, parse_double, parse_i64};

use super::grid::{Area, Place, Shape};
use crate::exec::CommandError;
use crate::store::value::SortedSetValue;

/// How the arguments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// GEORADIUS and GEORADIUS_RO.
    Radius { may_store: bool },
    /// GEORADIUSBYMEMBER and GEORADIUSBYMEMBER_RO.
    RadiusByMember { may_store: bool },
    /// GEOSEARCH
    Search,
    /// GEOSEARCHSTORE
    SearchStore,
}

impl Form {
    /// Where the key of the sorted set stands.
    pub fn source(self) -> usize {
        if self == Form::SearchStore { 2 } else { 1 }
    }

    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Form::Radius { may_store: true } | Form::RadiusByMember { may_store: true })
    }
}

/// In which order members are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are found.
    Found,
    /// The nearest first.
    Ascending,
    /// The farthest first.
    Descending,
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where to look; `None` when there is no sorted set.
    pub area: Option<Area>,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_place: bool,
    pub order: Order,
    /// How many at most; 0: all.
    pub count: usize,
    /// Any members, not the nearest.
    pub any: bool,
    /// The key under which the result is kept.
    pub store: Option<&'a [u8]>,
    /// What is kept are distances.
    pub store_distance: bool,
}

/// Metres of a unit.
pub fn unit(name: &[u8]) -> Result<f64, CommandError> {
    let units = [(&b"m"[..], 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let found = units.into_iter().find(|(unit, _)| name.eq_ignore_ascii_case(unit));
    found.map(|(_, metres)| metres).ok_or("ERR unsupported unit provided. please use M, KM, FT, MI".into())
}

/// The place that two arguments from `at` on name.
pub fn place(args: &Args<'_>, at: usize) -> Result<Place, CommandError> {
    let number = |at: usize| args.get(at).and_then(parse_double).ok_or(CommandError::NotFloat);
    let (longitude, latitude) = (number(at)?, number(at + 1)?);
    let error = || format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into();
    Place::new(longitude, latitude).ok_or_else(error)
}

fn length(arg: Option<&[u8]>, error: &'static str) -> Result<f64, CommandError> {
    arg.and_then(parse_double).ok_or(error.into())
}

/// A distance and its unit, from argument `at` on.
fn circle(args: &Args<'_>, at: usize) -> Result<(Shape, f64), CommandError> {
    let radius = length(args.get(at), "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err("ERR radius cannot be negative".into());
    }
    Ok((Shape::Circle { radius }, unit(args.get(at + 1).unwrap_or_default())?))
}

/// Width, height and their unit, from argument `at` on.
fn rectangle(args: &Args<'_>, at: usize) -> Result<(Shape, f64), CommandError> {
    let width = length(args.get(at), "ERR need numeric width")?;
    let height = length(args.get(at + 1), "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err("ERR height or width cannot be negative".into());
    }
    Ok((Shape::Box { width, height }, unit(args.get(at + 2).unwrap_or_default())?))
}

fn place_of(set: &SortedSetValue, member: &[u8]) -> Result<Place, CommandError> {
    let score = set.score(member).ok_or(CommandError::from("ERR could not decode requested zset member"))?;
    Ok(Place::of_score(score))
}

impl<'a> Request<'a> {
    /// Reads the arguments; members are looked up in `set`, the sorted set at the source key.
    pub fn parse(
        args: &Args<'a>,
        form: Form,
        set: Option<&SortedSetValue>,
    ) -> Result<Request<'a>, CommandError> {
        let (mut middle, mut shape) = (None, None);
        let mut at = match form {
            Form::Radius { .. } => {
                middle = Some(place(args, 2)?);
                shape = Some(circle(args, 4)?);
                6
            }
            Form::RadiusByMember { .. } => {
                if let Some(set) = set {
                    middle = Some(place_of(set, &args[2])?);
                    shape = Some(circle(args, 3)?);
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => 3,
        };
        let mut request = Request {
            area: None,
            with_distance: false,
            with_hash: false,
            with_place: false,
            order: Order::Found,
            count: 0,
            any: false,
            store: if form == Form::SearchStore { args.get(1) } else { None },
            store_distance: false,
        };
        let (mut from_member, mut from_place, mut by_box) = (false, false, false);
        while let Some(option) = args.get(at) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let (search, left) = (form.is_search(), args.len() - at - 1);
            at += 1;
            if is(b"WITHDIST") {
                request.with_distance = true;
            } else if is(b"WITHHASH") {
                request.with_hash = true;
            } else if is(b"WITHCOORD") {
                request.with_place = true;
            } else if is(b"ANY") {
                request.any = true;
            } else if is(b"ASC") {
                request.order = Order::Ascending;
            } else if is(b"DESC") {
                request.order = Order::Descending;
            } else if is(b"COUNT") && left >= 1 {
                let count = args.get(at).and_then(parse_i64).ok_or(CommandError::NotInteger)?;
                let count = usize::try_from(count).ok().filter(|n| *n > 0);
                request.count = count.ok_or(CommandError::from("ERR COUNT must be > 0"))?;
                at += 1;
            } else if (is(b"STORE") || is(b"STOREDIST")) && left >= 1 && form.may_store() {
                request.store = args.get(at);
                request.store_distance = is(b"STOREDIST");
                at += 1;
            } else if is(b"STOREDIST") && form == Form::SearchStore {
                request.store_distance = true;
            } else if is(b"FROMMEMBER") && left >= 1 && search && !from_place {
                if let Some(set) = set {
                    middle = Some(place_of(set, args.get(at).unwrap_or_default())?);
                }
                from_member = true;
                at += 1;
            } else if is(b"FROMLONLAT") && left >= 2 && search && !from_member {
                middle = Some(place(args, at)?);
                from_place = true;
                at += 2;
            } else if is(b"BYRADIUS") && left >= 2 && search && !by_box {
                shape = Some(circle(args, at)?);
                at += 2;
            } else if is(b"BYBOX") && left >= 3 && search && (shape.is_none() || by_box) {
                shape = Some(rectangle(args, at)?);
                by_box = true;
                at += 3;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        request.check(args, form, from_member || from_place, shape.is_some())?;
        if let (Some(middle), Some((shape, unit))) = (middle, shape) {
            request.area = Some(Area { middle, shape, unit });
        }
        // The nearest ones are meant, unless any will do.
        if request.count > 0 && request.order == Order::Found && !request.any {
            request.order = Order::Ascending;
        }
        Ok(request)
    }

    /// What does not go together, or is missing.
    fn check(&self, args: &Args<'_>, form: Form, from: bool, by: bool) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            let name = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(format!(
                "ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )
            .into());
        }
        let missing = match (form.is_search(), from, by) {
            (true, false, _) => Some("FROMMEMBER or FROMLONLAT"),
            (true, true, false) => Some("BYRADIUS and BYBOX"),
            _ => None,
        };
        if let Some(what) = missing {
            // The command's name as the client wrote it.
            let text = format!("ERR exactly one of {what} can be specified for ");
            let text = [text.as_bytes(), args.get(0).unwrap_or_default()].concat();
            return Err(CommandError::Bytes(text.into()));
        }
        if self.any && self.count == 0 {
            return Err("ERR the ANY argument requires COUNT argument".into());
        }
        Ok(())
    }
}
