//! What `run` and `replay` share: a configured pipeline with its sinks, from start to summary.

use super::bell::Bell;
use super::resolvers;
use super::signals::Signals;
use super::summary::balance;
use crate::capture::live::{CannotCapture, LiveOptions};
use crate::config::{Config, Sources};
use crate::connection::Connections;
use crate::decode::DecoderOptions;
use crate::detect::{self, DetectOptions, Detection, Meant};
use crate::enrich::Enricher;
use crate::exit::Exit;
use crate::health::Health;
use crate::log;
use crate::metrics::{Phase, Request, Requests, Server};
use crate::pipeline::{Outbox, Output, OutputOptions, Pipeline, Shard, Taken};
use crate::privacy::Masker;
use crate::record::Identity;
use crate::sink::{self, Failure, Sink, SinkSpec};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The part of the time for the end in which records may still arrive.
const PATIENCE: f32 = 0.8;

/// See [`Start::longest_pause`]. What is due at a time is late by this at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What is there before the first packet.
pub(super) struct Start {
    pub(super) sources: Sources,
    pub(super) config: Config,
    pub(super) signals: Signals,
    pub(super) endpoint: Endpoint,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    /// Time between two ledger records of a live capture, where it is not the usual one.
    pub(super) ledger_every: Option<Duration>,
    /// How long a live capture may sleep where no packets come and nobody rings.
    pub(super) longest_pause: Duration,
    /// Whether the balance is told on stderr at the end.
    pub(super) summary: bool,
}

/// What is there before anything is opened: no thread but this one.
pub(super) struct Begun {
    pub(super) sources: Sources,
    pub(super) config: Config,
    pub(super) signals: Signals,
    /// Whether another agent still has what this one is to have.
    pub(super) takes_over: bool,
}

impl Begun {
    /// Reads the configuration, starts logging, listens for signals.
    pub(super) fn new(sources: Sources) -> Result<Self, Exit> {
        let config = Config::load(&sources)?;
        log::start(config.log);
        let signals = Signals::listen()?;
        Ok(Self { sources, config, signals, takes_over: false })
    }

    /// Listens for scrapes, opens the sinks.
    pub(super) fn open(self) -> Result<Start, Exit> {
        let Self { sources, config, signals, takes_over } = self;
        let endpoint = if takes_over {
            Endpoint::later(&config, signals.bell())
        } else {
            Endpoint::start(&config, signals.bell())?
        };
        let sinks = sink::open(&config.sinks, &config.open_with())?;
        Ok(Start {
            sources,
            config,
            signals,
            endpoint,
            sinks,
            ledger_every: None,
            longest_pause: LONGEST_PAUSE,
            summary: true,
        })
    }
}

impl Start {
    /// Reads the configuration, starts logging, listens for signals and scrapes, opens the sinks.
    pub(super) fn new(sources: Sources) -> Result<Self, Exit> {
        Begun::new(sources)?.open()
    }
}

/// How a pipeline is made from the configuration.
pub(super) struct Blueprint<'a> {
    pub(super) config: &'a Config,
    pub(super) epoch: Timestamp,
    pub(super) enricher: Option<Enricher>,
    /// See [`OutputOptions::wait_for_sinks`].
    pub(super) wait_for_sinks: Option<Arc<AtomicBool>>,
}

