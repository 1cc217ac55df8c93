//! `dnscribe replay`: capture files through the same pipeline, in capture time.

use super::pace::Pace;
use super::session::{Blueprint, Endpoint, Start, Verdict, Watch, close};
use super::signals::Signals;
use crate::capture::Packet;
use crate::capture::replay::{InputError, Passed, Replay};
use crate::cli::ReplayArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::metrics::Phase;
use crate::pipeline::{Pipeline, Taken};
use crate::sink::Sink;
use crate::time::Timestamp;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// Packets between two looks at signals, sinks and metrics requests.
const LOOK_EVERY: u32 = 1024;

/// How long sinks may take before a ledger record is written without them.
const BARRIER: Duration = Duration::from_secs(600);

/// Replays the files in the order given.
pub(super) fn replay(args: &ReplayArgs) -> Result<(), Exit> {
    files(&args.files, Start::new(args.sources())?, None)
}

/// Replays files as fast as it can be, or at a pace.
pub(super) fn files(files: &[PathBuf], start: Start, pace: Option<Pace>) -> Result<(), Exit> {
    let Start { config, signals, endpoint, sinks, summary, .. } = start;
    let mut reader =
        Replay::new(config.capture.ports.clone()).with_encrypted(config.capture.encrypted.clone());
    let mut session = Session {
        config: &config,
        sinks: Some(sinks),
        pipeline: None,
        watch: Watch::default(),
        signals,
        endpoint,
        since_look: 0,
        pace,
        summary,
        failure: None,
    };
    let mut failure = None;
    for file in files {
        match reader.file(file, &mut |packet, passed| session.packet(packet, passed)) {
            Ok(summary) => {
                if let Some(warning) = summary.warning {
                    tracing::warn!("{}: {warning}", file.display());
                }
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        if session.signals.stop() {
            break;
        }
    }
    match failure {
        // Nothing was replayed: the error alone is worth telling.
        Some(error) if reader.first_packet().is_none() => Err(error.into()),
        failure => {
            session.end(reader.first_packet(), reader.counters())?;
            failure.map_or(Ok(()), |error: InputError| Err(error.into()))
        }
    }
}

struct Session<'a> {
    config: &'a Config,
    sinks: Option<Vec<Box<dyn Sink>>>,
    pipeline: Option<Pipeline>,
    watch: Watch,
    signals: Signals,
    endpoint: Endpoint,
    since_look: u32,
    pace: Option<Pace>,
    summary: bool,
    /// Why there is no pipeline.
    failure: Option<Exit>,
}

impl Session<'_> {
    fn packet(&mut self, packet: &Packet<'_>, source: &Passed<'_>) -> ControlFlow<()> {
        let taken = || source.counters();
        if self.pipeline.is_none() {
            match self.begin(source.first_packet()) {
                Ok(pipeline) => self.pipeline = pipeline,
                Err(exit) => {
                    self.failure = Some(exit);
                    return ControlFlow::Break(());
                }
            }
        }
        let Some(pipeline) = &mut self.pipeline else { return ControlFlow::Break(()) };
        if let Some(pace) = &mut self.pace {
            pace.wait(packet.ts, &self.signals, || pipeline.flush_batches());
            if self.signals.stop() {
                return ControlFlow::Break(());
            }
        }
        pipeline.observe(packet);
        if pipeline.ledger_due(packet.ts) {
            // The same file must give the same ledger: nothing may be on its way.
            pipeline.flush_batches();
            pipeline.outbox().flush(BARRIER);
            pipeline.write_ledger(taken(), packet.ts, false);
        }
        self.since_look += 1;
        if self.since_look < LOOK_EVERY {
            return ControlFlow::Continue(());
        }
        self.since_look = 0;
        self.endpoint.attend(pipeline, taken, None);
        if self.signals.reload() {
            pipeline.outbox().reopen();
        }
        if self.signals.stop() || self.watch.look(pipeline.outbox()) != Verdict::GoOn {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn begin(&mut self, epoch: Timestamp) -> Result<Option<Pipeline>, Exit> {
        let Some(sinks) = self.sinks.take() else { return Ok(None) };
        self.endpoint.set_phase(Phase::Replaying);
        let config = self.config;
        let wait_for_sinks = Some(self.signals.stop_flag());
        Blueprint { config, epoch, enricher: None, wait_for_sinks }.build(sinks).map(Some)
    }

    fn end(mut self, first: Option<Timestamp>, taken: Taken) -> Result<(), Exit> {
        if let Some(exit) = self.failure.take() {
            return Err(exit);
        }
        let pipeline = match self.pipeline.take() {
            Some(pipeline) => Some(pipeline),
            None => self.begin(first.unwrap_or_default())?,
        };
        let Some(mut pipeline) = pipeline else { return Ok(()) };
        self.endpoint.set_phase(Phase::Stopping);
        let now = pipeline.last_packet();
        pipeline.finish(now);
        let limit = if self.signals.stop() { self.config.drain_timeout } else { BARRIER };
        pipeline.outbox().flush(limit);
        // Whoever asks for the end meanwhile gets it soon.
        let limit = if self.signals.stop() { self.config.drain_timeout } else { BARRIER };
        close(pipeline, taken, now, limit, &mut self.watch, self.summary)
    }
}
