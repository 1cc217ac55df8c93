//! Buffers values of the last transactions of a pane before the sketches of the most frequent
//! values are updated.
//!
//! A sketch takes a hundred times as long to count a value as a hash table, and most values recur
//! soon. They are first counted in small tables, once for both groups of a transaction that keep
//! most frequent values. When a table is full, and when the pane is closed, each value is added to
//! the sketches with its count, in order of first arrival. A sketch that has not evicted a value
//! ends up the same as if it had been updated each time.

use super::measured::Measured;
use super::tally::Tops;
use crate::view::TransactionView;
use dnscribe_sketch::{shared_text, truncated};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// Maximum number of rows of each table.
const MAX_NAMES: usize = 2048;
const MAX_CLIENTS: usize = 1024;
const MAX_PROCESSES: usize = 256;

/// Capacity for text in bytes, and the part kept free for the names of one more transaction.
const TEXT_BYTES: usize = 64 << 10;
const RESERVED_BYTES: usize = 3 * dnscribe_sketch::MAX_VALUE_BYTES;

/// Indices of a transaction's groups that keep most frequent values: the node and the resolver. The
/// resolver's group determines the node's.
pub(super) type TopGroups = [u16; 2];

/// Names with their zones, clients and processes, with their counts.
#[derive(Clone, Debug, Default)]
pub(super) struct TopBuffer {
    names: CountTable<NameAndZone, MAX_NAMES>,
    clients: CountTable<IpAddr, MAX_CLIENTS>,
    processes: CountTable<TextRange, MAX_PROCESSES>,
    texts: String,
}

/// Range within the text buffer.
#[derive(Clone, Copy, Debug)]
struct TextRange {
    start: u32,
    end: u32,
}

/// Query name and its zone, if present.
#[derive(Clone, Copy, Debug)]
struct NameAndZone {
    qname: Option<TextRange>,
    zone: Option<TextRange>,
    zone_hash: u64,
}

/// Values by hash and resolver, with their counts.
#[derive(Clone, Debug)]
struct CountTable<T, const ROWS: usize> {
    indices: HashTable<u32>,
    rows: Vec<Row<T>>,
    /// Randomly seeded, so that names with colliding hashes cannot be chosen.
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Row<T> {
    hash: u64,
    groups: TopGroups,
    times: u32,
    value: T,
}

impl TopBuffer {
    /// Maximum heap memory in bytes.
    pub(super) const MAX_HEAP_BYTES: usize = CountTable::<NameAndZone, MAX_NAMES>::MAX_HEAP_BYTES
        + CountTable::<IpAddr, MAX_CLIENTS>::MAX_HEAP_BYTES
        + CountTable::<TextRange, MAX_PROCESSES>::MAX_HEAP_BYTES
        + TEXT_BYTES;

    /// Returns whether the values of one more transaction fit.
    pub(super) const fn has_capacity(&self) -> bool {
        self.names.has_capacity()
            && self.clients.has_capacity()
            && self.processes.has_capacity()
            && self.texts.len() + RESERVED_BYTES <= TEXT_BYTES
    }

    /// Counts the values of a transaction.
    pub(super) fn count(
        &mut self,
        groups: TopGroups,
        observation: &TransactionView<'_>,
        measured: &Measured,
    ) {
        let Self { names, clients, processes, texts } = self;
        let (qname, zone) = (observation.qname, observation.zone);
        if qname.is_some() || zone.is_some() {
            // The zone usually follows from the name, but this module does not rely on it.
            let hash = measured.qname_hash ^ measured.zone_hash.rotate_left(32);
            names.count(hash, groups, || {
                let qname_text = qname.map(|qname| store(texts, qname));
                NameAndZone {
                    qname: qname_text,
                    zone: zone.map(|zone| store_zone(texts, qname_text, zone)),
                    zone_hash: measured.zone_hash,
                }
            });
        }
        clients.count(measured.client_hash, groups, || observation.client.ip());
        if let Some(process) = observation.process {
            processes.count(measured.process_hash, groups, || store(texts, process.comm));
        }
    }

