//! Everything that defines a sink. A reload keeps the sinks whose plans are equal before and after.

use super::null::NullSink;
use super::open::{OpenWith, SinkError, is_same_file};
use super::spool::SpoolConfig;
use super::{
    AlertmanagerConfig, KafkaConfig, OutputFormat, Rotation, Sink, SinkSpec, StreamSet,
    alertmanager, kafka, writer,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// A sink that is not open yet. Sinks opened from equal plans behave the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    streams: StreamSet,
    destination: Destination,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Stdout(OutputFormat),
    File(PathBuf, Rotation),
    Kafka(Box<KafkaPlan>),
    /// The configuration is `None` if it is incomplete.
    Alertmanager(Option<Box<AlertmanagerConfig>>, Option<Duration>),
    Null,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KafkaPlan {
    node: String,
    region: Option<String>,
    config: KafkaConfig,
    patience: Option<Duration>,
    spool: Option<SpoolConfig>,
}

impl SinkPlan {
    /// Creates the plan of the sink `spec`, to be opened with the options `with`.
    #[must_use]
    pub fn new(spec: &SinkSpec, with: &OpenWith<'_>) -> Self {
        let patience = with.kafka_patience;
        let destination = match spec {
            SinkSpec::Stdout => Destination::Stdout(with.stdout),
            SinkSpec::File(path) => Destination::File(path.clone(), with.rotation),
            SinkSpec::Kafka => Destination::Kafka(Box::new(KafkaPlan {
                node: with.node.to_owned(),
                region: with.region.map(str::to_owned),
                config: with.kafka.clone(),
                patience,
                spool: with.spool.cloned(),
            })),
            SinkSpec::Alertmanager => {
                Destination::Alertmanager(with.alertmanager.cloned().map(Box::new), patience)
            }
            SinkSpec::Null => Destination::Null,
        };
        Self { streams: with.streams.for_sink(spec), destination }
    }

    /// The kind's name in the ledger.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.destination {
            Destination::Stdout(_) => "stdout",
            Destination::File(..) => "file",
            Destination::Kafka(_) => "kafka",
            Destination::Alertmanager(..) => "alertmanager",
            Destination::Null => "null",
        }
    }

    /// The streams that the sink receives.
    pub(super) const fn streams(&self) -> StreamSet {
        self.streams
    }

    /// The output format of the sink.
    pub(super) const fn look(&self) -> OutputFormat {
        match &self.destination {
            Destination::Stdout(look) => *look,
            Destination::Null => OutputFormat::None,
            Destination::File(..) | Destination::Kafka(_) | Destination::Alertmanager(..) => {
                OutputFormat::Json
            }
        }
    }

    /// Returns whether both sinks need the same exclusive resource: stdout, a file or a spool.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        match (&self.destination, &other.destination) {
            (Destination::Stdout(_), Destination::Stdout(_)) => true,
            (Destination::File(one, _), Destination::File(other, _)) => is_same_file(one, other),
            (Destination::Kafka(one), Destination::Kafka(other)) => {
                let spools = one.spool.as_ref().zip(other.spool.as_ref());
                spools.is_some_and(|(one, other)| is_same_file(&one.directory, &other.directory))
            }
            _ => false,
        }
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// Returns why its destination cannot be written, or why its settings are rejected.
    pub fn open(&self, name: String) -> Result<Box<dyn Sink>, SinkError> {
        let streams = self.streams;
        Ok(match &self.destination {
            Destination::Stdout(look) => Box::new(writer::stdout(name, streams, *look)?),
            Destination::File(path, rotation) => {
                Box::new(writer::file(name, streams, path, *rotation)?)
            }
            Destination::Kafka(kafka) => {
                let KafkaPlan { node, region, config, patience, spool } = &**kafka;
                let (region, patience, spool) = (region.as_deref(), *patience, spool.as_ref());
                let with = kafka::KafkaOptions { node, region, config, patience, spool };
                Box::new(kafka::open(name, streams, with)?)
            }
            Destination::Alertmanager(config, patience) => {
                let missing = || SinkError::Alertmanager("alertmanager.urls is missing".to_owned());
                let config = config.as_ref().ok_or_else(missing)?;
                Box::new(alertmanager::open(name, streams, config, *patience)?)
            }
            Destination::Null => Box::new(NullSink::new(name, streams)),
        })
    }
}

/// Allocates names of sinks in the ledger: the kind, then `file_2`, `file_3` and so on.
#[derive(Debug, Default)]
pub struct SinkNames(BTreeSet<String>);

impl SinkNames {
    /// Creates an allocator in which `names` are in use.
    pub fn with_used<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(str::to_owned).collect())
    }

    /// Reserves `name`; `None` if it is in use.
    pub fn reserve(&mut self, name: &str) -> Option<String> {
        self.0.insert(name.to_owned()).then(|| name.to_owned())
    }

    /// Reserves the first free name of a kind.
    pub fn reserve_next(&mut self, kind: &str) -> String {
        let numbered = (2..).map(|number| format!("{kind}_{number}"));
        let mut names = std::iter::once(kind.to_owned()).chain(numbered);
        // The iterator is endless, so a name is always found.
        let name = names.find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stream, StreamSelection};

    #[test]
    fn compares_plans_by_behaviour() {
        let kafka = KafkaConfig::default();
        let file =
            |path: &str, with: &OpenWith<'_>| SinkPlan::new(&SinkSpec::File(path.into()), with);
        let usual = OpenWith::new("n", &kafka);
        assert_eq!(file("/tmp/a", &usual), file("/tmp/a", &usual));
        assert!(!file("/tmp/a", &usual).collides_with(&file("/tmp/b", &usual)));
        let general = Some(StreamSet::from_iter([Stream::Dlq]));
        let other = OpenWith {
            streams: StreamSelection { general, ..StreamSelection::default() },
            ..usual.clone()
        };
        assert_ne!(file("/tmp/a", &usual), file("/tmp/a", &other));
        assert!(file("/tmp/a", &usual).collides_with(&file("/tmp/./a", &other)));
        let stdout = |with: &OpenWith<'_>| SinkPlan::new(&SinkSpec::Stdout, with);
        assert_eq!(
            stdout(&usual),
            stdout(&OpenWith {
                rotation: Rotation { keep: Some(1), ..usual.rotation },
                ..usual.clone()
            }),
            "stdout is not rotated"
        );
    }

    #[test]
    fn allocates_each_name_once() {
        let mut names = SinkNames::with_used(["file", "file_3", "kafka"].into_iter());
        assert_eq!(names.reserve_next("file"), "file_2");
        assert_eq!(
            [names.reserve("file_3"), names.reserve("stdout")],
            [None, Some("stdout".to_owned())]
        );
        assert_eq!([names.reserve_next("file"), names.reserve_next("null")], ["file_4", "null"]);
    }
}
