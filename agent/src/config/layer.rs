//! One layer of configuration: what a file, the environment or the flags say, and nothing else.

use super::alertmanager::AlertmanagerLayer;
use super::detect::DetectLayer;
use super::kubernetes::KubernetesLayer;
use super::registry::{Secret, Url};
use super::shape::{items, joined, map, section, text};
use super::value::{
    Address, Broker, Compress, Count, DiskBytes, Hook, Join, Listen, LogFormat, LogLevel,
    Millionths, Name, Nice, Output, Partitions, PositiveSpan, Replicas, Retention, RingBytes,
    RotateBytes, RotateEvery, SamplingMode, SnapBytes, Span, Switch, Threads, Topic, Version,
};
use crate::capture::encrypted::Prefix;
use crate::capture::ports::PortSet;
use crate::sink::spool::WhenFull;
use crate::sink::{Format, SinkSpec, Stream, StreamSet};
use crate::window::{GroupingSet, KindSet};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Makes a section of the layer: its reading, with unknown keys refused, and its merging.
macro_rules! layer {
    ($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$attribute])* pub $field: $type),+ }

        impl Over for $name {
            fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.over(lower.$field)),+ }
            }
        }
    };
}

pub(super) use layer;

/// What is said in both of two layers goes to the higher.
pub trait Over {
    /// `self` where it says something, else `lower`.
    #[must_use]
    fn over(self, lower: Self) -> Self;
}

impl<T> Over for Option<T> {
    fn over(self, lower: Self) -> Self {
        self.or(lower)
    }
}

impl<K: Ord, V> Over for BTreeMap<K, V> {
    fn over(self, mut lower: Self) -> Self {
        lower.extend(self);
        lower
    }
}

layer! {
    /// All of it.
    Layer {
        /// Of the format; must be there in a file.
        #[serde(deserialize_with = "text")]
        version: Option<Version>,
        /// This host's name in records.
        #[serde(deserialize_with = "text")]
        node: Option<Name>,
        /// Where this host is.
        #[serde(deserialize_with = "text")]
        region: Option<Name>,
        /// What is captured and how.
        #[serde(deserialize_with = "section")]
        capture: CaptureLayer,
        /// How queries meet their responses.
        #[serde(deserialize_with = "section")]
        pairing: PairingLayer,
        /// What becomes of what is too much.
        #[serde(deserialize_with = "section")]
        sampling: SamplingLayer,
        /// Where encrypted DNS is looked for.
        #[serde(deserialize_with = "section")]
        encrypted: EncryptedLayer,
        /// Whether the transactions of one lookup are joined.
        #[serde(deserialize_with = "text")]
        join: Option<Join>,
        /// Which windows are written.
        #[serde(deserialize_with = "section")]
        windows: WindowsLayer,
        /// What is wrong enough to be told.
        #[serde(deserialize_with = "section")]
        detect: DetectLayer,
        /// The streams of every sink of which no more is said.
        #[serde(deserialize_with = "joined")]
        streams: Option<StreamSet>,
        /// Where records go.
        #[serde(deserialize_with = "items")]
        sinks: Option<Vec<SinkSpec>>,
        /// How stdout looks.
        #[serde(deserialize_with = "text")]
        output: Option<Output>,
        /// How to reach Kafka.
        #[serde(deserialize_with = "section")]
        kafka: KafkaLayer,
        /// Where records wait while Kafka is away.
        #[serde(deserialize_with = "section")]
        spool: SpoolLayer,
        /// How to reach Alertmanager.
        #[serde(deserialize_with = "section")]
        alertmanager: AlertmanagerLayer,
        /// How files are written.
        #[serde(deserialize_with = "section")]
        file: FileLayer,
        /// Addresses of resolvers by name.
        #[serde(deserialize_with = "map")]
        resolvers: BTreeMap<Name, Vec<Address>>,
        /// How pods are named.
        #[serde(deserialize_with = "section")]
        kubernetes: KubernetesLayer,
        /// The metrics endpoint.
        #[serde(deserialize_with = "section")]
        metrics: MetricsLayer,
        /// What counts as healthy.
        #[serde(deserialize_with = "section")]
        health: HealthLayer,
        /// What message records hold.
        #[serde(deserialize_with = "section")]
        messages: MessagesLayer,
        /// What every record holds.
        #[serde(deserialize_with = "section")]
        records: RecordsLayer,
        /// What is logged.
        #[serde(deserialize_with = "section")]
        log: LogLayer,
        /// How long the end may take.
        #[serde(deserialize_with = "text")]
        drain_timeout: Option<Span>,
        /// How long to run.
        #[serde(deserialize_with = "text")]
        duration: Option<PositiveSpan>,
    }
}

