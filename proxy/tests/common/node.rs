//! A node that pretends: the handshake, contexts, and a few commands on a map in memory. A hook may answer instead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use torc_protocol::context::{Context, RequestId};
use torc_protocol::handshake::{Secret, ServerHandshake};
use torc_protocol::resp::{Limits, ReplyWriter, RequestParser, Version};
use torc_protocol::trace::Trace;
use torc_runtime::shutdown::Shutdown;

/// What a hook decides about a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// The node does what it does.
    Usual,
    /// These bytes are the reply.
    Reply(String),
    /// The usual reply, later.
    Late(Duration),
    /// The usual reply, when this is true; until then the node does not read from the connection either.
    Gate(watch::Receiver<bool>),
    /// Nothing is executed, and the connection ends.
    Drop,
    /// It is executed, and the connection ends without a reply.
    ExecuteAndDrop,
    /// Nothing, ever.
    Never,
}

/// A request as a node sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection it came over.
    pub connection: u64,
    /// The command and its arguments.
    pub args: Vec<String>,
    pub db: u8,
    pub epoch: u64,
    pub deadline_ms: u32,
    pub ack: Option<torc_protocol::context::Ack>,
    pub read: Option<torc_protocol::context::ReadLevel>,
    pub id: Option<RequestId>,
    pub repeated: bool,
    /// Its name in logs.
    pub trace: Trace,
    pub no_wait: bool,
    pub track: bool,
    /// It is a read that a replica may answer.
    pub replica: bool,
}

type Hook = Box<dyn FnMut(&Seen) -> Act + Send>;

#[derive(Default)]
struct Inner {
    store: HashMap<Vec<u8>, Vec<u8>>,
    seen: Vec<Seen>,
    /// How many of them came from clients.
    asked: usize,
    /// Replies by request id.
    remembered: HashMap<(u64, u64), Vec<u8>>,
    hook: Option<Hook>,
    /// Bumped by each write, for WATCH.
    version: u64,
}

impl Inner {
    fn known(&self, context: &Context<'_>) -> Option<Vec<u8>> {
        let id = context.request_id?;
        self.remembered.get(&(id.origin, id.seq)).cloned()
    }

    fn remember(&mut self, context: &Context<'_>, reply: &[u8]) {
        if let Some(id) = context.request_id.filter(|id| id.seq != 0) {
            self.remembered.insert((id.origin, id.seq), reply.to_vec());
        }
    }
}

#[derive(Clone)]
pub struct FakeNode {
    pub port: u16,
    inner: Arc<Mutex<Inner>>,
    connections: Arc<AtomicU64>,
    /// What is sent to the connections that listen.
    pushes: broadcast::Sender<String>,
    down: Shutdown,
}

impl FakeNode {
    pub async fn start(secret: Option<Secret>) -> FakeNode {
        Self::start_on(0, secret).await
    }

    pub async fn start_on(port: u16, secret: Option<Secret>) -> FakeNode {
        Self::start_with(port, secret, Arc::default()).await
    }

    /// Another node that has, at any time, what this one has and remembers: its replica, or who takes over from it. The
    /// hook is one for both.
    pub async fn twin(&self, secret: Option<Secret>) -> FakeNode {
        Self::start_with(0, secret, Arc::clone(&self.inner)).await
    }