    /// Adds all values to the sketches and empties the buffer. `with` passes the sketches of a
    /// group to a closure.
    pub(super) fn flush(&mut self, mut with: impl FnMut(u16, &mut dyn FnMut(&mut Tops))) {
        let Self { names, clients, processes, texts } = self;
        let text = |at: TextRange| shared_text(&texts[at.start as usize..at.end as usize]);
        let mut add = |groups: TopGroups, take: &mut dyn FnMut(&mut Tops)| {
            for group in groups {
                with(group, take);
            }
        };
        names.drain(|groups, hash, times, name| {
            let qname_hash = hash ^ name.zone_hash.rotate_left(32);
            let (mut qname, mut zone) = (None, None);
            add(groups, &mut |tops| {
                if let Some(at) = name.qname {
                    tops.qnames.add(qname_hash, times, || once(&mut qname, || text(at)));
                }
                if let Some(at) = name.zone {
                    tops.zones.add(name.zone_hash, times, || once(&mut zone, || text(at)));
                }
            });
        });
        clients.drain(|groups, hash, times, client| {
            let mut shown = None;
            add(groups, &mut |tops| {
                let show = || once(&mut shown, || client.to_string().into());
                tops.clients.add(hash, times, show);
            });
        });
        processes.drain(|groups, hash, times, at| {
            let mut process = None;
            add(groups, &mut |tops| {
                tops.processes.add(hash, times, || once(&mut process, || text(at)));
            });
        });
        texts.clear();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.names.heap_bytes()
            + self.clients.heap_bytes()
            + self.processes.heap_bytes()
            + self.texts.capacity()
    }
}

/// Stores a text, truncated to what a sketch stores.
fn store(texts: &mut String, text: &str) -> TextRange {
    if texts.capacity() == 0 {
        // It grows by doubling from here to TEXT_BYTES.
        texts.reserve_exact(TEXT_BYTES / 16);
    }
    let start = end_of(texts);
    texts.push_str(truncated(text));
    TextRange { start, end: end_of(texts) }
}

/// Returns the range of a zone, which is normally the end of its name.
fn store_zone(texts: &mut String, qname: Option<TextRange>, zone: &str) -> TextRange {
    let kept = qname.map(|at| &texts[at.start as usize..at.end as usize]);
    match (qname, u32::try_from(zone.len())) {
        (Some(at), Ok(bytes)) if kept.is_some_and(|kept| kept.ends_with(zone)) => {
            TextRange { start: at.end - bytes, end: at.end }
        }
        _ => store(texts, zone),
    }
}

fn end_of(texts: &str) -> u32 {
    // At most TEXT_BYTES.
    u32::try_from(texts.len()).unwrap_or(u32::MAX)
}

/// Returns a text that several sketches share, created when it is first needed.
fn once(kept: &mut Option<Arc<str>>, make: impl FnOnce() -> Arc<str>) -> Arc<str> {
    Arc::clone(kept.get_or_insert_with(make))
}

impl<T, const ROWS: usize> Default for CountTable<T, ROWS> {
    fn default() -> Self {
        Self { indices: HashTable::new(), rows: Vec::new(), hasher: RandomState::default() }
    }
}

impl<T: Copy, const ROWS: usize> CountTable<T, ROWS> {
    /// Rows grow by doubling up to ROWS; a hash table is at most seven eighths full.
    const MAX_HEAP_BYTES: usize = ROWS * size_of::<Row<T>>()
        + (ROWS * 8 / 7).next_power_of_two() * (size_of::<u32>() + 1)
        + 16;

    const fn has_capacity(&self) -> bool {
        self.rows.len() < ROWS
    }

    /// Counts a value, created with `value` if it is new.
    fn count(&mut self, hash: u64, groups: TopGroups, value: impl FnOnce() -> T) {
        let Self { indices, rows, hasher } = self;
        let of = |hash: u64, groups: TopGroups| hasher.hash_one((hash, groups[1]));
        let is = |index: &u32| {
            let row = &rows[*index as usize];
            row.hash == hash && row.groups == groups
        };
        if let Some(index) = indices.find(of(hash, groups), is) {
            let times = &mut rows[*index as usize].times;
            // A window has fewer than 2^32 transactions.
            *times = times.saturating_add(1);
            return;
        }
        // At most ROWS.
        let index = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        rows.push(Row { hash, groups, times: 1, value: value() });
        let again = |index: &u32| of(rows[*index as usize].hash, rows[*index as usize].groups);
        indices.insert_unique(of(hash, groups), index, again);
    }

    fn drain(&mut self, mut each: impl FnMut(TopGroups, u64, u64, T)) {
        for row in &self.rows {
            each(row.groups, row.hash, row.times.into(), row.value);
        }
        self.rows.clear();
        self.indices.clear();
    }

    fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row<T>>() + self.indices.allocation_size()
    }
}
