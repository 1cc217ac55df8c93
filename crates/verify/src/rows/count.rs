//! Counters of the records of topics.

use super::{Bounds, FoundTotals, TopicTotals};
use crate::sort::{Age, SortEntry, Sorter};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, Stream, read_object};
use serde::Deserialize;
use std::io;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// Counts records by key in bounded memory.
struct KeyCounter {
    sorter: Sorter,
    records: u64,
}

impl KeyCounter {
    const fn new(sorter: Sorter) -> Self {
        Self { sorter, records: 0 }
    }

    fn add(&mut self, key: &[u8], age: Age) -> io::Result<()> {
        self.records += 1;
        // Nodes and streams do not matter here.
        let entry = SortEntry::new(EventId(xxh3_128(key)), 0, Stream::Ledger, None);
        self.sorter.push(entry.with_age(age))
    }

    fn totals(self) -> io::Result<FoundTotals> {
        let mut totals = FoundTotals { records: self.records, ..FoundTotals::default() };
        self.sorter.distinct(&mut |entry, _| {
            totals.add_distinct(entry.age());
        })?;
        Ok(totals)
    }
}

/// Records of a topic that no agent writes, by `event_id`, or for `dns.fleet/1` by window.
pub struct TopicCounter {
    keys: KeyCounter,
    unreadable: u64,
    /// Times between which records are compared with rows.
    pub bounds: Bounds,
    /// Only windows of this grouping count.
    pub grouping: Option<&'static str>,
}

/// Fields that identify a record or a merged window.
#[derive(Deserialize)]
struct KeyFields<'a> {
    event_id: &'a str,
    ts: Timestamp,
    revision: Option<u64>,
    #[serde(default)]
    window_seconds: u64,
    #[serde(default)]
    step_seconds: u64,
    #[serde(default)]
    grouping: String,
    #[serde(default)]
    vantage: String,
    region: Option<String>,
    resolver: Option<String>,
    zone: Option<String>,
    qtype: Option<String>,
    #[serde(default)]
    other: bool,
}

impl TopicCounter {
    pub(crate) fn new(sorter: Sorter) -> Self {
        Self {
            keys: KeyCounter::new(sorter),
            unreadable: 0,
            bounds: Bounds::default(),
            grouping: None,
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The temporary files cannot be written.
    pub fn add(&mut self, value: &[u8]) -> io::Result<()> {
        let Ok(fields) = read_object::<KeyFields<'_>>(value) else {
            self.unreadable += 1;
            return Ok(());
        };
        let end = fields.ts.plus(Duration::from_secs(fields.window_seconds));
        let age = self.bounds.age(fields.step_seconds, fields.ts, end);
        if fields.revision.is_none() {
            return self.keys.add(fields.event_id.as_bytes(), age);
        }
        if self.grouping.is_some_and(|grouping| grouping != fields.grouping) {
            return Ok(());
        }
        // With grouping `all`, the region is that of no node.
        let region = fields.region.filter(|_| fields.grouping == "region");
        let key = (
            (fields.ts.as_nanos(), fields.window_seconds, fields.step_seconds),
            (fields.grouping, fields.vantage, region, fields.other),
            (fields.resolver, fields.zone, fields.qtype),
        );
        self.keys.add(format!("{key:?}").as_bytes(), age)
    }

    /// Returns what was counted.
    ///
    /// # Errors
    /// The temporary files cannot be read.
    pub fn totals(self, has_gaps: bool) -> io::Result<TopicTotals> {
        Ok(TopicTotals { found: self.keys.totals()?, unreadable: self.unreadable, has_gaps })
    }
}
