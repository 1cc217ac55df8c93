//! Controller of sampling: decides from the fill of the rings and the idle time of their readers which share of
//! the transactions is left out. A pure state machine; time is an argument.
//!
//! Before the ring is full, it halves the exported share until the ring empties. It then raises the share in
//! steps, by no more than the reader's measured idle time allows, so that it settles at the possible load
//! instead of oscillating.

use dnscribe_common::sample::{Cut, Cuts, PARTS};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Fill of a ring from which on less is exported: 0 to 1.
const PRESSED: f64 = 0.35;
/// Fill from which on less is exported if the ring would be full within [`LOOK_AHEAD`].
const EARLY: f64 = 0.15;
/// Look-ahead for [`EARLY`].
const LOOK_AHEAD: Duration = Duration::from_millis(200);
/// Fill from which on the share is quartered in one step.
const URGENT: f64 = 0.7;
/// Time for a step to take effect.
const PAUSE: Duration = Duration::from_millis(50);
/// Decrease of the fill between two measurements that needs no further step.
const BETTER: f64 = 0.97;
/// Fill below which more may be exported.
const CALM: f64 = 0.15;
/// Time for which the fill must stay low before more is exported.
const PATIENCE: Duration = Duration::from_secs(1);
/// Largest value of that time, after raises that were too large.
const MAX_PATIENCE: Duration = Duration::from_secs(8);
/// A reduction within this time after a raise shows that the raise was too large.
const OVERSHOOT_WINDOW: Duration = Duration::from_secs(20);
/// Target load of the reader: 0 to 1.
const TARGET_LOAD: f64 = 0.8;
/// Smallest factor of one raise.
const MIN_RAISE: f64 = 1.05;
/// Largest factor of one raise.
const MAX_RAISE: f64 = 2.0;

/// Measurements of the load at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load<'a> {
    /// Fill of the fullest ring: 0 to 1.
    pub fill: f64,
    /// Time that each reader and worker thread has waited for input since its start.
    pub waited: &'a [Duration],
}

/// The controller.
#[derive(Debug)]
pub struct Pressure {
    /// Smallest allowed exported share, in parts of [`PARTS`].
    floor: u32,
    /// Current exported share, in parts of [`PARTS`].
    exported: u32,
    /// Time and fill at the last measurement of the trend.
    measured: Option<(Instant, f64)>,
    /// Time since which the fill is low.
    calm_since: Option<Instant>,
    /// Waiting times of the threads at that time.
    waited: Vec<Duration>,
    patience: Duration,
    /// Time of the last raise.
    raised: Option<Instant>,
}

