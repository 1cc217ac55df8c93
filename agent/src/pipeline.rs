//! Runs the stages behind the capture: packets in, records out, every unit counted.
//!
//! Packets go through [`FlowStage`]s, in each of which the packets of a share of the flows are decoded and paired.
//! Their events go through the [`EventSink`] trait to the [`Pipeline`], where all flows meet: correlation,
//! analysis, and the sinks. With one thread, the pipeline is the event sink of the flow stage; with several, each
//! flow stage has a worker thread and fills [`EventBatch`]es, which a [`BatchMerger`] passes to the pipeline in
//! order of time. Settings reach every stage as a [`Control`] value.
//!
//! Only replay waits for sinks; otherwise a full sink drops records and counts them.

mod analysis;
mod attribution;
mod batch;
mod batch_merger;
mod beside;
mod control;
mod event;
mod first_seen;
pub mod filter;
mod flow_stage;
mod followed;
mod held;
mod records;
mod renderer;
mod resolver_names;
mod waiting;
#[cfg(test)]
mod tests;

pub use batch::EventBatch;
pub use batch_merger::BatchMerger;
pub use beside::{Beside, FIRST_SENDER};
pub use control::{Control, Settings};
pub use event::{Event, EventSink, RenderedEvent};
pub use first_seen::FirstSeen;
pub use flow_stage::{FlowCounters, FlowOptions, FlowStage};
pub use held::{HOLD, MAX_HELD_BYTES};
pub use renderer::RenderOptions;

use crate::capture::live::CaptureStatus;
use crate::enrich::Enricher;
use crate::health::Vitals;
use crate::metrics::{self, BuildInfo, PodMetrics, TransactionMetrics};
use crate::pipeline::filter::StreamFilters;
use crate::record::RecordBuilder;
use analysis::Analysis;
use dnscribe_admin::page::Page;
use dnscribe_analysis::detect::Detection;
use dnscribe_analysis::indicators::IndicatorTable;
use dnscribe_analysis::losses::LossTable;
use dnscribe_analysis::path::PathTable;
use dnscribe_analysis::uses::UseOptions;
use dnscribe_analysis::window::WindowOptions;
use dnscribe_delivery::{Sink, SinkReplacement, SinkRouter, Stream};
use dnscribe_record::ledger::{self, Counters, DnstapSender, Kernel, Ring, SeenBy};
use dnscribe_record::privacy::{KeyError, Masker};
use dnscribe_record::time::{ClockShift, Timestamp};
use dnscribe_transaction::correlate::{CorrelateStage, CorrelationMode};
use dnscribe_transaction::packet::sampling::{
    Change, NotExported, PacketClass, Timeline, exported_share,
};
use renderer::{MessageParts, Renderer};
use resolver_names::ResolverNames;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Counters of the kernel by hook, or of the file reader in replay, and of the ring.
pub type CaptureCounters = (BTreeMap<String, Kernel>, Ring);

/// Counters of everything before the merge side, at one moment.
#[derive(Clone, Debug, Default)]
pub struct InputCounters {
    /// Counters of the capture.
    pub capture: CaptureCounters,
    /// Counters of the flow stages.
    pub flows: Vec<FlowCounters>,
    /// Who saw transactions, where a hook and servers are captured together.
    pub seen_by: Option<SeenBy>,
    /// Servers that send dnstap, where they can.
    pub senders: Option<Vec<DnstapSender>>,
}

/// Time between two ledger records.
pub const LEDGER_INTERVAL: Duration = Duration::from_secs(10);

/// Batches of a flow stage on a worker thread. Enough to fill one while others are on their way or wait for a
/// flow stage that is behind.
pub const BATCHES_PER_SHARD: usize = 8;

/// Replacement of the sinks, with what depends on them.
pub struct SinkChange {
    /// The sinks.
    pub sinks: Vec<SinkReplacement>,
    /// Time for sinks that go to deliver their records.
    pub flush_timeout: Duration,
    /// Whether detection runs.
    pub detection: DetectionChange,
    /// Whether records of messages have their bytes.
    pub wire: bool,
}

