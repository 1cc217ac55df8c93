//! Captures from start to end: live ([`run`]) and from files ([`replay`]), and what both share: starting from the configuration, building the pipeline, serving metrics and health,
//! watching the sinks, and ending with the summary.

mod losses;
mod pressure;
pub mod replay;
pub mod run;
pub mod signals;
mod worker_pool;

use crate::capture::live::{CannotCapture, CaptureStatus, ListenerPlace, LiveOptions, boottime_ns};
use crate::capture::replay::InputError;
use crate::config::{Config, IndicatorConfig, Sources};
use crate::enrich::Scope;
use crate::health::Health;
use crate::pipeline::{
    FirstSeen, FlowOptions, HOLD, InputCounters, LEDGER_INTERVAL, Pipeline, PipelineOptions,
};
use crate::record::RecordBuilder;
use dnscribe_admin::{Phase, Request, Requests, Server};
use dnscribe_analysis::detect::{self, DetectOptions, Detection, ExpectedResolvers, HostFacts};
use dnscribe_analysis::uses::UseOptions;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::summary::balance;
use dnscribe_config::host::{self, HOSTS, RESOLV_CONF};
use dnscribe_config::{log, sinks};
use dnscribe_delivery::{self, END_TIMEOUT, Sink, SinkSpec, SinkStatus, SinkWatch, Stream};
use dnscribe_record::privacy::{Masker, MaskingMethod};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::DecoderOptions;
use losses::LossLog;
use signals::{Signals, Waker};
use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Share of the time for delivery that records have, before the last ledger record.
const FLUSH_SHARE: f32 = 0.9;

/// Least time for closing the sinks: records of a sink that hangs go to its spool.
const MIN_CLOSE: Duration = Duration::from_millis(500);

/// How long the end waits for whoever reads the log.
pub const LOG_TIMEOUT: Duration = Duration::from_secs(1);

/// Default of [`Start::max_sleep`]. Timers are late by up to this.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// Everything that exists before the first packet.
pub struct Start {
    /// Sources of the configuration, for a reload.
    pub sources: Sources,
    /// The configuration.
    pub config: Config,
    /// Signals that end or reload.
    pub signals: Signals,
    /// Where metrics are served.
    pub endpoint: Endpoint,
    /// Sinks, already open.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Time between two ledger records of a live capture.
    pub ledger_every: Duration,
    /// How long a live capture may sleep without packets if nothing wakes it.
    pub max_sleep: Duration,
    /// Whether the summary is printed on stderr at the end.
    pub summary: bool,
    /// Scope to which a live capture reports each task.
    pub scope: Option<Scope>,
}

/// Everything that exists before a thread is started or a sink opened.
pub struct Prepared {
    /// Sources of the configuration, for a reload.
    pub sources: Sources,
    /// The configuration.
    pub config: Config,
    /// Signals that end or reload.
    pub signals: Signals,
    /// The address of metrics, once it is bound.
    listener: Option<TcpListener>,
}

impl Prepared {
    /// Reads the configuration, starts logging, installs signal handlers.
    pub fn new(sources: Sources) -> Result<Self, Exit> {
        let config = Config::load(&sources)?;
        log::start(config.log);
        let signals = Signals::listen()?;
        Ok(Self { sources, config, signals, listener: None })
    }

    /// Binds the address of metrics.
    pub fn bind(&mut self) -> Result<(), Exit> {
        let listen = self.config.metrics_listen;
        self.listener = listen.map(dnscribe_admin::bind).transpose()?;
        Ok(())
    }

    /// Refuses sinks that write to one of the files that are read.
    pub fn reading(self, files: &[PathBuf]) -> Result<Self, Exit> {
        sinks::refuse_inputs(&self.config.sinks, files)?;
        Ok(self)
    }

    /// Serves metrics and health, and opens the sinks.
    pub fn open(self) -> Result<Start, Exit> {
        let Self { sources, config, signals, listener } = self;
        let endpoint = Endpoint::start(&config, listener, &signals.waker)?;
        let sinks = dnscribe_delivery::open(&config.sinks, &config.open_with())?;
        Ok(Start {
            sources,
            config,
            signals,
            endpoint,
            sinks,
            ledger_every: LEDGER_INTERVAL,
            max_sleep: MAX_SLEEP,
            summary: true,
            scope: None,
        })
    }
}

