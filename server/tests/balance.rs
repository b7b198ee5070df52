//! Connections that are busy on one worker move to another, and their clients do not notice.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use torc_runtime::clock::boottime_ns;
use torc_runtime::listen::PortChoice;
use torc_runtime::shutdown::Shutdown;
use torc_server::{ServerConfig, run};

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests of one round of a client; enough rounds a second make a worker busy.
const BURST: usize = 200;

#[test]
fn busy_connections_move_to_the_idle_worker() {
    let config =
        ServerConfig { port: PortChoice::Auto, threads: 2, maxmemory: "0".into(), ..ServerConfig::default() };
    let server = run(&config, Shutdown::new()).expect("the server starts");
    let port = server.addresses.port;
    // Handed round: the even ones are with one worker, the odd ones with the other, and only the even ones are busy.
    let mut clients: Vec<_> = (0..8)
        .map(|n| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let mut client = BufReader::new(stream);
            ask(&mut client, &format!("SELECT {n}\r\nSET k {n}\r\nCLIENT SETNAME c{n}\r\n"), &["+OK"; 3]);
            client
        })
        .collect();
    let until = boottime_ns() + PATIENCE.as_nanos() as u64;
    while server.node.balance.moved() == 0 {
        assert!(boottime_ns() < until, "no connection moved");
        for (n, client) in clients.iter_mut().enumerate().step_by(2) {
            let wanted = format!("${}\r\n{n}", n.to_string().len());
            let lines: Vec<&str> = wanted.split("\r\n").collect();
            ask(client, &"GET k\r\n".repeat(BURST), &lines.repeat(BURST));
        }
    }
    for (n, client) in clients.iter_mut().enumerate() {
        ask(client, "GET k\r\nCLIENT GETNAME\r\n", &["$1", &n.to_string(), "$2", &format!("c{n}")]);
    }
    assert_eq!(server.node.clients.limit.open(), 8);
    drop(clients);
    while server.node.clients.limit.open() > 0 {
        assert!(boottime_ns() < until, "a place was not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
    server.shutdown().trigger();
    server.wait();
}

fn ask(client: &mut BufReader<TcpStream>, requests: &str, replies: &[&str]) {
    client.get_mut().write_all(requests.as_bytes()).expect("sent");
    for wanted in replies {
        let mut line = String::new();
        client.read_line(&mut line).expect("a reply");
        assert_eq!(line.trim_end(), *wanted);
    }
}
