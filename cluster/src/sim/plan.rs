//! What may go wrong in a run, and how much of it: every fault is a parameter.

use super::network::MS;
use super::rng::Rng;

/// A kind of sudden fault, its name in reports, and how often it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A data node dies and forgets everything.
    Crash,
    /// A host of the control plane dies; its log is on a disk, its controller's memory is gone.
    CrashControl,
    /// A process stands still.
    Pause,
    /// Links of a host are cut, each in one direction.
    CutOneWay,
    /// Links of a host are cut in both directions.
    CutBothWays,
    /// Another leader of the control plane.
    NewLeader,
    /// A replica is cut off; then its primary dies.
    CutAndCrash,
    /// A person asks for a failover.
    FailoverAsked,
    /// A replica is cut off for longer than the backlog lasts, and is slow afterwards; then its primary dies.
    LagAndCrash,
    /// A person sets another `min_in_sync` for a while.
    MinimumChanged,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::Crash,
        Kind::CrashControl,
        Kind::Pause,
        Kind::CutOneWay,
        Kind::CutBothWays,
        Kind::NewLeader,
        Kind::CutAndCrash,
        Kind::FailoverAsked,
        Kind::LagAndCrash,
        Kind::MinimumChanged,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Crash => "crash",
            Kind::CrashControl => "crash-control",
            Kind::Pause => "pause",
            Kind::CutOneWay => "cut-one-way",
            Kind::CutBothWays => "cut-both-ways",
            Kind::NewLeader => "new-leader",
            Kind::CutAndCrash => "cut-and-crash",
            Kind::FailoverAsked => "failover-asked",
            Kind::LagAndCrash => "lag-and-crash",
            Kind::MinimumChanged => "minimum-changed",
        }
    }
}

/// The parameters of one run. `delay_us` and the permilles are of single messages; what a connection carries stays
/// in order and comes once, so there a loss is a broken connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The longest delay of an ordinary message.
    pub delay_us: u64,
    pub loss_permille: u64,
    /// A message outside of connections comes twice.
    pub repeat_permille: u64,
    /// A message outside of connections is overtaken by later ones.
    pub reorder_permille: u64,
    /// A message takes up to `slow_ms`.
    pub slow_permille: u64,
    pub slow_ms: u64,
    /// How far the rates of any two clocks may be apart, as a share of the stated bound: above 1,000 the promise is
    /// broken.
    pub drift_permille: u64,
    /// Between two sudden faults: half to one and a half of it.
    pub gap_ms: u64,
    /// The longest pause, cut and down time.
    pub pause_ms: u64,
    pub cut_ms: u64,
    pub down_ms: u64,
    /// How long a replica is slow, and how many records behind it is then at least.
    pub lag_ms: u64,
    pub lag_records: u64,
    /// How often each kind is drawn, in the order of [`Kind::ALL`].
    pub weights: [u64; Kind::ALL.len()],
}

impl Faults {
    /// Parameters of a seed: calm runs and stormy ones, each with its own mix.
    pub(super) fn drawn(rng: &mut Rng) -> Faults {
        let mut weights = [0; Kind::ALL.len()];
        weights.iter_mut().for_each(|weight| *weight = rng.range(0, 10));
        Faults {
            delay_us: rng.range(500, 4_000),
            loss_permille: rng.range(0, 20),
            repeat_permille: rng.range(0, 30),
            reorder_permille: rng.range(0, 20),
            slow_permille: rng.range(0, 20),
            slow_ms: rng.range(50, 300),
            drift_permille: rng.range(0, 1_001),
            gap_ms: if rng.chance(600) { rng.range(300, 800) } else { rng.range(800, 4_000) },
            pause_ms: rng.range(300, 1_600),
            cut_ms: rng.range(300, 2_500),
            down_ms: rng.range(100, 1_600),
            lag_ms: rng.range(300, 2_500),
            lag_records: rng.range(2, 7),
            weights,
        }
    }

    /// Sets parameters from `name=value,name=value`: the fields' names, and those of the kinds for their weights.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("'{pair}' is no name=value"))?;
            let value: u64 = value.parse().map_err(|_| format!("'{value}' is no number"))?;
            let field = match name {
                "delay_us" => &mut self.delay_us,
                "loss_permille" => &mut self.loss_permille,
                "repeat_permille" => &mut self.repeat_permille,
                "reorder_permille" => &mut self.reorder_permille,
                "slow_permille" => &mut self.slow_permille,
                "slow_ms" => &mut self.slow_ms,
                "drift_permille" => &mut self.drift_permille,
                "gap_ms" => &mut self.gap_ms,
                "pause_ms" => &mut self.pause_ms,
                "cut_ms" => &mut self.cut_ms,
                "down_ms" => &mut self.down_ms,
                "lag_ms" => &mut self.lag_ms,
                "lag_records" => &mut self.lag_records,
                kind => {
                    let index = Kind::ALL.iter().position(|known| known.name() == kind);
                    &mut self.weights[index.ok_or_else(|| format!("there is no fault '{kind}'"))?]
                }
            };
            *field = value;
        }
        Ok(())
    }

    /// Whether clocks keep the promise that leases rely on.
    pub fn within_bound(&self) -> bool {
        self.drift_permille <= 1_000
    }

    pub(super) fn kind(&self, rng: &mut Rng) -> Kind {
        let total: u64 = self.weights.iter().sum();
        let mut drawn = rng.range(0, total);
        for (kind, weight) in Kind::ALL.into_iter().zip(self.weights) {
            if drawn < weight {
                return kind;
            }
            drawn -= weight;
        }
        Kind::Crash
    }

    /// How long something lasts: up to `longest_ms`, in ns.
    pub(super) fn lasts(rng: &mut Rng, longest_ms: u64) -> u64 {
        rng.range(20 * MS, longest_ms.max(21) * MS)
    }
}
