//! Buffer of names, clients and processes before the sketches of the most frequent values.
//!
//! A sketch takes a hundred times as long as a table to count a value, and most values recur soon. So
//! they are counted in a small table first, once for all groups of a transaction that keep frequent
//! values. When the table is full or the pane is closed, the values are added to the sketches with
//! their counts, in order of first occurrence. A sketch that is not full then has the same contents
//! as without the buffer.

use super::measured::Measured;
use super::sketch::{shared, within};
use super::tally::Tops;
use crate::observation::Observation;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// Maximum number of rows of each kind.
const NAMES: usize = 2048;
const CLIENTS: usize = 1024;
const PROCESSES: usize = 256;

/// Maximum bytes of text, and the maximum that one transaction adds.
const TEXT_BYTES: usize = 64 << 10;
const MAX_ADDED_BYTES: usize = 3 * super::sketch::MAX_OCTETS;

/// Indices of the groups of a transaction that keep frequent values: the node's, and the
/// resolver's, which determines the former.
pub(super) type Keepers = [u16; 2];

/// Names with their zones, clients and processes, with their counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    names: CountTable<NameRange, NAMES>,
    clients: CountTable<IpAddr, CLIENTS>,
    processes: CountTable<TextRange, PROCESSES>,
    texts: String,
}

/// A range of the text buffer.
#[derive(Clone, Copy, Debug)]
struct TextRange {
    start: u32,
    end: u32,
}

/// A queried name and its zone.
#[derive(Clone, Copy, Debug)]
struct NameRange {
    /// `None` if there is no name.
    qname: Option<TextRange>,
    zone: Option<TextRange>,
    zone_hash: u64,
}

/// Counts of values by hash and groups.
#[derive(Clone, Debug)]
struct CountTable<T, const ROWS: usize> {
    index: HashTable<u32>,
    rows: Vec<Row<T>>,
    /// Randomly seeded, so that nobody can choose colliding names.
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Row<T> {
    hash: u64,
    keepers: Keepers,
    times: u32,
    value: T,
}

impl Recent {
    /// Maximum heap memory in bytes.
    pub(super) const MAX_HEAP_BYTES: usize = CountTable::<NameRange, NAMES>::MAX_HEAP_BYTES
        + CountTable::<IpAddr, CLIENTS>::MAX_HEAP_BYTES
        + CountTable::<TextRange, PROCESSES>::MAX_HEAP_BYTES
        + TEXT_BYTES;

    /// Returns whether one more transaction fits.
    pub(super) const fn has_room(&self) -> bool {
        self.names.has_room()
            && self.clients.has_room()
            && self.processes.has_room()
            && self.texts.len() + MAX_ADDED_BYTES <= TEXT_BYTES
    }

    /// Counts the values of a transaction.
    pub(super) fn count(
        &mut self,
        keepers: Keepers,
        observation: &Observation<'_>,
        measured: &Measured,
    ) {
        let Self { names, clients, processes, texts } = self;
        let (qname, zone) = (observation.qname, observation.zone);
        if qname.is_some() || zone.is_some() {
            // A name mostly has one zone, but this is not assumed.
            let hash = measured.qname_hash ^ measured.zone_hash.rotate_left(32);
            names.count(hash, keepers, || {
                let qname_text = qname.map(|qname| store_text(texts, qname));
                NameRange {
                    qname: qname_text,
                    zone: zone.map(|zone| zone_range(texts, qname_text, zone)),
                    zone_hash: measured.zone_hash,
                }
            });
        }
        clients.count(measured.client_hash, keepers, || observation.client.ip());
        if let Some(process) = observation.process {
            processes.count(measured.process_hash, keepers, || store_text(texts, process.comm));
        }
    }