impl Pressure {
    /// Creates a controller that starts with everything exported, and never exports less than the share `floor`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the number of parts"
    )]
    pub fn new(floor: f64) -> Self {
        let floor = (f64::from(PARTS) * floor).ceil().clamp(1.0, f64::from(PARTS)) as u32;
        Self {
            floor,
            exported: PARTS,
            measured: None,
            calm_since: None,
            waited: Vec::new(),
            patience: PATIENCE,
            raised: None,
        }
    }

    /// Returns the share that is left out.
    pub fn cut(&self) -> Cut {
        Cut::try_from(PARTS - self.exported).unwrap_or(Cut::MAX)
    }

    /// Processes a measurement. Returns the new share that is left out, if it changes.
    pub fn observe(&mut self, now: Instant, load: Load<'_>) -> Option<Cut> {
        let Some((since, before)) = self.measured else {
            self.measured = Some((now, load.fill));
            return None;
        };
        let passed = now.saturating_duration_since(since);
        let pressed = is_pressed(load.fill, before, passed);
        if load.fill >= CALM {
            self.calm_since = None;
        }
        // The first step is immediate.
        if passed < PAUSE && !(pressed && self.exported == PARTS) {
            return None;
        }
        self.measured = Some((now, load.fill));
        let exported =
            if pressed { self.reduce(now, load.fill, before) } else { self.raise(now, load) };
        let changed = exported != self.exported;
        self.exported = exported;
        changed.then(|| self.cut())
    }

    /// Halves the share, unless the ring empties by itself.
    fn reduce(&mut self, now: Instant, fill: f64, before: f64) -> u32 {
        let divisor = if fill >= URGENT { 4 } else { 2 };
        if self.exported < PARTS && fill < before * BETTER {
            return self.exported;
        }
        if let Some(raised) = self.raised.take() {
            let was_too_large = now.saturating_duration_since(raised) < OVERSHOOT_WINDOW;
            self.patience =
                if was_too_large { (self.patience * 2).min(MAX_PATIENCE) } else { PATIENCE };
        }
        (self.exported / divisor).max(self.floor)
    }

    /// Raises the share by what the idle time allows.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the number of parts"
    )]
    fn raise(&mut self, now: Instant, load: Load<'_>) -> u32 {
        if self.exported == PARTS || load.fill >= CALM {
            return self.exported;
        }
        let Some(since) = self.calm_since else {
            self.restart_idle_measurement(now, load);
            return self.exported;
        };
        let passed = now.saturating_duration_since(since);
        if passed < self.patience {
            return self.exported;
        }
        // Under a CPU quota a reader seems more idle than it is; therefore the long waiting time.
        let waited =
            load.waited.iter().zip(&self.waited).map(|(now, then)| now.saturating_sub(*then));
        let idle = waited.min().unwrap_or_default().as_secs_f64() / passed.as_secs_f64();
        self.restart_idle_measurement(now, load);
        let factor = TARGET_LOAD / (1.0 - idle).max(TARGET_LOAD / MAX_RAISE);
        if factor < MIN_RAISE {
            return self.exported;
        }
        if self.raised.replace(now).is_some() {
            self.patience = (self.patience / 2).max(PATIENCE);
        }
        let exported = (f64::from(self.exported) * factor).ceil().min(f64::from(PARTS)) as u32;
        // Rounds up the last percent, which would take another second.
        if exported > PARTS / 100 * 99 { PARTS } else { exported }
    }

    /// Starts a new measurement of idle times.
    fn restart_idle_measurement(&mut self, now: Instant, load: Load<'_>) {
        self.calm_since = Some(now);
        self.waited.clear();
        self.waited.extend_from_slice(load.waited);
    }
}

fn is_pressed(fill: f64, before: f64, passed: Duration) -> bool {
    let growth = (fill - before) / passed.as_secs_f64().max(1e-3);
    fill >= PRESSED || (fill >= EARLY && fill + growth * LOOK_AHEAD.as_secs_f64() >= 1.0)
}

/// Shares that were left out recently, for responses that follow queries.
#[derive(Debug)]
pub struct Recent {
    /// Time within which a response follows its query.
    pub memory: Duration,
    /// A shorter memory, and since when it holds: once no response follows a query from before.
    next_memory: Option<(Instant, Duration)>,
    current: Cut,
    /// Earlier cuts, each with its end time.
    past: VecDeque<(Instant, Cut)>,
}

impl Recent {
    /// Creates an empty history. A response follows its query within `memory`.
    pub const fn new(memory: Duration) -> Self {
        Self { memory, next_memory: None, current: 0, past: VecDeque::new() }
    }

    /// Changes the time within which a response follows its query. Queries from before `now` keep theirs.
    pub fn set_memory(&mut self, now: Instant, memory: Duration) {
        let since = now.checked_add(self.memory);
        self.next_memory = since.filter(|_| memory < self.memory).map(|since| (since, memory));
        if self.next_memory.is_none() {
            self.memory = memory;
        }
    }

    /// Records a change of the share.
    pub fn change(&mut self, now: Instant, cut: Cut) {
        self.past.push_back((now, self.current));
        self.current = cut;
    }

    /// Returns the cuts for the programs.
    pub fn cuts(&mut self, now: Instant) -> Cuts {
        if let Some((_, memory)) = self.next_memory.take_if(|(since, _)| *since < now) {
            self.memory = memory;
        }
        let is_over = |until: Instant| now.saturating_duration_since(until) > self.memory;
        while self.past.front().is_some_and(|(until, _)| is_over(*until)) {
            self.past.pop_front();
        }
        let all = || self.past.iter().map(|(_, cut)| *cut).chain([self.current]);
        let (min, max) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        if max == 0 {
            return Cuts::default();
        }
        let nanoseconds = u64::try_from(self.memory.as_nanos()).unwrap_or(u64::MAX);
        Cuts { current: self.current, min, max, memory_ticks: Cuts::memory(nanoseconds) }
    }
}

#[cfg(test)]
mod tests;
