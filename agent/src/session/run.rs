//! Live capture until it is stopped.

mod capture;
mod reload;
mod runner;

pub use capture::Capture;

use super::pressure::{NotExportedPoller, SamplingLog};
use super::signals::Signals;
use super::{
    Endpoint, LOG_TIMEOUT, Prepared, Start, close, flow_options, log_indicators, pipeline_options,
};
use crate::capture::live::{CaptureStatus, ClockStep, cgroup2_mount};
use crate::config::{Config, Sources};
use crate::enrich::Enricher;
use crate::enrich::kubernetes::{KubernetesConfig, Pods};
use crate::pipeline::{Beside, Control, Pipeline, PipelineOptions};
use crate::privilege::drop_privileges;
use crate::privilege::helper::{PrivilegedHelper, listener_place, start_file_helper};
use dnscribe_admin::Phase;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::service::{State, notify};
use dnscribe_config::log;
use dnscribe_delivery::{SinkStatus, SinkWatch};
use reload::{IndicatorWatch, PortChange, Reload};
use runner::Runner;
use std::time::{Duration, Instant};

/// Longest sleep while packets come: timers and sinks are checked this often. Without packets, sleeps grow up to a
/// tenth of the time since the last packet.
const MIN_SLEEP: Duration = Duration::from_millis(50);

/// Step of the host's clock in nanoseconds from which on it is worth a warning.
const NOTABLE_STEP_NS: u64 = 1_000_000_000;

/// How long the start waits for the names of pods.
const PODS_TIMEOUT: Duration = Duration::from_secs(1);

/// After this time without any packet, a hint is logged.
const SILENCE: Duration = Duration::from_secs(5);

/// Captures until a signal, the end of the duration, or the failure of the last sink. `settle` is called once
/// threads may start.
///
/// Starts first the helper processes, which keep privileges as long as capture lasts, then the programs, which need
/// them at the start. Then drops privileges, and starts whatever has threads.
pub fn run(mut prepared: Prepared, settle: fn()) -> Result<(), Exit> {
    let config_file = prepared.sources.file.clone();
    // Servers know no processes of their clients.
    let helper =
        prepared.config.has_hook().then(|| PrivilegedHelper::start(&prepared.config)).flatten();
    start_file_helper(&prepared.config, config_file.as_deref());
    let icmp = listener_place(&prepared.config, helper.as_ref());
    let capture = Capture::open(&prepared.config, icmp)?;
    prepared.bind()?;
    drop_privileges(&prepared.config, config_file.as_deref(), capture.needs_bpf()?)?;
    settle();
    // A log that nobody reads must not hold up the thread that reads the ring.
    log::write_in_background()
        .map_err(|error| Exit::failed(format!("cannot start the thread of the log: {error}")))?;
    let run =
        || -> Result<(), Exit> { Run::start(prepared.open()?, capture, helper)?.until_the_end() };
    // The error is printed at once: what led to it must stand before it.
    run().inspect_err(|_| log::flush(LOG_TIMEOUT))
}

/// A live capture with its pipeline.
pub struct Run {
    config: Config,
    sources: Sources,
    /// What it captures.
    pub capture: Capture,
    runner: Runner,
    pipeline: Pipeline,
    port_change: PortChange,
    /// The reload under way.
    reloading: Option<Reload>,
    /// Whether another is to follow it.
    reload_is_due: bool,
    indicator_watch: IndicatorWatch,
    not_exported: NotExportedPoller,
    sampling_log: SamplingLog,
    watch: SinkWatch,
    signals: Signals,
    endpoint: Endpoint,
    end: Option<Instant>,
    last_packet: Instant,
    /// The longest time between two looks at the rings.
    longest_turn: Duration,
    max_sleep: Duration,
    summary: bool,
    /// Ends when it is dropped.
    helper: Option<PrivilegedHelper>,
}

/// Time that a process is given to read a response, so that its record can say when.
const HOLD_UNREAD: Duration = Duration::from_millis(100);
/// Time that a watched program is given.
const HOLD_UNREAD_WATCHED: Duration = Duration::from_secs(1);