layer! {
    /// Section `capture`.
    CaptureLayer {
        /// Where programs are attached.
        #[serde(deserialize_with = "text")]
        hook: Option<Hook>,
        /// The cgroup to watch.
        #[serde(deserialize_with = "text")]
        cgroup: Option<PathBuf>,
        /// The interfaces to listen on.
        #[serde(deserialize_with = "items")]
        interfaces: Option<Vec<String>>,
        /// The ports of DNS.
        #[serde(deserialize_with = "joined")]
        ports: Option<PortSet>,
        /// Threads that read packets.
        #[serde(deserialize_with = "text")]
        threads: Option<Threads>,
        /// How nice they are while nothing is about to be lost.
        #[serde(deserialize_with = "text")]
        nice: Option<Nice>,
        /// The ring's size.
        #[serde(deserialize_with = "text")]
        ring_bytes: Option<RingBytes>,
        /// Octets captured of a packet at most.
        #[serde(deserialize_with = "text")]
        snap_bytes: Option<SnapBytes>,
    }
}

layer! {
    /// Section `sampling`.
    SamplingLayer {
        /// Whether anything may be left out.
        #[serde(deserialize_with = "text")]
        mode: Option<SamplingMode>,
        /// The least share that is told.
        #[serde(deserialize_with = "text")]
        floor: Option<Millionths>,
    }
}

impl EncryptedLayer {
    /// Whether it says where to look.
    pub(super) const fn says_where(&self) -> bool {
        self.ports.is_some() || self.https_ports.is_some() || self.resolvers.is_some()
    }
}

layer! {
    /// Section `windows`.
    WindowsLayer {
        /// The kinds of window.
        #[serde(deserialize_with = "joined")]
        spans: Option<KindSet>,
        /// The groupings.
        #[serde(deserialize_with = "joined")]
        groupings: Option<GroupingSet>,
        /// How long, beyond the query timeout, a window waits for its transactions.
        #[serde(deserialize_with = "text")]
        lateness: Option<Span>,
    }
}

layer! {
    /// Section `encrypted`.
    EncryptedLayer {
        /// The ports of DNS over TLS and QUIC.
        #[serde(deserialize_with = "joined")]
        ports: Option<PortSet>,
        /// The ports of DNS over HTTPS.
        #[serde(deserialize_with = "joined")]
        https_ports: Option<PortSet>,
        /// The addresses of resolvers that offer DNS over HTTPS.
        #[serde(deserialize_with = "items")]
        resolvers: Option<Vec<Prefix>>,
        /// How long a connection may be silent.
        #[serde(deserialize_with = "text")]
        idle_timeout: Option<PositiveSpan>,
        /// The same of QUIC.
        #[serde(deserialize_with = "text")]
        quic_idle_timeout: Option<PositiveSpan>,
        /// How often a connection that goes on is reported.
        #[serde(deserialize_with = "text")]
        report_every: Option<PositiveSpan>,
        /// How many connections are followed at most.
        #[serde(deserialize_with = "text")]
        max_connections: Option<Count>,
    }
}

layer! {
    /// Section `pairing`.
    PairingLayer {
        /// How long a query waits for its response.
        #[serde(deserialize_with = "text")]
        query_timeout: Option<PositiveSpan>,
        /// How many queries wait at most.
        #[serde(deserialize_with = "text")]
        max_transactions: Option<Count>,
    }
}

