//! What the user says about sinks: where to, which streams, how they look.

use super::{Format, RegistryConfig, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A set of streams.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamSet(u8);

impl StreamSet {
    /// What Kafka and files get unless told otherwise.
    pub const STORED: Self = Self::EMPTY
        .with(Stream::Transactions)
        .with(Stream::Metrics)
        .with(Stream::Alerts)
        .with(Stream::Dlq)
        .with(Stream::Ledger);

    /// What stdout and the null sink get unless told otherwise.
    pub const SHOWN: Self = Self::EMPTY.with(Stream::Transactions);

    /// What Alertmanager gets, whatever else is told.
    pub const ALERTS: Self = Self::EMPTY.with(Stream::Alerts);

    const EMPTY: Self = Self(0);

    /// The set with one stream more.
    #[must_use]
    pub const fn with(self, stream: Stream) -> Self {
        Self(self.0 | 1 << stream as u8)
    }

    /// Whether the stream is one of the set.
    #[must_use]
    pub const fn contains(self, stream: Stream) -> bool {
        self.0 & 1 << stream as u8 != 0
    }

    /// The streams, in the order of the contract.
    pub fn iter(self) -> impl Iterator<Item = Stream> {
        Stream::ALL.into_iter().filter(move |stream| self.contains(*stream))
    }
}

impl FromIterator<Stream> for StreamSet {
    fn from_iter<I: IntoIterator<Item = Stream>>(streams: I) -> Self {
        streams.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for StreamSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Stream::name)).finish()
    }
}

/// Why something is not a list of streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStreams {
    /// Something in the list is not a stream.
    #[error(
        "\"{0}\" is not a stream: choose from messages, transactions, lookups, metrics, alerts, dlq, ledger, connections"
    )]
    Unknown(String),
    /// The list is empty.
    #[error("no stream given: give at least one, such as transactions")]
    Empty,
}

impl FromStr for Stream {
    type Err = BadStreams;

    fn from_str(text: &str) -> Result<Self, BadStreams> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.name() == text)
            .ok_or_else(|| BadStreams::Unknown(text.into()))
    }
}

impl FromStr for StreamSet {
    type Err = BadStreams;

    fn from_str(text: &str) -> Result<Self, BadStreams> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let set: Self = names.map(str::parse).collect::<Result<_, _>>()?;
        if set == Self::EMPTY { Err(BadStreams::Empty) } else { Ok(set) }
    }
}

/// Where records go, as `--sink` spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSpec {
    /// `stdout`.
    Stdout,
    /// `file:PATH`, appended to.
    File(PathBuf),
    /// `kafka`.
    Kafka,
    /// `alertmanager`: alerts, to where the configuration says.
    Alertmanager,
    /// `null`: counted and forgotten.
    Null,
}

impl SinkSpec {
    /// The name of the kind, as the ledger spells it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Kafka => "kafka",
            Self::Alertmanager => "alertmanager",
            Self::Null => "null",
        }
    }

    /// The path of a file sink.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout | Self::Kafka | Self::Alertmanager | Self::Null => None,
        }
    }

    /// The streams that such a sink gets unless told otherwise.
    #[must_use]
    pub const fn default_streams(&self) -> StreamSet {
        match self {
            Self::Stdout | Self::Null => StreamSet::SHOWN,
            Self::File(_) | Self::Kafka => StreamSet::STORED,
            Self::Alertmanager => StreamSet::ALERTS,
        }
    }
}

/// The streams that the sinks get, where the user says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamChoice {
    /// Those of every sink of which no more is said.
    pub general: Option<StreamSet>,
    /// Those of Kafka.
    pub kafka: Option<StreamSet>,
    /// Those of files.
    pub file: Option<StreamSet>,
}

impl StreamChoice {
    /// The streams of a sink: its kind's own, else the general ones, else the kind's default.
    #[must_use]
    pub fn of(&self, sink: &SinkSpec) -> StreamSet {
        let own = match sink {
            SinkSpec::Kafka => self.kafka,
            SinkSpec::File(_) => self.file,
            SinkSpec::Alertmanager => Some(StreamSet::ALERTS),
            SinkSpec::Stdout | SinkSpec::Null => None,
        };
        own.or(self.general).unwrap_or(sink.default_streams())
    }
}

/// When a file sink leaves its file for a new one, and what becomes of the old ones. Never, and
/// nothing, unless told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before a record with which the file would have more octets than these.
    pub bytes: Option<u64>,
    /// When the file is this old by the wall clock, and not empty.
    pub every: Option<Duration>,
    /// How many rotated files are kept; all where absent.
    pub keep: Option<usize>,
    /// Whether rotated files are compressed with zstd.
    pub compress: bool,
}

impl Rotation {
    /// Whether files are rotated at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.bytes.is_some() || self.every.is_some()
    }
}

/// Why something is not a sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSink {
    /// No such kind of sink.
    #[error("\"{0}\" is not a sink: choose from stdout, file:PATH, kafka, alertmanager, null")]
    Unknown(String),
    /// `file:` without a path.
    #[error("\"file:\" names no file: give a path, such as file:/var/log/dnscribe.ndjson")]
    NoPath,
}

impl FromStr for SinkSpec {
    type Err = BadSink;

    fn from_str(text: &str) -> Result<Self, BadSink> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "kafka" => Ok(Self::Kafka),
            "alertmanager" => Ok(Self::Alertmanager),
            "null" => Ok(Self::Null),
            "file" | "file:" => Err(BadSink::NoPath),
            _ => match text.strip_prefix("file:") {
                Some(path) => Ok(Self::File(path.into())),
                None => Err(BadSink::Unknown(text.into())),
            },
        }
    }
}

