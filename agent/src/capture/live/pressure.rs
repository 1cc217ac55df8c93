//! How much is told when more comes than can be handled: a controller that watches how full the ring
//! is and how busy its reader. A pure state machine; time is an argument.
//!
//! It steps in before the ring is full, and halves what is told until the ring empties. It gives back
//! step by step, and no more than the reader has been seen to have time for, so that it comes to rest
//! at what can be handled instead of swinging around it.

use dnscribe_common::sample::{Cut, Cuts, PARTS};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From this fill on, less is told.
const PRESSED: f64 = 0.35;
/// From this one on, if the ring would be full within [`HORIZON`].
const EARLY: f64 = 0.15;
const HORIZON: Duration = Duration::from_millis(200);
/// From this one on, a quarter at once.
const URGENT: f64 = 0.7;
/// How long a step has to show its effect.
const PAUSE: Duration = Duration::from_millis(50);
/// A ring that empties by so much from one look to the next is getting better by itself.
const BETTER: f64 = 0.97;
/// Below this fill, more may be told.
const CALM: f64 = 0.15;
/// How long it must be calm before more is told; and how much longer at most, where that was too much
/// lately.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_PATIENCE: Duration = Duration::from_secs(8);
/// If less must be told so soon after more was, that was too much.
const TOO_MUCH: Duration = Duration::from_secs(20);
/// How busy the reader may be made.
const BUSY: f64 = 0.8;
/// The least and the most by which more is told at a time.
const LEAST_RISE: f64 = 1.05;
const MOST_RISE: f64 = 2.0;

/// The state of the rings at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load<'a> {
    /// What share of the fullest ring is taken: 0 to 1.
    pub fill: f64,
    /// How long each of those who read the rings, or work on what was read, has waited for something
    /// to do, since it began.
    pub waited: &'a [Duration],
}

/// The controller.
#[derive(Debug)]
pub struct Pressure {
    /// Parts of [`PARTS`] that are told at least, and now.
    floor: u32,
    told: u32,
    /// When it was looked whether the ring gets fuller, and how full it was.
    looked: Option<(Instant, f64)>,
    /// Since when it has been calm.
    calm: Option<Instant>,
    /// What each of those who work had waited by then.
    waited: Vec<Duration>,
    patience: Duration,
    /// When more was told last.
    rose: Option<Instant>,
}