/// Change of detection.
pub enum DetectionChange {
    /// Detection is off.
    Off,
    /// Detection stays as it is.
    Keep,
    /// Detection starts, without history.
    Start(Box<Detection>),
}

/// Options of a pipeline, beside its sinks.
pub struct PipelineOptions {
    /// Node, region and epoch that records carry.
    pub identity: RecordBuilder,
    /// Whether transactions of a resolver are linked to those of its clients.
    pub correlation: CorrelationMode,
    /// Looks up executables and containers; none in replay.
    pub enricher: Option<Enricher>,
    /// If set, a full sink is waited for until this flag is raised, as replay can; otherwise its records are
    /// dropped.
    pub wait_for_sinks: Option<Arc<AtomicBool>>,
    /// Which windows are exported.
    pub windows: WindowOptions,
    /// Detection, if alerts are wanted.
    pub detection: Option<Detection>,
    /// Indicators that transactions are matched with.
    pub indicators: Arc<IndicatorTable>,
    /// First times of zones, if they are remembered.
    pub first_seen: Option<FirstSeen>,
    /// Which records are exported.
    pub filters: StreamFilters,
    /// Masks fields of records.
    pub masker: Masker,
    /// Time between two ledger records.
    pub ledger_every: Duration,
    /// Whether the ledger has counters of sampling, in live capture.
    pub sampling: bool,
    /// How connections that processes open are matched with lookups, if they are captured.
    pub uses: Option<UseOptions>,
    /// Whether packets that the kernel discards are captured.
    pub path: bool,
}

impl PipelineOptions {
    /// Options without enrichment, detection, filters and masking, with all windows.
    #[must_use]
    pub fn new(identity: RecordBuilder) -> Self {
        Self {
            identity,
            correlation: CorrelationMode::default(),
            enricher: None,
            wait_for_sinks: None,
            windows: WindowOptions::DEFAULT,
            detection: None,
            indicators: Arc::default(),
            first_seen: None,
            filters: StreamFilters::default(),
            masker: Masker::default(),
            ledger_every: LEDGER_INTERVAL,
            sampling: false,
            uses: None,
            path: false,
        }
    }
}

/// The part of a pipeline where the events of all flows become records: correlation, attribution, analysis, ledger,
/// and sinks.
pub struct Pipeline {
    identity: RecordBuilder,
    correlator: CorrelateStage,
    enricher: Option<Enricher>,
    /// The sinks.
    pub router: SinkRouter,
    /// Parts of records that flow stages render.
    render_options: RenderOptions,
    /// Renders the parts that a flow stage has not rendered.
    late_renderer: Option<Renderer>,
    analysis: Analysis,
    /// Messages that the kernel discarded, if these are captured.
    losses: Option<LossTable>,
    /// Times of messages on their way, if these are captured.
    path: Option<PathTable>,
    metrics: TransactionMetrics,
    /// Metrics by pod, if Kubernetes is configured.
    pod_metrics: Option<PodMetrics>,
    resolvers: ResolverNames,
    /// Empty where there are none.
    indicators: Arc<IndicatorTable>,
    first_seen: Option<FirstSeen>,
    filters: StreamFilters,
    /// Counters of sampling, in live capture.
    sampling: Option<ledger::Sampling>,
    sampling_timeline: Timeline,
    /// Ledger records so far.
    ledgers: u64,
    next_ledger: Timestamp,
    ledger_every: Duration,
    /// Clock of the capture.
    now: Timestamp,
}

