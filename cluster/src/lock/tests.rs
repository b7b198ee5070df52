//! Rules of locks and fences.

use super::*;
use crate::ids::Term;
use proptest::prelude::*;

fn table() -> LockTable {
    let mut table = LockTable::new(LockLimits::default());
    table.begin_term(Term(3), 0);
    table
}

fn ask<'a>(name: &'a str, mode: Mode, wait_ms: u64, owner: &'a str, waiter: u64) -> Acquire<'a> {
    Acquire {
        name: name.as_bytes(),
        mode,
        ttl_ms: 1_000,
        wait_ms,
        owner: owner.as_bytes(),
        request_id: b"",
        waiter: WaiterId(waiter),
    }
}

fn granted(answer: Result<Acquired, LockError>) -> Token {
    match answer {
        Ok(Acquired::Granted(granted)) => granted.token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_rise_and_a_busy_lock_is_busy() {
    let (mut table, mut out) = (table(), Outcome::default());
    let first = granted(table.acquire(&ask("a", Mode::Exclusive, 0, "x", 1), 0, &mut out));
    assert_eq!((first.term(), first.number()), (Term(3), 1));
    let busy = table.acquire(&ask("a", Mode::Exclusive, 0, "y", 2), 400, &mut out);
    assert_eq!(busy, Ok(Acquired::Busy { remaining_ms: 600 }));
    let other = granted(table.acquire(&ask("b", Mode::Exclusive, 0, "y", 2), 400, &mut out));
    assert!(other > first);
    let after = granted(table.acquire(&ask("a", Mode::Exclusive, 0, "y", 2), 1_000, &mut out));
    assert!(after > other);
    assert_eq!(table.release(b"a", first, b"x", 1_001, &mut out), Err(LockError::NotHolder));
}

#[test]
fn waiters_are_served_in_order() {
    let (mut table, mut out) = (table(), Outcome::default());
    let token = granted(table.acquire(&ask("a", Mode::Exclusive, 0, "x", 1), 0, &mut out));
    for (waiter, mode) in [(2, Mode::Exclusive), (3, Mode::Shared), (4, Mode::Shared), (5, Mode::Exclusive)] {
        let answer = table.acquire(&ask("a", mode, 5_000, "w", waiter), 10, &mut out);
        assert_eq!(answer, Ok(Acquired::Queued { deadline_ms: 5_010 }));
    }
    out = Outcome::default();
    assert_eq!(table.release(b"a", token, b"", 20, &mut out), Ok(()));
    let [(WaiterId(2), second)] = out.granted[..] else { panic!("{out:?}") };
    out = Outcome::default();
    assert_eq!(table.release(b"a", second.token, b"w", 30, &mut out), Ok(()));
    let ids: Vec<u64> = out.granted.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [3, 4], "a shared run is served together");
    assert_eq!(out.granted[0].1.token, out.granted[1].1.token);
    out = Outcome::default();
    table.expire(1_030, 100, &mut out);
    assert_eq!(out.granted.len(), 1, "the dead holders' time is over: {out:?}");
    assert_eq!(out.granted[0].0, WaiterId(5));
}

#[test]
fn a_waiter_gives_up_and_a_hung_up_one_is_forgotten() {
    let (mut table, mut out) = (table(), Outcome::default());
    let token = granted(table.acquire(&ask("a", Mode::Exclusive, 0, "x", 1), 0, &mut out));
    let _ = table.acquire(&ask("a", Mode::Exclusive, 100, "y", 2), 0, &mut out);
    let _ = table.acquire(&ask("a", Mode::Exclusive, 900, "z", 3), 0, &mut out);
    out = Outcome::default();
    table.expire(100, 100, &mut out);
    assert_eq!(out.timed_out, [WaiterId(2)]);
    table.cancel(b"a", WaiterId(3), 110, &mut out);
    assert_eq!(table.waiting(), 0);
    assert_eq!(table.release(b"a", token, b"x", 120, &mut out), Ok(()));
    assert!(table.is_empty());
}

#[test]
fn the_same_request_gets_the_same_grant() {
    let (mut table, mut out) = (table(), Outcome::default());
    let request = Acquire { request_id: b"r1", ..ask("a", Mode::Exclusive, 0, "x", 1) };
    let first = granted(table.acquire(&request, 0, &mut out));
    let again = table.acquire(&request, 300, &mut out);
    assert_eq!(again, Ok(Acquired::Granted(Granted { token: first, remaining_ms: 700 })));
    assert_eq!(out.effects.len(), 1);
}

#[test]
fn bounds_and_closing_are_refused_before_anything_changes() {
    let (mut table, mut out) = (table(), Outcome::default());
    let long = Acquire { ttl_ms: 60_001, ..ask("a", Mode::Exclusive, 0, "x", 1) };
    assert_eq!(table.acquire(&long, 0, &mut out), Err(LockError::Ttl { max_ttl_ms: 60_000 }));
    table.begin_term(Term(4), 500);
    let request = ask("a", Mode::Exclusive, 0, "x", 1);
    assert_eq!(table.acquire(&request, 100, &mut out), Err(LockError::Closed { remaining_ms: 400 }));
    assert_eq!(granted(table.acquire(&request, 500, &mut out)), Token::new(Term(4), 1).expect("small"));
    table.set_limits(LockLimits { max_locks: 1, ..LockLimits::default() });
    let other = table.acquire(&ask("b", Mode::Exclusive, 0, "x", 1), 500, &mut out);
    assert_eq!(other, Err(LockError::Full));
}

#[test]
fn a_replica_takes_over_with_later_ends_and_higher_tokens() {
    let (mut primary, mut replica, mut out) =
        (table(), LockTable::new(LockLimits::default()), Outcome::default());
    let token = granted(primary.acquire(&ask("a", Mode::Exclusive, 0, "x", 1), 0, &mut out));
    // Another clock, 50 ms on the way.
    for effect in out.effects.drain(..) {
        replica.apply(effect, 7_050);
    }
    replica.begin_term(Term(9), 0);
    assert!(replica.is_held(b"a", token, 8_049));
    let busy = replica.acquire(&ask("a", Mode::Exclusive, 0, "y", 1), 8_049, &mut out);
    assert_eq!(busy, Ok(Acquired::Busy { remaining_ms: 1 }));
    let next = granted(replica.acquire(&ask("a", Mode::Exclusive, 0, "y", 1), 8_050, &mut out));
    assert!(next > token);
}

#[test]
fn a_replica_stays_closed_as_long_as_its_primary() {
    let (mut primary, mut replica) = (table(), LockTable::new(LockLimits::default()));
    primary.begin_term(Term(4), 1_000);
    assert_eq!(primary.closure(1_000), None);
    // Another clock.
    replica.apply(primary.closure(400).expect("closed"), 7_000);
    replica.begin_term(Term(5), 0);
    assert_eq!(replica.check_open(7_599), Err(LockError::Closed { remaining_ms: 1 }));
    assert_eq!(replica.check_open(7_600), Ok(()));
}

#[test]
fn a_new_term_answers_the_waiters_of_the_old() {
    let (mut table, mut out) = (table(), Outcome::default());
    granted(table.acquire(&ask("a", Mode::Exclusive, 0, "x", 1), 0, &mut out));
    let _ = table.acquire(&ask("a", Mode::Exclusive, 900, "y", 7), 0, &mut out);
    assert_eq!(table.end_term(), [WaiterId(7)]);
    assert_eq!(table.len(), 1, "its holder stays");
}

#[test]
fn fences_rise_and_leave_a_floor() {
    let mut fence = FenceTable::new();
    let mut effects = Vec::new();
    let limits = FenceLimits { max_registers: 2, max_age_ms: 100 };
    let mut check = |key: &str, token: u64, now: u64| {
        fence.check(key.as_bytes(), Token(token), &limits, now, &mut effects)
    };
    assert_eq!(check("k", 5, 0), FenceVerdict::Pass);
    assert_eq!(check("k", 4, 1), FenceVerdict::Refused { register: Token(5) });
    assert_eq!(check("k", 5, 2), FenceVerdict::Pass);
    assert_eq!(check("k", 7, 3), FenceVerdict::Pass);
    assert_eq!(check("l", 9, 4), FenceVerdict::Pass);
    assert_eq!(check("m", 8, 5), FenceVerdict::Pass);
    assert_eq!(
        check("k", 6, 6),
        FenceVerdict::Refused { register: Token(7) },
        "the oldest went, its floor stays"
    );
    assert_eq!(check("m", 8, 200), FenceVerdict::Pass);
    assert_eq!(check("n", 8, 201), FenceVerdict::Refused { register: Token(9) });
    let mut replica = FenceTable::new();
    effects.into_iter().for_each(|effect| replica.apply(effect, 0));
    assert_eq!(replica.floor(), Token(9));
    let mut copy = FenceTable::new();
    fence.export().into_iter().for_each(|effect| copy.apply(effect, 0));
    assert_eq!(copy.floor(), fence.floor());
}

#[derive(Clone, Debug)]
enum Step {
    Acquire { name: u8, shared: bool, wait: bool, owner: u8 },
    Release { which: usize },
    Extend { which: usize },
    Pass { ms: u64 },
    Failover,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..3, any::<bool>(), any::<bool>(), 0u8..3)
            .prop_map(|(name, shared, wait, owner)| Step::Acquire { name, shared, wait, owner }),
        2 => (0usize..64).prop_map(|which| Step::Release { which }),
        1 => (0usize..64).prop_map(|which| Step::Extend { which }),
        2 => (1u64..1_500).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Failover),
    ]
}

