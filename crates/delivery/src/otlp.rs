//! The OTLP sink: OpenTelemetry's protocol, over HTTP or gRPC.
//!
//! ```text
//!  queue ─▶ sender ─▶ in flight ─▶ exporter ─▶ collector
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `exporter` | the thread that sends requests, and the sender's view of it |
//! | `encode` | requests of records: logs |
//! | `metrics` | windows and lookups as metrics |
//! | `traces` | lookups and transactions as spans |
//! | `proto` | the messages |
//! | `client` | HTTP and gRPC |

mod client;
mod encode;
mod exporter;
mod metrics;
mod proto;
mod traces;

use super::format::Password;
use super::spooled::{self, SpooledPlan};
use super::tally::DropReason;
use super::threaded::{QueueLimits, ThreadedSink};
use super::{Authorization, Gauge, SinkError, Stream, StreamSet, http};
use client::Client;
use dnscribe_record::named_enum;
use exporter::{Exporter, Progress};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

const REASONS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::MessageTooLarge,
    DropReason::NotEncodable,
    DropReason::Rejected,
    DropReason::PartialSuccess,
    DropReason::BrokerError,
    DropReason::SpoolFull,
    DropReason::SpoolExpired,
    DropReason::SpoolCorrupt,
    DropReason::SpoolError,
    DropReason::Shutdown,
];

named_enum! {
    /// What a server receives.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Signal: "a signal" {
        /// Records.
        Logs = "logs",
        /// Windows and the durations of lookups.
        Metrics = "metrics",
        /// Lookups with their transactions.
        Traces = "traces",
    }
}

impl Signal {
    /// The method of gRPC.
    const fn method(self) -> &'static str {
        match self {
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        }
    }

    /// The streams whose records make the signal, by default.
    const fn default_streams(self) -> StreamSet {
        let all = StreamSet::EMPTY.with(Stream::Lookups);
        match self {
            Self::Logs => all.with(Stream::Transactions).with(Stream::Alerts),
            Self::Metrics => all.with(Stream::Metrics),
            Self::Traces => all.with(Stream::Transactions),
        }
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u8);

impl SignalSet {
    /// Adds a signal.
    const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << signal as u8)
    }

    /// Removes a signal.
    const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !(1 << signal as u8))
    }

    const fn contains(self, signal: Signal) -> bool {
        self.0 & 1 << signal as u8 != 0
    }

    fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::ALL.into_iter().filter(move |signal| self.contains(*signal))
    }

    /// Returns the signals of the set that records of a stream become.
    fn of(self, stream: Stream) -> Self {
        let becomes = |signal: &Signal| match signal {
            Signal::Logs => stream != Stream::Metrics || !self.contains(Signal::Metrics),
            Signal::Metrics => matches!(stream, Stream::Metrics | Stream::Lookups),
            Signal::Traces => matches!(stream, Stream::Transactions | Stream::Lookups),
        };
        self.iter().filter(becomes).fold(Self::default(), Self::with)
    }
}

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

/// A server: `http://HOST:PORT`, `https://HOST:PORT`, `grpc://HOST:PORT` or `grpcs://HOST:PORT`, perhaps with a path (HTTP),
/// and perhaps with the signals that it gets: `#metrics`, `#logs,traces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    protocol: Protocol,
    /// With the scheme of HTTP, without a slash at the end.
    url: String,
    signals: SignalSet,
}

impl Target {
    /// The streams that the server gets by default.
    #[must_use]
    pub fn default_streams(&self) -> StreamSet {
        let streams = self.signals.iter().map(Signal::default_streams);
        streams.fold(StreamSet::EMPTY, StreamSet::union)
    }

    /// Returns whether the server gets metrics.
    pub(super) const fn has_metrics(&self) -> bool {
        self.signals.contains(Signal::Metrics)
    }

    /// The URL as it was given, without signals.
    fn given_url(&self) -> Cow<'_, str> {
        match self.protocol {
            Protocol::Http => Cow::Borrowed(&self.url),
            Protocol::Grpc => Cow::Owned(self.url.replacen("http", "grpc", 1)),
        }
    }
}