impl Pipeline {
    /// Creates a pipeline with these sinks.
    #[must_use]
    pub fn new(options: PipelineOptions, sinks: Vec<Box<dyn Sink>>) -> Self {
        let PipelineOptions { identity, masker, .. } = options;
        let resolvers = ResolverNames::new(masker.hides_servers());
        let router = SinkRouter::new(sinks, masker, options.wait_for_sinks);
        let analysis =
            Analysis::new(options.windows, options.uses, options.detection, &identity, &router);
        Self {
            correlator: CorrelateStage::new(options.correlation),
            pod_metrics: options
                .enricher
                .as_ref()
                .and_then(Enricher::kubernetes)
                .map(|_| PodMetrics::default()),
            enricher: options.enricher,
            render_options: render_options(&router, &analysis, identity.wire),
            late_renderer: None,
            router,
            analysis,
            losses: options.path.then(LossTable::default),
            path: options.path.then(PathTable::default),
            metrics: TransactionMetrics::default(),
            resolvers,
            indicators: options.indicators,
            first_seen: options.first_seen,
            filters: options.filters,
            sampling: options.sampling.then(ledger::Sampling::default),
            sampling_timeline: Timeline::default(),
            ledgers: 0,
            next_ledger: identity.epoch.plus(options.ledger_every),
            ledger_every: options.ledger_every,
            now: identity.epoch,
            identity,
        }
    }

    /// Creates `shards` flow stages for this pipeline, each for a share of the flows.
    #[must_use]
    pub fn flow_stages(&mut self, options: &FlowOptions, shards: usize) -> Vec<FlowStage> {
        self.set_query_timeout(options.pairing.query_timeout);
        let create = |shard| FlowStage::new(shard, shards, options.clone(), self);
        (0..shards).map(create).collect()
    }

    fn set_query_timeout(&mut self, query_timeout: Duration) {
        self.analysis.set_query_timeout(query_timeout);
        if let Some(losses) = &mut self.losses {
            losses.query_timeout = query_timeout;
        }
        if let Some(path) = &mut self.path {
            path.query_timeout = query_timeout;
        }
    }

    /// Creates the only flow stage for this pipeline.
    #[must_use]
    pub fn flow_stage(&mut self, options: FlowOptions) -> FlowStage {
        self.set_query_timeout(options.pairing.query_timeout);
        FlowStage::new(0, 1, options, self)
    }

    /// Start of the capture.
    #[must_use]
    pub const fn epoch(&self) -> Timestamp {
        self.identity.epoch
    }

    /// How far the host's clock was set since capture began.
    #[must_use]
    pub const fn clock_shift(&self) -> ClockShift {
        self.identity.clock
    }

    /// Creates a renderer of the parts of records that the sinks need.
    fn renderer(&self) -> Renderer {
        Renderer::new(self.identity.clone(), self.render_options)
    }

    /// Applies a change of settings.
    ///
    /// # Errors
    /// The key of the pseudonyms cannot be read. Then masking stays unchanged.
    pub fn apply(&mut self, control: &Control) -> Result<(), KeyError> {
        match control {
            Control::Reconfigure(settings) => return self.reconfigure(settings),
            Control::Match(indicators) => self.indicators = Arc::clone(indicators),
            Control::Sample(change) => self.sample(*change),
            Control::SetClock(shift) => self.set_clock(*shift),
            Control::Render(options) => self.render_options = *options,
            Control::AddPorts(_) | Control::SetPorts(_) => {}
        }
        Ok(())
    }

    fn reconfigure(&mut self, settings: &Settings) -> Result<(), KeyError> {
        self.set_query_timeout(settings.pairing.query_timeout);
        self.analysis.reconfigure(settings.windows, settings.detect.clone());
        self.identity.resolvers.clone_from(&settings.resolvers);
        self.resolvers.names.clear();
        self.indicators = Arc::clone(&settings.indicators);
        self.filters = settings.filters.clone();
        self.router.set_privacy(settings.privacy.clone())?;
        self.resolvers = ResolverNames::new(self.router.masker.hides_servers());
        self.late_renderer = None;
        Ok(())
    }

    /// Writes records by the host's clock from now on, which was set this far since capture began.
    fn set_clock(&mut self, shift: ClockShift) {
        // In this order: what ends now has the time of before.
        let (analysis, mut export) = self.analysis_parts();
        analysis.set_clock(shift, &mut export);
        self.identity.clock = shift;
        self.late_renderer = None;
    }

