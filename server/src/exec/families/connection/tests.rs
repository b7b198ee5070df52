//! Names, passwords, versions and switches of a connection, and what it may do to others.

use crate::clients::flag;
use crate::exec::Flow;
use crate::exec::testing::Harness;
use crate::settings::Settings;

fn with_password() -> Harness {
    let mut t = Harness::with_settings(Settings { requirepass: "secret".into(), ..Settings::default() });
    t.session.authenticated = false;
    t
}

#[test]
fn ping_echo_select_quit() {
    let mut t = Harness::new();
    t.expect(&[
        ("PING", "+PONG\r\n"),
        ("PING hi", "$2\r\nhi\r\n"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
        ("ECHO x", "$1\r\nx\r\n"),
        ("SELECT 15", "+OK\r\n"),
        ("SELECT 16", "-ERR DB index is out of range\r\n"),
        ("SELECT -1", "-ERR DB index is out of range\r\n"),
        ("SELECT x", "-ERR value is not an integer or out of range\r\n"),
    ]);
    assert_eq!(t.session.db, 15);
    assert!(matches!(t.execute(["QUIT"]).1.flow, Flow::Close));
}

#[test]
fn a_password_keeps_strangers_out() {
    let mut t = with_password();
    t.expect(&[
        ("GET k", "-NOAUTH Authentication required.\r\n"),
        ("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH secret2", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH other secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        ("AUTH a b c", "-ERR syntax error\r\n"),
        ("AUTH default secret", "+OK\r\n"),
        ("PING", "+PONG\r\n"),
        ("RESET", "+RESET\r\n"),
        ("PING", "-NOAUTH Authentication required.\r\n"),
        ("AUTH secret", "+OK\r\n"),
        ("PING", "+PONG\r\n"),
    ]);
    let mut t = Harness::new();
    assert!(t.run("AUTH any").starts_with("-ERR AUTH <password> called without any password"));
    assert_eq!(t.run("AUTH default any"), "+OK\r\n");
}

#[test]
fn hello_describes_and_switches() {
    let mut t = Harness::new();
    assert_eq!(
        t.run("HELLO 3 SETNAME me"),
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n\
         $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
    );
    t.expect(&[
        ("CLIENT GETNAME", "$2\r\nme\r\n"),
        ("GET missing", "_\r\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
        ("HELLO 3 AUTH x", "-ERR Syntax error in HELLO option 'AUTH'\r\n"),
        ("HELLO 3 NO", "-ERR Syntax error in HELLO option 'NO'\r\n"),
        (
            "HELLO 3 SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
    ]);
    assert!(t.run("HELLO 2").starts_with("*14\r\n$6\r\nserver\r\n"));
    let mut t = with_password();
    assert!(t.run("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert!(t.run("HELLO 3 AUTH default no").starts_with("-WRONGPASS"));
    assert!(t.run("HELLO 3 AUTH default secret").starts_with("%7\r\n"));
}

#[test]
fn names_and_libraries_are_shown() {
    let mut t = Harness::new();
    t.expect(&[
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("CLIENT SETINFO lib-name redis-py", "+OK\r\n"),
        ("CLIENT SETINFO LIB-VER 5.0", "+OK\r\n"),
        (
            "CLIENT SETINFO LIB-VER \"5 0\"",
            "-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n",
        ),
        ("CLIENT SETINFO other x", "-ERR Unrecognized option 'other'\r\n"),
        ("CLIENT ID", ":1\r\n"),
    ]);
    let line = t.run("CLIENT INFO");
    assert!(line.contains("id=1 addr=test:0 laddr=test:1 fd=3 name=me age=0"), "{line}");
    assert!(
        line.contains(" cmd=client|info user=default redir=-1 resp=2 lib-name=redis-py lib-ver=5.0 tot-net-in=0 tot-net-out=0 tot-cmds=0\n"),
        "{line}"
    );
    assert_eq!(t.run("CLIENT LIST ID 7"), "$0\r\n\r\n");
    t.expect(&[
        ("CLIENT LIST TYPE odd", "-ERR Unknown client type 'odd'\r\n"),
        ("CLIENT LIST ID -1", "$0\r\n\r\n"),
        ("CLIENT LIST ID x", "-ERR Invalid client ID\r\n"),
        ("CLIENT LIST foo", "-ERR syntax error\r\n"),
        ("CLIENT LIST TYPE replica", "$0\r\n\r\n"),
    ]);
}

#[test]
fn kill_finds_its_victims() {
    let mut t = Harness::new();
    t.expect(&[
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n"),
        ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0\r\n"),
        ("CLIENT KILL ID", "-ERR No such client\r\n"),
        ("CLIENT KILL USER x", "-ERR No such user 'x'\r\n"),
        ("CLIENT KILL ID 1", ":0\r\n"),
    ]);
    let (reply, done) = t.execute(["CLIENT", "KILL", "ID", "1", "SKIPME", "no"]);
    assert_eq!(reply, b":1\r\n");
    assert!(matches!(done.flow, Flow::Close));
}

#[test]
fn what_has_expired_is_hidden_during_a_pause_and_goes_after_it() {
    let mut t = Harness::new();
    t.expect(&[("SET k v PX 10", "+OK\r\n"), ("CLIENT PAUSE 1000 WRITE", "+OK\r\n")]);
    t.advance(20);
    t.expect(&[
        ("GET k", "$-1\r\n"),
        ("EXISTS k", ":0\r\n"),
        ("DBSIZE", ":1\r\n"),
        ("CLIENT UNPAUSE", "+OK\r\n"),
        ("GET k", "$-1\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
}

#[test]
fn pause_and_unblock() {
    let mut t = Harness::new();
    t.expect(&[
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range\r\n"),
        ("CLIENT PAUSE -1", "-ERR timeout is negative\r\n"),
        ("CLIENT PAUSE 10 SOME", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n"),
        ("CLIENT PAUSE 10 WRITE", "+OK\r\n"),
    ]);
    assert!(t.node.clients.paused(t.now.unix_ms).is_some());
    t.expect(&[
        ("CLIENT UNPAUSE", "+OK\r\n"),
        ("CLIENT UNBLOCK 1", ":0\r\n"),
        ("CLIENT UNBLOCK 99", ":0\r\n"),
        ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range\r\n"),
        ("CLIENT UNBLOCK 1 NEVER", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n"),
    ]);
    assert!(t.node.clients.paused(t.now.unix_ms).is_none());
    let client = t.session.client.clone().expect("the harness has one");
    client.set_flag(flag::BLOCKED, true);
    assert_eq!(t.run("CLIENT UNBLOCK 1 ERROR"), ":1\r\n");
}

#[test]
fn levels_and_switches() {
    let mut t = Harness::new();
    t.expect(&[
        ("CLIENT ACK in-sync", "+OK\r\n"),
        ("CLIENT ACK some", "-ERR the acknowledgement level must be none, primary or in-sync\r\n"),
        ("CLIENT READ strong", "+OK\r\n"),
        ("CLIENT NO-TOUCH on", "+OK\r\n"),
        ("CLIENT NO-EVICT maybe", "-ERR syntax error\r\n"),
        ("CLIENT REPLY what", "-ERR syntax error\r\n"),
        ("CLIENT REPLY on", "+OK\r\n"),
    ]);
    assert!(t.session.no_touch && t.session.ack.is_some() && t.session.read.is_some());
    t.run("CLIENT ACK default");
    assert_eq!(t.session.ack, None);
    assert_eq!(t.run("CLIENT NOSUCH"), "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n");
    assert!(t.run("CLIENT HELP").contains("CLIENT <subcommand>"));
}

#[test]
fn names_have_a_bound() {
    let mut t = Harness::new();
    let (longest, longer) = ("n".repeat(1024), "n".repeat(1025));
    for command in ["CLIENT SETNAME", "CLIENT SETINFO LIB-NAME", "CLIENT SETINFO LIB-VER"] {
        assert_eq!(t.run(&format!("{command} {longest}")), "+OK\r\n");
        assert!(t.run(&format!("{command} {longer}")).starts_with("-ERR "), "{command}");
    }
    assert!(t.run(&format!("HELLO 3 SETNAME {longer}")).starts_with("-ERR Client names"));
}
