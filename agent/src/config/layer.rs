//! One layer of the configuration: what a file, the environment or the flags give, and nothing else.

use super::capture::{CaptureLayer, EncryptedLayer, PairingLayer, SamplingLayer, WindowsLayer};
use super::detect::DetectLayer;
use super::filters::FiltersLayer;
use super::indicators::{FirstSeenLayer, IndicatorsLayer};
use super::kubernetes::KubernetesLayer;
use super::privileges::PrivilegesLayer;
use crate::record::RecordLimits;
use dnscribe_config::alertmanager::AlertmanagerLayer;
use dnscribe_config::kafka::KafkaLayer;
use dnscribe_config::log::LogLayer;
use dnscribe_config::otlp::OtlpLayer;
use dnscribe_config::privacy::PrivacyLayer;
use dnscribe_config::sinks::{EvidenceLayer, FileLayer, HealthLayer, MetricsLayer, SpoolLayer};
use dnscribe_config::value::{
    Address, Count, LabelName, LabelValue, Name, PositiveSpan, RecordOutput, Span, Switch, Version,
    read_bytes, show_bytes,
};
use dnscribe_config::{section, value};
use dnscribe_delivery::{SinkSpec, StreamSet};
use dnscribe_transaction::correlate::CorrelationMode;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

section! {
    /// All sections.
    Layer {
        /// Version of this file's format.
        text version: Option<Version> = default(1),
        /// Name of this host in records. Default: the system's host name.
        text node: Option<Name> = example("resolver-1"),
        /// Location of this host: the field `region` of every record.
        text region: Option<Name> = example("eu-central"),
        /// Labels of this host, in the field `labels` of every record; at most 16.
        map labels: BTreeMap<LabelName, LabelValue> = example("{ environment: prod, cluster: eu-1 }"),
        /// Capture of packets.
        section capture: CaptureLayer,
        /// Pairing of queries with their responses.
        section pairing: PairingLayer,
        /// Behaviour when the agent cannot keep up.
        section sampling: SamplingLayer,
        /// Connections of encrypted DNS. They are followed if a sink gets the stream connections, or if
        /// detection runs and ports, https_ports or resolvers are given.
        section encrypted: EncryptedLayer,
        /// Whether the transactions of one lookup at a resolver on this host are correlated: auto or
        /// off.
        text join: Option<CorrelationMode> = default(CorrelationMode::Auto),
        /// Time windows of aggregates, for sinks that get the stream metrics.
        section windows: WindowsLayer,
        /// Detection of problems and attacks, for sinks that get the stream alerts.
        section detect: DetectLayer,
        /// Streams of every sink that has no streams of its own: messages, transactions, lookups,
        /// metrics, alerts, dlq, ledger, connections, uses. Default: transactions for stdout, parquet and
        /// null; transactions, metrics, alerts, dlq and ledger for file and kafka; alertmanager always gets alerts. dnstap
        /// and pcapng always get messages, evidence messages and alerts; otlp gets what its signals need.
        joined streams: Option<StreamSet> = example("[transactions, dlq, ledger]"),
        /// Destinations of records: stdout, file:PATH, kafka, otlp:URL, parquet:DIR, dnstap:unix:PATH, pcapng:PATH,
        /// evidence:DIR, alertmanager, null. Default: kafka if kafka.brokers is given, else stdout.
        items sinks: Option<Vec<SinkSpec>> = example("[kafka, \"file:/var/log/dnscribe/dns.ndjson\"]"),
        /// Format of records on stdout: text, json, ecs (the Elastic Common Schema), or auto, which is text on
        /// a terminal and json elsewhere.
        text output: Option<RecordOutput> = default(RecordOutput::Auto),
        /// Connection to Kafka, and what is sent there.
        section kafka: KafkaLayer,
        /// Servers of OpenTelemetry's protocol, and what is sent there.
        section otlp: OtlpLayer,
        /// Queue on disk for records while Kafka, or a server of OTLP, cannot be reached.
        section spool: SpoolLayer,
        /// Connection to Alertmanager. If urls is given, `run` sends alerts there.
        section alertmanager: AlertmanagerLayer,
        /// Files of all file sinks.
        section file: FileLayer,
        /// Limits of the sink evidence, which keeps messages in memory and writes those behind an alert.
        section evidence: EvidenceLayer,
        /// Names of resolvers, with their addresses, for the field `resolver` of records.
        lists resolvers: BTreeMap<Name, Vec<Address>> = example("{ corp-dns: [192.0.2.53, \"2001:db8::53\"] }"),
        /// Names of pods in records.
        section kubernetes: KubernetesLayer,
        /// Endpoint for Prometheus.
        section metrics: MetricsLayer,
        /// Health check.
        section health: HealthLayer,
        /// Content of message records.
        section messages: MessagesLayer,
        /// Content of all records.
        section records: RecordsLayer,
        /// Names and addresses that transactions are matched with.
        section indicators: IndicatorsLayer,
        /// When zones were first seen on this host.
        section first_seen: FirstSeenLayer,
        /// Filters of records.
        section filters: FiltersLayer,
        /// Masking of private data in records.
        section privacy: PrivacyLayer,
        /// Privileges that `run` drops once it has attached its programs.
        section privileges: PrivilegesLayer,
        /// Log on stderr.
        section log: LogLayer,
        /// Time limit of the shutdown. Records that are not delivered by then are dropped and counted,
        /// or stay in the spool.
        text drain_timeout: Option<Span> = default(Duration::from_secs(10)),
        /// Time after which capture ends. Default: no limit.
        text duration: Option<PositiveSpan> = example("1h"),
    }
}

section! {
    /// Section `messages`.
    MessagesLayer {
        /// Whether message records contain the bytes of the message (base64). The sinks dnstap, pcapng and evidence need
        /// them: then they do.
        text wire: Option<Switch> = default(false),
    }
}

value! {
    /// Size of a record in bytes: [`RecordLimits::MIN_BYTES`] to 1 GiB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    RecordBytes(usize): "the size of a record", "256KiB to 1GiB, such as 512KiB";
    |text| {
        let bytes = read_bytes(text).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.filter(|bytes| (RecordLimits::MIN_BYTES..=1 << 30).contains(bytes))
    };
    |bytes| show_bytes(*bytes as u64)
}

section! {
    /// Section `records`.
    RecordsLayer {
        /// Whether names with A-labels (xn--) are added in Unicode: qname_unicode beside qname.
        text idn: Option<Switch> = default(false),
        /// Most answers in a record of a message or transaction; answers_omitted counts the others.
        text max_answers: Option<Count> = default(RecordLimits::default().answers),
        /// Most bytes of a record of a message or transaction as JSON. Each list has a share of it: answers half, EDNS
        /// options a quarter, further questions an eighth, after 48 KiB for the other fields and what base64 takes.
        /// What exceeds its share is left out and counted in the record. Brokers accept 1 MiB unless they are
        /// configured otherwise.
        text max_bytes: Option<RecordBytes> = default(RecordLimits::default().bytes),
    }
}

/// Shows no content: a layer may contain secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}
