//! What the last transactions of a pane named, counted before the sketches of what is most frequent are
//! told.
//!
//! A sketch takes a hundred times as long to count a value as a table does, and most values come again
//! soon. So they are counted in a small table first, once for all the groups of a transaction that
//! keep what is most frequent. When it is full, and when the pane is closed, the sketches are told, each
//! value with how often it came, in the order in which the values came first. A sketch that has room for all
//! is the same afterwards as if it had been told each time.

use super::measured::Measured;
use super::sketch::{shared, within};
use super::tally::Tops;
use crate::observation::Observation;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// Rows of each kind at most.
const NAMES: usize = 2048;
const CLIENTS: usize = 1024;
const PROCESSES: usize = 256;

/// Octets of text at most, and of the names of one more transaction.
const TEXT_BYTES: usize = 64 << 10;
const MORE_BYTES: usize = 3 * super::sketch::MAX_OCTETS;

/// The groups of a transaction that keep what is most frequent, by their places: that of the node, and
/// that of the resolver, which says what the first is.
pub(super) type Keepers = [u16; 2];

/// Names with their zones, clients and processes, with how often they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    names: Table<Name, NAMES>,
    clients: Table<IpAddr, CLIENTS>,
    processes: Table<Text, PROCESSES>,
    texts: String,
}

/// A place in the texts.
#[derive(Clone, Copy, Debug)]
struct Text {
    start: u32,
    end: u32,
}

/// A name asked for, and its zone.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// None where there is none.
    qname: Option<Text>,
    zone: Option<Text>,
    zone_hash: u64,
}

/// Values by the hash, for each resolver.
#[derive(Clone, Debug)]
struct Table<T, const ROWS: usize> {
    places: HashTable<u32>,
    rows: Vec<Row<T>>,
    /// Of its own, so that nobody can choose names that lie in its way.
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
    /// The most octets that it takes on the heap.
    pub(super) const MAX_HEAP_BYTES: usize = Table::<Name, NAMES>::MAX_HEAP_BYTES
        + Table::<IpAddr, CLIENTS>::MAX_HEAP_BYTES
        + Table::<Text, PROCESSES>::MAX_HEAP_BYTES
        + TEXT_BYTES;

    /// Whether there is room for one more transaction.
    pub(super) const fn has_room(&self) -> bool {
        self.names.has_room()
            && self.clients.has_room()
            && self.processes.has_room()
            && self.texts.len() + MORE_BYTES <= TEXT_BYTES
    }

    /// Counts what a transaction names.
    pub(super) fn count(
        &mut self,
        keepers: Keepers,
        observation: &Observation<'_>,
        measured: &Measured,
    ) {
        let Self { names, clients, processes, texts } = self;
        let (qname, zone) = (observation.qname, observation.zone);
        if qname.is_some() || zone.is_some() {
            // As a rule a name has one zone, but that is for others to say.
            let hash = measured.qname_hash ^ measured.zone_hash.rotate_left(32);
            names.count(hash, keepers, || {
                let qname_text = qname.map(|qname| keep(texts, qname));
                Name {
                    qname: qname_text,
                    zone: zone.map(|zone| tail(texts, qname_text, zone)),
                    zone_hash: measured.zone_hash,
                }
            });
        }
        clients.count(measured.client_hash, keepers, || observation.client.ip());
        if let Some(process) = observation.process {
            processes.count(measured.process_hash, keepers, || keep(texts, process.comm));
        }
    }

