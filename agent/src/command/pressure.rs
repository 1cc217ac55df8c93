//! What `run` does about pressure besides regulating it: says so, and fetches the totals of what was
//! not told.

use crate::capture::live::Live;
use crate::capture::sampling::{Change, told};
use crate::ledger::Kernel;
use crate::pipeline::Pipeline;
use crate::time::Timestamp;
use std::time::Duration;

/// Says when less than all is told, and when that is over: once each, whatever steps there are.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    /// Since when, and the least share since.
    episode: Option<(Timestamp, f64)>,
}

impl Announcement {
    /// Takes note of a change.
    pub(super) fn announce(&mut self, change: Change) {
        let share = told(change.cut);
        match &mut self.episode {
            None if change.cut > 0 => {
                self.episode = Some((change.at, share));
                tracing::warn!(
                    ratio = share,
                    "more comes than can be handled: from here on, a share of the UDP transactions is \
                     left out, whole ones each time, as large as is needed; totals stay exact. More \
                     CPU for the agent or fewer streams would help"
                );
            }
            Some((since, least)) if change.cut == 0 => {
                tracing::info!(
                    seconds = change.at.since(*since).as_secs(),
                    least_ratio = *least,
                    "all transactions are told again"
                );
                self.episode = None;
            }
            Some((_, least)) => *least = least.min(share),
            None => {}
        }
    }
}

/// When the kernel is asked what was not told: at the end of each of the panes that windows are made
/// of, so that each has its own.
#[derive(Debug)]
pub(super) struct Totals {
    epoch: Timestamp,
    pane: u64,
    /// Packets that were not told when it was last asked.
    known: u64,
}

/// As long as a pane of the windows.
const PANE: Duration = Duration::from_secs(10);

impl Totals {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { epoch: now, pane: pane(now), known: 0 }
    }

    /// When the capture began.
    pub(super) const fn epoch(&self) -> Timestamp {
        self.epoch
    }

    /// Whether a pane has ended, or something else wants to know.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        pane(now) != self.pane
    }

    /// Asks, and gives the pipeline what is new.
    pub(super) fn take(&mut self, live: &mut Live, pipeline: &mut Pipeline, now: Timestamp) {
        let until =
            if self.is_due(now) { start(pane(now)).minus(Duration::from_nanos(1)) } else { now };
        self.pane = pane(now);
        let (kernel, _) = live.counters();
        let untold = |kernel: &Kernel| kernel.sampled_out + kernel.lost_ring_full;
        let known = kernel.values().map(untold).sum();
        if known != self.known {
            self.known = known;
            live.untold().iter().for_each(|untold| pipeline.untold(until, untold));
        }
    }
}

const PANE_NANOS: u64 = PANE.as_secs() * 1_000_000_000;

fn pane(now: Timestamp) -> u64 {
    now.as_nanos() / PANE_NANOS
}

fn start(pane: u64) -> Timestamp {
    Timestamp::from_nanos(pane * PANE_NANOS)
}
