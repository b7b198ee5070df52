//! The RESP protocol towards clients: parses requests in place, judges them, and has them answered.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use torc_protocol::command::{Command, Flags, Route, ScriptingCommand, TransactionCommand, resolve};
use torc_protocol::error;
use torc_protocol::resp::{Frame, Limits, ReplyWriter, RequestParser, Version};

use super::client::Client;
use super::request::Request;
use super::session::{ReplyMode, Session};
use super::turn::{Stop, Taker};
use super::upload::{Begin, Fed, UPLOAD_BYTES, Upload};
use crate::buffer::InBuffer;
use crate::call::Call;
use crate::config::ProxyConfig;
use crate::dispatch;
use crate::local;
use crate::plan;
use crate::transaction;
use crate::upstream::pending::Lane;
use crate::worker::{Routes, Worker};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was answered, or is under way.
    Done,
    /// The same; nothing further is taken until it (and all before it) is answered.
    DoneAlone,
    /// It cannot be taken yet; whoever stands in the way asks for a turn of the client.
    NotYet,
    /// It was the last one.
    Close,
}

/// A RESP client's protocol state.
#[derive(Debug)]
pub struct RespSession {
    parser: RequestParser,
    session: Session,
    /// A big request that is passed on as it comes.
    upload: Option<Box<Upload>>,
    /// A request that could not be taken yet.
    stalled: Option<Frame>,
    /// Nothing is taken until all requests are answered.
    alone: bool,
    /// For arguments that are not forwarded as they came.
    scratch: Vec<u8>,
    /// The settings that it goes by.
    settings: Rc<ProxyConfig>,
}

impl RespSession {
    /// For a client that has just connected.
    pub fn new(worker: &Worker) -> Self {
        let settings = worker.shared.settings.load();
        let authenticated = settings.requirepass.is_empty();
        RespSession {
            parser: RequestParser::new(limits(worker, authenticated)),
            session: Session::new(authenticated, settings.request_timeout_ms),
            upload: None,
            stalled: None,
            alone: false,
            scratch: Vec::new(),
            settings: worker.settings(),
        }
    }

    /// Takes changed settings.
    #[cold]
    fn renew(&mut self, worker: &Worker, settings: &Rc<ProxyConfig>) {
        self.settings = Rc::clone(settings);
        self.session.set_timeout(settings.request_timeout_ms);
        self.parser.set_limits(limits(worker, self.session.authenticated));
    }
}

fn limits(worker: &Worker, authenticated: bool) -> Limits {
    let settings = worker.shared.settings.load();
    Limits {
        max_bulk_bytes: settings.max_bulk_bytes,
        max_frame_bytes: settings.max_request_bytes,
        unauthenticated: !authenticated,
        ..Limits::default()
    }
}

