//! What becomes of rounds: records, and from these on to the sinks. One task owns all of it, so that its counters
//! agree at every moment.

use crate::config::Config;
use crate::measure::Round;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::record::{self, Recorder};
use crate::schedule::Repeat;
use crate::verdict::{Alert, Verdicts};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::summary;
use dnscribe_delivery::{self as delivery, SinkRouter, SinkSpec, SinkStatus, SinkWatch, Stream};
use dnscribe_record::ledger::Probing;
use dnscribe_record::privacy::Masker;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, ProbeFields};
use std::time::{Duration, Instant};

/// Share of the time limit for records, before the last ledger record.
const FLUSH_SHARE: f32 = 0.8;

/// Handles rounds in the order in which they end.
pub(super) struct Pipeline {
    pub(super) memory: Memory,
    pub(super) metrics: Metrics,
    recorder: Recorder,
    pub(super) verdicts: Verdicts,
    /// Whether verdicts wait for the end of all rounds.
    judges_at_end: bool,
    pub(super) router: SinkRouter,
    pub(super) watch: SinkWatch,
}

impl Pipeline {
    /// Opens the sinks.
    pub(super) fn open(config: &Config, sinks: &[SinkSpec], repeat: Repeat) -> Result<Self, Exit> {
        let judges_at_end = repeat == Repeat::Once;
        let mut rules = config.rules.clone();
        if judges_at_end {
            rules.rounds = 1;
        }
        let mut memory = config.memory.clone();
        if judges_at_end && !memory.is_directory_given {
            memory.directory = None;
        }
        let masker = Masker::new(config.privacy.clone())
            .map_err(|why| Exit::failed(format!("the key of the pseudonyms {why}")))?;
        let (node, region, labels) =
            (config.node.clone(), config.region.clone(), config.labels.clone());
        let sinks = delivery::open(sinks, &config.open_with())?;
        Ok(Self {
            memory: Memory::open(memory),
            metrics: Metrics::default(),
            recorder: Recorder::new(node, region, labels, Timestamp::now()),
            verdicts: Verdicts::new(rules, &config.services),
            judges_at_end,
            router: SinkRouter::new(sinks, masker, None),
            watch: SinkWatch::default(),
        })
    }

    /// Handles a round that has ended. Where a reload has removed its target meanwhile, it is recorded alone: nothing
    /// would end its metrics any more.
    pub(super) fn observe(&mut self, round: &mut Round, is_removed: bool) {
        if is_removed {
            self.recorder.export(&mut self.router, round);
            return;
        }
        self.memory.observe(round);
        self.metrics.observe(round);
        let ids = self.recorder.export(&mut self.router, round);
        self.verdicts.add(round, &ids);
        // The next round of the target knows the new answers already.
        let has_changed = |fields: &ProbeFields| {
            fields.changed == Some(true) || fields.issuer_changed == Some(true)
        };
        if !self.judges_at_end && round.found.iter().any(has_changed) {
            self.judge();
        }
    }

    /// Handles the rounds of a request. Returns the ids of their records.
    pub(super) fn observe_on_demand(&mut self, rounds: &[Round]) -> Vec<Vec<EventId>> {
        let Self { recorder, router, .. } = self;
        rounds.iter().map(|round| recorder.export(router, round)).collect()
    }

    /// Judges what has been measured since the last call, and exports the alerts.
    pub(super) fn judge(&mut self) -> Vec<Alert> {
        let alerts = self.verdicts.judge(Timestamp::now());
        self.export_alerts(&alerts);
        alerts
    }

    /// Exports the alerts that change with time.
    pub(super) fn expire(&mut self) {
        let alerts = self.verdicts.expire(Timestamp::now());
        self.export_alerts(&alerts);
    }

    pub(super) fn export_alerts(&mut self, alerts: &[Alert]) {
        self.recorder.export_alerts(&mut self.router, alerts, self.verdicts.runbooks());
    }

    /// Writes a ledger record.
    pub(super) fn write_ledger(&mut self, probing: &Probing, is_last: bool) {
        self.recorder.export_ledger(&mut self.router, probing, is_last);
    }

    /// Returns whether a sink is left, and logs those that have failed.
    pub(super) fn check_sinks(&mut self) -> SinkStatus {
        self.watch.check(&self.router.sinks)
    }

    /// Flushes the sinks, writes the last ledger record, closes the sinks, and prints the summary on stderr if
    /// wanted. All records are delivered or counted as dropped.
    pub(super) fn close(
        mut self,
        probing: &Probing,
        limit: Duration,
        has_summary: bool,
    ) -> Result<(), Exit> {
        let end = Instant::now() + limit;
        let left = || end.saturating_duration_since(Instant::now());
        self.router.offer();
        self.router.flush(limit.mul_f32(FLUSH_SHARE).min(left()));
        self.router.close_before_last(Stream::Ledger, left() / 2);
        self.write_ledger(probing, true);
        self.router.flush(left());
        self.router.close();
        self.memory.close(Timestamp::now());
        let status = self.check_sinks();
        // After a closed pipe, no summary is wanted either.
        if has_summary && status != SinkStatus::Quiet {
            eprint!("{}", summary::balance(&record::counters(&self.router, probing)));
        }
        match status {
            SinkStatus::NoneLeft => Err(Exit::failed("no sink is left that takes records")),
            SinkStatus::Continue | SinkStatus::Quiet => Ok(()),
        }
    }
}
