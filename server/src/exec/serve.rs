//! Waiters of blocking commands are served: their commands run again when a key may bring something.
//!
//! Before the stripes of a command are let go [`Batch::serve_ready`] looks which keys it made ready, and runs the
//! commands of those who wait for them, first come first served, under the same locks. Each has a record of its own,
//! whose offset follows that of the command that made the key ready. The answers are told when the stripes are free.

use std::time::Duration;

use tokio::sync::oneshot;
use torc_protocol::command::Command;
use torc_protocol::context::Ack;
use torc_protocol::resp::ReplyWriter;
use torc_protocol::slot::key_slot;

use super::apply::{kind_of, run_fenced};
use super::{Batch, CommandError, Flow, Park, ReplyKind, Request, Session};
use crate::blocked::{Answer, Asked, Block, Depends, Turn, Waiter};
use crate::shard::Role;
use crate::store::Access;
use crate::store::value::Kind;

/// Waiters that one command serves; those behind them try by themselves.
const MAX_SERVED: usize = 10_000;

/// How long the stripe of a further key (BLMOVE's destination) is waited for.
const PATIENCE: Duration = Duration::from_micros(100);

/// The answer to a waiter, on its way.
pub(super) struct Telling {
    tell: oneshot::Sender<Turn>,
    answer: Answer,
}

/// What became of a waiter that was looked at.
#[derive(PartialEq, Eq)]
enum Look {
    /// It has its answer, or had gone.
    Over,
    /// There is nothing for it, or its stripes cannot be had now.
    Waits,
}

/// What became of a waiter's own attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It was looked at.
    Done,
    /// That cannot be done now: again in a moment.
    Later,
}

impl Asked {
    fn of(session: &Session, request: &Request<'_>) -> Asked {
        Asked {
            session: session.id,
            client: session.client.clone(),
            version: session.version,
            db: request.db,
            no_touch: session.no_touch,
            readonly: session.readonly,
            ack: request.ack,
            read: request.read,
            want_position: request.want_position,
            deadline_ms: request.deadline_ms,
            proxied: request.proxied,
            id: request.id,
            repeated: request.repeated,
            home: request.home,
            fence: request.fence,
            trace: session.trace,
        }
    }

    fn session(&self) -> Session {
        Session {
            client: self.client.clone(),
            version: self.version,
            db: self.db,
            no_touch: self.no_touch,
            readonly: self.readonly,
            trusted: self.proxied,
            again: true,
            trace: self.trace,
            ..Session::new(self.session, true)
        }
    }
}

impl Waiter {
    fn request(&self) -> Request<'_> {
        let asked = &self.asked;
        Request {
            args: self.args.view(),
            db: asked.db,
            ack: asked.ack,
            read: asked.read,
            want_position: asked.want_position,
            deadline_ms: asked.deadline_ms,
            version: Some(asked.version),
            proxied: asked.proxied,
            id: asked.id,
            repeated: asked.repeated,
            no_wait: false,
            home: asked.home,
            key: None,
            fence: asked.fence,
            track: false,
            replica: None,
        }
    }
}

