//! Streams of records: one for each kind of record, with its name, topic and schema.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A kind of records. Each stream has its own topic and schema. A new one is the last: checkpoints of spools have its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// `dns.message/1`.
    Messages,
    /// `dns.transaction/1`.
    Transactions,
    /// `dns.lookup/1`.
    Lookups,
    /// `dns.window/1`.
    Metrics,
    /// `dns.alert/1`.
    Alerts,
    /// `dns.dlq/1`.
    Dlq,
    /// `dns.ledger/1`.
    Ledger,
    /// `dns.connection/1`.
    Connections,
    /// `dns.use/1`.
    Uses,
    /// `dns.probe/1`: of `dnscribe-probe` only.
    Probes,
}

impl Stream {
    /// Every stream, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Messages,
        Self::Transactions,
        Self::Lookups,
        Self::Metrics,
        Self::Alerts,
        Self::Dlq,
        Self::Ledger,
        Self::Connections,
        Self::Uses,
        Self::Probes,
    ];

    /// Name, default topic and schema.
    const fn texts(self) -> [&'static str; 3] {
        match self {
            Self::Messages => ["messages", "dns.raw", "dns.message/1"],
            Self::Transactions => ["transactions", "dns.normalized", "dns.transaction/1"],
            Self::Lookups => ["lookups", "dns.lookups", "dns.lookup/1"],
            Self::Metrics => ["metrics", "dns.metrics", "dns.window/1"],
            Self::Alerts => ["alerts", "dns.alerts", "dns.alert/1"],
            Self::Dlq => ["dlq", "dns.dlq", "dns.dlq/1"],
            Self::Ledger => ["ledger", "dns.ledger", "dns.ledger/1"],
            Self::Connections => ["connections", "dns.connections", "dns.connection/1"],
            Self::Uses => ["uses", "dns.uses", "dns.use/1"],
            Self::Probes => ["probes", "dns.probes", "dns.probe/1"],
        }
    }

    /// The stream's name in `--stream` and in the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.texts()[0]
    }

    /// The stream's default Kafka topic.
    #[must_use]
    pub const fn default_topic(self) -> &'static str {
        self.texts()[1]
    }

    /// The schema of the stream's records.
    #[must_use]
    pub const fn schema(self) -> &'static str {
        self.texts()[2]
    }

    /// Returns whether a record of the stream summarizes many messages, so that its loss matters more.
    #[must_use]
    pub const fn is_summary(self) -> bool {
        matches!(self, Self::Metrics | Self::Alerts | Self::Ledger)
    }
}

/// A set of streams.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamSet(u16);

impl StreamSet {
    /// Default streams of Kafka and files.
    pub const STORED: Self = Self::EMPTY
        .with(Stream::Transactions)
        .with(Stream::Metrics)
        .with(Stream::Alerts)
        .with(Stream::Dlq)
        .with(Stream::Ledger);

    /// Default streams of stdout and the null sink.
    pub const SHOWN: Self = Self::EMPTY.with(Stream::Transactions);

    /// Streams of Alertmanager; not configurable.
    pub const ALERTS: Self = Self::EMPTY.with(Stream::Alerts);

    /// Streams of dnstap; not configurable.
    pub const MESSAGES: Self = Self::EMPTY.with(Stream::Messages);

    /// Default streams of the sinks of `dnscribe-probe`.
    pub const PROBED: Self =
        Self::EMPTY.with(Stream::Probes).with(Stream::Alerts).with(Stream::Ledger);

    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Adds a stream to the set.
    #[must_use]
    pub const fn with(self, stream: Stream) -> Self {
        Self(self.0 | 1 << stream as u16)
    }

    /// Adds the streams of another set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set contains `stream`.
    #[must_use]
    pub const fn contains(self, stream: Stream) -> bool {
        self.0 & 1 << stream as u16 != 0
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

/// A text is not a valid stream or list of streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseStreamError {
    /// No stream has this name.
    #[error("\"{0}\" is not a stream: choose from {names}", names = Stream::ALL.map(Stream::name).join(", "))]
    Unknown(String),
    /// The list is empty.
    #[error("no stream given: give at least one, such as transactions")]
    Empty,
}

impl FromStr for Stream {
    type Err = ParseStreamError;

    fn from_str(text: &str) -> Result<Self, ParseStreamError> {
        Self::ALL
            .into_iter()
            .find(|stream| stream.name() == text)
            .ok_or_else(|| ParseStreamError::Unknown(text.into()))
    }
}

impl FromStr for StreamSet {
    type Err = ParseStreamError;

    fn from_str(text: &str) -> Result<Self, ParseStreamError> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let set: Self = names.map(str::parse).collect::<Result<_, _>>()?;
        if set == Self::EMPTY { Err(ParseStreamError::Empty) } else { Ok(set) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_streams() {
        let set: StreamSet = "ledger, transactions".parse().unwrap();
        assert!(set.contains(Stream::Ledger) && !set.contains(Stream::Dlq));
        assert_eq!(format!("{set:?}"), "{\"transactions\", \"ledger\"}");
        assert_eq!("".parse::<StreamSet>(), Err(ParseStreamError::Empty));
        assert!("raw".parse::<StreamSet>().is_err());
    }
}