    fn sample(&mut self, change: Change) {
        let sampling = self.sampling.get_or_insert_default();
        sampling.ratio = exported_share(change.cut);
        if change.cut == 0 {
            sampling.since = None;
        } else if sampling.since.is_none() {
            sampling.since = Some(self.identity.clock.apply(change.at).to_string());
            sampling.episodes += 1;
        }
        self.correlator.note_sampling(change);
        self.analysis.note_sampling(change);
        self.sampling_timeline.push(change);
    }

    /// Replaces the sinks, and starts or ends the analyses that they need. What is open in one that ends goes to the sinks of
    /// before. Returns which parts of records are to be
    /// rendered, which is to be applied to all stages as [`Control::Render`].
    #[must_use]
    pub fn replace_sinks(&mut self, change: SinkChange) -> RenderOptions {
        let SinkChange { sinks, flush_timeout, detection, wire } = change;
        let (now, streams) = (self.now, self.router.streams_with(&sinks));
        let (analysis, mut export) = self.analysis_parts();
        analysis.set_streams(streams, detection, now, &mut export);
        self.router.replace(sinks, flush_timeout);
        self.set_wire(wire)
    }

    /// Changes whether records of messages have their bytes. Returns what is to be rendered, which is to be applied to all
    /// stages as [`Control::Render`].
    #[must_use]
    pub fn set_wire(&mut self, wire: bool) -> RenderOptions {
        self.identity.wire = wire;
        render_options(&self.router, &self.analysis, wire)
    }

    /// Adds packets that the kernel has counted instead of exporting, up to time `ts`.
    pub fn add_not_exported(&mut self, ts: Timestamp, packets: &NotExported) {
        let sums = &mut self.sampling.get_or_insert_default().not_exported;
        *match packets.class {
            PacketClass::Query => &mut sums.queries,
            PacketClass::Response { .. } => &mut sums.responses,
            PacketClass::Segment { .. } => &mut sums.segments,
            PacketClass::Other => &mut sums.other,
        } += packets.sampled + packets.lost;
        let resolver = packets.server.map(|server| self.identity.resolver(server));
        self.analysis.add_not_exported(ts, packets, resolver.as_deref());
    }

    /// Takes note that the kernel did not export all packets between two times.
    pub fn note_missing(&mut self, from: Timestamp, to: Timestamp) {
        self.analysis.note_missing(from, to);
    }

    /// Returns whether connections are matched with lookups.
    #[must_use]
    pub const fn has_uses(&self) -> bool {
        self.analysis.uses.is_some()
    }

    /// Lets the analyses report what ends up to `now`. All events up to `now` must have been passed.
    pub fn expire(&mut self, now: Timestamp) {
        self.now = now;
        if let Some(losses) = &mut self.losses {
            losses.expire(now);
        }
        if let Some(path) = &mut self.path {
            path.expire(now);
        }
        if let Some(first_seen) = &mut self.first_seen {
            first_seen.expire(now);
        }
        let (analysis, mut export) = self.analysis_parts();
        analysis.expire(now, &mut export);
    }

    /// Ends the capture at `now`. All flow stages must have ended before.
    pub fn finish(&mut self, now: Timestamp) {
        self.now = now;
        let (analysis, mut export) = self.analysis_parts();
        analysis.finish(now, &mut export);
        self.router.offer();
        if let Some(first_seen) = &mut self.first_seen {
            first_seen.close();
        }
    }

    /// Returns whether a ledger record is due at `now` by the clock of the capture, which nobody sets.
    #[must_use]
    pub fn ledger_due(&self, now: Timestamp) -> bool {
        now >= self.next_ledger
    }

    /// Time from `now` until a ledger record is due.
    #[must_use]
    pub const fn ledger_in(&self, now: Timestamp) -> Duration {
        self.next_ledger.since(now)
    }

