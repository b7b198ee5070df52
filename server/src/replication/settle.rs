//! A replica that comes back by slots: it keeps what it holds, whatever that is, until each part of each stripe is
//! known to be as the primary's, or has been taken anew.
//!
//! ```text
//! open ──digests of the stripe──▶ settled        the part is the same
//!                             └─▶ awaited ──its content──▶ settled
//! ```
//!
//! The stream has one order: digests and contents stand in it behind the records that they hold, before all others. So a
//! record is for whatever is settled when it comes. To what is open it is applied as well: a slot that only the stream has
//! changed since the two were equal is equal again when it is compared. What is awaited comes whole. Locks are open until
//! the digests of their stripe come, which drop them, and then sent.
//!
//! Owner: the replication state's lock.

use torc_protocol::slot::Slot;

use super::digest::{DigestKey, Digester, Digests, Parts};
use super::stream::Progress;
use crate::effect::{Concerns, DecodeError, Effect, Record, effects};
use crate::effect_apply::{self, Base};
use crate::node::Node;
use crate::store::{SLOTS_PER_STRIPE, STRIPES, stripe_of};

/// Of one stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Compared, or taken whole; what is awaited is not settled.
    Known {
        awaited: Parts,
    },
}

/// See the module's text.
#[derive(Debug)]
pub struct Settling {
    digester: Digester,
    stripes: Box<[Stage]>,
    /// Stripes in which something is not settled.
    unsettled: usize,
    ended: bool,
    progress: Progress,
}

/// What a resync's frame says does not fit what was said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfPlace {
    /// There is no such stripe, or it was compared before.
    #[error("digests of stripe {0} that were not to come")]
    Digests(u16),
    /// Content that nobody asked for.
    #[error("content of stripe {0} that was not asked for")]
    Content(u16),
    /// Something that belongs behind another record than the last one that came.
    #[error("something of after record {at} came after record {last}")]
    Record {
        /// Behind which it belongs.
        at: u64,
        /// The last one.
        last: u64,
    },
}

impl Settling {
    /// Nothing is known to be the same yet.
    pub fn new(key: &DigestKey) -> Settling {
        Settling {
            digester: Digester::new(key),
            stripes: vec![Stage::Open; STRIPES].into(),
            unsettled: STRIPES,
            ended: false,
            progress: Progress::default(),
        }
    }

    /// What was compared and taken so far.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether all is as the primary's, and the primary has said so.
    pub fn is_done(&self) -> bool {
        self.ended && self.unsettled == 0
    }

    /// The primary has sent all that was asked for.
    pub fn end(&mut self) {
        self.ended = true;
    }

    fn stage(&self, slot: Slot) -> Stage {
        self.stripes.get(usize::from(stripe_of(slot))).copied().unwrap_or(Stage::Open)
    }

    /// To what a change of a slot's key is applied, if it is.
    fn base(&self, slot: Slot) -> Option<Base> {
        match self.stage(slot) {
            Stage::Open => Some(Base::Open),
            Stage::Known { awaited } if awaited.has_slot(slot) => None,
            Stage::Known { .. } => Some(Base::Known),
        }
    }

    fn takes(&self, effect: &Effect<'_>) -> Option<Base> {
        match effect.concerns() {
            Concerns::Keys(slot) => self.base(slot),
            Concerns::Sides(slot) => match self.stage(slot) {
                Stage::Known { awaited } if awaited.has(Parts::SIDES) => None,
                _ => Some(Base::Known),
            },
            Concerns::Locks(slot) => match self.stage(slot) {
                Stage::Open => None,
                Stage::Known { .. } => Some(Base::Known),
            },
            // Of chunks alone.
            Concerns::Stripe(_) => None,
            // What is awaited comes whole: what becomes of it until then does not matter.
            Concerns::Store => Some(Base::Known),
        }
    }

    /// Applies a record, to what is not awaited.
    pub fn record(&self, node: &Node, record: &Record<'_>, now_ns: u64) -> Result<(), DecodeError> {
        for effect in effects(record.body) {
            let effect = effect?;
            if let Some(base) = self.takes(&effect) {
                effect_apply::apply_to(node, &effect, base, now_ns);
            }
        }
        Ok(())
    }

    /// What computes the digests of a stripe that is to be compared.
    pub fn digester(&self, index: u16) -> Result<Digester, OutOfPlace> {
        match self.stripes.get(usize::from(index)) {
            Some(Stage::Open) => Ok(self.digester.clone()),
            _ => Err(OutOfPlace::Digests(index)),
        }
    }

    /// Compares a stripe with the primary's, both as they are at this place of the stream. Answers what differs, and is
    /// awaited from here on.
    pub fn compare(
        &mut self,
        node: &Node,
        index: u16,
        ours: &Digests,
        theirs: &Digests,
    ) -> Result<Parts, OutOfPlace> {
        let Some(stage @ Stage::Open) = self.stripes.get_mut(usize::from(index)) else {
            return Err(OutOfPlace::Digests(index));
        };
        let awaited = Parts::differing(ours, theirs);
        *stage = Stage::Known { awaited };
        self.unsettled -= usize::from(awaited.is_empty());
        node.forget_locks(index);
        self.progress.slots_compared += SLOTS_PER_STRIPE as u64;
        self.progress.slots_sent += u64::from(awaited.slots());
        Ok(awaited)
    }

    /// Takes the content of what is awaited; of a stripe that was not compared all of it.
    pub fn content(
        &mut self,
        node: &Node,
        index: u16,
        parts: Parts,
        content: &[u8],
        now_ns: u64,
    ) -> Result<(), super::state::ApplyError> {
        let stage = self.stripes.get_mut(usize::from(index));
        let stage = stage.ok_or(OutOfPlace::Content(index))?;
        let left = match *stage {
            Stage::Open if parts == Parts::ALL => {
                self.progress.slots_sent += SLOTS_PER_STRIPE as u64;
                self.unsettled -= 1;
                Parts::NONE
            }
            // Its locks came behind its digests.
            Stage::Known { awaited } if parts == Parts::LOCKS => awaited,
            Stage::Known { awaited } if !parts.is_empty() && awaited.has(parts) => {
                let left = awaited.without(parts);
                self.unsettled -= usize::from(left.is_empty());
                left
            }
            _ => return Err(OutOfPlace::Content(index).into()),
        };
        *stage = Stage::Known { awaited: left };
        effect_apply::drop_parts(node, index, parts);
        for effect in effects(content) {
            effect_apply::apply(node, &effect?, now_ns);
        }
        self.progress.bytes += content.len() as u64;
        Ok(())
    }
}
