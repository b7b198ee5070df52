//! A deterministic executor of one thread; `runtime` makes it openraft's `AsyncRuntime`.
//!
//! Everything lives in a thread-local [`Core`]: tasks with the host they run on, timers, one seeded generator. A
//! task's clock is its host's, with an origin and a rate of its own. Which of several ready tasks is polled next is
//! drawn. A timer fires only when nothing is left to do, one at a time, so that no task ever finds two things ready
//! of which `select!` would have to choose by its own dice; a paused host's timers and tasks wait for its return.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Where a task runs. [`NET`] is nowhere: the network and the driver, with a true clock and never paused.
pub(super) type Host = u64;
pub(super) const NET: Host = 0;
pub(super) const MS: u64 = 1_000_000;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy)]
struct Clock {
    origin_ns: u64,
    rate_ppm: u64,
    paused_until: u64,
}

pub(super) struct Core {
    now: u64,
    rng: u64,
    trace: u64,
    pub(super) current: Host,
    clocks: BTreeMap<Host, Clock>,
    /// `None` while it is being polled.
    tasks: BTreeMap<u64, (Host, Option<Task>)>,
    next_task: u64,
    ready: BTreeSet<u64>,
    woken: Arc<Mutex<BTreeSet<u64>>>,
    timers: BTreeMap<(u64, u64), (Host, Arc<Timer>)>,
    next_timer: u64,
}

#[derive(Default)]
struct Timer {
    fired: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

struct TaskWaker {
    task: u64,
    woken: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.lock().insert(self.task);
    }
}

thread_local! {
    static CORE: RefCell<Option<Core>> = const { RefCell::new(None) };
}

pub(super) fn with<T>(work: impl FnOnce(&mut Core) -> T) -> T {
    CORE.with(|core| work(core.borrow_mut().as_mut().expect("inside of a simulation")))
}

/// The executor of this thread while it lives.
pub(super) struct Executor(());

impl Executor {
    pub(super) fn new(seed: u64) -> Self {
        let core = Core {
            now: 0,
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            trace: 0xcbf2_9ce4_8422_2325,
            current: NET,
            clocks: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 0,
            ready: BTreeSet::new(),
            woken: Arc::default(),
            timers: BTreeMap::new(),
            next_timer: 0,
        };
        CORE.with(|place| *place.borrow_mut() = Some(core));
        Self(())
    }

    /// A host whose clock has this rate (1,000,000: true).
    pub(super) fn add_host(&self, host: Host, origin_ns: u64, rate_ppm: u64) {
        with(|core| core.clocks.insert(host, Clock { origin_ns, rate_ppm, paused_until: 0 }));
    }

    /// Nothing happens on a host for a while.
    pub(super) fn pause(&self, host: Host, for_ns: u64) {
        with(|core| {
            let until = core.now + for_ns;
            if let Some(clock) = core.clocks.get_mut(&host) {
                clock.paused_until = clock.paused_until.max(until);
            }
        });
        // Somebody has to look when it is over.
        spawn_on(NET, sleep_ns(for_ns));
    }

    /// Ends every pause.
    pub(super) fn resume_all(&self) {
        with(|core| core.clocks.values_mut().for_each(|clock| clock.paused_until = 0));
    }

    /// A host's tasks are gone, wherever they were.
    pub(super) fn kill(&self, host: Host) {
        let gone: Vec<_> = with(|core| {
            let ids: Vec<u64> =
                core.tasks.iter().filter(|(_, (of, _))| *of == host).map(|(id, _)| *id).collect();
            ids.iter().filter_map(|id| core.tasks.remove(id)).collect()
        });
        // What they drop may look into the core.
        drop(gone);
    }

    /// Runs until this moment.
    pub(super) fn run_until(&self, end: u64) {
        loop {
            while step() {}
            let due = with(|core| {
                let entry = core.timers.first_entry().filter(|entry| entry.key().0 <= end)?;
                let ((when, number), (host, timer)) = entry.remove_entry();
                let paused_until = core.clocks.get(&host).map_or(0, |clock| clock.paused_until);
                if paused_until > when.max(core.now) {
                    core.timers.insert((paused_until, number), (host, timer));
                    return Some(None);
                }
                core.now = core.now.max(when);
                core.mix(when ^ host);
                Some(Some(timer))
            });
            match due {
                None => break,
                Some(None) => {}
                Some(Some(timer)) => {
                    timer.fired.store(true, Ordering::Relaxed);
                    let waker = timer.waker.lock().take();
                    waker.into_iter().for_each(Waker::wake);
                }
            }
        }
        with(|core| core.now = core.now.max(end));
    }

