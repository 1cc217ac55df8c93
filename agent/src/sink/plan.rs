//! What makes one sink what it is: of two configurations, the sinks that are planned alike can stay.

use super::null::Null;
use super::open::{OpenWith, SinkError, same_place};
use super::spool::SpoolConfig;
use super::{
    AlertmanagerConfig, KafkaConfig, Look, Rotation, Sink, SinkSpec, StreamSet, alertmanager,
    kafka, writer,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// A sink that is not open yet. Plans that are equal make sinks that do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    streams: StreamSet,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Stdout(Look),
    File(PathBuf, Rotation),
    Kafka(Box<Kafka>),
    /// With the configuration there where it is complete.
    Alertmanager(Option<Box<AlertmanagerConfig>>, Option<Duration>),
    Null,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kafka {
    node: String,
    region: Option<String>,
    config: KafkaConfig,
    patience: Option<Duration>,
    spool: Option<SpoolConfig>,
}

impl Plan {
    /// Of a sink, opened with this.
    #[must_use]
    pub fn of(spec: &SinkSpec, with: &OpenWith<'_>) -> Self {
        let patience = with.kafka_patience;
        let target = match spec {
            SinkSpec::Stdout => Target::Stdout(with.stdout),
            SinkSpec::File(path) => Target::File(path.clone(), with.rotation),
            SinkSpec::Kafka => Target::Kafka(Box::new(Kafka {
                node: with.node.to_owned(),
                region: with.region.map(str::to_owned),
                config: with.kafka.clone(),
                patience,
                spool: with.spool.cloned(),
            })),
            SinkSpec::Alertmanager => {
                Target::Alertmanager(with.alertmanager.cloned().map(Box::new), patience)
            }
            SinkSpec::Null => Target::Null,
        };
        Self { streams: with.streams.of(spec), target }
    }

    /// The name of the kind, as the ledger spells it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.target {
            Target::Stdout(_) => "stdout",
            Target::File(..) => "file",
            Target::Kafka(_) => "kafka",
            Target::Alertmanager(..) => "alertmanager",
            Target::Null => "null",
        }
    }

    /// The streams that the sink gets.
    pub(super) const fn streams(&self) -> StreamSet {
        self.streams
    }

    /// How records for it are rendered.
    pub(super) const fn look(&self) -> Look {
        match &self.target {
            Target::Stdout(look) => *look,
            Target::Null => Look::Blank,
            Target::File(..) | Target::Kafka(_) | Target::Alertmanager(..) => Look::Json,
        }
    }

    /// Whether both sinks hold what only one at a time may hold.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Target::Stdout(_), Target::Stdout(_)) => true,
            (Target::File(one, _), Target::File(other, _)) => same_place(one, other),
            (Target::Kafka(one), Target::Kafka(other)) => {
                let spools = one.spool.as_ref().zip(other.spool.as_ref());
                spools.is_some_and(|(one, other)| same_place(&one.directory, &other.directory))
            }
            _ => false,
        }
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// What it is to write to cannot be written to, or its settings are refused.
    pub fn open(&self, name: String) -> Result<Box<dyn Sink>, SinkError> {
        let streams = self.streams;
        Ok(match &self.target {
            Target::Stdout(look) => Box::new(writer::stdout(name, streams, *look)?),
            Target::File(path, rotation) => Box::new(writer::file(name, streams, path, *rotation)?),
            Target::Kafka(kafka) => {
                let Kafka { node, region, config, patience, spool } = &**kafka;
                let (region, patience, spool) = (region.as_deref(), *patience, spool.as_ref());
                let with = kafka::With { node, region, config, patience, spool };
                Box::new(kafka::open(name, streams, with)?)
            }
            Target::Alertmanager(config, patience) => {
                let missing = || SinkError::Alertmanager("alertmanager.urls is missing".to_owned());
                let config = config.as_ref().ok_or_else(missing)?;
                Box::new(alertmanager::open(name, streams, config, *patience)?)
            }
            Target::Null => Box::new(Null::new(name, streams)),
        })
    }
}

/// Names of sinks in the ledger: the kind, and of the second of a kind `file_2`, and so on.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// That these are taken.
    pub fn taken<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(str::to_owned).collect())
    }

    /// This name, if it is free, which it is not any more then.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.insert(name.to_owned()).then(|| name.to_owned())
    }

    /// The first name of a kind that is free, which it is not any more then.
    pub fn next(&mut self, kind: &str) -> String {
        let numbered = (2..).map(|number| format!("{kind}_{number}"));
        let mut names = std::iter::once(kind.to_owned()).chain(numbered);
        // There are more numbers than sinks.
        let name = names.find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Stream, StreamChoice};

    #[test]
    fn plans_differ_by_what_is_done() {
        let kafka = KafkaConfig::default();
        let file = |path: &str, with: &OpenWith<'_>| Plan::of(&SinkSpec::File(path.into()), with);
        let usual = OpenWith::usual(&kafka);
        assert_eq!(file("/tmp/a", &usual), file("/tmp/a", &usual));
        assert!(!file("/tmp/a", &usual).collides_with(&file("/tmp/b", &usual)));
        let general = Some(StreamSet::from_iter([Stream::Dlq]));
        let other = OpenWith {
            streams: StreamChoice { general, ..StreamChoice::default() },
            ..usual.clone()
        };
        assert_ne!(file("/tmp/a", &usual), file("/tmp/a", &other));
        assert!(file("/tmp/a", &usual).collides_with(&file("/tmp/./a", &other)));
        let stdout = |with: &OpenWith<'_>| Plan::of(&SinkSpec::Stdout, with);
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
    fn a_name_is_given_once() {
        let mut names = Names::taken(["file", "file_3", "kafka"].into_iter());
        assert_eq!(names.next("file"), "file_2");
        assert_eq!([names.take("file_3"), names.take("stdout")], [None, Some("stdout".to_owned())]);
        assert_eq!([names.next("file"), names.next("null")], ["file_4", "null"]);
    }
}
