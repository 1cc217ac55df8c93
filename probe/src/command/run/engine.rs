//! The loop of `run`: one task that owns the schedule and the pipeline, and a task for each round.

use super::endpoint::Endpoint;
use super::on_demand::OnDemand;
use super::pipeline::Pipeline;
use crate::config::{Config, Sources};
use crate::measure::{Context, Round, cut_off, measure};
use crate::schedule::{Repeat, Scheduler, Start, TargetId, outcomes};
use dnscribe_admin::Phase;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::service::{State, notify};
use dnscribe_delivery::{SinkSpec, SinkStatus};
use dnscribe_record::time::Timestamp;
use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

/// Time between two ledger records.
const LEDGER_INTERVAL: Duration = Duration::from_secs(10);

/// Interval at which sinks and health are checked.
const TICK: Duration = Duration::from_secs(1);

/// Time beyond its own limit after which a round is cut off.
const GRACE: Duration = Duration::from_secs(1);

/// The rounds: schedule, running tasks and pipeline.
pub(super) struct Rounds {
    pub(super) scheduler: Scheduler,
    pub(super) pipeline: Pipeline,
    pub(super) context: Arc<Context>,
    started: Instant,
    tasks: JoinSet<Round>,
    running: HashMap<task::Id, (TargetId, Arc<crate::target::Target>)>,
}

impl Rounds {
    /// Schedules all targets of a configuration.
    pub(super) fn new(config: &Config, sinks: &[SinkSpec], repeat: Repeat) -> Result<Self, Exit> {
        let mut rounds = Self {
            scheduler: Scheduler::new(config.limits, repeat),
            pipeline: Pipeline::open(config, sinks, repeat)?,
            context: context(config),
            started: Instant::now(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
        };
        rounds.set_services(config);
        Ok(rounds)
    }

    /// Schedules the targets of a configuration from now on.
    pub(super) fn set_services(&mut self, config: &Config) {
        let now = self.started.elapsed();
        self.scheduler.set_services(now, config.limits, &config.services);
    }

    /// Begins the rounds that are due.
    pub(super) fn begin(&mut self) {
        for Start { id, target, .. } in self.scheduler.poll(self.started.elapsed()) {
            let (context, measured) = (Arc::clone(&self.context), Arc::clone(&target));
            let round = async move {
                let (start, begun) = (Timestamp::now(), Instant::now());
                let limit = measured.timeout + GRACE;
                match timeout(limit, measure(&context, &measured)).await {
                    Ok(round) => round,
                    Err(_) => cut_off(&context, &measured, (start, begun.elapsed()), "timeout"),
                }
            };
            let handle = self.tasks.spawn(round);
            self.running.insert(handle.id(), (id, target));
        }
    }

    /// Waits until a round has ended or rounds are due. Returns the one that has ended.
    pub(super) async fn next(&mut self) -> Option<Round> {
        let due = self.scheduler.next_poll().map(|at| (self.started + at).into());
        let next_due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => Some(self.end(ended)),
            () = next_due => None,
        }
    }

    /// Returns a round that has ended, without waiting.
    pub(super) fn try_next(&mut self) -> Option<Round> {
        let ended = self.tasks.try_join_next_with_id()?;
        Some(self.end(ended))
    }

    /// Accounts for a round that has ended, and exports its records.
    fn end(&mut self, ended: Result<(task::Id, Round), JoinError>) -> Round {
        let (task, round) = match ended {
            Ok((task, round)) => (task, Ok(round)),
            Err(error) => (error.id(), Err(error)),
        };
        let running = self.running.remove(&task);
        let mut round = match (round, &running) {
            (Ok(round), _) => round,
            (Err(error), Some((_, target))) => {
                tracing::error!(target = %target.name, "a round has failed inside: {error}");
                cut_off(&self.context, target, (Timestamp::now(), Duration::ZERO), "internal")
            }
            // Every task is noted when it begins.
            (Err(error), None) => std::panic::resume_unwind(Box::new(error)),
        };
        let is_removed = running.as_ref().is_none_or(|(id, _)| self.scheduler.is_removed(*id));
        self.pipeline.observe(&mut round, is_removed);
        if let Some((id, _)) = running {
            let (now, records) = (self.started.elapsed(), round.found.len() as u64);
            match round.skipped {
                None => self.scheduler.finish(now, id, records, &outcomes(&round)),
                Some(skip) => self.scheduler.finish_skipped(now, id, skip.name()),
            }
        }
        round
    }