impl Taker for RespSession {
    fn take(&mut self, worker: &Rc<Worker>, client: &Rc<Client>, input: &mut InBuffer) -> Stop {
        let routes = worker.routes();
        let config = worker.settings();
        if !Rc::ptr_eq(&config, &self.settings) {
            self.renew(worker, &config);
        }
        let mut taken = 0;
        let stop = loop {
            if let Some(upload) = &mut self.upload {
                match upload.feed(worker, client, input, self.session.timeout_ms) {
                    // What follows would overtake it.
                    Fed::Whole => (self.upload, self.alone) = (None, true),
                    Fed::More(wanted) => break Stop::Input(wanted),
                    Fed::Full => break Stop::Wait,
                    Fed::Broken(violation) => {
                        worker.metrics.protocol_errors.add(1);
                        reply(worker, client, &self.session, |reply| reply.protocol_error(&violation));
                        break Stop::Close;
                    }
                }
            }
            let (pending, held) = {
                let outbox = client.outbox.borrow();
                (outbox.pending(), outbox.held_bytes())
            };
            if (self.alone || client.bound.get()) && pending > 0 {
                client.resume_at(0);
                break Stop::Wait;
            }
            self.alone = false;
            client.bound.set(false);
            if pending >= config.max_pending_per_client {
                client.resume_at(config.max_pending_per_client / 2);
                break Stop::Wait;
            }
            if held > config.client_output_soft_bytes || (worker.is_crowded() && pending > 0) {
                client.paused.set(true);
                client.resume_at(pending / 2);
                break Stop::Wait;
            }
            let bytes = input.unread();
            let frame = match self.stalled.take() {
                Some(frame) => frame,
                None => match self.parser.next(bytes) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => {
                        let missing = self.parser.need_hint();
                        if missing >= UPLOAD_BYTES {
                            match self.begin_upload(worker, client, &routes, input) {
                                Begin::No => {}
                                Begin::Wait => break Stop::Wait,
                                Begin::Yes(upload) => {
                                    self.upload = Some(upload);
                                    taken += 1;
                                    continue;
                                }
                            }
                        }
                        break Stop::Input(missing);
                    }
                    Err(violation) => {
                        worker.metrics.protocol_errors.add(1);
                        reply(worker, client, &self.session, |reply| reply.protocol_error(&violation));
                        break Stop::Close;
                    }
                },
            };
            let length = frame.len;
            if frame.is_empty() {
                input.consume(length);
                continue;
            }
            match self.request(worker, client, &routes, &frame, bytes) {
                Step::Done => {}
                Step::DoneAlone => self.alone = true,
                Step::NotYet => {
                    self.stalled = Some(frame);
                    break Stop::Wait;
                }
                Step::Close => {
                    input.consume(length);
                    break Stop::Close;
                }
            }
            taken += 1;
            input.consume(length);
        };
        if taken > 0 {
            let info = &client.info;
            info.requests.store(info.requests.load(Ordering::Relaxed) + taken, Ordering::Relaxed);
        }
        stop
    }
}

impl RespSession {
    /// Whether a request has begun to pass whose end has not come.
    pub fn is_uploading(&self) -> bool {
        self.upload.is_some()
    }

    /// Begins to pass on the request that has begun, if it is one that can be.
    #[cold]
    fn begin_upload(
        &mut self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        routes: &Routes,
        input: &mut InBuffer,
    ) -> Begin {
        let limits = limits(worker, self.session.authenticated);
        let who = (&mut self.session, &mut self.scratch);
        let begin = Upload::begin(worker, client, who, routes, (input, limits));
        if matches!(begin, Begin::Yes(_)) {
            // It has seen the beginning of what it will not see the end of.
            self.parser = RequestParser::new(limits);
            self.after_reply();
        }
        begin
    }

    #[inline]
    fn request(
        &mut self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        routes: &Routes,
        frame: &Frame,
        bytes: &[u8],
    ) -> Step {
        let args = frame.view(bytes);
        let command = match resolve(&args) {
            Ok(command) => command,
            Err(_) if args.is_http() => return Step::Close,
            Err(unknown) => {
                if unknown.ends_transaction() {
                    self.session.transaction = None;
                    client.info.multi.store(-1, Ordering::Relaxed);
                    transaction::unwatch(worker, client, &mut self.session);
                } else if let Some(transaction) = &mut self.session.transaction {
                    transaction.failed = true;
                }
                reply(worker, client, &self.session, |reply| unknown.write(args, reply));
                self.after_reply();
                return Step::Done;
            }
        };
        let request = Request::new(command, frame, bytes);
        if !self.session.authenticated && !self.let_in(worker, &request) {
            self.deny(worker, client, &request);
            return Step::Done;
        }
        if worker.is_paused(|| self.may_change(&request)) {
            worker.wait_for_pause(client);
            return Step::NotYet;
        }
        client.info.command.store(command.index() as u16, Ordering::Relaxed);
        let step = self.route(worker, client, routes, &request);
        if step != Step::NotYet {
            worker.metrics.command(command).requests.add(1);
            self.after_reply();
        }
        step
    }

