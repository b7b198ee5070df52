//! Places on the earth, kept in sorted sets.

use super::*;

const RADIUS: KeySpec = KeySpec::Found { first: 1, find: keys::geo_radius };
const WRITE_RADIUS: Flags = WRITE_OOM.or(Flags::MOVABLEKEYS);
const SEARCH: &str =
    "O(N + log(M)) with N the members in the squares around the area and M the members inside it";

family! {
    /// Commands about places.
    GeoCommand, "geo", Acl::GEO;
    Geoadd = row("geoadd", -5).flags(WRITE_OOM).keys(one(1)).route(Route::Key).since("3.2.0")
        .complexity("O(log(N)) for each member, with N the size of the sorted set")
        .usage("key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]")
        .summary("Adds members with their places, or moves those that exist.");
    Geodist = row("geodist", -4).flags(READ).keys(one(1)).route(Route::Key).since("3.2.0")
        .usage("key member1 member2 [M | KM | FT | MI]").summary("Gives the distance between two members.");
    Geohash = row("geohash", -2).flags(READ).keys(one(1)).route(Route::Key).since("3.2.0")
        .complexity("O(N) with N the number of members that are asked for").usage("key [member [member ...]]")
        .summary("Gives the places of members as geohash strings.");
    Geopos = row("geopos", -2).flags(READ).keys(one(1)).route(Route::Key).since("3.2.0")
        .complexity("O(N) with N the number of members that are asked for").usage("key [member [member ...]]")
        .summary("Gives the longitude and latitude of members.");
    Georadius = row("georadius", -6).flags(WRITE_RADIUS).keys(RADIUS).route(Route::Key).since("3.2.0").complexity(SEARCH)
        .usage("key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
            [ASC | DESC] [STORE key | STOREDIST key]")
        .summary("Gives, or keeps under a key, the members within a distance of a place: the old name of GEOSEARCH.");
    Georadiusbymember = row("georadiusbymember", -5).flags(WRITE_RADIUS).keys(RADIUS).route(Route::Key).since("3.2.0")
        .complexity(SEARCH)
        .usage("key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] \
            [STORE key | STOREDIST key]")
        .summary("Gives, or keeps under a key, the members within a distance of a member: an old name of GEOSEARCH.");
    GeoradiusbymemberRo = row("georadiusbymember_ro", -5).flags(READ).keys(one(1)).route(Route::Key).since("3.2.10")
        .complexity(SEARCH)
        .usage("key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]")
        .summary("Gives the members within a distance of a member; never writes.");
    GeoradiusRo = row("georadius_ro", -6).flags(READ).keys(one(1)).route(Route::Key).since("3.2.10").complexity(SEARCH)
        .usage("key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] \
            [ASC | DESC]")
        .summary("Gives the members within a distance of a place; never writes.");
    Geosearch = row("geosearch", -7).flags(READ).keys(one(1)).route(Route::Key).since("6.2.0").complexity(SEARCH)
        .usage("key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | \
            BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]")
        .summary("Gives the members in a circle or a box.");
    Geosearchstore = row("geosearchstore", -8).flags(WRITE_OOM).keys(range(1, 2, 1)).route(Route::Key).since("6.2.0")
        .complexity(SEARCH)
        .usage("destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius \
            <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]")
        .summary("Keeps what GEOSEARCH would give under a key.");
}