    /// Lets running rounds end for `limit`, and gives up the others.
    pub(super) async fn stop(&mut self, limit: Duration) {
        self.scheduler.stop();
        let end = Instant::now() + limit;
        while !self.tasks.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if timeout(left, self.next()).await.is_err() {
                break;
            }
        }
        self.tasks.shutdown().await;
        self.scheduler.give_up();
    }
}

/// Creates what all measurements need.
pub(super) fn context(config: &Config) -> Arc<Context> {
    Arc::new(Context::new(config.site.clone(), config.trust.clone()))
}

/// Signals of the operator.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hang_up: Signal,
}

/// A signal of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessSignal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn listen() -> Result<Self, Exit> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> ProcessSignal {
        tokio::select! {
            _ = self.term.recv() => ProcessSignal::Stop,
            _ = self.int.recv() => ProcessSignal::Stop,
            _ = self.hang_up.recv() => ProcessSignal::Reload,
        }
    }

    /// Waits for a signal to stop.
    pub(super) async fn stop(&mut self) {
        while self.next().await != ProcessSignal::Stop {}
    }
}

/// A running probe.
pub(super) struct Engine {
    pub(super) config: Config,
    pub(super) sources: Sources,
    pub(super) rounds: Rounds,
    pub(super) endpoint: Endpoint,
    requested: Arc<Notify>,
    signals: Signals,
    next_ledger: Instant,
    pub(super) on_demand: OnDemand,
}

impl Engine {
    /// Opens the sinks, serves metrics and schedules the targets.
    pub(super) fn start(config: Config, sources: Sources) -> Result<Self, Exit> {
        let signals = Signals::listen()?;
        let requested = Arc::new(Notify::new());
        let endpoint = Endpoint::start(&config, &context(&config), &requested)?;
        let rounds = Rounds::new(&config, &config.sinks, Repeat::Always)?;
        let targets: usize = config.services.iter().map(|service| service.targets.len()).sum();
        let services = config.services.len();
        let what =
            format!("measuring {targets} targets of {services} services from {}", config.site);
        tracing::info!("{what}");
        endpoint.set_phase(Phase::Ready(what));
        notify(State::Ready);
        let next_ledger = Instant::now() + LEDGER_INTERVAL;
        let on_demand = OnDemand::start(&config);
        Ok(Self { config, sources, rounds, endpoint, requested, signals, next_ledger, on_demand })
    }

    /// Measures until a signal, or the failure of the last sink.
    pub(super) async fn until_the_end(mut self) -> Result<(), Exit> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.rounds.begin();
            let requested = Arc::clone(&self.requested);
            tokio::select! {
                _ = self.rounds.next() => while self.rounds.try_next().is_some() {},
                _ = tick.tick() => if !self.tick() { break },
                event = self.on_demand.next() => self.on_demand.handle(event, &mut self.rounds),
                () = requested.notified() => self.endpoint.serve(&self.rounds),
                signal = self.signals.next() => match signal {
                    ProcessSignal::Stop => break,
                    ProcessSignal::Reload => self.reload(),
                },
            }
            self.rounds.pipeline.router.offer();
        }
        Box::pin(self.stop()).await
    }

    /// Does what is due from time to time. Returns false if no sink is left.
    fn tick(&mut self) -> bool {
        let Rounds { scheduler, pipeline, .. } = &mut self.rounds;
        pipeline.router.update_sinks();
        pipeline.judge();
        if Instant::now() >= self.next_ledger {
            self.next_ledger = Instant::now() + LEDGER_INTERVAL;
            pipeline.expire();
            self.on_demand.expire(pipeline);
            pipeline.write_ledger(scheduler.probing(), false);
        }
        pipeline.memory.save_if_due(Timestamp::now());
        let is_left = pipeline.check_sinks() == SinkStatus::Continue;
        self.endpoint.observe(&self.rounds);
        is_left
    }

    /// Gives running rounds a short time, flushes the sinks, and prints the summary. A second signal ends at once.
    async fn stop(self) -> Result<(), Exit> {
        let Self { config, mut rounds, endpoint, mut signals, .. } = self;
        let end = Instant::now() + config.drain_timeout;
        endpoint.set_phase(Phase::Stopping);
        notify(State::Stopping);
        let impatient = tokio::spawn(async move {
            signals.stop().await;
            std::process::exit(1);
        });
        rounds.stop(config.drain_timeout / 4).await;
        rounds.pipeline.judge();
        let left = end.saturating_duration_since(Instant::now());
        let Rounds { scheduler, pipeline, .. } = rounds;
        let closed = pipeline.close(scheduler.probing(), left, true);
        impatient.abort();
        closed
    }
}