    #[inline]
    fn route(
        &mut self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        routes: &Routes,
        request: &Request<'_>,
    ) -> Step {
        let (session, scratch) = (&mut self.session, &mut self.scratch);
        if client.listening.get() && session.version == Version::Resp2 && !request.command.is_for_listeners()
        {
            refuse(worker, client, session, request, &error::only_listens(request.spec.name));
            return Step::Done;
        }
        let mut call = Call { worker, client, session, routes, request, scratch };
        if call.session.transaction.is_some() && !request.command.runs_inside_multi() {
            return transaction::queue(&mut call);
        }
        if !client.take_lane(lane(call.session, routes, request)) {
            return Step::NotYet;
        }
        match request.spec.route {
            Route::Key => dispatch::by_key(&mut call),
            Route::SplitKeys if !matches!(request.command, Command::Pubsub(_)) => dispatch::split(&mut call),
            Route::Channel => dispatch::by_table(&mut call),
            Route::Transaction => transaction::command(&mut call),
            Route::Refuse(why) => {
                let text = plan::refusal(request, why);
                call.reply(|reply| reply.error(&text))
            }
            _ => {
                let step = local::answer(&mut call);
                if request.spec.flags.contains(Flags::NO_AUTH) {
                    self.parser.set_limits(limits(worker, self.session.authenticated));
                }
                step
            }
        }
    }

    /// Whether a request may change something now: within a transaction EXEC does, for all that was queued.
    #[cold]
    fn may_change(&self, request: &Request<'_>) -> bool {
        match (&self.session.transaction, request.command) {
            (Some(open), Command::Transactions(TransactionCommand::Exec)) => open.may_change(),
            (Some(_), _) => false,
            (None, _) => request.is_noticed(),
        }
    }

    /// Whether a client that has not logged in may have the request.
    #[cold]
    fn let_in(&mut self, worker: &Worker, request: &Request<'_>) -> bool {
        local::enter_if_open(worker, &mut self.session);
        if self.session.authenticated {
            self.parser.set_limits(limits(worker, true));
        }
        self.session.authenticated || request.spec.flags.contains(Flags::NO_AUTH)
    }

    #[cold]
    fn deny(&mut self, worker: &Rc<Worker>, client: &Rc<Client>, request: &Request<'_>) {
        if let Some(transaction) = &mut self.session.transaction {
            transaction.failed = true;
        }
        worker.metrics.command(request.command).errors.add(1);
        reply(worker, client, &self.session, |reply| reply.error(error::NOAUTH));
        self.after_reply();
    }

    /// CLIENT REPLY SKIP counts answers.
    #[inline]
    fn after_reply(&mut self) {
        match self.session.reply_mode {
            ReplyMode::On | ReplyMode::Off => {}
            ReplyMode::SkipNext => self.session.reply_mode = ReplyMode::Skip,
            ReplyMode::Skip => self.session.reply_mode = ReplyMode::On,
        }
    }
}

/// The lane of a request: locks and loaded scripts are always acknowledged by the in-sync set.
#[inline]
pub fn lane(session: &Session, routes: &Routes, request: &Request<'_>) -> Lane {
    if let Some(transaction) = &session.transaction {
        return transaction.lane;
    }
    if matches!(request.command, Command::Lock(_) | Command::Scripting(ScriptingCommand::ScriptLoad)) {
        return Lane::Slow;
    }
    if !routes.table.has_slow_rules {
        return session.lane(&routes.table, None);
    }
    let keys = request.spec.find_keys(&request.args).unwrap_or_default();
    let slow = |at: &usize| session.lane(&routes.table, request.args.get(*at)) == Lane::Slow;
    if keys.is_empty() { session.lane(&routes.table, None) } else { lane_of(keys.iter().any(slow)) }
}

fn lane_of(slow: bool) -> Lane {
    if slow { Lane::Slow } else { Lane::Quick }
}

/// Answers the latest request, in its order.
pub fn reply(
    worker: &Worker,
    client: &Rc<Client>,
    session: &Session,
    write: impl FnOnce(&mut ReplyWriter<'_>),
) {
    let render = session.render();
    let mut outbox = client.outbox.borrow_mut();
    outbox.reply(render, &worker.pool, |out| {
        let at = out.len();
        write(&mut ReplyWriter::new(out, session.version));
        if out.get(at) == Some(&b'-') {
            worker.metrics.error_codes.count(out.get(at + 1..).unwrap_or_default());
        }
    });
    let unsent = outbox.unsent();
    drop(outbox);
    if unsent > 0 {
        worker.mark_client(client);
    }
}

/// Answers the latest request with an error.
pub fn refuse(worker: &Worker, client: &Rc<Client>, session: &Session, request: &Request<'_>, text: &str) {
    worker.metrics.command(request.command).errors.add(1);
    reply(worker, client, session, |reply| reply.error(text));
}