/// Logs what was read from the files of indicators.
fn log_indicators(indicators: &IndicatorConfig) {
    for (sentence, is_whole) in &indicators.report {
        if *is_whole {
            tracing::info!("{sentence}");
        } else {
            tracing::warn!("{sentence}");
        }
    }
}

/// Options of the flow stages.
#[must_use]
pub fn flow_options(config: &Config) -> FlowOptions {
    let decoder = DecoderOptions {
        ports: config.capture.ports.clone(),
        encrypted: config.capture.encrypted.clone(),
        ..DecoderOptions::default()
    };
    FlowOptions {
        decoder,
        pairing: config.pairing,
        connections: config.connecting,
        hold: config.capture.path.then_some(HOLD),
    }
}

/// Options of the pipeline of a live capture, or of a replay, from `epoch` on.
pub fn pipeline_options(
    config: &Config,
    epoch: Timestamp,
    live: bool,
) -> Result<PipelineOptions, Exit> {
    let resolvers = config.resolvers.clone().into_iter().collect();
    let (node, region) = (config.node.clone(), config.region.clone());
    let labels = config.labels.clone();
    let identity = RecordBuilder {
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        unicode: config.records_idn,
        wire: config.messages_wire,
        limits: config.record_limits,
        ..RecordBuilder::new(node, region, epoch, resolvers)
    };
    Ok(PipelineOptions {
        correlation: config.correlation,
        windows: config.windows,
        detection: config.detect.clone().map(|options| detection(config, options, live)),
        indicators: Arc::clone(&config.indicators.table),
        first_seen: config.first_seen.as_ref().map(|one| {
            // A capture file says nothing of what this host sees now.
            if live {
                FirstSeen::open(&one.directory, one.max_zones, epoch)
            } else {
                FirstSeen::in_memory(one.max_zones)
            }
        }),
        filters: config.filters.clone(),
        uses: config.capture.connects.then_some(UseOptions::DEFAULT),
        path: config.capture.path,
        masker: Masker::new(config.privacy.clone())
            .map_err(|why| Exit::failed(format!("the key of the pseudonyms {why}")))?,
        ..PipelineOptions::new(identity)
    })
}

/// Creates detection with all rules that are enabled.
#[must_use]
pub fn detection(config: &Config, options: DetectOptions, live: bool) -> Detection {
    let others = detect::create_detectors(&options, &host_facts(config, live));
    Detection::new(options, others)
}

/// What detection knows of the host. Its files and its clock say something of a live capture only.
pub fn host_facts(config: &Config, live: bool) -> HostFacts {
    let configured = config.resolvers.keys().copied().collect();
    if !live {
        let resolvers = ExpectedResolvers { configured, system: BTreeSet::new() };
        return HostFacts { resolvers, ..HostFacts::default() };
    }
    let hosts = host::addresses_in_hosts()
        .inspect_err(|error| tracing::debug!("cannot read {HOSTS}: {error}"))
        .unwrap_or_default();
    HostFacts {
        resolvers: ExpectedResolvers { configured, system: system_resolvers() },
        hosts,
        connects_since_ns: config.capture.connects.then(boottime_ns),
    }
}

/// Resolvers of this host; none where they cannot be read.
fn system_resolvers() -> BTreeSet<IpAddr> {
    let found = host::nameservers().inspect_err(|error| {
        tracing::debug!("cannot read {RESOLV_CONF}: {error}; resolvers in common use are learned");
    });
    found.unwrap_or_default().into_iter().collect()
}

/// Interval of checks for losses, and of health checks for `/healthz`.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Serves `/metrics` and `/healthz`, if configured. Logs losses in any case.
#[derive(Default)]
pub struct Endpoint {
    serving: Option<Serving>,
    losses: LossLog,
    next_check: Option<Instant>,
}

struct Serving {
    server: Server,
    requests: Requests,
    health: Health,
}