layer! {
    /// Section `kafka`.
    KafkaLayer {
        /// Where Kafka is.
        #[serde(deserialize_with = "items")]
        brokers: Option<Vec<Broker>>,
        /// The streams that go there.
        #[serde(deserialize_with = "joined")]
        streams: Option<StreamSet>,
        /// Topics by stream.
        #[serde(deserialize_with = "map")]
        topics: BTreeMap<Stream, Topic>,
        /// Settings for librdkafka.
        #[serde(deserialize_with = "map")]
        options: BTreeMap<String, String>,
        /// Files whose content is the value of a setting for librdkafka.
        #[serde(deserialize_with = "map")]
        option_files: BTreeMap<String, PathBuf>,
        /// Partitions of topics to be made, by stream.
        #[serde(deserialize_with = "map")]
        partitions: BTreeMap<Stream, Partitions>,
        /// How long topics to be made keep their records, by stream.
        #[serde(deserialize_with = "map")]
        retention: BTreeMap<Stream, Retention>,
        /// Copies of each partition of topics to be made.
        #[serde(deserialize_with = "text")]
        replication_factor: Option<Replicas>,
        /// How records look.
        #[serde(deserialize_with = "text")]
        format: Option<Format>,
        /// How the records of a stream look.
        #[serde(deserialize_with = "map")]
        formats: BTreeMap<Stream, Format>,
        /// Where schemas are kept.
        #[serde(deserialize_with = "section")]
        registry: RegistryLayer,
    }
}

layer! {
    /// Section `kafka.registry`.
    RegistryLayer {
        /// Where it is.
        #[serde(deserialize_with = "text")]
        url: Option<Url>,
        /// Who we are.
        #[serde(deserialize_with = "text")]
        username: Option<Name>,
        /// Our password.
        #[serde(deserialize_with = "text")]
        password: Option<Secret>,
        /// The file with our password.
        #[serde(deserialize_with = "text")]
        password_file: Option<PathBuf>,
        /// The certificates to trust.
        #[serde(deserialize_with = "text")]
        ca_file: Option<PathBuf>,
        /// How long it may take.
        #[serde(deserialize_with = "text")]
        timeout: Option<PositiveSpan>,
    }
}

layer! {
    /// Section `spool`.
    SpoolLayer {
        /// Whether there is a spool.
        #[serde(deserialize_with = "text")]
        enabled: Option<Switch>,
        /// Where it is.
        #[serde(deserialize_with = "text")]
        directory: Option<PathBuf>,
        /// Octets on disk at most.
        #[serde(deserialize_with = "text")]
        max_bytes: Option<DiskBytes>,
        /// Age of records at most.
        #[serde(deserialize_with = "text")]
        max_age: Option<PositiveSpan>,
        /// Which records go when it is full.
        #[serde(deserialize_with = "text")]
        when_full: Option<WhenFull>,
    }
}

layer! {
    /// Section `file`.
    FileLayer {
        /// The streams that go there.
        #[serde(deserialize_with = "joined")]
        streams: Option<StreamSet>,
        /// How large a file may grow.
        #[serde(deserialize_with = "text")]
        rotate_bytes: Option<RotateBytes>,
        /// How old a file may grow.
        #[serde(deserialize_with = "text")]
        rotate_every: Option<RotateEvery>,
        /// How many rotated files are kept.
        #[serde(deserialize_with = "text")]
        keep: Option<Count>,
        /// What rotated files are compressed with.
        #[serde(deserialize_with = "text")]
        compress: Option<Compress>,
    }
}

layer! {
    /// Section `metrics`.
    MetricsLayer {
        /// Where `/metrics` is served.
        #[serde(deserialize_with = "text")]
        listen: Option<Listen>,
    }
}

layer! {
    /// Section `health`.
    HealthLayer {
        /// How long a loss counts.
        #[serde(deserialize_with = "text")]
        window: Option<PositiveSpan>,
    }
}

layer! {
    /// Section `messages`.
    MessagesLayer {
        /// Whether message records hold the message's octets.
        #[serde(deserialize_with = "text")]
        wire: Option<Switch>,
    }
}

layer! {
    /// Section `records`.
    RecordsLayer {
        /// Whether names in other scripts stand there in Unicode, too.
        #[serde(deserialize_with = "text")]
        idn: Option<Switch>,
    }
}

layer! {
    /// Section `log`.
    LogLayer {
        /// How log lines look.
        #[serde(deserialize_with = "text")]
        format: Option<LogFormat>,
        /// What is logged.
        #[serde(deserialize_with = "text")]
        level: Option<LogLevel>,
    }
}

/// Says nothing: a layer may hold secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}