    /// Tells all of it, and has room again. `with` shows what a group keeps to who takes it.
    pub(super) fn tell(&mut self, mut with: impl FnMut(u16, &mut dyn FnMut(&mut Tops))) {
        let Self { names, clients, processes, texts } = self;
        let text = |at: Text| shared(&texts[at.start as usize..at.end as usize]);
        names.tell(|keepers, hash, times, name| {
            let qname_hash = hash ^ name.zone_hash.rotate_left(32);
            let (mut qname, mut zone) = (None, None);
            let mut take = |tops: &mut Tops| {
                if let Some(at) = name.qname {
                    tops.qnames.add(qname_hash, times, || once(&mut qname, || text(at)));
                }
                if let Some(at) = name.zone {
                    tops.zones.add(name.zone_hash, times, || once(&mut zone, || text(at)));
                }
            };
            for keeper in keepers {
                with(keeper, &mut take);
            }
        });
        clients.tell(|keepers, hash, times, client| {
            let mut shown = None;
            let mut take = |tops: &mut Tops| {
                let show = || once(&mut shown, || client.to_string().into());
                tops.clients.add(hash, times, show);
            };
            for keeper in keepers {
                with(keeper, &mut take);
            }
        });
        processes.tell(|keepers, hash, times, at| {
            let mut process = None;
            let mut take = |tops: &mut Tops| {
                tops.processes.add(hash, times, || once(&mut process, || text(at)));
            };
            for keeper in keepers {
                with(keeper, &mut take);
            }
        });
        texts.clear();
    }

    /// Octets on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.names.heap_bytes()
            + self.clients.heap_bytes()
            + self.processes.heap_bytes()
            + self.texts.capacity()
    }
}

/// Keeps a text, as much of it as a sketch does.
fn keep(texts: &mut String, text: &str) -> Text {
    if texts.capacity() == 0 {
        // From there on it grows by doubling, and TEXT_BYTES is a result of that.
        texts.reserve_exact(TEXT_BYTES / 16);
    }
    let start = end_of(texts);
    texts.push_str(within(text));
    Text { start, end: end_of(texts) }
}

/// Where a zone stands: most names that were kept end in theirs.
fn tail(texts: &mut String, qname: Option<Text>, zone: &str) -> Text {
    let kept = qname.map(|at| &texts[at.start as usize..at.end as usize]);
    match (qname, u32::try_from(zone.len())) {
        (Some(at), Ok(octets)) if kept.is_some_and(|kept| kept.ends_with(zone)) => {
            Text { start: at.end - octets, end: at.end }
        }
        _ => keep(texts, zone),
    }
}

fn end_of(texts: &str) -> u32 {
    // No more than TEXT_BYTES.
    u32::try_from(texts.len()).unwrap_or(u32::MAX)
}

/// A text that several sketches may share, made for the first that wants it.
fn once(kept: &mut Option<Arc<str>>, make: impl FnOnce() -> Arc<str>) -> Arc<str> {
    Arc::clone(kept.get_or_insert_with(make))
}

impl<T, const ROWS: usize> Default for Table<T, ROWS> {
    fn default() -> Self {
        Self { places: HashTable::new(), rows: Vec::new(), hasher: RandomState::default() }
    }
}

impl<T: Copy, const ROWS: usize> Table<T, ROWS> {
    /// Rows grow by doubling, of which ROWS is a result; a table is never more than seven eighths full.
    const MAX_HEAP_BYTES: usize = ROWS * size_of::<Row<T>>()
        + (ROWS * 8 / 7).next_power_of_two() * (size_of::<u32>() + 1)
        + 16;

    const fn has_room(&self) -> bool {
        self.rows.len() < ROWS
    }

    /// Counts a value, which is made where it is new.
    fn count(&mut self, hash: u64, keepers: Keepers, value: impl FnOnce() -> T) {
        let Self { places, rows, hasher } = self;
        let of = |hash: u64, keepers: Keepers| hasher.hash_one((hash, keepers[1]));
        let is = |place: &u32| {
            let row = &rows[*place as usize];
            row.hash == hash && row.keepers == keepers
        };
        if let Some(place) = places.find(of(hash, keepers), is) {
            let times = &mut rows[*place as usize].times;
            // No window sees as many as 2^32.
            *times = times.saturating_add(1);
            return;
        }
        // No more than ROWS.
        let place = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        rows.push(Row { hash, keepers, times: 1, value: value() });
        let again = |place: &u32| of(rows[*place as usize].hash, rows[*place as usize].keepers);
        places.insert_unique(of(hash, keepers), place, again);
    }

    fn tell(&mut self, mut each: impl FnMut(Keepers, u64, u64, T)) {
        for row in &self.rows {
            each(row.keepers, row.hash, row.times.into(), row.value);
        }
        self.rows.clear();
        self.places.clear();
    }

    fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row<T>>() + self.places.allocation_size()
    }
}
