//! About the connection itself.

use super::*;

const QUICK: Flags = SESSION.or(Flags::FAST);
/// Also before authentication and while a script keeps the server busy.
const DOOR: Flags = QUICK.or(Flags::NO_AUTH).or(Flags::ALLOW_BUSY);
const CLIENT_ADMIN: Flags = SESSION.or(Flags::ADMIN);

family! {
    /// Commands about the connection and its client.
    ConnectionCommand, "connection", Acl::CONNECTION;
    Auth = row("auth", -2).flags(DOOR).since("1.0.0").complexity("O(N) with N the number of passwords of the user")
        .usage("[username] password").summary("Authenticates the connection.");
    Client = row("client", -2).flags(Flags::CONTAINER).since("2.4.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands about clients.");
    ClientAck = row("client|ack", 3).flags(SESSION.or(Flags::TORC)).since("torc 0.1.0")
        .usage("none | primary | in-sync | default")
        .summary("Chooses what must have happened before a write of this connection is acknowledged.");
    ClientCaching = row("client|caching", 3).flags(SESSION).route(Route::AnyShard).since("6.0.0").usage("YES | NO")
        .summary("Refused: the server does not track what clients cache.");
    ClientGetname = row("client|getname", 2).flags(SESSION).since("2.6.9")
        .summary("Gives the name of the connection.");
    ClientGetredir = row("client|getredir", 2).flags(SESSION).route(Route::AnyShard).since("6.0.0")
        .summary("Says where invalidations go: nowhere, -1.");
    ClientHelp = row("client|help", 2).flags(ALWAYS).since("5.0.0").summary("Explains the subcommands.");
    ClientId = row("client|id", 2).flags(SESSION).since("5.0.0").summary("Gives the number of the connection.");
    ClientInfo = row("client|info", 2).flags(SESSION).since("6.2.0").tips(&["nondeterministic_output"])
        .summary("Describes the connection.");
    ClientKill = row("client|kill", -3).flags(CLIENT_ADMIN).since("2.4.0").complexity("O(N) with N the number of clients")
        .usage("ip:port | [ID id] [TYPE normal | master | replica | pubsub] [USER name] [ADDR ip:port] \
                [LADDR ip:port] [SKIPME yes | no]")
        .summary("Closes connections.");
    ClientList = row("client|list", -2).flags(CLIENT_ADMIN).since("2.4.0")
        .complexity("O(N) with N the number of clients")
        .usage("[TYPE normal | master | replica | pubsub] [ID id ...]").tips(&["nondeterministic_output"])
        .summary("Describes the open connections.");
    ClientNoEvict = row("client|no-evict", 3).flags(CLIENT_ADMIN).since("7.0.0").usage("ON | OFF")
        .summary("Exempts the connection from client eviction.");
    ClientNoTouch = row("client|no-touch", 3).flags(SESSION).since("7.2.0").usage("ON | OFF")
        .summary("Lets the connection read keys without marking them as used.");
    ClientPause = row("client|pause", -3).flags(CLIENT_ADMIN).since("2.9.50")
        .usage("milliseconds [WRITE | ALL]").summary("Holds the commands of clients for a while.");
    ClientRead = row("client|read", 3).flags(SESSION.or(Flags::TORC)).since("torc 0.1.0")
        .usage("any | strong | default")
        .summary("Chooses whether reads of this connection may show what could still be lost.");
    ClientReply = row("client|reply", 3).flags(SESSION).since("3.2.0").usage("ON | OFF | SKIP")
        .summary("Switches the replies of the connection on or off.");
    ClientSetinfo = row("client|setinfo", 4).flags(SESSION).since("7.2.0").usage("LIB-NAME name | LIB-VER version")
        .summary("Tells which client library is used.");
    ClientSetname = row("client|setname", 3).flags(SESSION).since("2.6.9").usage("name")
        .summary("Names the connection.");
    ClientTracking = row("client|tracking", -3).flags(SESSION).route(Route::AnyShard).since("6.0.0")
        .usage("ON | OFF [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]")
        .summary("Refused when it is switched on: the server does not track what clients cache.");
    ClientTrackinginfo = row("client|trackinginfo", 2).flags(SESSION).route(Route::AnyShard).since("6.2.0")
        .summary("Says that the connection's keys are not tracked.");
    ClientUnblock = row("client|unblock", -3).flags(CLIENT_ADMIN).since("5.0.0").complexity("O(log N) with N the number of clients")
        .usage("id [TIMEOUT | ERROR]").summary("Wakes a client that is blocked by a command.");
    ClientUnpause = row("client|unpause", 2).flags(CLIENT_ADMIN).since("6.2.0")
        .complexity("O(N) with N the number of paused clients").summary("Ends CLIENT PAUSE.");
    Echo = row("echo", 2).flags(ALWAYS.or(Flags::FAST)).since("1.0.0").usage("message").summary("Gives back its argument.");
    Hello = row("hello", -1).flags(DOOR).since("6.0.0")
        .usage("[protover [AUTH username password] [SETNAME name]]")
        .summary("Describes the server and chooses the version of the protocol.");
    Ping = row("ping", -1).flags(Flags::FAST).since("1.0.0").usage("[message]")
        .summary("Says whether the server answers.");
    Quit = row("quit", -1).flags(DOOR).since("1.0.0").summary("Closes the connection.");
    Reset = row("reset", 1).flags(DOOR).since("6.2.0").summary("Makes the connection as good as new.");
    Select = row("select", 2).flags(ALWAYS.or(Flags::FAST)).since("1.0.0").usage("index")
        .summary("Chooses the database of the connection.");
}
