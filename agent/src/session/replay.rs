//! Replay: runs capture files through the pipeline, in the time of the capture.

use super::signals::Signals;
use super::{Endpoint, Start, close, flow_options, log_indicators, pipeline_options};
use crate::capture::replay::{InputError, Replay};
use crate::config::Config;
use crate::pipeline::{CaptureCounters, FlowStage, InputCounters, Pipeline, PipelineOptions};
use dnscribe_admin::Phase;
use dnscribe_cli::exit::Exit;
use dnscribe_delivery::{Sink, SinkStatus, SinkWatch, Stream};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::Packet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Packets between two checks of signals, sinks and metrics requests.
const CHECK_INTERVAL: u32 = 1024;

/// Longest time between two checks while the input has nothing.
const IDLE_CHECK_INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How long sinks may take to deliver before a ledger record is written anyway.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(10);

/// Replays files as fast as possible, or at a pace.
pub fn files(files: &[PathBuf], start: Start, pace: Option<Pace>) -> Result<(), Exit> {
    let capture = &start.config.capture;
    let mut reader = Replay::new(capture.ports.clone()).with_encrypted(capture.encrypted.clone());
    log_indicators(&start.config.indicators);
    let session = Rc::new(RefCell::new(Session::new(start, pace)));
    let (waiting, counters) = (Rc::clone(&session), reader.counter());
    reader.wait = Some(Rc::new(move |input| waiting.borrow_mut().wait(input, &counters)));
    let mut failure = None;
    for file in files {
        let replayed = reader.file(file, &mut |packet, passed| {
            session.borrow_mut().packet(packet, passed.first_packet, &|| passed.counters())
        });
        // What has been read of a pipe may end anywhere, then.
        if session.borrow().is_ended() {
            break;
        }
        match replayed {
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
    }
    match failure {
        // No packet was replayed: the error is all there is to report.
        Some(error) if reader.first_packet.is_none() => Err(error.into()),
        failure => {
            session.borrow_mut().end(&reader)?;
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
        let flows = vec![self.flow.counters(&[])];
        InputCounters { capture, flows, ..InputCounters::default() }
    }
}

/// A replay that runs.
struct Session {
    config: Config,
    sinks: Option<Vec<Box<dyn Sink>>>,
    stages: Option<Stages>,
    watch: SinkWatch,
    signals: Signals,
    endpoint: Endpoint,
    since_check: u32,
    /// Time of the newest packet: files may come in any order of time, and that of ledger records must not go back.
    newest: Timestamp,
    pace: Option<Pace>,
    summary: bool,
    /// Whether no sink is left while the input has nothing.
    has_no_sink: bool,
    /// Reason why there is no pipeline.
    failure: Option<Exit>,
}

impl Session {
    fn new(start: Start, pace: Option<Pace>) -> Self {
        let Start { config, signals, endpoint, sinks, summary, .. } = start;
        Self {
            config,
            sinks: Some(sinks),
            stages: None,
            watch: SinkWatch::default(),
            signals,
            endpoint,
            since_check: 0,
            newest: Timestamp::default(),
            pace,
            summary,
            has_no_sink: false,
            failure: None,
        }
    }

    /// Passes a packet of the capture that began at `epoch` on; `source` returns the counters of what it
    /// was read from. Breaks if a signal or the sinks end the replay.
    fn packet(
        &mut self,
        packet: &Packet<'_>,
        epoch: Timestamp,
        source: &dyn Fn() -> CaptureCounters,
    ) -> ControlFlow<()> {
        if self.stages.is_none() {
            match self.begin(epoch) {
                Ok(stages) => self.stages = stages,
                Err(exit) => {
                    self.failure = Some(exit);
                    return ControlFlow::Break(());
                }
            }
        }
        let Some(stages) = &mut self.stages else { return ControlFlow::Break(()) };
        if let Some(pace) = &mut self.pace {
            pace.wait(packet.ts, &self.signals, || stages.pipeline.router.offer());
            if self.signals.stop() {
                return ControlFlow::Break(());
            }
        }
        stages.flow.observe(packet, &mut stages.pipeline);
        self.newest = self.newest.max(packet.ts);
        if stages.pipeline.ledger_due(self.newest) {
            if stages.pipeline.router.wants(Stream::Ledger) {
                // The same file must give the same ledger: no record may be in flight.
                stages.pipeline.router.offer();
                stages.pipeline.router.flush(FLUSH_TIMEOUT);
            }
            let input = stages.input(source());
            stages.pipeline.write_ledger(&input, self.newest, false);
        }
        self.since_check += 1;
        if self.since_check < CHECK_INTERVAL {
            return ControlFlow::Continue(());
        }
        self.since_check = 0;
        self.check(source)
    }

    /// Waits until the input can be read. Passes on what was replayed, before.
    fn wait(
        &mut self,
        input: BorrowedFd<'_>,
        source: &dyn Fn() -> CaptureCounters,
    ) -> ControlFlow<()> {
        let mut limit = Timespec::default();
        loop {
            let waker = self.signals.waker.clone();
            let mut ready = [
                PollFd::from_borrowed_fd(input, PollFlags::IN),
                PollFd::new(&waker, PollFlags::IN),
            ];
            // A signal wakes the waker.
            let polled = poll(&mut ready, Some(&limit));
            if polled.is_err_and(|error| error != Errno::INTR) || !ready[0].revents().is_empty() {
                return ControlFlow::Continue(());
            }
            waker.drain();
            if let Some(stages) = &mut self.stages {
                stages.pipeline.router.offer();
            }
            if self.check(source).is_break() {
                self.has_no_sink = !self.signals.stop();
                return ControlFlow::Break(());
            }
            limit = IDLE_CHECK_INTERVAL;
        }
    }

    /// Returns whether a signal, or the end of all sinks, has ended the replay while it waited.
    fn is_ended(&self) -> bool {
        self.has_no_sink || self.signals.stop()
    }

    /// Answers requests, and obeys signals. Breaks if a signal or the sinks end the replay.
    fn check(&mut self, source: &dyn Fn() -> CaptureCounters) -> ControlFlow<()> {
        if self.signals.stop() {
            return ControlFlow::Break(());
        }
        let Some(stages) = &mut self.stages else { return ControlFlow::Continue(()) };
        let input = || stages.input(source());
        self.endpoint.serve(&stages.pipeline, input, None);
        let router = &mut stages.pipeline.router;
        if self.signals.reload() {
            router.reopen();
        }
        if self.watch.check(&router.sinks) != SinkStatus::Continue {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn begin(&mut self, epoch: Timestamp) -> Result<Option<Stages>, Exit> {
        let Some(sinks) = self.sinks.take() else { return Ok(None) };
        self.endpoint.set_phase(Phase::Replaying);
        let options = PipelineOptions {
            wait_for_sinks: Some(Arc::clone(&self.signals.stop)),
            ..pipeline_options(&self.config, epoch, false)?
        };
        let mut pipeline = Pipeline::new(options, sinks);
        let flow = pipeline.flow_stage(flow_options(&self.config));
        Ok(Some(Stages { pipeline, flow }))
    }

    /// Ends the capture with the last frame that was read, DNS or not.
    fn end(&mut self, reader: &Replay) -> Result<(), Exit> {
        if let Some(exit) = self.failure.take() {
            return Err(exit);
        }
        let stages = match self.stages.take() {
            Some(stages) => Some(stages),
            None => self.begin(reader.first_packet.unwrap_or_default())?,
        };
        let Some(mut stages) = stages else { return Ok(()) };
        self.endpoint.set_phase(Phase::Stopping);
        let now = stages.flow.last_packet.max(reader.end);
        stages.flow.finish(now, &mut stages.pipeline);
        stages.pipeline.finish(now);
        let input = stages.input(reader.counters());
        let Stages { mut pipeline, .. } = stages;
        let limit = if self.signals.stop() { self.config.drain_timeout } else { FLUSH_TIMEOUT };
        pipeline.router.finish();
        pipeline.router.flush(limit);
        // A signal may have come meanwhile.
        let limit = if self.signals.stop() { self.config.drain_timeout } else { FLUSH_TIMEOUT };
        close(pipeline, &input, now.max(self.newest), limit, &mut self.watch, self.summary)
    }
}

/// Longest sleep between two checks for signals.
const MAX_SLEEP: Duration = Duration::from_millis(50);

/// Longest wait between two packets; longer gaps in the file are shortened.
const MAX_GAP: Duration = Duration::from_secs(3);

/// Waits for packets to be due.
#[derive(Debug)]
pub struct Pace {
    speed: f64,
    /// Time of a packet in the file, and when it was due.
    last: Option<(Timestamp, Instant)>,
}

impl Pace {
    /// Creates a pace of `speed` times that of the capture.
    #[must_use]
    pub const fn new(speed: f64) -> Self {
        Self { speed, last: None }
    }

    /// Returns when a packet is due. A late packet does not make later ones early.
    fn due(&mut self, ts: Timestamp, now: Instant) -> Instant {
        let due = self
            .last
            .map_or(now, |(last, due)| due + ts.since(last).div_f64(self.speed).min(MAX_GAP));
        let newest = self.last.map_or(ts, |(last, _)| last.max(ts));
        self.last = Some((newest, due));
        due
    }

    /// Waits until a packet is due, or a signal stops the replay. Calls `before` first if it has to wait.
    pub fn wait(&mut self, ts: Timestamp, signals: &Signals, before: impl FnOnce()) {
        let due = self.due(ts, Instant::now());
        let left = || due.saturating_duration_since(Instant::now());
        if left().is_zero() {
            return;
        }
        before();
        while !left().is_zero() && !signals.stop() {
            thread::sleep(left().min(MAX_SLEEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_in_capture_time() {
        let mut pace = Pace::new(10.0);
        let start = Instant::now();
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        assert_eq!(pace.due(at(100), start), start);
        assert_eq!(pace.due(at(105), start), start + Duration::from_millis(500));
        assert_eq!(pace.due(at(103), start), start + Duration::from_millis(500), "out of order");
        assert_eq!(pace.due(at(110), start), start + Duration::from_secs(1));
        assert_eq!(pace.due(at(9999), start), start + Duration::from_secs(1) + MAX_GAP);
    }
}