    async fn start_with(port: u16, secret: Option<Secret>, inner: Arc<Mutex<Inner>>) -> FakeNode {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let node = FakeNode {
            port: listener.local_addr().expect("bound").port(),
            inner,
            connections: Arc::default(),
            pushes: broadcast::channel(4096).0,
            down: Shutdown::new(),
        };
        let this = node.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        let (node, secret) = (this.clone(), secret.clone());
                        let id = node.connections.fetch_add(1, Ordering::Relaxed);
                        tokio::spawn(async move {
                            let down = node.down.clone();
                            tokio::select! {
                                _ = node.serve(stream, secret, id) => {}
                                () = down.wait() => {}
                            }
                        });
                    }
                    () = this.down.wait() => return,
                }
            }
        });
        node
    }

    /// Sends a push to everybody who listens.
    pub fn push(&self, parts: &[&str]) {
        let mut text = format!(">{}\r\n", parts.len());
        parts.iter().for_each(|part| text.push_str(&format!("${}\r\n{part}\r\n", part.len())));
        let _ = self.pushes.send(text);
    }

    /// The node is gone: listener and connections.
    pub fn kill(&self) {
        self.down.trigger();
    }

    pub fn hook(&self, hook: impl FnMut(&Seen) -> Act + Send + 'static) {
        self.inner.lock().hook = Some(Box::new(hook));
    }

    pub fn unhook(&self) {
        self.inner.lock().hook = None;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.lock().seen.clone()
    }

    /// Requests of clients, whatever they are.
    pub fn asked(&self) -> usize {
        self.inner.lock().asked
    }

    /// Requests with this name, first argument and so on.
    pub fn count(&self, line: &str) -> usize {
        self.seen().iter().filter(|seen| seen.args.join(" ") == line).count()
    }

    pub fn value(&self, key: &str) -> Option<String> {
        let inner = self.inner.lock();
        inner.store.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    pub fn set(&self, key: &str, value: &str) {
        let mut inner = self.inner.lock();
        inner.version += 1;
        inner.store.insert(key.into(), value.into());
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    async fn serve(
        &self,
        mut stream: TcpStream,
        secret: Option<Secret>,
        connection: u64,
    ) -> std::io::Result<()> {
        let mut input = Vec::new();
        let mut parser = RequestParser::new(Limits::default());
        let mut handshake = None;
        let mut trusted = secret.is_none();
        let mut trace = Trace::default();
        let mut transaction: Option<Vec<Vec<Vec<u8>>>> = None;
        let mut watched: Option<u64> = None;
        // A queued command was refused.
        let mut spoilt = false;
        let mut listens: Option<broadcast::Receiver<String>> = None;
        loop {
            let mut out = Vec::new();
            while let Some(frame) = parser.next(&input).expect("a request") {
                let whole: Vec<Vec<u8>> = frame.view(&input).iter().map(<[u8]>::to_vec).collect();
                if !trusted {
                    let view = frame.view(&input);
                    let mut reply = ReplyWriter::new(&mut out, Version::Resp2);
                    if let Some(server) = handshake.take() {
                        let server: ServerHandshake = server;
                        trace.connection = server.connection();
                        let proof = ServerHandshake::parse_auth(&view).expect("a proof");
                        server.finish(&proof).expect("the right secret");
                        reply.ok();
                        trusted = true;
                    } else {
                        let hello = ServerHandshake::parse_hello(&view).expect("a hello");
                        let secret = secret.clone().expect("a secret");
                        let (server, answer) =
                            ServerHandshake::accept(secret, hello, [3; 16]).expect("accepts");
                        answer.write(&mut reply);
                        handshake = Some(server);
                    }
                    input.drain(..frame.len);
                    continue;
                }
                input.drain(..frame.len);
                let bare = [&b"TORC.LISTEN"[..], b"PING", b"TORC.TRACK", b"CONFIG"].contains(&&whole[0][..]);
                if whole[0] == b"TORC.LISTEN" || whole[0] == b"TORC.TRACK" {
                    listens.get_or_insert_with(|| self.pushes.subscribe());
                }
                assert!(bare || whole[0] == b"CTX", "only requests with a context");
                let (context, args) = match bare {
                    true => (Context::default(), whole.clone()),
                    false => (Context::decode(&whole[1]).expect("a context"), whole[2..].to_vec()),
                };
                trace.request += 1;
                let seen = Seen {
                    connection,
                    args: args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect(),
                    db: context.db,
                    epoch: context.epoch,
                    deadline_ms: context.deadline_ms,
                    ack: context.ack,
                    read: context.read,
                    id: context.request_id.filter(|id| id.seq != 0),
                    repeated: context.repeated,
                    trace,
                    no_wait: context.no_wait,
                    track: context.track,
                    replica: context.replica.is_some(),
                };
                let act = {
                    let mut inner = self.inner.lock();
                    inner.seen.push(seen.clone());
                    inner.asked += usize::from(!bare && !seen.track);
                    inner.hook.as_mut().map_or(Act::Usual, |hook| hook(&seen))
                };
                let mut ends = false;
                match act {
                    Act::Usual => {}
                    Act::Late(pause) => {
                        stream.write_all(&std::mem::take(&mut out)).await?;
                        tokio::time::sleep(pause).await;
                    }
                    Act::Gate(mut open) => {
                        stream.write_all(&std::mem::take(&mut out)).await?;
                        open.wait_for(|open| *open).await.expect("the gate is opened");
                    }
                    Act::Reply(text) => {
                        spoilt |= transaction.is_some() && text.starts_with('-');
                        out.extend_from_slice(text.as_bytes());
                        continue;
                    }
                    Act::Drop => return Ok(()),
                    Act::ExecuteAndDrop => ends = true,
                    Act::Never => {
                        stream.write_all(&std::mem::take(&mut out)).await?;
                        std::future::pending::<()>().await;
                    }
                }
                let name = args[0].to_ascii_uppercase();
                if context.track {
                    out.extend_from_slice(b"|1\r\n+track\r\n:-1\r\n");
                }
                match name.as_slice() {
                    // Nobody else can serve what this node serves.
                    b"TORC.TRACK" => out.extend_from_slice(b"*2\r\n:-1\r\n:1\r\n"),
                    b"MULTI" => {
                        transaction = Some(Vec::new());
                        spoilt = false;
                        out.extend_from_slice(b"+OK\r\n");
                    }
                    b"EXEC" => {
                        let queued = transaction.take().unwrap_or_default();
                        let at = out.len();
                        // Nothing of another connection comes between.
                        let mut inner = self.inner.lock();
                        if let Some(reply) = inner.known(&context) {
                            drop(inner);
                            out.extend_from_slice(&reply);
                            if ends {
                                return Ok(());
                            }
                            continue;
                        }
                        let changed = watched.take().is_some_and(|at| at != inner.version);
                        if std::mem::take(&mut spoilt) {
                            out.extend_from_slice(
                                b"-EXECABORT Transaction discarded because of previous errors.\r\n",
                            );
                        } else if changed {
                            out.extend_from_slice(b"_\r\n");
                        } else {
                            out.extend_from_slice(format!("*{}\r\n", queued.len()).as_bytes());
                            queued.iter().for_each(|args| inner.execute(args, false, &mut out));
                            inner.remember(&context, &out[at..]);
                        }
                    }
                    b"WATCH" => {
                        watched = Some(self.inner.lock().version);
                        out.extend_from_slice(b"+OK\r\n");
                    }
                    _ => match &mut transaction {
                        Some(queue) => {
                            queue.push(args);
                            out.extend_from_slice(b"+QUEUED\r\n");
                        }
                        None => self.execute_once(&args, &context, &mut out),
                    },
                }
                if ends {
                    return Ok(());
                }
            }
            stream.write_all(&out).await?;
            let pushed = async {
                match &mut listens {
                    Some(listens) => listens.recv().await.expect("not so many"),
                    None => std::future::pending().await,
                }
            };
            let pushed = tokio::select! {
                read = stream.read_buf(&mut input) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    None
                }
                pushed = pushed => Some(pushed),
            };
            if let Some(pushed) = pushed {
                stream.write_all(pushed.as_bytes()).await?;
            }
        }
    }

    /// Executes it unless it was executed under its id before.
    fn execute_once(&self, args: &[Vec<u8>], context: &Context<'_>, out: &mut Vec<u8>) {
        let mut inner = self.inner.lock();
        match inner.known(context) {
            Some(reply) => out.extend_from_slice(&reply),
            None => {
                let at = out.len();
                inner.execute(args, context.want_position, out);
                inner.remember(context, &out[at..]);
            }
        }
    }

    /// The node has what `other` remembers, as its replica has.
    pub fn take_over(&self, other: &FakeNode) {
        let (store, remembered) = {
            let other = other.inner.lock();
            (other.store.clone(), other.remembered.clone())
        };
        let mut inner = self.inner.lock();
        (inner.store, inner.remembered) = (store, remembered);
    }
}

