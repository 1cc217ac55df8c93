//! `dnscribe run`: live capture until told to stop.

mod reload;

use super::crew::{BUSY, Crew};
use super::ports::PortChange;
use super::pressure::{Announcement, Totals};
use super::session::{Begun, Blueprint, Endpoint, Start, Verdict, Watch, close, live_options};
use super::signals::Signals;
use super::supervisor::{self, State};
use super::takeover::{self, Desk, Running, pages_of};
use crate::capture::live::{Live, cgroup2_mount};
use crate::cli::RunArgs;
use crate::config::{Config, Sources};
use crate::enrich::Enricher;
use crate::enrich::kubernetes::{KubernetesConfig, Pods};
use crate::exit::Exit;
use crate::metrics::Phase;
use crate::pipeline::{LEDGER_EVERY, Pipeline, Taken};
use crate::privilege::drop_privileges;
use crate::privilege::helper::PrivilegedHelper;
use crate::takeover::State as Stopped;
use crate::time::Timestamp;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Longest sleep while packets come: timers and sinks are looked at this often. Where none come the
/// sleeps grow: what waits for its time is late by no more than a tenth of how long it has waited.
const PAUSE: Duration = Duration::from_millis(50);

/// Packets taken from the ring between two looks at anything else.
const DRAIN: usize = 2_048;

/// How long the start waits for the pods' names.
const POD_PATIENCE: Duration = Duration::from_secs(1);

/// After so long without a packet the operator is told what is watched.
const SILENCE: Duration = Duration::from_secs(5);

/// Captures until a signal, the duration's end, or the last sink's. `settle` is called once threads may
/// start.
///
/// The order is this: the scout, which needs privileges as long as capture lasts; the programs, which need
/// them at the start; then they are given up; and then all that has threads.
pub(super) fn run(args: &RunArgs, settle: fn()) -> Result<(), Exit> {
    let mut begun = Begun::new(args.sources())?;
    let scout = PrivilegedHelper::start(&begun.config);
    let takeover::Begun { live, desk, running } = takeover::begin(&begun.config, scout.as_ref())?;
    begun.takes_over = running.is_some();
    let config_file = begun.sources.file.as_deref();
    drop_privileges(&begun.config, config_file, !live.is_readable_by_anyone())?;
    settle();
    let mut run = Run::take_over(begun.open()?, live, scout, running)?;
    run.desk = desk;
    run.until_the_end()
}

/// Attaches, or says why this host cannot capture.
pub(super) fn attach(config: &Config, scout: Option<&PrivilegedHelper>) -> Result<Live, Exit> {
    let live = Live::open(&live_options(config, scout.map(PrivilegedHelper::icmp)))?;
    tracing::info!("{}", live.describe());
    Ok(live)
}

/// A live capture with its pipeline.
pub(super) struct Run {
    config: Config,
    sources: Sources,
    live: Live,
    /// The threads that read packets, where it is not this one.
    crew: Option<Crew>,
    pipeline: Pipeline,
    port_change: PortChange,
    totals: Totals,
    announcement: Announcement,
    watch: Watch,
    signals: Signals,
    endpoint: Endpoint,
    end: Option<Instant>,
    last_packet: Instant,
    longest_pause: Duration,
    summary: bool,
    /// Ends when this goes.
    scout: Option<PrivilegedHelper>,
    /// Where another agent asks that takes over.
    desk: Option<Desk>,
    /// What was taken from the rings when another took over.
    taken_over: Option<Taken>,
}

impl Run {
    /// Begins to take what is captured.
    pub(super) fn new(
        start: Start,
        live: Live,
        scout: Option<PrivilegedHelper>,
    ) -> Result<Self, Exit> {
        Self::take_over(start, live, scout, None)
    }

