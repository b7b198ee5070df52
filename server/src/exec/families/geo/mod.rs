//! Handlers of the geo family.

mod grid;
mod places;
mod request;
mod search;

use torc_protocol::command::GeoCommand;
use torc_protocol::resp::Args;

use self::request::Form;
use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: GeoCommand, args: &Args<'_>) -> CommandResult {
    match command {
        GeoCommand::Geoadd => places::geoadd(cx, args),
        GeoCommand::Geodist => places::geodist(cx, args),
        GeoCommand::Geohash => places::geohash(cx, args),
        GeoCommand::Geopos => places::geopos(cx, args),
        GeoCommand::Georadius => search::search(cx, args, Form::Radius { may_store: true }),
        GeoCommand::Georadiusbymember => search::search(cx, args, Form::RadiusByMember { may_store: true }),
        GeoCommand::GeoradiusbymemberRo => {
            search::search(cx, args, Form::RadiusByMember { may_store: false })
        }
        GeoCommand::GeoradiusRo => search::search(cx, args, Form::Radius { may_store: false }),
        GeoCommand::Geosearch => search::search(cx, args, Form::Search),
        GeoCommand::Geosearchstore => search::search(cx, args, Form::SearchStore),
    }
}
