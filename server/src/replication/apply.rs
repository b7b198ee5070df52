//! Applying what a primary sent: records, and the chunks of a full sync.

use super::stream::{COMMON, END};
use crate::effect::{Concerns, DecodeError, Effect, Record, effects};
use crate::effect_apply;
use crate::node::Node;
use crate::store::{STRIPES, stripe_of};

/// Which records of a full sync's stream apply to which stripe: those above the offset of its chunk.
#[derive(Debug)]
pub struct Filter {
    /// Offset of each stripe's chunk; `None` before it has come.
    at: Box<[Option<u64>]>,
    /// The end chunk's offset.
    end: Option<u64>,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { at: vec![None; STRIPES].into(), end: None }
    }
}

impl Filter {
    fn applies(&self, stripe: u16, offset: u64) -> bool {
        self.at.get(stripe as usize).copied().flatten().is_some_and(|at| offset > at)
    }

    /// Whether the state is whole when the records up to `last` have been applied.
    pub fn is_complete(&self, last: u64) -> bool {
        self.end.is_some_and(|end| last >= end) && self.at.iter().all(Option::is_some)
    }
}

/// The stripe that an effect changes; `None` when it is about all of them.
fn stripe(effect: &Effect<'_>) -> Option<u16> {
    match effect.concerns() {
        Concerns::Keys(slot) | Concerns::Sides(slot) | Concerns::Locks(slot) => Some(stripe_of(slot)),
        Concerns::Stripe(stripe) => Some(stripe),
        Concerns::Store => None,
    }
}

/// Applies one record; with a filter only what the chunks do not hold already.
pub fn record(
    node: &Node,
    record: &Record<'_>,
    filter: Option<&Filter>,
    now_ns: u64,
) -> Result<(), DecodeError> {
    for effect in effects(record.body) {
        let effect = effect?;
        let Some(filter) = filter else {
            effect_apply::apply(node, &effect, now_ns);
            continue;
        };
        match (stripe(&effect), &effect) {
            (Some(stripe), _) => {
                if filter.applies(stripe, record.offset) {
                    effect_apply::apply(node, &effect, now_ns);
                }
            }
            (None, Effect::Flush { .. } | Effect::Swap { .. }) => {
                for stripe in (0..STRIPES as u16).filter(|s| filter.applies(*s, record.offset)) {
                    effect_apply::apply_to_stripe(node, stripe, &effect);
                }
            }
            (None, _) => effect_apply::apply(node, &effect, now_ns),
        }
    }
    Ok(())
}

/// Applies a chunk.
pub fn chunk(
    node: &Node,
    filter: &mut Filter,
    stripe: u16,
    at: u64,
    body: &[u8],
    now_ns: u64,
) -> Result<(), DecodeError> {
    match stripe {
        END => filter.end = Some(at),
        COMMON => {}
        index => match filter.at.get_mut(index as usize) {
            Some(known) => *known = Some(at),
            None => return Err(DecodeError::Truncated),
        },
    }
    effects_of(node, body, now_ns)
}

/// Applies effects that stand in no record.
pub fn effects_of(node: &Node, body: &[u8], now_ns: u64) -> Result<(), DecodeError> {
    for effect in effects(body) {
        effect_apply::apply(node, &effect?, now_ns);
    }
    Ok(())
}
