//! The wanted topics and their settings.

use super::super::super::{KafkaConfig, Stream};
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

pub(super) const RETENTION: &str = "retention.ms";
pub(super) const CLEANUP: &str = "cleanup.policy";
pub(super) const TIMESTAMPS: &str = "message.timestamp.type";
/// The times of records are those of the brokers. Of a host whose clock is an hour fast, Kafka 4
/// refuses every record that has the host's.
pub(super) const RECEIVED: &str = "LogAppendTime";

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// How long a topic keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retention(pub Duration);

impl Retention {
    /// Milliseconds, as Kafka spells it.
    #[must_use]
    pub fn millis(self) -> String {
        self.0.as_millis().to_string()
    }
}

/// `30d`, `36h`, or seconds.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds if seconds % DAY == 0 => write!(f, "{}d", seconds / DAY),
            seconds if seconds % HOUR == 0 => write!(f, "{}h", seconds / HOUR),
            _ => write!(f, "{:?}", self.0),
        }
    }
}

impl Serialize for Retention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }
}

/// A wanted topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicSpec {
    /// Its name.
    pub topic: String,
    /// The streams written to it.
    pub streams: Vec<Stream>,
    /// Its partitions.
    pub partitions: u16,
    /// Replicas of each partition. `None`: the brokers' default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u16>,
    /// How long it keeps its records.
    #[serde(rename = "retention_ms")]
    pub retention: Retention,
    /// Kafka's `cleanup.policy`.
    pub cleanup_policy: &'static str,
}

impl TopicSpec {
    /// Settings of a new topic.
    pub(super) fn topic_settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            (RETENTION, self.retention.millis()),
            (CLEANUP, self.cleanup_policy.to_owned()),
            (TIMESTAMPS, RECEIVED.to_owned()),
            // The producer compresses.
            ("compression.type", "producer".to_owned()),
            // Kafka deletes whole segments: with the broker's default of 7 days, a topic with few
            // records would keep those of 24 hours for a week.
            (
                "segment.ms",
                (self.retention.0 / 4).min(Duration::from_secs(DAY)).as_millis().to_string(),
            ),
        ];
        if self.cleanup_policy != DELETE {
            // Until then `ledger verify` and late readers find every record.
            settings.push(("min.compaction.lag.ms", (7 * DAY * 1000).to_string()));
        }
        if self.replication_factor.is_some_and(|replicas| replicas > 2) {
            // Acknowledged records are then on two brokers, whatever the brokers' default.
            settings.push(("min.insync.replicas", "2".to_owned()));
        }
        settings
    }
}

const DELETE: &str = "delete";

/// Partitions and days of retention: many partitions for streams with many records, long retention
/// for small streams.
const fn defaults(stream: Stream) -> (u16, u64) {
    match stream {
        Stream::Messages => (12, 1),
        Stream::Transactions => (12, 7),
        Stream::Lookups | Stream::Connections | Stream::Uses => (6, 7),
        Stream::Metrics => (6, 30),
        Stream::Probes => (3, 30),
        Stream::Alerts => (3, 90),
        Stream::Dlq => (3, 7),
        // One partition for one order over all nodes; one record per node every 10 s.
        Stream::Ledger => (1, 90),
    }
}

/// Alerts are compacted, because the last alert of an entity is its state. No other record repeats
/// what earlier records of its key say.
const fn cleanup(stream: Stream) -> &'static str {
    match stream {
        Stream::Alerts => "compact,delete",
        _ => DELETE,
    }
}

/// The topics of all streams. A topic shared by streams gets the largest of their values, and
/// compaction only if all want it.
pub(super) fn topic_specs(config: &KafkaConfig) -> Vec<TopicSpec> {
    let creation = &config.creation;
    let mut topic_specs: Vec<TopicSpec> = Vec::new();
    for stream in Stream::ALL {
        let topic = config.topic(stream);
        let (partitions, days) = defaults(stream);
        let partitions = creation.partitions.get(&stream).copied().unwrap_or(partitions);
        let retention = creation.retention.get(&stream).copied();
        let retention = Retention(retention.unwrap_or(Duration::from_secs(days * DAY)));
        let cleanup_policy = cleanup(stream);
        if let Some(shared) = topic_specs.iter_mut().find(|wish| wish.topic == topic) {
            shared.streams.push(stream);
            shared.partitions = shared.partitions.max(partitions);
            shared.retention = shared.retention.max(retention);
            if shared.cleanup_policy != cleanup_policy {
                shared.cleanup_policy = DELETE;
            }
            continue;
        }
        topic_specs.push(TopicSpec {
            topic: topic.to_owned(),
            streams: vec![stream],
            partitions,
            replication_factor: creation.replication_factor,
            retention,
            cleanup_policy,
        });
    }
    topic_specs
}

/// Sorts a list such as `delete,compact`.
pub(super) fn sorted(list: &str) -> String {
    let mut items: Vec<&str> = list.split(',').map(str::trim).collect();
    items.sort_unstable();
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_a_topic_for_every_stream() {
        let topic_specs = topic_specs(&KafkaConfig::default());
        assert_eq!(topic_specs.len(), Stream::ALL.len());
        assert!(topic_specs.iter().all(|wish| wish.streams.len() == 1));
        let compacted: Vec<_> =
            topic_specs.iter().filter(|wish| wish.cleanup_policy.contains("compact")).collect();
        assert_eq!(compacted.len(), 1);
        assert_eq!(compacted[0].topic, "dns.alerts");
        let settings = compacted[0].topic_settings();
        assert!(settings.contains(&("min.compaction.lag.ms", "604800000".into())));
        let raw = topic_specs[0].topic_settings();
        assert!(raw.contains(&("retention.ms", "86400000".into())));
        assert!(raw.contains(&("segment.ms", "21600000".into())));
        assert!(raw.contains(&("message.timestamp.type", "LogAppendTime".into())));
    }

    #[test]
    fn merges_streams_that_share_a_topic() {
        let mut config = KafkaConfig::default();
        let topics = [(Stream::Alerts, "all".to_owned()), (Stream::Messages, "all".to_owned())];
        config.topics = topics.into();
        config.creation.partitions = [(Stream::Alerts, 20)].into();
        let topic_specs = topic_specs(&config);
        assert_eq!(topic_specs.len(), Stream::ALL.len() - 1);
        let shared = topic_specs.iter().find(|wish| wish.topic == "all").unwrap();
        assert_eq!((shared.partitions, shared.retention.to_string()), (20, "90d".into()));
        assert_eq!(shared.cleanup_policy, "delete");
    }

    #[test]
    fn formats_retention() {
        let shown = |seconds| Retention(Duration::from_secs(seconds)).to_string();
        assert_eq!([shown(7 * DAY), shown(36 * HOUR), shown(90)], ["7d", "36h", "90s"]);
    }

    #[test]
    fn ignores_the_order_of_policies() {
        assert_eq!(sorted("delete, compact"), sorted("compact,delete"));
    }
}