impl<'n> Batch<'n, '_> {
    /// Puts a request into the queues of its keys, whose stripes are locked.
    pub(super) fn enqueue(
        &mut self,
        session: &Session,
        command: Command,
        request: &Request<'_>,
        block: Block,
        access: &mut Access<'n>,
    ) -> Result<Flow, CommandError> {
        let args = block.request(&request.args);
        let slots = super::place::slots(command, command.spec(), &args.view())?;
        let Block { keys, wanted, timeout_ms, .. } = block;
        let asked = Asked::of(session, request);
        let desk = &self.node.blocked;
        let Some(place) = Waiter::place(desk, command, args, asked, slots, (keys, wanted)) else {
            return Err("ERR too many requests wait in blocking commands".into());
        };
        for key in &place.waiter.keys {
            let slot = key_slot(key);
            if access.covers(slot) {
                access.stripe(slot).enqueue(key, &place.waiter);
            }
        }
        Ok(Flow::Park(Park::Blocked { place, timeout_ms }))
    }

    /// Serves those who wait for keys that have become ready, and whom that makes ready in turn.
    #[cold]
    pub(super) fn serve_ready(&mut self, access: &mut Access<'n>) {
        let mut left = MAX_SERVED;
        while let Some((db, bytes)) = access.take_ready() {
            self.serve_key(db, &bytes, access, &mut left);
            if left == 0 {
                let slot = key_slot(&bytes);
                access.stripe(slot).ready(db, &bytes);
                access.nudge_ready();
                break;
            }
        }
        self.growth += access.take_growth();
    }

    /// Tells who was served; the stripes are free again.
    #[inline]
    pub(super) fn tell(&mut self) {
        if self.exec.told.is_empty() {
            return;
        }
        for Telling { tell, answer } in self.exec.told.drain(..) {
            // Its connection may be gone.
            let _ = tell.send(Turn::Served(answer));
        }
    }

    fn serve_key(&mut self, db: u8, bytes: &[u8], access: &mut Access<'n>, left: &mut usize) {
        let key = self.node.store.key(bytes);
        let mut after = 0;
        while *left > 0 {
            let stripe = access.stripe(key.slot);
            let kind = stripe.get(db, &key, self.now.unix_ms).and_then(|entry| Kind::of(entry.value()));
            let Some(waiter) = stripe.queues().and_then(|queues| queues.next(db, bytes, after, kind)) else {
                return;
            };
            after = waiter.ticket;
            if self.look(&waiter, access) == Look::Over {
                *left -= 1;
                for key in &waiter.keys {
                    let slot = key_slot(key);
                    if access.covers(slot) {
                        access.stripe(slot).leave(db, key, waiter.ticket);
                    }
                }
            }
        }
    }

    /// Runs a waiter's command again.
    fn look(&mut self, waiter: &Waiter, access: &mut Access<'n>) -> Look {
        let Some(claim) = waiter.claim() else { return Look::Over };
        for slot in &waiter.slots {
            if !access.covers(*slot) && !access.extend(&self.node.store, *slot, PATIENCE) {
                waiter.nudge();
                return Look::Waits;
            }
        }
        let mut session = waiter.asked.session();
        let request = waiter.request();
        let command = waiter.command;
        let kind = kind_of(command, &request);
        let ack = self.effective_ack(command, &request);
        let mut out = Vec::new();
        let outcome = match self.repeated(&mut session, &request, access, &mut out, ack) {
            Ok(Some(done)) => Ok(done),
            Err(error) => Err(error),
            Ok(None) if ack == Ack::InSync && self.check_in_sync().is_err() => {
                Err(torc_protocol::error::NOREPLICAS.into())
            }
            Ok(None) => {
                let held = std::mem::replace(access, Access::none());
                let timed = self.exec.clock_ns.map(|clock| (clock, clock()));
                let ran = self.run_locked(&mut session, &request, held, &mut out, |cx| {
                    run_fenced(cx, command, &request)
                });
                *access = ran.access;
                if matches!(ran.flow, Flow::Park(_)) && ran.result.is_ok() {
                    return Look::Waits;
                }
                if let Some((clock, began)) = timed {
                    let nanos = clock().saturating_sub(began);
                    let (args, now_ms) = (waiter.args.view(), self.now.unix_ms);
                    self.node.slow.note(command, &args, &session, nanos, now_ms);
                }
                ran.result.map(|()| {
                    self.done(&request, (kind, ack), ran.flow, (ran.offset, ran.dirty), &mut out, 0)
                })
            }
        };
        let (kind, barrier) = match &outcome {
            Ok(done) => (done.kind, done.barrier),
            Err(error) => {
                out.clear();
                self.exec.stats.errors.count(&error.text());
                self.exec.stats.command(command).failed.add(1);
                error.write(&mut ReplyWriter::new(&mut out, session.version));
                (ReplyKind::Read, 0)
            }
        };
        let depends = self.lease_term().filter(|_| kind != ReplyKind::Local).map(|term| Depends {
            kind,
            term,
            barrier,
            deadline_ms: waiter.asked.deadline_ms,
        });
        if let Some(tell) = claim.settle() {
            self.exec
                .told
                .push(Telling { tell, answer: Answer { bytes: out, depends, offset: session.last_write } });
        }
        Look::Over
    }

    /// A waiter tries by itself: somebody made its key ready who could not serve it, or its slots may have gone.
    pub fn retry(&mut self, waiter: &Waiter) -> Retry {
        if self.role == Role::Primary && !self.lease_valid {
            return Retry::Later;
        }
        let session = waiter.asked.session();
        let request = waiter.request();
        let spec = waiter.command.spec();
        if self.role != Role::Plain
            && let Err(error) = self.check_place(&session, spec, &request, &waiter.slots)
        {
            if let Some(claim) = waiter.claim() {
                let mut bytes = Vec::new();
                error.write(&mut ReplyWriter::new(&mut bytes, session.version));
                claim.answer(Turn::Served(Answer { bytes, ..Answer::default() }));
            }
            return Retry::Done;
        }
        if !waiter.wants_look() {
            return Retry::Done;
        }
        let Ok(mut access) = self.node.store.access(waiter.slots.iter().copied()) else {
            return Retry::Later;
        };
        waiter.looked();
        if request.repeated {
            // The reply to an earlier sending may have been made meanwhile.
            let again = self.repeated(
                &mut waiter.asked.session(),
                &request,
                &mut access,
                &mut Vec::new(),
                Ack::Primary,
            );
            if !matches!(again, Ok(None)) {
                self.look(waiter, &mut access);
            }
        }
        // Those who came before it go first: as if the keys had become ready now.
        for key in &waiter.keys {
            access.stripe(key_slot(key)).ready(waiter.asked.db, key);
        }
        self.serve_ready(&mut access);
        drop(access);
        self.tell();
        Retry::Done
    }
}