impl Run {
    /// Starts to process a capture.
    pub fn start(
        start: Start,
        mut capture: Capture,
        helper: Option<PrivilegedHelper>,
    ) -> Result<Self, Exit> {
        let Start { sources, config, signals, mut endpoint, sinks, .. } = start;
        let (max_sleep, summary) = (start.max_sleep, start.summary);
        let is_watched = start.scope.is_some();
        // All later packets wait as well: long only where one program is watched.
        let unread_hold = if is_watched { HOLD_UNREAD_WATCHED } else { HOLD_UNREAD };
        capture.start()?;
        let pods = config.kubernetes.clone().map(watch_pods).transpose()?;
        let epoch = capture.now();
        capture.set_query_timeout(config.pairing.query_timeout);
        let processes =
            helper.as_ref().map(PrivilegedHelper::processes).transpose().map_err(|error| {
                Exit::failed(format!("cannot reach the privileged helper: {error}"))
            })?;
        let enricher =
            Enricher::new(cgroup2_mount().as_deref(), processes, pods).with_scope(start.scope);
        let mut options = PipelineOptions {
            enricher: Some(enricher),
            ledger_every: start.ledger_every,
            sampling: true,
            ..pipeline_options(&config, epoch, true)?
        };
        if is_watched && let Some(uses) = &mut options.uses {
            // A sum does not say when each of its connections took its time.
            uses.max_kinds = 0;
        }
        let mut pipeline = Pipeline::new(options, sinks);
        let threads = config.capture.rings as usize;
        let mut flow_options = flow_options(&config);
        if flow_options.hold.is_some() && capture.sees_reads() {
            flow_options.hold = Some(unread_hold);
        }
        let flows = pipeline.flow_stages(&flow_options, threads);
        let beside = config.is_beside().then(|| Beside::new(flow_options, &pipeline));
        let runner = Runner::start(&mut capture, flows, beside, epoch)?;
        endpoint.set_phase(Phase::Ready(capture.description().to_owned()));
        notify(State::Ready);
        log_indicators(&config.indicators);
        let indicator_files = config.indicators.files.clone();
        let end = config.duration.map(|duration| Instant::now() + duration);
        Ok(Self {
            config,
            sources,
            capture,
            runner,
            pipeline,
            port_change: PortChange::default(),
            reloading: None,
            reload_is_due: false,
            indicator_watch: IndicatorWatch::new(indicator_files),
            not_exported: NotExportedPoller::new(epoch),
            sampling_log: SamplingLog::default(),
            watch: SinkWatch::default(),
            signals,
            endpoint,
            end,
            last_packet: Instant::now(),
            longest_turn: Duration::ZERO,
            max_sleep,
            summary,
            helper,
        })
    }

    /// Captures until a signal, the end of the duration, or the failure of the last sink.
    pub fn until_the_end(mut self) -> Result<(), Exit> {
        let started = Instant::now();
        let mut silent = true;
        while !self.is_over() {
            let taken = self.turn()?;
            silent &= taken == 0;
            if silent && started.elapsed() >= SILENCE {
                silent = false;
                self.hint();
            }
        }
        self.stop()
    }

    /// Waits for packets, processes them, and does what is due. Returns the number of packets.
    fn turn(&mut self) -> Result<usize, Exit> {
        let limit = self.sleep_limit();
        let Self { capture, pipeline, runner, signals, .. } = self;
        let polled = runner.poll(capture, pipeline, limit, &signals.waker)?;
        self.follow_clock();
        self.regulate();
        let Self { capture, pipeline, runner, not_exported, endpoint, .. } = self;
        if !polled.is_busy {
            pipeline.router.offer();
        }
        if polled.packets > 0 {
            self.last_packet = Instant::now();
        }
        let now = capture.now();
        let ledger_due = pipeline.ledger_due(now);
        if ledger_due || not_exported.is_due(pipeline, now) {
            not_exported.poll(capture, pipeline, now);
        }
        if ledger_due {
            runner.merge_all(pipeline);
            pipeline.router.offer();
            pipeline.write_ledger(&runner.counters(capture), now, false);
        }
        let input = || runner.counters(capture);
        let status = CaptureStatus { longest_turn: self.longest_turn, ..capture.status() };
        endpoint.serve(pipeline, input, Some(status));
        pipeline.router.update_sinks();
        self.change_ports();
        self.reload();
        self.longest_turn = self.longest_turn.max(polled.since.elapsed());
        Ok(polled.packets)
    }

