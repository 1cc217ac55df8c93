//! Settings of sinks: kind, streams, output format, Kafka.

use super::{DnstapTarget, Format, OtlpTarget, RegistryConfig, Stream, StreamSet, pcapng};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A sink as `--sink` spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSpec {
    /// `stdout`.
    Stdout,
    /// `file:PATH`: records are appended.
    File(PathBuf),
    /// `kafka`.
    Kafka,
    /// `otlp:URL`: OpenTelemetry's protocol.
    Otlp(OtlpTarget),
    /// `parquet:DIR`: records as columns, in files for each stream and hour.
    Parquet(PathBuf),
    /// `dnstap:file:PATH` or `dnstap:unix:PATH`: messages as dnstap.
    Dnstap(DnstapTarget),
    /// `pcapng:PATH`: messages as packets; `-` is stdout.
    Pcapng(PathBuf),
    /// `evidence:DIRECTORY`: the messages behind each alert, as packets in a file of its own.
    Evidence(PathBuf),
    /// `alertmanager`: alerts are sent to the configured URLs.
    Alertmanager,
    /// `null`: records are counted and discarded.
    Null,
}

impl SinkSpec {
    /// The kind's name in the ledger.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Kafka => "kafka",
            Self::Otlp(_) => "otlp",
            Self::Parquet(_) => "parquet",
            Self::Dnstap(_) => "dnstap",
            Self::Pcapng(_) => "pcapng",
            Self::Evidence(_) => "evidence",
            Self::Alertmanager => "alertmanager",
            Self::Null => "null",
        }
    }

    /// Returns whether records wait on disk while the destination is unavailable.
    #[must_use]
    pub const fn has_spool(&self) -> bool {
        matches!(self, Self::Kafka | Self::Otlp(_))
    }

    /// Returns whether windows become metrics here.
    #[must_use]
    pub const fn makes_metrics(&self) -> bool {
        matches!(self, Self::Otlp(target) if target.has_metrics())
    }

    /// The path of a file sink; `None` for other kinds.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Dnstap(DnstapTarget::File(path)) => Some(path),
            Self::Pcapng(path) if path != Path::new(pcapng::STDOUT) => Some(path),
            _ => None,
        }
    }

    /// The directory that a sink fills with files; `None` for other kinds.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Parquet(path) | Self::Evidence(path) => Some(path),
            _ => None,
        }
    }

    /// Returns whether the sink writes to stdout.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        *self == Self::Stdout || *self == Self::Pcapng(pcapng::STDOUT.into())
    }

    /// Returns whether the sink needs the bytes of messages (`messages.wire`).
    #[must_use]
    pub const fn needs_wire(&self) -> bool {
        matches!(self, Self::Dnstap(_) | Self::Pcapng(_) | Self::Evidence(_))
    }

    /// The streams that this kind of sink receives by default.
    #[must_use]
    pub fn default_streams(&self) -> StreamSet {
        match self {
            Self::Otlp(target) => target.default_streams(),
            Self::Dnstap(_) | Self::Pcapng(_) => StreamSet::MESSAGES,
            Self::Evidence(_) => StreamSet::MESSAGES.with(Stream::Alerts),
            Self::Stdout | Self::Null | Self::Parquet(_) => StreamSet::SHOWN,
            Self::File(_) | Self::Kafka => StreamSet::STORED,
            Self::Alertmanager => StreamSet::ALERTS,
        }
    }
}

/// The streams that the user selected for sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSelection {
    /// Streams of sinks without a selection of their own.
    pub general: Option<StreamSet>,
    /// Streams of Kafka.
    pub kafka: Option<StreamSet>,
    /// Streams of files.
    pub file: Option<StreamSet>,
    /// Streams of OTLP.
    pub otlp: Option<StreamSet>,
    /// Streams besides the defaults of a kind of sink.
    pub besides: StreamSet,
}

