//! Sampling in `run`: logs episodes of overload, and polls the kernel for the numbers of packets that were not
//! exported.

use super::run::Capture;
use crate::pipeline::Pipeline;
use dnscribe_record::ledger::Kernel;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::sampling::{Change, exported_share};
use std::time::Duration;

/// Logs the start and the end of each episode of sampling, but not its steps.
#[derive(Debug, Default)]
pub(super) struct SamplingLog {
    episode: Option<Episode>,
}

#[derive(Debug)]
struct Episode {
    since: Timestamp,
    lowest_ratio: f64,
}

impl SamplingLog {
    /// Logs a change of the sampling ratio.
    pub(super) fn log(&mut self, change: Change) {
        let ratio = exported_share(change.cut);
        match &mut self.episode {
            None if change.cut > 0 => {
                self.episode = Some(Episode { since: change.at, lowest_ratio: ratio });
                tracing::warn!(
                    ratio,
                    "overloaded: sampling UDP transactions (ratio in dnscribe_sampling_ratio); totals stay \
                     exact; add capture.threads or reduce streams"
                );
            }
            Some(episode) if change.cut == 0 => {
                tracing::info!(
                    seconds = change.at.since(episode.since).as_secs(),
                    least_ratio = episode.lowest_ratio,
                    "no longer overloaded: all transactions are exported again"
                );
                self.episode = None;
            }
            Some(episode) => episode.lowest_ratio = episode.lowest_ratio.min(ratio),
            None => {}
        }
    }
}

/// Polls the kernel for packets that were not exported: at the end of each pane of the windows, so that each pane
/// has its own numbers, and more often if connections are matched with lookups, which are uncertain then.
#[derive(Debug)]
pub(super) struct NotExportedPoller {
    pane: u64,
    /// Time of the last poll.
    polled: Timestamp,
    /// Packets that were not exported, at the last poll.
    known: u64,
}

/// Length of a pane of the windows.
const PANE: Duration = Duration::from_secs(10);

/// Time between two polls if connections are matched with lookups: shorter than the time for which an established
/// connection waits for its record.
const USES: Duration = Duration::from_millis(500);

impl NotExportedPoller {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { pane: pane(now), polled: now, known: 0 }
    }

    /// Returns whether a poll is due.
    pub(super) fn is_due(&self, pipeline: &Pipeline, now: Timestamp) -> bool {
        self.has_ended(pipeline, now) || pipeline.has_uses() && now.since(self.polled) >= USES
    }

    /// Returns whether a pane has ended since the last poll.
    fn has_ended(&self, pipeline: &Pipeline, now: Timestamp) -> bool {
        pane(pipeline.clock_shift().apply(now)) != self.pane
    }

    /// Polls the kernel, and adds the difference to the pipeline.
    pub(super) fn poll(&mut self, capture: &mut Capture, pipeline: &mut Pipeline, now: Timestamp) {
        // Panes begin at times of day.
        let clock = pipeline.clock_shift();
        let current = pane(clock.apply(now));
        let ended = self.has_ended(pipeline, now);
        let end = || clock.undo(start(current)).minus(Duration::from_nanos(1));
        let until = if ended { end() } else { now };
        self.pane = current;
        let ((kernel, _), _) = capture.counters(&[]);
        let not_exported = |kernel: &Kernel| kernel.sampled_out + kernel.lost_ring_full;
        let known = kernel.values().map(not_exported).sum();
        let polled = std::mem::replace(&mut self.polled, now);
        if known != self.known {
            self.known = known;
            pipeline.note_missing(polled, now);
            capture
                .not_exported()
                .iter()
                .for_each(|counts| pipeline.add_not_exported(until, counts));
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