impl Blueprint<'_> {
    /// A pipeline for one thread.
    pub(super) fn build(self, sinks: Vec<Box<dyn Sink>>) -> Result<Pipeline, Exit> {
        let config = self.config;
        let encrypted = config.capture.encrypted.clone();
        let connections = encrypted.map(|encrypted| Connections::new(encrypted, config.connecting));
        let output = self.output(sinks)?;
        Ok(Pipeline::new(decoder(config), config.pairing, config.joining, output)
            .with_connections(connections))
    }

    /// A pipeline for one thread, and fronts for so many others.
    pub(super) fn build_parted(
        self,
        sinks: Vec<Box<dyn Sink>>,
        shards: usize,
    ) -> Result<(Pipeline, Vec<Shard>), Exit> {
        let config = self.config;
        let decoder = decoder(config);
        let fronts = (&decoder, config.connecting);
        let output = self.output(sinks)?;
        Ok(Pipeline::parted(shards, fronts, config.pairing, config.joining, output))
    }

    fn output(self, sinks: Vec<Box<dyn Sink>>) -> Result<Output, Exit> {
        let config = self.config;
        let resolvers = config.resolvers.clone().into_iter().collect();
        let live = self.enricher.is_some();
        let (node, region) = (config.node.clone(), config.region.clone());
        let options = OutputOptions {
            identity: Identity::new(node, region, self.epoch, resolvers)
                .with_unicode(config.records_idn)
                .with_wire(config.messages_wire),
            enricher: self.enricher,
            wait_for_sinks: self.wait_for_sinks,
            windows: config.windows,
            detection: config.detect.clone().map(|options| detection(config, options, live)),
            filters: config.filters.clone(),
            masker: Masker::new(config.privacy.clone())
                .map_err(|why| Exit::failed(format!("the key of the pseudonyms {why}")))?,
        };
        Ok(Output::new(options, sinks))
    }
}

fn decoder(config: &Config) -> DecoderOptions {
    DecoderOptions {
        ports: config.capture.ports.clone(),
        encrypted: config.capture.encrypted.clone(),
        ..DecoderOptions::default()
    }
}

/// Detection by every rule. What this host's own resolvers are says nothing of a capture file.
pub(super) fn detection(config: &Config, options: DetectOptions, live: bool) -> Detection {
    let meant = Meant {
        configured: config.resolvers.keys().copied().collect(),
        system: if live { resolvers::of_this_host() } else { BTreeSet::new() },
    };
    let others = detect::all(&options, &meant);
    Detection::new(options, others)
}

/// How often it is looked whether something was lost, for `/healthz`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it is tried to serve on an address that another agent still has.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// `/metrics` and its neighbours, where they are served.
#[derive(Default)]
pub(super) struct Endpoint {
    serving: Option<Serving>,
    wanted: Option<Wanted>,
}

/// What is to be served once the address is free.
struct Wanted {
    config: Box<Config>,
    bell: Bell,
    phase: Phase,
    next_try: Instant,
    told: bool,
}

struct Serving {
    server: Server,
    requests: Requests,
    health: Health,
    next_look: Instant,
}

impl Endpoint {
    /// Nothing is served.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Serves them where they are wanted. Requests ring the bell.
    pub(super) fn start(config: &Config, bell: &Bell) -> Result<Self, Exit> {
        let Some(listen) = config.metrics_listen else { return Ok(Self::default()) };
        let bell = bell.clone();
        let (server, requests) = Server::start(listen, move || bell.ring())?;
        tracing::info!("metrics at http://{}/metrics", server.address());
        let kafka = config.sinks.contains(&SinkSpec::Kafka);
        let spool = config.spool.as_ref().filter(|_| kafka);
        let health = Health::new(config.health_window, spool.map(|spool| spool.max_bytes));
        let serving = Some(Serving { server, requests, health, next_look: Instant::now() });
        Ok(Self { serving, wanted: None })
    }

    /// The same as soon as the address is free, which another agent still has.
    pub(super) fn later(config: &Config, bell: &Bell) -> Self {
        let wanted = Wanted {
            config: Box::new(config.clone()),
            bell: bell.clone(),
            phase: Phase::Starting,
            next_try: Instant::now(),
            told: false,
        };
        let wanted = config.metrics_listen.map(|_| wanted);
        Self { serving: None, wanted }
    }

    fn try_again(&mut self) {
        let now = Instant::now();
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.next_try <= now) else {
            return;
        };
        match Self::start(&wanted.config, &wanted.bell) {
            Ok(started) => {
                started.set_phase_of_serving(wanted.phase.clone());
                *self = started;
            }
            Err(why) => {
                if !wanted.told {
                    tracing::info!("metrics are served as soon as the address is free: {why}");
                }
                wanted.told = true;
                wanted.next_try = now + RETRY_EVERY;
            }
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(wanted) = &mut self.wanted {
            wanted.phase = phase;
        } else {
            self.set_phase_of_serving(phase);
        }
    }