impl StreamSelection {
    /// The streams of `sink`: the selection for its kind, else the general one, else the kind's
    /// default.
    #[must_use]
    pub fn for_sink(&self, sink: &SinkSpec) -> StreamSet {
        let own = match sink {
            SinkSpec::Kafka => self.kafka,
            SinkSpec::File(_) => self.file,
            SinkSpec::Otlp(_) => self.otlp,
            SinkSpec::Alertmanager
            | SinkSpec::Dnstap(_)
            | SinkSpec::Pcapng(_)
            | SinkSpec::Evidence(_) => Some(sink.default_streams()),
            SinkSpec::Stdout | SinkSpec::Null | SinkSpec::Parquet(_) => None,
        };
        own.or(self.general).unwrap_or(sink.default_streams().union(self.besides))
    }
}

/// When a file sink starts a new file, and what happens to old ones. Off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Largest size of a file in bytes: the file is rotated before a record that would exceed it.
    pub bytes: Option<u64>,
    /// Largest age of a file that is not empty, by the wall clock.
    pub every: Option<Duration>,
    /// Number of rotated files to keep. `None`: all.
    pub keep: Option<usize>,
    /// Whether rotated files are compressed with zstd.
    pub compress: bool,
}

impl Rotation {
    /// Returns whether files are rotated.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.bytes.is_some() || self.every.is_some()
    }
}

/// A text is not a valid sink. Of what may contain a password, no more than the kind is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSinkError {
    /// No such kind of sink.
    #[error(
        "\"{0}\" is not a sink: choose from stdout, file:PATH, kafka, otlp:URL, parquet:DIR, dnstap:unix:PATH, pcapng:PATH, evidence:DIR, alertmanager, null"
    )]
    Unknown(String),
    /// `file:` without a path.
    #[error("\"file:\" names no file: give a path, such as file:/var/log/dnscribe.ndjson")]
    NoPath,
    /// `otlp:` without a URL that can be used.
    #[error(
        "what follows \"otlp:\" is no server of OTLP: give http://HOST:4318 or grpc://HOST:4317 (https:// and grpcs:// \
         with TLS), perhaps with #logs, #metrics and #traces, such as otlp:http://collector:4318#logs,traces; \
         otlp.username, otlp.password_file and otlp.header_files are for credentials"
    )]
    NoServer,
    /// `dnstap:` without a place.
    #[error("\"{0}\" is no place for dnstap: give dnstap:unix:PATH or dnstap:file:PATH")]
    NoPlace(String),
    /// `parquet:`, `pcapng:` or `evidence:` without a path.
    #[error(
        "\"{0}\" names no place: give parquet:DIRECTORY, pcapng:PATH, pcapng:- (stdout) or evidence:DIRECTORY"
    )]
    NoTarget(String),
}

impl FromStr for SinkSpec {
    type Err = ParseSinkError;

    fn from_str(text: &str) -> Result<Self, ParseSinkError> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "kafka" => Ok(Self::Kafka),
            "alertmanager" => Ok(Self::Alertmanager),
            "null" => Ok(Self::Null),
            "file" | "file:" => Err(ParseSinkError::NoPath),
            _ => match text.split_once(':') {
                Some(("file", path)) => Ok(Self::File(path.into())),
                Some(("parquet" | "pcapng" | "evidence", "")) => {
                    Err(ParseSinkError::NoTarget(text.into()))
                }
                Some(("parquet", path)) => Ok(Self::Parquet(path.into())),
                Some(("pcapng", path)) => Ok(Self::Pcapng(path.into())),
                Some(("evidence", directory)) => Ok(Self::Evidence(directory.into())),
                Some(("otlp", url)) => {
                    url.parse().map(Self::Otlp).map_err(|()| ParseSinkError::NoServer)
                }
                Some(("dnstap", place)) => {
                    let no_place = |()| ParseSinkError::NoPlace(text.into());
                    place.parse().map(Self::Dnstap).map_err(no_place)
                }
                Some((kind, _)) => Err(ParseSinkError::Unknown(kind.into())),
                None => Err(ParseSinkError::Unknown(text.into())),
            },
        }
    }
}

impl fmt::Display for SinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Parquet(path) => write!(f, "parquet:{}", path.display()),
            Self::Otlp(target) => write!(f, "otlp:{target}"),
            Self::Dnstap(target) => write!(f, "dnstap:{target}"),
            Self::Pcapng(path) | Self::Evidence(path) => {
                write!(f, "{}:{}", self.kind(), path.display())
            }
            other => f.write_str(other.kind()),
        }
    }
}