    /// Writes a ledger record.
    pub fn write_ledger(&mut self, input: &InputCounters, now: Timestamp, last: bool) {
        self.next_ledger = now.plus(self.ledger_every);
        let counters = self.counters(input);
        self.ledger(&counters, now, last);
    }

    /// The counters of all stages.
    #[must_use]
    pub fn counters(&self, input: &InputCounters) -> Counters {
        let (kernel, ring) = input.capture.clone();
        let delivery = self.router.sinks.delivery();
        let sampling = self.sampling.clone();
        let lost = kernel.get("connect").map_or(0, |connect| connect.lost_ring_full);
        let uses = self.analysis.uses.as_ref().map(|uses| uses.counters(lost));
        let mut counters = Counters {
            kernel,
            ring,
            sampling,
            uses,
            seen_by: input.seen_by.clone(),
            senders: input.senders.clone(),
            delivery,
            ..Counters::default()
        };
        input.flows.iter().for_each(|flow| flow.add_to(&mut counters));
        if let Some(path) = &mut counters.path {
            path.lost = counters.kernel.get("drop").map_or(0, |drop| drop.lost_ring_full);
        }
        counters
    }

    /// The page for `/metrics`. `capture` is set in live capture.
    #[must_use]
    pub fn exposition(&self, input: &InputCounters, capture: Option<CaptureStatus>) -> Page {
        let (sinks, analysis) = (&self.router.sinks, &self.analysis);
        metrics::render(&metrics::MetricsSnapshot {
            counters: &self.counters(input),
            transactions: &self.metrics,
            links: &self.correlator.counters(),
            capture,
            spool_bytes: sinks.spool_bytes(),
            late_transactions: analysis.late(),
            windows_bytes: analysis.windows.as_ref().map(|windows| windows.bytes() as u64),
            losses: self.losses.as_ref().map(|losses| &losses.counts),
            uses: analysis.uses.as_ref().map(|uses| &uses.outcomes),
            lookups: analysis.lookups.as_ref().map(|lookups| &lookups.counters),
            alerts: analysis.detection.as_ref().map(|detection| &detection.counters),
            kubernetes: self.enricher.as_ref().and_then(Enricher::kubernetes).as_ref(),
            pods: self.pod_metrics.as_ref(),
            hides_containers: self.router.masker.hides_containers(),
            gauges: &sinks.gauges(),
            indicators: self.indicators.len() as u64,
            first_seen: self.first_seen.as_ref().map(FirstSeen::counts),
            build: BuildInfo {
                version: env!("CARGO_PKG_VERSION"),
                revision: env!("DNSCRIBE_REVISION"),
            },
        })
    }

    /// What `/healthz` is computed from.
    #[must_use]
    pub fn vitals(&self, input: &InputCounters) -> Vitals {
        let sinks = &self.router.sinks;
        Vitals::new(&self.counters(input), sinks.fullest_spool_bytes(), sinks.failures())
    }
}

#[cfg(test)]
impl Pipeline {
    /// The settings that the stages of this thread use, as text.
    pub(crate) fn settings_in_force(&self) -> String {
        let resolvers: BTreeMap<_, _> = self.identity.resolvers.iter().collect();
        let masked = Stream::ALL.map(|stream| self.router.masker.rules_of(stream));
        let hides_servers = self.router.masker.hides_servers();
        format!(
            "{:#?}",
            (
                self.analysis.settings_in_force(),
                resolvers,
                &self.filters,
                masked,
                hides_servers,
                self.identity.wire,
            )
        )
    }
}

/// Which parts of records the flow stages render.
fn render_options(router: &SinkRouter, analysis: &Analysis, wire: bool) -> RenderOptions {
    RenderOptions {
        texts: router.renders(Stream::Transactions) || analysis.is_active(),
        transactions: router.renders(Stream::Transactions),
        messages: match router.renders(Stream::Messages) {
            false => MessageParts::Nothing,
            true if wire => MessageParts::WithBytes,
            true => MessageParts::Decoded,
        },
    }
}