    fn set_phase_of_serving(&self, phase: Phase) {
        if let Some(serving) = &self.serving {
            serving.server.set_phase(phase);
        }
    }

    /// Answers whoever waits, and looks after the health. `taken` are the capture's counters now.
    pub(super) fn attend(
        &mut self,
        pipeline: &Pipeline,
        taken: impl Fn() -> Taken,
        ring_used_bytes: Option<u64>,
    ) {
        self.try_again();
        let Some(Serving { requests, health, next_look, .. }) = &mut self.serving else { return };
        let now = Instant::now();
        let look = |health: &mut Health| health.observe(now, pipeline.vitals(taken()));
        if now >= *next_look {
            *next_look = now + LOOK_EVERY;
            look(health);
        }
        while let Some(request) = requests.try_next() {
            match request {
                Request::Page(reply) => reply.send(pipeline.exposition(taken(), ring_used_bytes)),
                Request::Health(reply) => {
                    look(health);
                    reply.send(health.report(now));
                }
            }
        }
    }
}

/// Returns the options of live capture. `scout` is the socket of [`LiveOptions::scout`].
pub(super) fn live_options(config: &Config, scout: Option<Arc<OwnedFd>>) -> LiveOptions {
    LiveOptions { scout, query_timeout: config.pairing.query_timeout, ..config.capture.clone() }
}

/// Notices sinks that fail for good.
#[derive(Debug, Default)]
pub(super) struct Watch {
    told: BTreeSet<String>,
}

/// What the sinks' failures mean for the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Records have somewhere to go.
    GoOn,
    /// The reader of stdout went away, and there is no other sink: a quiet end.
    Quiet,
    /// No sink is left.
    NoneLeft,
}

impl Watch {
    /// Names each sink that has failed, once; says whether any is left.
    pub(super) fn look(&mut self, outbox: &Outbox) -> Verdict {
        let (failures, all) = outbox.post().failures();
        for (name, failure) in &failures {
            if let Failure::Broken(reason) = failure
                && self.told.insert(name.clone())
            {
                tracing::error!(sink = %name, "{reason}; its records are dropped and counted from here on");
            }
        }
        if failures.len() < all {
            Verdict::GoOn
        } else if failures.iter().all(|(_, failure)| *failure == Failure::PipeClosed) {
            Verdict::Quiet
        } else {
            Verdict::NoneLeft
        }
    }
}

/// Ends a pipeline: everything delivered or counted as dropped, the final ledger record written,
/// the summary on stderr where it is wanted.
pub(super) fn close(
    mut pipeline: Pipeline,
    taken: Taken,
    now: Timestamp,
    limit: Duration,
    watch: &mut Watch,
    summary: bool,
) -> Result<(), Exit> {
    let end = Instant::now() + limit;
    let left = || end.saturating_duration_since(Instant::now());
    // The last ledger record and the sinks' own ends have their share of the time.
    pipeline.outbox().flush(limit.mul_f32(PATIENCE).min(left()));
    pipeline.write_ledger(taken.clone(), now, true);
    pipeline.outbox().flush(left());
    pipeline.outbox().close();
    let counters = pipeline.counters(taken);
    let verdict = watch.look(pipeline.outbox());
    // Whoever closed the pipe does not want the summary either.
    if summary && verdict != Verdict::Quiet {
        eprint!("{}", balance(&counters));
    }
    if verdict == Verdict::NoneLeft {
        return Err(Exit::failed("no sink is left that takes records"));
    }
    Ok(())
}

impl From<CannotCapture> for Exit {
    fn from(CannotCapture { problem, remedy }: CannotCapture) -> Self {
        Self::cannot_capture(problem).with_remedy(remedy)
    }
}
