//! One layer of configuration: what a file, the environment or the flags say, and nothing else.

use super::alertmanager::AlertmanagerLayer;
use super::detect::DetectLayer;
use super::filters::FiltersLayer;
use super::kubernetes::KubernetesLayer;
use super::privacy::PrivacyLayer;
use super::privileges::PrivilegesLayer;
use super::registry::{Secret, Url};
use super::shape::{Entry, items, joined, map, section, text};
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
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Makes a section of the layer: its reading, with unknown keys refused, its merging, and what the
/// reference says of its keys: of each its comment, and behind its type what [`said`] reads.
macro_rules! layer {
    ($(#[$about:meta])* $name:ident { $(
        $(#[doc = $doc:literal])+ $(#[serde($($serde:tt)*)])*
        $field:ident: $type:ty $(= $kind:ident($($value:tt)*))?
    ),+ $(,)? }) => {
        $(#[$about])*
        #[allow(
            clippy::doc_markdown,
            rustdoc::bare_urls,
            reason = "the reference shows these sentences as they stand"
        )]
        #[derive(Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[doc = $doc])+ $(#[serde($($serde)*)])* pub $field: $type),+ }

        impl Over for $name {
            fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.over(lower.$field)),+ }
            }
        }

        impl $crate::config::reference::Describe for $name {
            fn keys() -> Vec<$crate::config::reference::Key> {
                use $crate::config::reference::{Describe, Key, said};
                vec![$(Key::new(
                    stringify!($field),
                    concat!($($doc),+),
                    said!($($kind($($value)*))?),
                    <$type as Describe>::keys(),
                )),+]
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

/// What is said of streams: of each, what is said in both layers goes to the higher.
#[derive(Clone)]
pub struct PerStream<T>(pub BTreeMap<Stream, T>);

impl<T> Default for PerStream<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// Reads what is said of streams.
pub(super) fn per_stream<'de, D, T>(deserializer: D) -> Result<PerStream<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Entry,
{
    map(deserializer).map(PerStream)
}

impl<T: Over> Over for PerStream<T> {
    fn over(self, Self(mut lower): Self) -> Self {
        for (stream, value) in self.0 {
            let value = match lower.remove(&stream) {
                Some(below) => value.over(below),
                None => value,
            };
            lower.insert(stream, value);
        }
        Self(lower)
    }
}

layer! {
    /// All of it.
    Layer {
        /// The version of this file's format.
        #[serde(deserialize_with = "text")]
        version: Option<Version> = default("1"),
        /// This host's name in records: the system's host name unless given.
        #[serde(deserialize_with = "text")]
        node: Option<Name> = example("resolver-1"),
        /// Where this host is: the field `region` of every record.
        #[serde(deserialize_with = "text")]
        region: Option<Name> = example("eu-central"),
        /// What is captured and how.
        #[serde(deserialize_with = "section")]
        capture: CaptureLayer,
        /// How queries meet their responses.
        #[serde(deserialize_with = "section")]
        pairing: PairingLayer,
        /// What becomes of what is too much.
        #[serde(deserialize_with = "section")]
        sampling: SamplingLayer,
        /// Where connections of encrypted DNS are looked for, if a sink wants the stream
        /// connections, or alerts.
        #[serde(deserialize_with = "section")]
        encrypted: EncryptedLayer,
        /// Whether the transactions of one lookup at a resolver on this host are joined: auto or
        /// off.
        #[serde(deserialize_with = "text")]
        join: Option<Join> = default("auto"),
        /// Which windows there are, if a sink wants the stream metrics.
        #[serde(deserialize_with = "section")]
        windows: WindowsLayer,
        /// What is wrong enough to be told.
        #[serde(deserialize_with = "section")]
        detect: DetectLayer,
        /// The streams of every sink of which no more is said: messages, transactions, lookups,
        /// metrics, alerts, dlq, ledger, connections. Unless given, transactions to stdout, and to
        /// the others transactions, metrics, alerts, dlq and ledger.
        #[serde(deserialize_with = "joined")]
        streams: Option<StreamSet> = example("[transactions, dlq, ledger]"),
        /// Where records go: stdout, file:PATH, kafka, alertmanager, null. Unless given, kafka
        /// where kafka.brokers are, else stdout.
        #[serde(deserialize_with = "items")]
        sinks: Option<Vec<SinkSpec>> = example("[kafka, \"file:/var/log/dnscribe/dns.ndjson\"]"),
        /// How stdout looks: text, json, or auto, which is text on a terminal and else JSON.
        #[serde(deserialize_with = "text")]
        output: Option<Output> = default("auto"),
        /// How to reach Kafka, and what goes there.
        #[serde(deserialize_with = "section")]
        kafka: KafkaLayer,
        /// Where records wait on disk while Kafka is away.
        #[serde(deserialize_with = "section")]
        spool: SpoolLayer,
        /// How to reach Alertmanager; where urls stand, `run` sends alerts there.
        #[serde(deserialize_with = "section")]
        alertmanager: AlertmanagerLayer,
        /// How the files of all file sinks are written.
        #[serde(deserialize_with = "section")]
        file: FileLayer,
        /// Names of resolvers, with their addresses, for the field `resolver`.
        #[serde(deserialize_with = "map")]
        resolvers: BTreeMap<Name, Vec<Address>> = example("{ corp-dns: [192.0.2.53, \"2001:db8::53\"] }"),
        /// How pods are named.
        #[serde(deserialize_with = "section")]
        kubernetes: KubernetesLayer,
        /// The endpoint of Prometheus.
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
        /// Which records are told.
        #[serde(deserialize_with = "section")]
        filters: FiltersLayer,
        /// What records do not tell.
        #[serde(deserialize_with = "section")]
        privacy: PrivacyLayer,
        /// What `run` gives up once it has attached.
        #[serde(deserialize_with = "section")]
        privileges: PrivilegesLayer,
        /// How a new agent takes over from a running one, without a gap.
        #[serde(deserialize_with = "section")]
        takeover: TakeoverLayer,
        /// What is logged on stderr.
        #[serde(deserialize_with = "section")]
        log: LogLayer,
        /// How long the end may take: what is not delivered by then is dropped and counted, or
        /// stays in the spool.
        #[serde(deserialize_with = "text")]
        drain_timeout: Option<Span> = default("10s"),
        /// How long to run; until stopped unless given.
        #[serde(deserialize_with = "text")]
        duration: Option<PositiveSpan> = example("1h"),
    }
}

layer! {
    /// Section `capture`.
    CaptureLayer {
        /// Where programs are attached: cgroup (every socket, with its process), socket (packets of
        /// interfaces), or auto, the first of them that works.
        #[serde(deserialize_with = "text")]
        hook: Option<Hook> = default("auto"),
        /// The cgroup to watch with hook cgroup, absolute or relative to the cgroup2 mount; its
        /// root, which is everything, unless given.
        #[serde(deserialize_with = "text")]
        cgroup: Option<PathBuf> = example("kubepods.slice"),
        /// The interfaces to listen on with hook socket; all unless given.
        #[serde(deserialize_with = "items")]
        interfaces: Option<Vec<String>> = example("[eth0]"),
        /// The ports of DNS.
        #[serde(deserialize_with = "joined")]
        ports: Option<PortSet> = default("[53]"),
        /// Threads that read packets, 1 to 16; unless given, one for every four CPUs, from 1 to 4.
        #[serde(deserialize_with = "text")]
        threads: Option<Threads> = example("2"),
        /// How nice these threads are while their rings have room, so that servers go first: 0 to
        /// 19.
        #[serde(deserialize_with = "text")]
        nice: Option<Nice> = default("10"),
        /// The ring between kernel and agent, of all threads together: a power of two from 64KiB to
        /// 1GiB.
        #[serde(deserialize_with = "text")]
        ring_bytes: Option<RingBytes> = default("32MiB"),
        /// Octets captured of a packet at most: 128 to 131072.
        #[serde(deserialize_with = "text")]
        snap_bytes: Option<SnapBytes> = default("131072"),
    }
}

layer! {
    /// Section `takeover`.
    TakeoverLayer {
        /// The Unix socket at which `run` is asked by the next agent, and asks the running one when it
        /// starts; nobody unless given.
        #[serde(deserialize_with = "text")]
        socket: Option<PathBuf> = example("/run/dnscribe/takeover.sock"),
    }
}

layer! {
    /// Section `sampling`.
    SamplingLayer {
        /// What happens when more comes than can be handled: auto leaves out whole transactions and
        /// counts them; with off the ring fills, and what comes then is lost.
        #[serde(deserialize_with = "text")]
        mode: Option<SamplingMode> = default("auto"),
        /// The least share of transactions that is told: 0.0001 to 1.
        #[serde(deserialize_with = "text")]
        floor: Option<Millionths> = default("0.01"),
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
        /// The kinds of window; 1m/10s is a minute, sliding by ten seconds.
        #[serde(deserialize_with = "joined")]
        spans: Option<KindSet> = default("[10s, 1m, 5m, 1m/10s]"),
        /// By what the numbers are grouped.
        #[serde(deserialize_with = "joined")]
        groupings: Option<GroupingSet> = default("[node, resolver, zone, qtype, process, pod]"),
        /// How long, beyond the query timeout, a window waits for its transactions.
        #[serde(deserialize_with = "text")]
        lateness: Option<Span> = default("1s"),
    }
}

layer! {
    /// Section `encrypted`.
    EncryptedLayer {
        /// The ports of DNS over TLS and QUIC, whatever the address.
        #[serde(deserialize_with = "joined")]
        ports: Option<PortSet> = default("[853]"),
        /// The ports of DNS over HTTPS, to and from the addresses of `resolvers` only.
        #[serde(deserialize_with = "joined")]
        https_ports: Option<PortSet> = default("[443]"),
        /// The addresses of resolvers that offer DNS over HTTPS, as addresses or prefixes: 1024 at
        /// most; none unless given.
        #[serde(deserialize_with = "items")]
        resolvers: Option<Vec<Prefix>> = example("[192.0.2.53, \"2001:db8:53::/48\"]"),
        /// How long a connection may be silent until it counts as over.
        #[serde(deserialize_with = "text")]
        idle_timeout: Option<PositiveSpan> = default("5m"),
        /// The same of QUIC, whose end cannot be seen.
        #[serde(deserialize_with = "text")]
        quic_idle_timeout: Option<PositiveSpan> = default("1m"),
        /// How often a connection that goes on is reported.
        #[serde(deserialize_with = "text")]
        report_every: Option<PositiveSpan> = default("1m"),
        /// How many connections are followed at most: some 700 octets each.
        #[serde(deserialize_with = "text")]
        max_connections: Option<Count> = default("65536"),
    }
}

layer! {
    /// Section `pairing`.
    PairingLayer {
        /// How long a query waits for its response.
        #[serde(deserialize_with = "text")]
        query_timeout: Option<PositiveSpan> = default("5s"),
        /// How many queries wait at most: 1 KiB of memory each.
        #[serde(deserialize_with = "text")]
        max_transactions: Option<Count> = default("262144"),
    }
}

layer! {
    /// Section `kafka`.
    KafkaLayer {
        /// Where Kafka is: HOST:PORT of some of its brokers.
        #[serde(deserialize_with = "items")]
        brokers: Option<Vec<Broker>> = example("[\"kafka-1:9092\", \"kafka-2:9092\"]"),
        /// The streams that go to Kafka, where they are not those of `streams`.
        #[serde(deserialize_with = "joined")]
        streams: Option<StreamSet> = example("[transactions, ledger]"),
        /// Topics by stream. Unless given: dns.raw for messages, dns.normalized for transactions,
        /// and dns. with the stream's name for the others.
        #[serde(deserialize_with = "map")]
        topics: BTreeMap<Stream, Topic> = example("{ transactions: dns.normalized }"),
        /// Any settings of librdkafka.
        #[serde(deserialize_with = "map")]
        options: BTreeMap<String, String> = example("{ security.protocol: ssl, ssl.ca.location: /etc/ssl/kafka-ca.pem }"),
        /// Settings of librdkafka whose value is a file's content: passwords and keys.
        #[serde(deserialize_with = "map")]
        option_files: BTreeMap<String, PathBuf> = example("{ sasl.password: /run/credentials/dnscribe.service/kafka-password }"),
        /// Partitions of the topics that `dnscribe kafka init` makes, by stream.
        #[serde(deserialize_with = "map")]
        partitions: BTreeMap<Stream, Partitions> = example("{ transactions: 24 }"),
        /// How long those topics keep their records, by stream.
        #[serde(deserialize_with = "map")]
        retention: BTreeMap<Stream, Retention> = example("{ transactions: 72h }"),
        /// Copies of each partition of those topics; as the brokers have it unless given.
        #[serde(deserialize_with = "text")]
        replication_factor: Option<Replicas> = example("3"),
        /// How records look: json or avro.
        #[serde(deserialize_with = "text")]
        format: Option<Format> = default("json"),
        /// How the records of single streams look.
        #[serde(deserialize_with = "map")]
        formats: BTreeMap<Stream, Format> = example("{ transactions: avro }"),
        /// For Avro: a schema registry with Confluent's interface.
        #[serde(deserialize_with = "section")]
        registry: RegistryLayer,
    }
}

layer! {
    /// Section `kafka.registry`.
    RegistryLayer {
        /// Where it is.
        #[serde(deserialize_with = "text")]
        url: Option<Url> = example("https://registry:8081"),
        /// Who we are, if it asks.
        #[serde(deserialize_with = "text")]
        username: Option<Name> = example("dnscribe"),
        /// Our password. Better in a file: see password_file.
        #[serde(deserialize_with = "text")]
        password: Option<Secret> = example("secret"),
        /// The file with our password.
        #[serde(deserialize_with = "text")]
        password_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/registry-password"),
        /// The certificates to trust, in PEM; the system's unless given.
        #[serde(deserialize_with = "text")]
        ca_file: Option<PathBuf> = example("/etc/ssl/registry-ca.pem"),
        /// How long it may take.
        #[serde(deserialize_with = "text")]
        timeout: Option<PositiveSpan> = default("2s"),
    }
}

layer! {
    /// Section `spool`.
    SpoolLayer {
        /// Whether there is a spool; without one records wait in memory only.
        #[serde(deserialize_with = "text")]
        enabled: Option<Switch> = default("true"),
        /// Where it is: $STATE_DIRECTORY/spool where a service manager sets that, else what stands
        /// here.
        #[serde(deserialize_with = "text")]
        directory: Option<PathBuf> = default("/var/lib/dnscribe/spool"),
        /// Octets on disk at most: 1MiB or more.
        #[serde(deserialize_with = "text")]
        max_bytes: Option<DiskBytes> = default("1GiB"),
        /// Age of records at most; older ones are dropped and counted.
        #[serde(deserialize_with = "text")]
        max_age: Option<PositiveSpan> = default("72h"),
        /// Which records go when it is full: drop_oldest or drop_newest, least important streams
        /// first.
        #[serde(deserialize_with = "text")]
        when_full: Option<WhenFull> = default("drop_oldest"),
    }
}

layer! {
    /// Section `file`.
    FileLayer {
        /// The streams that go to files, where they are not those of `streams`.
        #[serde(deserialize_with = "joined")]
        streams: Option<StreamSet> = example("[messages, ledger]"),
        /// How large a file may grow until it is rotated, 64KiB or more; without bound unless
        /// given.
        #[serde(deserialize_with = "text")]
        rotate_bytes: Option<RotateBytes> = example("100MiB"),
        /// How old a file may grow until it is rotated, 1s or more; without bound unless given.
        #[serde(deserialize_with = "text")]
        rotate_every: Option<RotateEvery> = example("24h"),
        /// How many rotated files of each sink are kept; all unless given.
        #[serde(deserialize_with = "text")]
        keep: Option<Count> = example("10"),
        /// What rotated files are compressed with: zstd or none.
        #[serde(deserialize_with = "text")]
        compress: Option<Compress> = example("zstd"),
    }
}

layer! {
    /// Section `metrics`.
    MetricsLayer {
        /// Where /metrics, /healthz and /readyz are served: ADDR:PORT, or off.
        #[serde(deserialize_with = "text")]
        listen: Option<Listen> = default("127.0.0.1:9353"),
    }
}

layer! {
    /// Section `health`.
    HealthLayer {
        /// How long a loss makes /healthz say so.
        #[serde(deserialize_with = "text")]
        window: Option<PositiveSpan> = default("1m"),
    }
}

layer! {
    /// Section `messages`.
    MessagesLayer {
        /// Whether message records hold the message's octets (base64).
        #[serde(deserialize_with = "text")]
        wire: Option<Switch> = default("false"),
    }
}

layer! {
    /// Section `records`.
    RecordsLayer {
        /// Whether names with A-labels (xn--) stand there in Unicode, too: qname_unicode beside
        /// qname.
        #[serde(deserialize_with = "text")]
        idn: Option<Switch> = default("false"),
    }
}

layer! {
    /// Section `log`.
    LogLayer {
        /// How log lines look: text or json.
        #[serde(deserialize_with = "text")]
        format: Option<LogFormat> = default("text"),
        /// What is logged: error, warn, info, debug or trace, each with all before it.
        #[serde(deserialize_with = "text")]
        level: Option<LogLevel> = default("info"),
    }
}

/// Says nothing: a layer may hold secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}
