//! Logs losses: a warning when packets or records begin to be lost, and the total once that has ended.

use dnscribe_record::ledger::Counters;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time without a loss after which an episode has ended.
const QUIET: Duration = Duration::from_secs(30);

/// Reasons of sinks that nothing else logs.
const REASONS: [&str; 3] = ["queue_full", "spool_full", "spool_expired"];

/// What is lost, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    /// Packets, since the ring was full.
    Packets,
    /// Records of a sink.
    Records { sink: String, reason: String },
}

/// A count of losses.
#[derive(Debug, Default)]
struct LossCount {
    total: u64,
    episode: Option<Episode>,
}

/// A time with losses.
#[derive(Debug)]
struct Episode {
    before: u64,
    since: Instant,
    last: Instant,
}

/// A line of the log, with the number of packets or records.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    Begun(Loss, u64),
    Ended(Loss, u64, Duration),
}

/// Logs the start and the end of each episode of losses.
#[derive(Debug, Default)]
pub(super) struct LossLog {
    counts: BTreeMap<Loss, LossCount>,
}

impl LossLog {
    /// Logs what has changed with the counters of a moment.
    pub(super) fn log(&mut self, now: Instant, counters: &Counters) {
        self.observe(now, counters).iter().for_each(Notice::log);
    }

    fn observe(&mut self, now: Instant, counters: &Counters) -> Vec<Notice> {
        let mut totals = BTreeMap::new();
        let lost = counters.kernel.values().map(|kernel| kernel.lost_ring_full).sum::<u64>();
        totals.insert(Loss::Packets, lost);
        for (sink, streams) in &counters.delivery {
            let dropped = streams.values().flat_map(|stream| &stream.dropped);
            for (reason, count) in dropped.filter(|(reason, _)| REASONS.contains(&&***reason)) {
                let loss = Loss::Records { sink: sink.clone(), reason: reason.clone() };
                *totals.entry(loss).or_default() += count;
            }
        }
        let each = totals.into_iter().filter_map(|(loss, total)| {
            let count = self.counts.entry(loss.clone()).or_default();
            let before = std::mem::replace(&mut count.total, total);
            match &mut count.episode {
                None if total > before => {
                    count.episode = Some(Episode { before, since: now, last: now });
                    return Some(Notice::Begun(loss, total - before));
                }
                Some(episode) if total > before => episode.last = now,
                Some(episode) if now.saturating_duration_since(episode.last) >= QUIET => {
                    let Episode { before, since, last } = *episode;
                    count.episode = None;
                    return Some(Notice::Ended(loss, total.saturating_sub(before), last - since));
                }
                _ => {}
            }
            None
        });
        each.collect()
    }
}

impl Notice {
    fn log(&self) {
        match self {
            Self::Begun(Loss::Packets, packets) => tracing::warn!(
                packets,
                "packets are lost: the ring is full; give the agent more CPU, increase capture.ring_bytes, or set \
                 sampling.mode to auto if it is off (docs/runbooks/losses.md)"
            ),
            Self::Begun(Loss::Records { sink, reason }, records) => tracing::warn!(
                records,
                "sink {sink} drops records: {reason}; see docs/runbooks/losses.md#{reason}"
            ),
            Self::Ended(Loss::Packets, packets, time) => {
                tracing::info!(packets, seconds = time.as_secs(), "no more packets are lost");
            }
            Self::Ended(Loss::Records { sink, reason }, records, time) => tracing::info!(
                records,
                seconds = time.as_secs(),
                "sink {sink} drops no more records: {reason}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_record::ledger::{Delivery, Kernel};

    /// Counters with packets lost, and records that a sink has dropped.
    fn counters(lost: u64, full: u64) -> Counters {
        let mut counters = Counters::default();
        let kernel = Kernel { lost_ring_full: lost, ..Kernel::default() };
        counters.kernel.insert("cgroup".into(), kernel);
        let dropped = [("queue_full".to_owned(), full), ("shutdown".to_owned(), 9)].into();
        let delivery = Delivery { dropped, ..Delivery::default() };
        let streams = ["transactions", "metrics"].map(|name| (name.to_owned(), delivery.clone()));
        counters.delivery.insert("kafka".into(), streams.into());
        counters
    }

    #[test]
    fn each_episode_has_one_line_at_either_end() {
        let start = Instant::now();
        let mut log = LossLog::default();
        let mut at = |seconds, lost, full| {
            log.observe(start + Duration::from_secs(seconds), &counters(lost, full))
        };
        assert_eq!(at(0, 0, 0), []);
        assert_eq!(at(1, 7, 0), [Notice::Begun(Loss::Packets, 7)]);
        let full = Loss::Records { sink: "kafka".into(), reason: "queue_full".into() };
        assert_eq!(at(2, 8, 3), [Notice::Begun(full.clone(), 6)]);
        for seconds in 3..21 {
            assert_eq!(at(seconds, 8 + seconds, 3), []);
        }
        assert_eq!(at(32, 28, 3), [Notice::Ended(full, 6, Duration::ZERO)]);
        assert_eq!(at(49, 28, 3), []);
        assert_eq!(at(50, 28, 3), [Notice::Ended(Loss::Packets, 28, Duration::from_secs(19))]);
        assert_eq!(at(51, 28, 3), []);
        assert_eq!(at(52, 29, 3), [Notice::Begun(Loss::Packets, 1)]);
    }
}
