//! `dnscribe replay`: runs capture files through the pipeline, in the time of the capture.

use super::pace::Pace;
use super::session::{Endpoint, PipelineBuilder, SinkWatch, Start, Verdict, close};
use super::signals::Signals;
use crate::capture::Packet;
use crate::capture::replay::{InputError, Replay, ReplayProgress};
use crate::cli::ReplayArgs;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::pipeline::{CaptureCounters, FlowStage, InputCounters, Pipeline};
use dnscribe_admin::Phase;
use dnscribe_delivery::Sink;
use dnscribe_record::time::Timestamp;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

/// Packets between two checks of signals, sinks and metrics requests.
const CHECK_INTERVAL: u32 = 1024;

/// How long sinks may take to deliver before a ledger record is written anyway.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(600);

/// Replays the files in the order given.
pub(super) fn replay(args: &ReplayArgs) -> Result<(), Exit> {
    files(&args.files, Start::new(args.sources())?, None)
}

/// Replays files as fast as possible, or at a pace.
pub(super) fn files(files: &[PathBuf], start: Start, pace: Option<Pace>) -> Result<(), Exit> {
    let Start { config, signals, endpoint, sinks, summary, .. } = start;
    let mut reader =
        Replay::new(config.capture.ports.clone()).with_encrypted(config.capture.encrypted.clone());
    let mut session = Session {
        config: &config,
        sinks: Some(sinks),
        stages: None,
        watch: SinkWatch::default(),
        signals,
        endpoint,
        since_check: 0,
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
        // No packet was replayed: the error is all there is to report.
        Some(error) if reader.first_packet().is_none() => Err(error.into()),
        failure => {
            session.end(reader.first_packet(), reader.counters())?;
            failure.map_or(Ok(()), |error: InputError| Err(error.into()))
        }
    }
}

/// The pipeline, and its only flow stage.
struct Stages {
    pipeline: Pipeline,
    flow: FlowStage,
}

impl Stages {
    /// Counters of the file reader and the flow stage.
    fn input(&self, capture: CaptureCounters) -> InputCounters {
        InputCounters { capture, flows: vec![self.flow.counters(&[])] }
    }
}

struct Session<'a> {
    config: &'a Config,
    sinks: Option<Vec<Box<dyn Sink>>>,
    stages: Option<Stages>,
    watch: SinkWatch,
    signals: Signals,
    endpoint: Endpoint,
    since_check: u32,
    pace: Option<Pace>,
    summary: bool,
    /// Reason why there is no pipeline.
    failure: Option<Exit>,
}

impl Session<'_> {
    fn packet(&mut self, packet: &Packet<'_>, source: &ReplayProgress<'_>) -> ControlFlow<()> {
        if self.stages.is_none() {
            match self.begin(source.first_packet()) {
                Ok(stages) => self.stages = stages,
                Err(exit) => {
                    self.failure = Some(exit);
                    return ControlFlow::Break(());
                }
            }
        }
        let Some(stages) = &mut self.stages else { return ControlFlow::Break(()) };
        if let Some(pace) = &mut self.pace {
            pace.wait(packet.ts, &self.signals, || stages.pipeline.router().offer());
            if self.signals.stop() {
                return ControlFlow::Break(());
            }
        }
        stages.flow.observe(packet, &mut stages.pipeline);
        if stages.pipeline.ledger_due(packet.ts) {
            // The same file must give the same ledger: no record may be in flight.
            stages.pipeline.router().offer();
            stages.pipeline.router().flush(FLUSH_TIMEOUT);
            let input = stages.input(source.counters());
            stages.pipeline.write_ledger(&input, packet.ts, false);
        }
        self.since_check += 1;
        if self.since_check < CHECK_INTERVAL {
            return ControlFlow::Continue(());
        }
        self.since_check = 0;
        let input = || stages.input(source.counters());
        self.endpoint.serve(&stages.pipeline, input, None);
        let router = stages.pipeline.router();
        if self.signals.reload() {
            router.reopen();
        }
        if self.signals.stop() || self.watch.check(router) != Verdict::Continue {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn begin(&mut self, epoch: Timestamp) -> Result<Option<Stages>, Exit> {
        let Some(sinks) = self.sinks.take() else { return Ok(None) };
        self.endpoint.set_phase(Phase::Replaying);
        let config = self.config;
        let wait_for_sinks = Some(self.signals.stop_flag());
        let builder = PipelineBuilder { config, epoch, enricher: None, wait_for_sinks };
        let flow_options = builder.flow_options();
        let mut pipeline = builder.build(sinks)?;
        let flow = pipeline.flow_stage(flow_options);
        Ok(Some(Stages { pipeline, flow }))
    }

    fn end(mut self, first: Option<Timestamp>, capture: CaptureCounters) -> Result<(), Exit> {
        if let Some(exit) = self.failure.take() {
            return Err(exit);
        }
        let stages = match self.stages.take() {
            Some(stages) => Some(stages),
            None => self.begin(first.unwrap_or_default())?,
        };
        let Some(mut stages) = stages else { return Ok(()) };
        self.endpoint.set_phase(Phase::Stopping);
        let now = stages.flow.last_packet();
        stages.flow.finish(now, &mut stages.pipeline);
        stages.pipeline.finish(now);
        let input = stages.input(capture);
        let Stages { mut pipeline, .. } = stages;
        let limit = if self.signals.stop() { self.config.drain_timeout } else { FLUSH_TIMEOUT };
        pipeline.router().flush(limit);
        // A signal may have come meanwhile.
        let limit = if self.signals.stop() { self.config.drain_timeout } else { FLUSH_TIMEOUT };
        close(pipeline, &input, now, limit, &mut self.watch, self.summary)
    }
}