impl Pressure {
    /// Tells all; at the worst, a share of `floor`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the number of parts"
    )]
    pub fn new(floor: f64) -> Self {
        let floor = (f64::from(PARTS) * floor).ceil().clamp(1.0, f64::from(PARTS)) as u32;
        Self {
            floor,
            told: PARTS,
            looked: None,
            calm: None,
            waited: Vec::new(),
            patience: PATIENCE,
            rose: None,
        }
    }

    /// Goes on with leaving out so much.
    pub fn leave_out(&mut self, cut: Cut) {
        self.told = (PARTS - u32::from(cut)).max(self.floor);
    }

    /// What is left out.
    #[must_use]
    pub fn cut(&self) -> Cut {
        Cut::try_from(PARTS - self.told).unwrap_or(Cut::MAX)
    }

    /// Looks at the load, and gives what is left out from now on where that changes.
    pub fn observe(&mut self, now: Instant, load: Load<'_>) -> Option<Cut> {
        let told = match self.looked {
            None => {
                self.looked = Some((now, load.fill));
                self.told
            }
            Some((since, before)) => {
                let passed = now.saturating_duration_since(since);
                let pressed = is_pressed(load.fill, before, passed);
                if load.fill >= CALM {
                    self.calm = None;
                }
                if pressed && passed >= PAUSE {
                    self.looked = Some((now, load.fill));
                    self.less(now, load.fill, before)
                } else if passed >= PAUSE {
                    self.looked = Some((now, load.fill));
                    self.more(now, load)
                } else if pressed && self.told == PARTS {
                    // The first step waits for nothing.
                    self.looked = Some((now, load.fill));
                    self.less(now, load.fill, before)
                } else {
                    self.told
                }
            }
        };
        let changed = told != self.told;
        self.told = told;
        changed.then(|| self.cut())
    }

    /// Half of it, unless it gets better by itself.
    fn less(&mut self, now: Instant, fill: f64, before: f64) -> u32 {
        let divisor = if fill >= URGENT { 4 } else { 2 };
        if self.told < PARTS && fill < before * BETTER {
            return self.told;
        }
        if let Some(rose) = self.rose.take() {
            let was_too_much = now.saturating_duration_since(rose) < TOO_MUCH;
            self.patience =
                if was_too_much { (self.patience * 2).min(MOST_PATIENCE) } else { PATIENCE };
        }
        (self.told / divisor).max(self.floor)
    }

    /// As much more as there is time for.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the number of parts"
    )]
    fn more(&mut self, now: Instant, load: Load<'_>) -> u32 {
        if self.told == PARTS || load.fill >= CALM {
            return self.told;
        }
        let Some(since) = self.calm else {
            self.be_calm(now, load);
            return self.told;
        };
        let passed = now.saturating_duration_since(since);
        if passed < self.patience {
            return self.told;
        }
        // Where a quota bounds a reader's time, it looks more idle than it is: hence the patience.
        let waited =
            load.waited.iter().zip(&self.waited).map(|(now, then)| now.saturating_sub(*then));
        let idle = waited.min().unwrap_or_default().as_secs_f64() / passed.as_secs_f64();
        self.be_calm(now, load);
        let rise = BUSY / (1.0 - idle).max(BUSY / MOST_RISE);
        if rise < LEAST_RISE {
            return self.told;
        }
        if self.rose.replace(now).is_some() {
            self.patience = (self.patience / 2).max(PATIENCE);
        }
        let told = (f64::from(self.told) * rise).ceil().min(f64::from(PARTS)) as u32;
        // The last percent is not worth another second.
        if told > PARTS / 100 * 99 { PARTS } else { told }
    }

    /// It is calm, and looked at how busy everybody is from here on.
    fn be_calm(&mut self, now: Instant, load: Load<'_>) {
        self.calm = Some(now);
        self.waited.clear();
        self.waited.extend_from_slice(load.waited);
    }
}

fn is_pressed(fill: f64, before: f64, passed: Duration) -> bool {
    let growth = (fill - before) / passed.as_secs_f64().max(1e-3);
    fill >= PRESSED || (fill >= EARLY && fill + growth * HORIZON.as_secs_f64() >= 1.0)
}

/// What was left out of late, for responses that follow queries.
#[derive(Debug)]
pub struct Recent {
    memory: Duration,
    now: Cut,
    /// What was left out before, each until when.
    past: VecDeque<(Instant, Cut)>,
}

impl Recent {
    /// Nothing was left out. A response follows its query within `memory`.
    #[must_use]
    pub const fn new(memory: Duration) -> Self {
        Self { memory, now: 0, past: VecDeque::new() }
    }

    /// Something else is left out from now on.
    pub fn change(&mut self, now: Instant, cut: Cut) {
        self.past.push_back((now, self.now));
        self.now = cut;
    }

    /// What the programs are to be told.
    pub fn cuts(&mut self, now: Instant) -> Cuts {
        while self.past.front().is_some_and(|(until, _)| *until + self.memory < now) {
            self.past.pop_front();
        }
        let all = || self.past.iter().map(|(_, cut)| *cut).chain([self.now]);
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        if most == 0 {
            return Cuts::default();
        }
        let nanoseconds = u64::try_from(self.memory.as_nanos()).unwrap_or(u64::MAX);
        Cuts { now: self.now, least, most, memory_ticks: Cuts::memory(nanoseconds) }
    }
}

#[cfg(test)]
mod tests;