    /// The same, where another agent still reads: goes on from where that stops.
    fn take_over(
        start: Start,
        mut live: Live,
        scout: Option<PrivilegedHelper>,
        running: Option<Running>,
    ) -> Result<Self, Exit> {
        let Start { sources, config, signals, mut endpoint, sinks, .. } = start;
        let (longest_pause, summary) = (start.longest_pause, start.summary);
        let pods = config.kubernetes.clone().map(watch_pods).transpose()?;
        let epoch = running.as_ref().map_or_else(Timestamp::now, Running::epoch);
        let asked = scout.as_ref().map(PrivilegedHelper::processes).transpose();
        let asked =
            asked.map_err(|error| Exit::failed(format!("cannot reach the scout: {error}")))?;
        let enricher = Enricher::new(cgroup2_mount().as_deref(), asked).with_pods(pods);
        let blueprint =
            Blueprint { config: &config, epoch, enricher: Some(enricher), wait_for_sinks: None };
        let threads = config.capture.rings;
        let (pipeline, mut shards) = if threads > 1 {
            blueprint.build_parted(sinks, threads as usize)?
        } else {
            (blueprint.build(sinks)?, Vec::new())
        };
        let mut pipeline =
            pipeline.with_ledger_every(start.ledger_every.unwrap_or(LEDGER_EVERY)).with_sampling();
        if let Some(running) = running {
            running.take(&config, &mut live, &mut pipeline, &mut shards)?;
        }
        let failed = |error| Exit::failed(format!("cannot start a thread: {error}"));
        let start_crew = || Crew::start(live.split(), shards).map_err(failed);
        let crew = (threads > 1).then(start_crew).transpose()?;
        endpoint.set_phase(Phase::Ready(live.describe().to_owned()));
        supervisor::tell(State::Ready);
        let end = config.duration.map(|duration| Instant::now() + duration);
        Ok(Self {
            config,
            sources,
            live,
            crew,
            pipeline,
            port_change: PortChange::default(),
            totals: Totals::new(epoch),
            announcement: Announcement::default(),
            watch: Watch::default(),
            signals,
            endpoint,
            end,
            last_packet: Instant::now(),
            longest_pause,
            summary,
            scout,
            desk: None,
            taken_over: None,
        })
    }

    /// What is watched, in words.
    pub(super) fn describe(&self) -> &str {
        self.live.describe()
    }

    /// Captures until a signal, the duration's end, or the last sink's.
    pub(super) fn until_the_end(mut self) -> Result<(), Exit> {
        let started = Instant::now();
        let mut silent = true;
        while !self.over() {
            let taken = self.turn()?;
            silent &= taken == 0;
            if silent && started.elapsed() >= SILENCE {
                silent = false;
                self.hint();
            }
        }
        match self.taken_over.take() {
            Some(taken) => self.leave(taken),
            None => self.stop(),
        }
    }

    /// Waits for packets, takes them, and does what is due. Gives the number of packets taken.
    fn turn(&mut self) -> Result<usize, Exit> {
        let pause = self.pause();
        let Self { live, pipeline, crew, signals, .. } = self;
        let (taken, most) = match crew {
            Some(crew) => (crew.take(live, pipeline, pause)?, BUSY),
            None => (take(live, pipeline, pause, signals)?, DRAIN),
        };
        self.regulate();
        let Self { live, pipeline, totals, .. } = self;
        if taken < most {
            pipeline.flush_batches();
        }
        if taken > 0 {
            self.last_packet = Instant::now();
        }
        let now = Timestamp::now();
        let ledger_due = pipeline.ledger_due(now);
        if ledger_due || totals.is_due(now) {
            totals.take(live, pipeline, now);
        }
        if ledger_due {
            pipeline.gather_all();
            pipeline.flush_batches();
            pipeline.write_ledger(counters(live, pipeline), now, false);
        }
        let taken_now = || counters(live, pipeline);
        self.endpoint.attend(pipeline, taken_now, Some(live.ring_used_bytes()));
        self.pipeline.outbox().tend();
        self.change_ports();
        if self.signals.reload() {
            self.reload();
        }
        self.attend_desk();
        Ok(taken)
    }

    /// Lets another agent take over that is ready to. Until that has all it needs, this one can go on.
    fn attend_desk(&mut self) {
        // What is in force and what the rings hold must be of the same ports.
        if !self.port_change.is_done() {
            return;
        }
        let Self { desk: Some(desk), live, config, crew, pipeline, totals, .. } = self else {
            return;
        };
        if !desk.look(config, live, totals.epoch()) {
            return;
        }
        let stopped = Timestamp::now();
        let (stands, pages) = if let Some(crew) = crew {
            let Some(rested) = crew.rest(pipeline) else {
                tracing::warn!("the threads do not stop in time: this agent goes on");
                return desk.hang_up();
            };
            pipeline.rest();
            let (stands, pages): (Vec<_>, Vec<_>) =
                rested.into_iter().map(|one| (one.stand, one.pages)).unzip();
            (stands, pages.concat())
        } else {
            pipeline.rest();
            let received = live.received().next().unwrap_or_default();
            (pipeline.stand(received).into_iter().collect(), pages_of(pipeline))
        };
        totals.take(live, pipeline, stopped);
        let taken = counters(live, pipeline);
        let (progress, standing) = (live.progress(), pipeline.standing());
        let state = Stopped { progress, stands, standing, stopped: stopped.as_nanos() };
        match desk.hand_over(&state, &pages) {
            Ok(()) => self.taken_over = Some(taken),
            Err(error) => {
                tracing::warn!("another agent did not take over: {error}; this one goes on");
                self.crew.iter().for_each(Crew::resume);
            }
        }
    }