impl fmt::Display for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            other => f.write_str(other.kind()),
        }
    }
}

/// How records are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// One JSON object per line.
    Json,
    /// One aligned readable line.
    Text,
    /// Nothing at all: records are only counted.
    Blank,
}

/// How to reach Kafka, and what goes where.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port` of at least one broker; empty where Kafka is not used.
    pub brokers: Vec<String>,
    /// Topics that differ from [`Stream::default_topic`].
    pub topics: BTreeMap<Stream, String>,
    /// Settings passed through to librdkafka; they win over dnscribe's own. The content of
    /// `kafka.option_files` is among them.
    pub options: BTreeMap<String, String>,
    /// Those of them that came from files: not to be shown, whatever they are.
    pub hidden: BTreeSet<String>,
    /// How topics are made.
    pub creation: TopicCreation,
    /// How records look.
    pub format: Format,
    /// Formats of streams that differ from `format`.
    pub formats: BTreeMap<Stream, Format>,
    /// Where schemas are kept; there where a format needs it.
    pub registry: Option<RegistryConfig>,
}

impl KafkaConfig {
    /// The topic of a stream.
    #[must_use]
    pub fn topic(&self, stream: Stream) -> &str {
        self.topics.get(&stream).map_or(stream.default_topic(), String::as_str)
    }

    /// The format of a stream.
    #[must_use]
    pub fn format(&self, stream: Stream) -> Format {
        self.formats.get(&stream).copied().unwrap_or(self.format)
    }

    /// Whether a setting's value must not be shown.
    #[must_use]
    pub fn hides(&self, option: &str) -> bool {
        is_secret(option) || self.hidden.contains(option)
    }
}

/// How topics are made, where it differs from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicCreation {
    /// Partitions by stream.
    pub partitions: BTreeMap<Stream, u16>,
    /// How long records are kept, by stream.
    pub retention: BTreeMap<Stream, Duration>,
    /// Copies of each partition; as the brokers have it where absent.
    pub replication_factor: Option<u16>,
}

/// Whether a librdkafka setting holds something that must not be shown.
#[must_use]
pub fn is_secret(option: &str) -> bool {
    const MARKS: [&str; 8] = [
        "pass",
        "secret",
        "key.pem",
        "ssl_key",
        "private.key",
        "token",
        "jaas",
        "oauthbearer.config",
    ];
    MARKS.iter().any(|mark| option.contains(mark))
}

/// Leaves secrets out.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: BTreeMap<&str, &str> = self
            .options
            .iter()
            .map(|(key, value)| (key.as_str(), if self.hides(key) { "***" } else { value }))
            .collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("options", &options)
            .field("hidden", &self.hidden)
            .field("creation", &self.creation)
            .field("format", &self.format)
            .field("formats", &self.formats)
            .field("registry", &self.registry)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sinks() {
        assert_eq!("stdout".parse(), Ok(SinkSpec::Stdout));
        assert_eq!("file:/a:b".parse(), Ok(SinkSpec::File("/a:b".into())));
        assert_eq!("file:".parse::<SinkSpec>(), Err(BadSink::NoPath));
        assert!("fil:x".parse::<SinkSpec>().unwrap_err().to_string().contains("file:PATH"));
        assert_eq!(SinkSpec::File("/x".into()).to_string(), "file:/x");
    }

    #[test]
    fn reads_streams() {
        let set: StreamSet = "ledger, transactions".parse().unwrap();
        assert!(set.contains(Stream::Ledger) && !set.contains(Stream::Dlq));
        assert_eq!(format!("{set:?}"), "{\"transactions\", \"ledger\"}");
        assert_eq!("".parse::<StreamSet>(), Err(BadStreams::Empty));
        assert!("raw".parse::<StreamSet>().is_err());
    }

    #[test]
    fn the_more_special_streams_win() {
        let (kafka, file) = (SinkSpec::Kafka, SinkSpec::File("/x".into()));
        let only = |stream| Some(StreamSet::EMPTY.with(stream));
        let mut choice = StreamChoice::default();
        assert_eq!([choice.of(&kafka), choice.of(&file)], [StreamSet::STORED; 2]);
        choice.general = only(Stream::Dlq);
        choice.file = only(Stream::Messages);
        assert_eq!(Some(choice.of(&kafka)), only(Stream::Dlq));
        assert_eq!(Some(choice.of(&SinkSpec::Stdout)), only(Stream::Dlq));
        assert_eq!(choice.of(&SinkSpec::Alertmanager), StreamSet::ALERTS, "it takes nothing else");
        assert_eq!(Some(choice.of(&file)), only(Stream::Messages));
    }

    #[test]
    fn keeps_secrets() {
        let options = [
            ("sasl.password", "hunter2"),
            ("ssl.key.pem", "hunter2"),
            ("sasl.oauthbearer.client.secret", "hunter2"),
            ("sasl.username", "me"),
        ];
        let mut options: BTreeMap<_, _> =
            options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        options.insert("client.rack".into(), "hunter2".into());
        let hidden = BTreeSet::from(["client.rack".to_owned()]);
        let shown = format!("{:?}", KafkaConfig { options, hidden, ..KafkaConfig::default() });
        assert!(shown.contains("\"me\"") && !shown.contains("hunter2"), "{shown}");
    }
}
