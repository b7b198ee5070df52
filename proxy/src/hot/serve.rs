//! Reads that need no request of their own: answered with a copy, or together with another client's.

use std::rc::Rc;

use torc_protocol::command::{
    BitmapCommand, Command, HashCommand, ListCommand, SetCommand, SortedSetCommand, StringCommand,
};
use torc_protocol::context::ReadLevel;
use torc_protocol::slot::Slot;
use torc_runtime::clock::boottime_ns;

use super::channel::{self, Channel};
use super::copies::{Form, Found};
use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::downstream::session::Session;
use crate::table::RouteTable;
use crate::upstream::pending::Dest;
use crate::worker::{Routes, Worker};

/// Reads of one key whose reply depends on the key's value alone: not on chance, the time, or how often it is asked for.
pub fn is_plain_read(command: Command) -> bool {
    use {HashCommand as H, ListCommand as L, SetCommand as S, SortedSetCommand as Z, StringCommand as T};
    match command {
        Command::String(command) => matches!(command, T::Get | T::Getrange | T::Strlen | T::Substr),
        Command::Hash(command) => matches!(
            command,
            H::Hexists | H::Hget | H::Hgetall | H::Hkeys | H::Hlen | H::Hmget | H::Hstrlen | H::Hvals
        ),
        Command::List(command) => matches!(command, L::Lindex | L::Llen | L::Lpos | L::Lrange),
        Command::Set(command) => matches!(command, S::Scard | S::Sismember | S::Smembers | S::Smismember),
        Command::SortedSet(command) => matches!(
            command,
            Z::Zcard
                | Z::Zcount
                | Z::Zlexcount
                | Z::Zmscore
                | Z::Zrange
                | Z::Zrangebylex
                | Z::Zrangebyscore
                | Z::Zrank
                | Z::Zrevrange
                | Z::Zrevrangebylex
                | Z::Zrevrangebyscore
                | Z::Zrevrank
                | Z::Zscore
        ),
        Command::Bitmap(command) => {
            matches!(command, BitmapCommand::Bitcount | BitmapCommand::Bitpos | BitmapCommand::Getbit)
        }
        _ => false,
    }
}

/// Whether a client may have what was read before its request came: not while it watches keys, not after it has used
/// locks, and not where it, or the policy of the key, asks for strong reads.
pub fn takes_copies(session: &Session, table: &RouteTable, key: &[u8]) -> bool {
    let strong = || session.levels(table.rule(key)).1 == Some(ReadLevel::Strong);
    session.watch.is_none() && !session.locks && !strong()
}

impl Worker {
    /// Answers a read with a copy. False: the request has to go its way.
    #[inline(never)]
    pub fn answer_with_copy(
        self: &Rc<Self>,
        routes: &Routes,
        (client, session): (&Rc<Client>, &Session),
        (form, key): (&Form<'_>, &[u8]),
        render: Render,
    ) -> bool {
        if !takes_copies(session, &routes.table, key) {
            return false;
        }
        let now_ns = boottime_ns();
        let found = self.hot.copies.borrow_mut().look(form, now_ns);
        match found {
            Found::Nothing => false,
            Found::Wanted { place, shard, slot } => {
                let channel = self.hot.channels.borrow().get(&shard).cloned();
                self.fetch_copy(routes, channel.as_ref(), place, slot);
                false
            }
            Found::Copy { place, body, shard, slot, stamp } => {
                if self.shared.stamps.of(slot) != stamp {
                    self.hot.copies.borrow_mut().spoil(place, now_ns);
                    return false;
                }
                let holds = |channel: &Rc<Channel>| now_ns < channel.holds_until_ns();
                if !self.hot.channels.borrow().get(&shard).is_some_and(holds) {
                    self.metrics.copies_unsure.add(1);
                    return false;
                }
                let mut outbox = client.outbox.borrow_mut();
                outbox.reply(render, &self.pool, |out| {
                    render.write(&body, out);
                });
                let unsent = outbox.unsent();
                drop(outbox);
                if unsent > 0 {
                    self.mark_client(client);
                }
                self.metrics.copies_served.add(1);
                self.hot.copies.borrow_mut().served(place);
                true
            }
        }
    }

    fn fetch_copy(self: &Rc<Self>, routes: &Routes, channel: Option<&Rc<Channel>>, place: u64, slot: Slot) {
        let Some(channel) = channel.filter(|channel| channel.has_room()) else { return };
        let stamp = self.shared.stamps.of(slot);
        if !stamp.is_quiet() || self.clock.now_ns() < self.hot.fetches_from_ns.get() {
            return;
        }
        let mut copies = self.hot.copies.borrow_mut();
        if let Some(fetch) = copies.fetch(place, stamp) {
            channel.fetch(place, &fetch, routes.table.epoch);
        }
    }

    /// A key was found to be hot by this request: its reply is kept from now on, where the policy of the key says so.
    #[cold]
    pub fn keep_copies(
        self: &Rc<Self>,
        routes: &Routes,
        session: &Session,
        form: &Form<'_>,
        (count, key): (usize, &[u8]),
        dest: Dest,
    ) {
        let config = self.settings();
        if !takes_copies(session, &routes.table, key)
            || !self.hot.copies_for(&routes.table, key)
            || !channel::fits(form, config.copy_value_bytes)
        {
            return;
        }
        let (Dest::Slot(slot), Some(place)) = (dest, routes.place(dest)) else { return };
        let shard = routes.shard_id(place);
        let target = routes.table.shards.get(place).and_then(|shard| shard.primary.clone());
        let Some(target) = target else { return };
        if !self.hot.copies.borrow_mut().open(form, (count, key), (slot, shard), config.copy_bytes) {
            self.metrics.copies_refused.add(1);
            return;
        }
        self.hot.active.set(true);
        let mut channels = self.hot.channels.borrow_mut();
        channels.entry(shard).or_insert_with(|| Channel::start(self, shard, target));
    }
}

impl super::Hot {
    /// Whether replies of a key may be kept.
    pub fn copies_for(&self, table: &RouteTable, key: &[u8]) -> bool {
        table.rule(key).and_then(|rule| rule.copies).unwrap_or(self.copies_by_default.get())
    }

    /// Whether reads of a key may share a request.
    pub fn coalesces_for(&self, table: &RouteTable, key: &[u8]) -> bool {
        if table.rules.is_empty() {
            return self.coalesce_by_default.get();
        }
        table.rule(key).and_then(|rule| rule.coalesce).unwrap_or(self.coalesce_by_default.get())
    }
}