    /// Adds all counts to the sketches and clears the buffer. `with` calls a function with the
    /// sketches of a group.
    pub(super) fn tell(&mut self, mut with: impl FnMut(u16, &mut dyn FnMut(&mut Tops))) {
        let Self { names, clients, processes, texts } = self;
        let text = |at: TextRange| shared(&texts[at.start as usize..at.end as usize]);
        names.tell(|keepers, hash, times, name| {
            let qname_hash = hash ^ name.zone_hash.rotate_left(32);
            let (mut qname, mut zone) = (None, None);
            let mut take = |tops: &mut Tops| {
                if let Some(at) = name.qname {
                    tops.qnames.add(qname_hash, times, || get_or_share(&mut qname, || text(at)));
                }
                if let Some(at) = name.zone {
                    tops.zones.add(name.zone_hash, times, || get_or_share(&mut zone, || text(at)));
                }
            };
            for keeper in keepers {
                with(keeper, &mut take);
            }
        });
        clients.tell(|keepers, hash, times, client| {
            let mut shared_text = None;
            let mut take = |tops: &mut Tops| {
                let show = || get_or_share(&mut shared_text, || client.to_string().into());
                tops.clients.add(hash, times, show);
            };
            for keeper in keepers {
                with(keeper, &mut take);
            }
        });
        processes.tell(|keepers, hash, times, at| {
            let mut process = None;
            let mut take = |tops: &mut Tops| {
                tops.processes.add(hash, times, || get_or_share(&mut process, || text(at)));
            };
            for keeper in keepers {
                with(keeper, &mut take);
            }
        });
        texts.clear();
    }

    /// Returns the heap memory in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.names.heap_bytes()
            + self.clients.heap_bytes()
            + self.processes.heap_bytes()
            + self.texts.capacity()
    }
}

/// Stores a text, shortened as in the sketches.
fn store_text(texts: &mut String, text: &str) -> TextRange {
    if texts.capacity() == 0 {
        // From here on, the capacity doubles up to exactly TEXT_BYTES.
        texts.reserve_exact(TEXT_BYTES / 16);
    }
    let start = text_end(texts);
    texts.push_str(within(text));
    TextRange { start, end: text_end(texts) }
}

/// Returns the range of a zone: the end of its name in most cases.
fn zone_range(texts: &mut String, qname: Option<TextRange>, zone: &str) -> TextRange {
    let kept = qname.map(|at| &texts[at.start as usize..at.end as usize]);
    match (qname, u32::try_from(zone.len())) {
        (Some(at), Ok(length)) if kept.is_some_and(|kept| kept.ends_with(zone)) => {
            TextRange { start: at.end - length, end: at.end }
        }
        _ => store_text(texts, zone),
    }
}

fn text_end(texts: &str) -> u32 {
    // At most TEXT_BYTES.
    u32::try_from(texts.len()).unwrap_or(u32::MAX)
}

/// Returns a text that several sketches may share, created by the first that needs it.
fn get_or_share(kept: &mut Option<Arc<str>>, make: impl FnOnce() -> Arc<str>) -> Arc<str> {
    Arc::clone(kept.get_or_insert_with(make))
}

impl<T, const ROWS: usize> Default for CountTable<T, ROWS> {
    fn default() -> Self {
        Self { index: HashTable::new(), rows: Vec::new(), hasher: RandomState::default() }
    }
}

impl<T: Copy, const ROWS: usize> CountTable<T, ROWS> {
    /// The rows double up to exactly ROWS; the hash table is at most seven eighths full.
    const MAX_HEAP_BYTES: usize = ROWS * size_of::<Row<T>>()
        + (ROWS * 8 / 7).next_power_of_two() * (size_of::<u32>() + 1)
        + 16;

    const fn has_room(&self) -> bool {
        self.rows.len() < ROWS
    }

    /// Counts a value, which is created if it is new.
    fn count(&mut self, hash: u64, keepers: Keepers, value: impl FnOnce() -> T) {
        let Self { index, rows, hasher } = self;
        let hash_of = |hash: u64, keepers: Keepers| hasher.hash_one((hash, keepers[1]));
        let is_row = |place: &u32| {
            let row = &rows[*place as usize];
            row.hash == hash && row.keepers == keepers
        };
        if let Some(place) = index.find(hash_of(hash, keepers), is_row) {
            let times = &mut rows[*place as usize].times;
            // A window has fewer than 2^32 transactions.
            *times = times.saturating_add(1);
            return;
        }
        // At most ROWS.
        let place = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        rows.push(Row { hash, keepers, times: 1, value: value() });
        let rehash =
            |place: &u32| hash_of(rows[*place as usize].hash, rows[*place as usize].keepers);
        index.insert_unique(hash_of(hash, keepers), place, rehash);
    }

    fn tell(&mut self, mut each: impl FnMut(Keepers, u64, u64, T)) {
        for row in &self.rows {
            each(row.keepers, row.hash, row.times.into(), row.value);
        }
        self.rows.clear();
        self.index.clear();
    }

    fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row<T>>() + self.index.allocation_size()
    }
}