    pub(super) fn trace(&self) -> u64 {
        with(|core| core.trace)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let tasks = with(|core| std::mem::take(&mut core.tasks));
        drop(tasks);
        let core = CORE.with(|place| place.borrow_mut().take());
        drop(core);
    }
}

/// Polls one ready task; `false`: there is none.
fn step() -> bool {
    let next = with(|core| {
        let woken = std::mem::take(&mut *core.woken.lock());
        core.ready.extend(woken);
        let (clocks, tasks, now) = (&core.clocks, &core.tasks, core.now);
        let host_of = |id: &u64| tasks.get(id).map(|(host, _)| *host);
        core.ready.retain(|id| tasks.contains_key(id));
        let able = |id: &u64| {
            host_of(id).is_some_and(|host| clocks.get(&host).is_none_or(|clock| clock.paused_until <= now))
        };
        let able: Vec<u64> = core.ready.iter().copied().filter(able).collect();
        if able.is_empty() {
            return None;
        }
        let id = able[(core.draw() % able.len() as u64) as usize];
        core.ready.remove(&id);
        let (host, task) = core.tasks.get_mut(&id)?;
        let (host, task) = (*host, task.take()?);
        core.current = host;
        core.mix(id);
        Some((id, task, TaskWaker { task: id, woken: Arc::clone(&core.woken) }))
    });
    let Some((id, mut task, waker)) = next else { return false };
    let waker = Waker::from(Arc::new(waker));
    let done = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    let mut task = Some(task);
    with(|core| {
        core.current = NET;
        if done {
            core.tasks.remove(&id);
        } else if let Some((_, place)) = core.tasks.get_mut(&id) {
            *place = task.take();
        }
    });
    // What a finished task drops may look into the core.
    drop(task);
    true
}

impl Core {
    fn mix(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn local(&self, host: Host) -> u64 {
        match self.clocks.get(&host) {
            None => self.now,
            Some(clock) => {
                clock.origin_ns + (u128::from(self.now) * u128::from(clock.rate_ppm) / 1_000_000) as u64
            }
        }
    }

    /// When a host's clock says `local`, rounded up.
    pub(super) fn real(&self, host: Host, local: u64) -> u64 {
        match self.clocks.get(&host) {
            None => local,
            Some(clock) => {
                let since = u128::from(local.saturating_sub(clock.origin_ns)) * 1_000_000;
                u64::try_from(since.div_ceil(u128::from(clock.rate_ppm))).unwrap_or(u64::MAX)
            }
        }
    }
}

/// In `low..high`.
pub(super) fn range(low: u64, high: u64) -> u64 {
    with(|core| low + core.draw() % (high - low).max(1))
}

pub(super) fn chance(permille: u64) -> bool {
    range(0, 1_000) < permille
}

/// Nanoseconds since the simulation began, by a true clock.
pub(super) fn now() -> u64 {
    with(|core| core.now)
}

/// Something that the trace hash shall depend on.
pub(super) fn mix(value: u64) {
    with(|core| core.mix(value));
}

pub(super) fn spawn_on(host: Host, task: impl Future<Output = ()> + Send + 'static) {
    let task: Task = Box::pin(task);
    with(|core| {
        core.next_task += 1;
        let id = core.next_task;
        core.tasks.insert(id, (host, Some(task)));
        core.ready.insert(id);
    });
}

/// A pause by a true clock.
pub(super) fn sleep_ns(ns: u64) -> Sleep {
    with(|core| core.sleep(NET, core.now.saturating_add(ns)))
}

impl Core {
    pub(super) fn sleep(&mut self, host: Host, deadline: u64) -> Sleep {
        self.next_timer += 1;
        let key = (deadline.max(self.now), self.next_timer);
        let timer = Arc::new(Timer::default());
        self.timers.insert(key, (host, Arc::clone(&timer)));
        Sleep { timer, key }
    }
}

pub(super) struct Sleep {
    timer: Arc<Timer>,
    /// Where it is among the timers; a paused host's timer moves, and is looked for.
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.fired.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        *self.timer.waker.lock() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.timer.fired.load(Ordering::Relaxed) {
            return;
        }
        let at = self.key;
        let removed = CORE.with(|core| {
            let mut core = core.try_borrow_mut().ok()?;
            let core = core.as_mut()?;
            if let Some(timer) = core.timers.remove(&at) {
                return Some(timer);
            }
            let key = core.timers.keys().find(|(_, number)| *number == at.1).copied()?;
            core.timers.remove(&key)
        });
        drop(removed);
    }
}