    /// Another agent reads what is captured: says what waits, which that one goes on with, flushes the sinks
    /// and says the balance. Nothing is detached.
    fn leave(self, taken: Taken) -> Result<(), Exit> {
        let Self { live, crew, mut pipeline, mut watch, endpoint, config, summary, scout, .. } =
            self;
        tracing::info!("another agent has taken over; this one ends");
        // The other serves there from now on.
        drop(endpoint);
        supervisor::tell(State::Stopping);
        let end = Instant::now() + config.drain_timeout;
        if let Some(crew) = crew {
            crew.leave(&mut pipeline, Instant::now() + config.drain_timeout / 4);
        }
        let now = Timestamp::now();
        pipeline.leave(now);
        let left = end.saturating_duration_since(Instant::now());
        let result = close(pipeline, taken, now, left, &mut watch, summary);
        drop((live, scout));
        result
    }

    /// Tells less where more comes than can be handled, and all again when that is over.
    fn regulate(&mut self) {
        let behind = self.crew.as_ref().map(Crew::waited);
        let Some(change) = self.live.regulate(behind) else { return };
        self.announcement.announce(change);
        if let Some(crew) = &self.crew {
            crew.sample(change);
        }
        self.pipeline.sample(change);
    }

    fn pause(&self) -> Duration {
        let now = Instant::now();
        let pause = (now.duration_since(self.last_packet) / 10)
            .clamp(PAUSE, self.longest_pause)
            .min(self.pipeline.ledger_in(Timestamp::now()));
        self.end.map_or(pause, |end| end.saturating_duration_since(now).min(pause))
    }

    fn over(&mut self) -> bool {
        self.taken_over.is_some()
            || self.signals.stop()
            || self.end.is_some_and(|end| Instant::now() >= end)
            || self.watch.look(self.pipeline.outbox()) != Verdict::GoOn
    }

    /// Detaches, drains the ring, writes what waits, flushes the sinks and says the balance.
    fn stop(self) -> Result<(), Exit> {
        let Self {
            mut live,
            crew,
            mut pipeline,
            mut totals,
            mut watch,
            mut endpoint,
            config,
            summary,
            scout: _scout,
            ..
        } = self;
        let limit = config.drain_timeout;
        let end = Instant::now() + limit;
        // A ring so full that the time does not suffice must leave some for the sinks, and for the
        // last ledger record, that tells of what is still in it.
        let drained = Instant::now() + limit / 2;
        endpoint.set_phase(Phase::Stopping);
        supervisor::tell(State::Stopping);
        live.detach();
        match crew {
            Some(crew) => crew.stop(&mut pipeline, drained, drained + limit / 4),
            None => {
                while live.drain(DRAIN, &mut |packet| pipeline.observe(packet)) > 0
                    && Instant::now() < drained
                {}
            }
        }
        let now = Timestamp::now();
        totals.take(&mut live, &mut pipeline, now);
        pipeline.finish(now);
        let left = end.saturating_duration_since(Instant::now());
        let taken = counters(&live, &pipeline);
        close(pipeline, taken, now, left, &mut watch, summary)
    }

    fn hint(&self) {
        let ports = &self.config.capture.ports;
        tracing::info!(
            "no DNS yet on port {ports}: {}; make a query with, for example, `dig example.com`",
            self.live.describe()
        );
    }
}

/// Begins to watch the pods, and gives their names the time to come before the first packet.
fn watch_pods(config: KubernetesConfig) -> Result<Pods, Exit> {
    let failed = |error| Exit::failed(format!("cannot start the watch of pods: {error}"));
    let pods = Pods::watch(config).map_err(failed)?;
    if !pods.await_first(POD_PATIENCE) {
        tracing::info!("the pods are not known yet: records of them are without names until then");
    }
    Ok(pods)
}

/// Waits for packets and takes them through the whole pipeline in this thread.
fn take(
    live: &mut Live,
    pipeline: &mut Pipeline,
    pause: Duration,
    signals: &Signals,
) -> Result<usize, Exit> {
    let failed = |error| Exit::failed(format!("cannot wait for the ring: {error}"));
    if live.wait(pause, Some(signals.bell().as_fd())).map_err(failed)? {
        signals.bell().silence();
    }
    // What is still in the ring when time is judged would be judged unfairly: only when the
    // ring was emptied may the clock, as it stood before, say that a query's time is over. A record that
    // is not complete yet hides those behind it.
    let before = Timestamp::now();
    let taken = live.drain(DRAIN, &mut |packet| pipeline.observe(packet));
    if live.is_empty(0) {
        pipeline.expire(before);
    }
    Ok(taken)
}

/// What the kernel counted, and what was taken from the rings: by this thread, or by those whose events
/// were gathered.
fn counters(live: &Live, pipeline: &Pipeline) -> Taken {
    live.counters_of(live.received().chain(pipeline.received()))
}