impl FromStr for Target {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (url, signals) =
            text.split_once('#').map_or((text, None), |(url, rest)| (url, Some(rest)));
        let (scheme, rest) = url.split_once("://").ok_or(())?;
        let (protocol, scheme) = match scheme {
            "http" | "https" => (Protocol::Http, scheme),
            "grpc" => (Protocol::Grpc, "http"),
            "grpcs" => (Protocol::Grpc, "https"),
            _ => return Err(()),
        };
        let rest = rest.trim_end_matches('/');
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"?\"<>\\^`{|}@".contains(&byte);
        let (host, path) =
            rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
        let port = host.rsplit_once(':').map(|(_, port)| port.trim_end_matches(']'));
        let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok()) && !host.ends_with(']');
        let fits = protocol == Protocol::Http || has_port && path.is_none();
        if host.is_empty() || host.starts_with(':') || !rest.bytes().all(legal) || !fits {
            return Err(());
        }
        let signals = match signals {
            None => SignalSet::default().with(Signal::Logs).with(Signal::Metrics),
            Some(names) => names.split(',').try_fold(SignalSet::default(), |all, name| {
                name.parse().map(|signal| all.with(signal)).map_err(drop)
            })?,
        };
        Ok(Self { protocol, url: format!("{scheme}://{rest}"), signals })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.given_url();
        let signals: Vec<&str> = self.signals.iter().map(Signal::name).collect();
        write!(f, "{url}#{}", signals.join(","))
    }
}

named_enum! {
    /// Whether metrics count from the start or since the last time.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Temporality: "a temporality" {
        /// Since the last time.
        Delta = "delta",
        /// From the start.
        #[default]
        Cumulative = "cumulative",
    }
}

impl Temporality {
    /// Its number in OTLP.
    const fn number(self) -> i32 {
        match self {
            Self::Delta => 1,
            Self::Cumulative => 2,
        }
    }
}

/// How to reach servers of OTLP, and what they get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Credentials, if the server requires them.
    pub authorization: Option<Authorization>,
    /// Further headers of each request.
    pub headers: BTreeMap<String, Password>,
    /// File with the trusted certificates in PEM. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Time limit for each request.
    pub timeout: Duration,
    /// Temporality of metrics.
    pub temporality: Temporality,
    /// Most series of each kind of metric; the others are one.
    pub max_series: usize,
    /// Length and step of the windows that become metrics, in seconds.
    pub window: (u64, u64),
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            authorization: None,
            headers: BTreeMap::new(),
            ca_file: None,
            timeout: Duration::from_secs(10),
            temporality: Temporality::Cumulative,
            max_series: 2000,
            window: (10, 10),
        }
    }
}

/// Everything that defines a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OtlpPlan {
    pub(super) target: Target,
    pub(super) config: OtlpConfig,
    pub(super) spooled: SpooledPlan,
}

/// The metric that says whether the server accepts records.
const UP: &str = "dnscribe_otlp_up";

/// Starts a sink without waiting for its server.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    plan: &OtlpPlan,
) -> Result<ThreadedSink, SinkError> {
    let progress = Arc::<Progress>::default();
    let client = Client::new(&plan.target, &plan.config).map_err(SinkError::Otlp)?;
    let (limits, config) = (QueueLimits::default(), &plan.config);
    let (mut sink, gauges) =
        spooled::open(name, streams, &plan.spooled, limits, REASONS, |in_flight| {
            Exporter::start(client, config, plan.target.signals, in_flight, &progress)
        })?;
    sink.gauges = Box::new(move || [progress.gauges(), gauges.gauges(UP)].concat());
    Ok(sink)
}

/// All metrics of this kind of sink.
pub(super) fn every_gauge() -> Vec<Gauge> {
    [Progress::default().gauges(), spooled::BacklogGauges::default().gauges(UP)].concat()
}

/// Sends a server an empty request of each of its signals.
///
/// # Errors
/// Returns why the server does not accept it, and a remedy if the cause is clear.
pub fn probe(target: &Target, config: &OtlpConfig) -> Result<String, (String, Option<String>)> {
    let remedy = || Some(http::CORRECT_SETTING.to_owned());
    let mut client = Client::new(target, config).map_err(|why| (why, remedy()))?;
    for signal in target.signals.iter() {
        client.send(signal, &[]).map_err(|error| (error.why, error.remedy))?;
    }
    Ok(format!("{target} accepts requests"))
}

#[cfg(test)]
mod tests;