    /// Writes records by the host's clock after that was set. Nothing else depends on it: the clock of the capture goes
    /// on.
    fn follow_clock(&mut self) {
        let Some(ClockStep { by_ns, shift }) = self.capture.check_clock() else { return };
        let milliseconds = by_ns / 1_000_000;
        if by_ns.unsigned_abs() >= NOTABLE_STEP_NS {
            tracing::warn!(
                milliseconds,
                "the host's clock was set: records have its new time from now on, and windows begin anew; no deadline \
                 moves"
            );
        } else {
            tracing::info!(milliseconds, "the host's clock was set a little");
        }
        self.apply(&Control::SetClock(shift));
    }

    /// Changes the sampling ratio after a change of the load.
    fn regulate(&mut self) {
        let Some(change) = self.capture.regulate(self.runner.waited()) else { return };
        self.sampling_log.log(change);
        self.apply(&Control::Sample(change));
    }

    /// Applies a change that cannot fail to all stages.
    fn apply(&mut self, control: &Control) {
        // Only other settings of masking can be refused.
        let _ = self.runner.apply(control, &mut self.capture, &mut self.pipeline);
    }

    /// Longest sleep until something else is due.
    fn sleep_limit(&self) -> Duration {
        let now = Instant::now();
        let is_changing = self.pipeline.router.sinks.is_changing();
        let max_sleep = if is_changing { MIN_SLEEP } else { self.max_sleep };
        let limit = (now.duration_since(self.last_packet) / 10)
            .clamp(MIN_SLEEP, max_sleep)
            .min(self.pipeline.ledger_in(self.capture.now()));
        self.end.map_or(limit, |end| end.saturating_duration_since(now).min(limit))
    }

    fn is_over(&mut self) -> bool {
        self.signals.stop()
            || self.end.is_some_and(|end| Instant::now() >= end)
            || self.watch.check(&self.pipeline.router.sinks) != SinkStatus::Continue
    }

    /// Detaches, drains the rings, exports what waits, flushes the sinks, and prints the summary.
    fn stop(self) -> Result<(), Exit> {
        let Self {
            mut capture,
            mut runner,
            mut pipeline,
            mut not_exported,
            mut watch,
            mut endpoint,
            config,
            summary,
            helper: _helper,
            ..
        } = self;
        let limit = config.drain_timeout;
        let end = Instant::now() + limit;
        // If the ring is too full to be drained in time, some time must be left for the sinks and for the last ledger
        // record, which counts what is still in the ring.
        let drained = Instant::now() + limit / 2;
        endpoint.set_phase(Phase::Stopping);
        notify(State::Stopping);
        capture.detach();
        // Timeouts run by the time of packets: draining must not add to the time that queries have waited.
        let stopped = capture.now();
        runner.stop(&mut capture, &mut pipeline, stopped, (drained, drained + limit / 4));
        not_exported.poll(&mut capture, &mut pipeline, stopped);
        pipeline.finish(stopped);
        let left = end.saturating_duration_since(Instant::now());
        let input = runner.counters(&capture);
        close(pipeline, &input, stopped, left, &mut watch, summary)
    }

    fn hint(&self) {
        tracing::info!("{}", self.capture.hint(&self.config.capture.ports));
    }
}

/// Starts to watch the pods, and waits for their names before the first packet.
fn watch_pods(config: KubernetesConfig) -> Result<Pods, Exit> {
    let failed = |error| Exit::failed(format!("cannot start the watch of pods: {error}"));
    let pods = Pods::watch(config).map_err(failed)?;
    if !pods.wait_until_listed(PODS_TIMEOUT) {
        tracing::info!("the names of pods are not known yet; records have none until then");
    }
    Ok(pods)
}