/// How a sink's records are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// One JSON object per line.
    Json,
    /// One JSON object of the Elastic Common Schema per line.
    Ecs,
    /// One aligned line for people.
    Text,
    /// Not rendered: records are only counted.
    None,
}

impl OutputFormat {
    /// The form in which the sink gets records. It makes documents of the Elastic Common Schema of them itself.
    pub(super) const fn rendered(self) -> Self {
        match self {
            Self::Ecs => Self::Json,
            other => other,
        }
    }
}

/// How to reach Kafka, and which stream goes to which topic.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaConfig {
    /// `host:port` of at least one broker. Empty if Kafka is not used.
    pub brokers: Vec<String>,
    /// Topics that differ from [`Stream::default_topic`].
    pub topics: BTreeMap<Stream, String>,
    /// Beginning of the names of all topics. `topics` includes it.
    pub topic_prefix: String,
    /// Settings passed to librdkafka. They override those of dnscribe. Includes the contents of
    /// `kafka.option_files`.
    pub options: BTreeMap<String, String>,
    /// Names of the options that came from files. Their values are never shown.
    pub hidden: BTreeSet<String>,
    /// How topics are created.
    pub creation: TopicCreation,
    /// The format of records.
    pub format: Format,
    /// Formats of streams that differ from `format`.
    pub formats: BTreeMap<Stream, Format>,
    /// The schema registry. Required if a stream is in Avro.
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

    /// Returns whether an option's value must not be shown.
    #[must_use]
    pub fn hides(&self, option: &str) -> bool {
        is_secret(option) || self.hidden.contains(option)
    }
}

/// Overrides of the defaults for creating topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicCreation {
    /// Partitions by stream.
    pub partitions: BTreeMap<Stream, u16>,
    /// Retention time by stream.
    pub retention: BTreeMap<Stream, Duration>,
    /// Replicas of each partition. `None`: the brokers' default.
    pub replication_factor: Option<u16>,
}

/// Returns whether a librdkafka setting holds a secret.
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

/// Omits secrets.
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
            .field("topic_prefix", &self.topic_prefix)
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
        assert_eq!("file:".parse::<SinkSpec>(), Err(ParseSinkError::NoPath));
        assert!("fil:x".parse::<SinkSpec>().unwrap_err().to_string().contains("file:PATH"));
        for text in ["file:/x", "pcapng:/x", "pcapng:-", "evidence:/x"] {
            assert_eq!(text.parse::<SinkSpec>().unwrap().to_string(), text);
        }
        for wrong in ["pcapng:", "evidence:"] {
            assert_eq!(wrong.parse::<SinkSpec>(), Err(ParseSinkError::NoTarget(wrong.into())));
        }
    }

    #[test]
    fn repeats_no_password() {
        for wrong in [
            "otlp:http://u:hunter2@127.0.0.1:1",
            "otlp:https://c:4318/?api-key=hunter2",
            "otlp:hunter2",
            "http://u:hunter2@127.0.0.1:1",
            "kafka:u:hunter2@h:9092",
        ] {
            let error = wrong.parse::<SinkSpec>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn prefers_the_more_specific_selection() {
        let (kafka, file) = (SinkSpec::Kafka, SinkSpec::File("/x".into()));
        let only = |stream| Some(StreamSet::EMPTY.with(stream));
        let mut choice = StreamSelection::default();
        assert_eq!([choice.for_sink(&kafka), choice.for_sink(&file)], [StreamSet::STORED; 2]);
        choice.general = only(Stream::Dlq);
        choice.file = only(Stream::Messages);
        assert_eq!(Some(choice.for_sink(&kafka)), only(Stream::Dlq));
        assert_eq!(Some(choice.for_sink(&SinkSpec::Stdout)), only(Stream::Dlq));
        assert_eq!(
            choice.for_sink(&SinkSpec::Alertmanager),
            StreamSet::ALERTS,
            "it takes nothing else"
        );
        assert_eq!(Some(choice.for_sink(&file)), only(Stream::Messages));
    }

    #[test]
    fn hides_secrets() {
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