impl Inner {
    fn execute(&mut self, args: &[Vec<u8>], position: bool, out: &mut Vec<u8>) {
        let inner = self;
        let mut reply = ReplyWriter::new(out, Version::Resp3);
        let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
        if position && matches!(name.as_str(), "SET" | "INCR" | "DEL" | "MSET") {
            inner.version += 1;
            let version = inner.version;
            reply.raw(format!("|1\r\n+pos\r\n+1:{version}\r\n").as_bytes());
        }
        match name.as_str() {
            "SET" => {
                inner.store.insert(args[1].clone(), args[2].clone());
                reply.ok();
            }
            "GET" => match inner.store.get(&args[1]) {
                Some(value) => reply.bulk(value),
                None => reply.null(),
            },
            "MGET" => {
                reply.array(args.len() - 1);
                for key in &args[1..] {
                    match inner.store.get(key) {
                        Some(value) => reply.bulk(value),
                        None => reply.null(),
                    }
                }
            }
            "MSET" => {
                for pair in args[1..].chunks(2) {
                    inner.store.insert(pair[0].clone(), pair[1].clone());
                }
                reply.ok();
            }
            "DEL" => {
                let removed = args[1..].iter().filter(|key| inner.store.remove(*key).is_some()).count();
                reply.integer(removed as i64);
            }
            "FLUSHALL" => {
                inner.store.clear();
                reply.ok();
            }
            "INCR" => {
                let value = inner
                    .store
                    .get(&args[1])
                    .map_or(0, |value| String::from_utf8_lossy(value).parse::<i64>().expect("a number"));
                inner.store.insert(args[1].clone(), (value + 1).to_string().into_bytes());
                reply.integer(value + 1);
            }
            "DBSIZE" => reply.integer(inner.store.len() as i64),
            "HGETALL" => {
                reply.map(1);
                reply.bulk(b"field");
                reply.bulk(&args[1]);
            }
            "SCAN" => {
                reply.array(2);
                reply.bulk(b"0");
                reply.array(inner.store.len());
                inner.store.keys().for_each(|key| reply.bulk(key));
            }
            "INFO" => {
                let text = format!("# Keyspace\r\ndb0:keys={},expires=0,avg_ttl=0\r\n", inner.store.len());
                reply.verbatim(b"txt", text.as_bytes());
            }
            "TORC.LISTEN" => reply.ok(),
            "TORC.WAIT" => reply.integer(1),
            "LOCK.ACQUIRE" => reply.integer(77),
            "MC" => mc(&mut inner.store, args, &mut reply),
            // Says what it was asked: a reply that can be told from all others.
            _ => reply.bulk(&args.join(&b' ')),
        }
    }
}

fn mc(store: &mut HashMap<Vec<u8>, Vec<u8>>, args: &[Vec<u8>], reply: &mut ReplyWriter<'_>) {
    let line = String::from_utf8_lossy(&args[1]).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let mut text = Vec::new();
    match words[0] {
        "set" => {
            store.insert(words[1].into(), args[2].clone());
            if !line.ends_with("noreply") {
                text.extend_from_slice(b"STORED\r\n");
            }
        }
        "get" | "gets" => {
            for key in &words[1..] {
                if let Some(value) = store.get(key.as_bytes()) {
                    text.extend_from_slice(format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes());
                    text.extend_from_slice(value);
                    text.extend_from_slice(b"\r\n");
                }
            }
        }
        "stats" => text.extend_from_slice(b"STAT cmd_get 2\r\nSTAT engine torc\r\nEND\r\n"),
        "flush_all" => {
            store.clear();
            text.extend_from_slice(b"OK\r\n");
        }
        _ => text.extend_from_slice(b"ERROR\r\n"),
    }
    reply.bulk(&text);
}