/// The checker of the property below: what each name's effects say, in log order.
#[derive(Default)]
struct Log {
    last: std::collections::HashMap<Vec<u8>, Token>,
    holders: std::collections::HashMap<Vec<u8>, (Token, Mode, usize)>,
}

impl Log {
    fn take(&mut self, effect: &LockEffect) {
        match effect {
            LockEffect::Grant { name, token, mode, .. } => {
                let last = self.last.entry(name.clone()).or_default();
                let held = self.holders.entry(name.clone()).or_insert((Token(0), Mode::Shared, 0));
                if held.2 > 0 {
                    assert_eq!((held.0, held.1, *mode), (*token, Mode::Shared, Mode::Shared), "two holders");
                } else {
                    assert!(*token > *last, "token {token} after {last}");
                }
                *last = *token;
                *held = (*token, *mode, held.2 + 1);
            }
            LockEffect::Release { name, .. } => {
                let held = self.holders.get_mut(name).expect("was held");
                held.2 = held.2.checked_sub(1).expect("was held");
            }
            LockEffect::Extend { .. } | LockEffect::Closed { .. } => {}
        }
    }
}

proptest! {
    /// Invariant 12, the part that lies in the table: tokens rise per name, at most one exclusive holder in log
    /// order, a replica that applies the log takes over with the same holders, nobody waits behind a free lock.
    #[test]
    fn the_log_shows_one_holder_and_rising_tokens(steps in proptest::collection::vec(step(), 1..120)) {
        let mut primary = table();
        let mut replica = LockTable::new(LockLimits::default());
        let mut log = Log::default();
        let (mut now, mut term, mut waiter) = (0u64, 3u64, 0u64);
        let mut known: Vec<(Vec<u8>, Token, Vec<u8>)> = Vec::new();
        for step in steps {
            let mut out = Outcome::default();
            match step {
                Step::Acquire { name, shared, wait, owner } => {
                    waiter += 1;
                    let (name, owner) = (vec![name], vec![owner]);
                    let mode = if shared { Mode::Shared } else { Mode::Exclusive };
                    let request = Acquire {
                        name: &name, mode, ttl_ms: 1_000, wait_ms: if wait { 2_000 } else { 0 },
                        owner: &owner, request_id: b"", waiter: WaiterId(waiter),
                    };
                    if let Ok(Acquired::Granted(granted)) = primary.acquire(&request, now, &mut out) {
                        known.push((name, granted.token, owner));
                    }
                }
                Step::Release { which } if !known.is_empty() => {
                    let (name, token, owner) = known[which % known.len()].clone();
                    let _ = primary.release(&name, token, &owner, now, &mut out);
                }
                Step::Extend { which } if !known.is_empty() => {
                    let (name, token, owner) = known[which % known.len()].clone();
                    let _ = primary.extend(&name, token, &owner, 1_000, now, &mut out);
                }
                Step::Pass { ms } => {
                    now += ms;
                    primary.expire(now, usize::MAX, &mut out);
                }
                Step::Failover => {
                    term += 1;
                    primary = std::mem::replace(&mut replica, LockTable::new(LockLimits::default()));
                    primary.begin_term(Term(term), 0);
                    for effect in primary.export(|_| true, now) {
                        replica.apply(effect, now);
                    }
                }
                _ => {}
            }
            for effect in out.effects {
                log.take(&effect);
                replica.apply(effect, now + 20);
            }
            for name in 0u8..3 {
                let ends = |table: &LockTable, at: u64| {
                    table.info(&[name], at).map(|info| (info.token, info.holders.len()))
                };
                if let Some(info) = primary.info(&[name], now) {
                    prop_assert_eq!(ends(&replica, now), Some((info.token, info.holders.len())));
                }
            }
        }
        let mut out = Outcome::default();
        primary.expire(now + 100_000, usize::MAX, &mut out);
        primary.expire(now + 200_000, usize::MAX, &mut out);
        prop_assert!(primary.is_empty());
        prop_assert_eq!(primary.waiting(), 0);
    }
}