impl Endpoint {
    /// Starts to serve, if configured, at the bound address or else one that it binds. Requests wake the thread of the
    /// pipeline.
    pub fn start(
        config: &Config,
        listener: Option<TcpListener>,
        waker: &Waker,
    ) -> Result<Self, Exit> {
        let Some(listen) = config.metrics_listen else { return Ok(Self::default()) };
        let waker = waker.clone();
        let listener = listener.map_or_else(|| dnscribe_admin::bind(listen), Ok)?;
        let (server, requests) = Server::start_on(listener, move || waker.wake())?;
        tracing::info!("metrics at http://{}/metrics", server.address);
        let has_spool = config.sinks.iter().any(SinkSpec::has_spool);
        let spool = config.spool.as_ref().filter(|_| has_spool);
        let health = Health::new(config.health_window, spool.map(|spool| spool.max_bytes));
        Ok(Self { serving: Some(Serving { server, requests, health }), ..Self::default() })
    }

    /// Tells `/readyz` how far the capture is.
    pub fn set_phase(&mut self, phase: Phase) {
        if let Some(serving) = &self.serving {
            serving.server.set_phase(phase);
        }
    }

    /// Answers pending requests, and checks losses and health when that is due. `input` returns the counters before the
    /// pipeline.
    pub fn serve(
        &mut self,
        pipeline: &Pipeline,
        input: impl Fn() -> InputCounters,
        capture: Option<CaptureStatus>,
    ) {
        let now = Instant::now();
        let is_due = self.next_check.is_none_or(|next| now >= next);
        if is_due {
            self.next_check = Some(now + HEALTH_INTERVAL);
            self.losses.log(now, &pipeline.counters(&input()));
        }
        let Some(Serving { requests, health, .. }) = &mut self.serving else { return };
        let check = |health: &mut Health| health.observe(now, pipeline.vitals(&input()));
        if is_due {
            check(health);
        }
        while let Some(request) = requests.try_next() {
            match request {
                Request::Page(reply) => reply.send(pipeline.exposition(&input(), capture)),
                Request::Health(reply) => {
                    check(health);
                    reply.send(health.report(now));
                }
            }
        }
    }
}

/// Options of live capture. `icmp`: where the listeners for ICMP errors run.
#[must_use]
pub fn live_options(config: &Config, icmp: ListenerPlace) -> LiveOptions {
    LiveOptions { icmp, ..config.capture.clone() }
}

/// Ends a pipeline: flushes the sinks, closes those that do not get the last ledger record, writes it, closes the others,
/// and prints the summary on stderr if wanted. All records are delivered or counted as dropped.
pub fn close(
    mut pipeline: Pipeline,
    input: &InputCounters,
    now: Timestamp,
    limit: Duration,
    watch: &mut SinkWatch,
    summary: bool,
) -> Result<(), Exit> {
    let end = Instant::now() + limit;
    let until = |end: Instant| end.saturating_duration_since(Instant::now());
    // A sink that hangs is waited for at its end, too. Some time is left for the last ledger record.
    let closing = END_TIMEOUT.min(limit / 4);
    pipeline.router.finish();
    pipeline.router.flush(limit.saturating_sub(closing).mul_f32(FLUSH_SHARE));
    pipeline.router.close_before_last(Stream::Ledger, closing.max(MIN_CLOSE));
    pipeline.write_ledger(input, now, true);
    pipeline.router.flush(until(end) / 2);
    pipeline.router.close_within(until(end).mul_f32(0.9).max(MIN_CLOSE));
    let mut counters = pipeline.counters(input);
    if pipeline.router.masker.rules_of(Stream::Ledger).server != MaskingMethod::Keep {
        for sender in counters.senders.iter_mut().flatten() {
            "masked".clone_into(&mut sender.name);
        }
    }
    let verdict = watch.check(&pipeline.router.sinks);
    // Before the summary, and before the program ends.
    log::flush(LOG_TIMEOUT);
    // After a closed pipe, no summary is wanted either.
    if summary && verdict != SinkStatus::Quiet {
        eprint!("{}", balance(&counters));
    }
    if verdict == SinkStatus::NoneLeft {
        return Err(Exit::failed("no sink is left that takes records"));
    }
    Ok(())
}

impl From<InputError> for Exit {
    fn from(error: InputError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<CannotCapture> for Exit {
    fn from(CannotCapture { problem, remedy }: CannotCapture) -> Self {
        Self::cannot_capture(problem).with_remedy(remedy)
    }
}