#[test]
fn memory_is_counted_and_bounded() {
    let mut table = LockTable::new(LockLimits { max_bytes: 4096, ..LockLimits::default() });
    table.begin_term(Term(1), 0);
    let mut out = Outcome::default();
    let names: Vec<String> = (0..100).map(|n| format!("lock:{n}")).collect();
    let mut held = Vec::new();
    let refused = names.iter().find_map(|name| {
        match table.acquire(&ask(name, Mode::Exclusive, 0, "x", 1), 0, &mut out) {
            Ok(Acquired::Granted(granted)) => held.push((name, granted.token)),
            other => return Some(other),
        }
        None
    });
    assert!(matches!(refused, Some(Err(LockError::Memory { max_bytes: 4096 }))), "{refused:?}");
    assert!(!held.is_empty() && table.bytes() > 3000 && table.bytes() <= 4096 + 512, "{}", table.bytes());
    // What is held can be given back, and then there is room again.
    for (name, token) in held {
        table.release(name.as_bytes(), token, b"x", 0, &mut out).expect("held");
    }
    assert_eq!(table.bytes(), 0);
    assert!(table.acquire(&ask("a", Mode::Exclusive, 0, "x", 1), 0, &mut out).is_ok());
    let name = "n".repeat(4096);
    let refused = table.acquire(&ask(&name, Mode::Exclusive, 0, "x", 1), 0, &mut out);
    assert!(matches!(refused, Err(LockError::Memory { .. })), "{refused:?}");

    let (mut fences, limits) = (FenceTable::new(), FenceLimits { max_registers: 3, max_age_ms: 100 });
    for n in 1..=10u64 {
        fences.check(format!("k{n}").as_bytes(), Token(n), &limits, n, &mut Vec::new());
    }
    assert_eq!(fences.bytes(), 3 * (fences.growth(b"k11") - 2) + 2);
    fences.apply(FenceEffect::Floor { token: Token(10) }, 11);
    assert_eq!(fences.bytes(), 0);
}
