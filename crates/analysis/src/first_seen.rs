//! When each registrable domain was first seen, in bounded memory that outlives the program as a file.
//!
//! A domain enters with its first response that says that it exists, so that names which somebody makes up take no place. A
//! table knows them by a hash of 64 bits, in sets of slots of 16 bytes, two slots for each domain that it may have, since sets fill unevenly. Once it has
//! as many as it may have, the one of its set that was not seen for the longest time goes.

use dnscribe_record::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

/// Slots in which a domain may be.
const WAYS: usize = 16;
/// Slots for each domain.
const SLOTS_EACH: usize = 2;
/// Bytes of a slot in the file.
const SLOT_BYTES: usize = 16;
/// First bytes of the file: the format and its version.
const MAGIC: &[u8; 8] = b"DNSSEEN\x01";
const SECOND: u64 = 1_000_000_000;

/// A domain, with the times of its first and last response in seconds since 1970; 0 where the slot is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    hash: u64,
    first: u32,
    last: u32,
}

/// Counts of the zones that are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstSeenCounts {
    /// Zones that are remembered.
    pub zones: u64,
    /// Zones that were forgotten for others.
    pub evicted: u64,
    /// Writes of the file that failed.
    pub write_failures: u64,
}

/// The table.
#[derive(Clone, Debug)]
pub struct FirstSeenTable {
    /// Sets of [`WAYS`] slots.
    slots: Box<[Slot]>,
    max_domains: u64,
    /// Number of domains.
    pub domains: u64,
    /// Number of domains that went because their set was full.
    pub evicted: u64,
}

impl FirstSeenTable {
    /// Creates a table of about `max_domains`.
    #[must_use]
    pub fn new(max_domains: usize) -> Self {
        let slots = (max_domains * SLOTS_EACH).next_multiple_of(WAYS).max(WAYS);
        let slots = vec![Slot::default(); slots].into();
        Self { slots, max_domains: max_domains as u64, domains: 0, evicted: 0 }
    }

    /// Returns when a domain was first seen, to the second. One that is new is seen at `now` if the response says that it
    /// exists.
    pub fn see(&mut self, now: Timestamp, domain: &str, exists: bool) -> Option<Timestamp> {
        let now = u32::try_from(now.as_nanos() / SECOND).unwrap_or(u32::MAX).max(1);
        let hash = xxh3_64(domain.as_bytes());
        let set = self.set(hash);
        if let Some(known) = set.iter_mut().find(|slot| slot.first != 0 && slot.hash == hash) {
            known.last = known.last.max(now);
            return Some(Timestamp::from_nanos(u64::from(known.first) * SECOND));
        }
        exists.then(|| {
            self.insert(Slot { hash, first: now, last: now });
            Timestamp::from_nanos(u64::from(now) * SECOND)
        })
    }

    fn set(&mut self, hash: u64) -> &mut [Slot] {
        let sets = self.slots.len() / WAYS;
        // The remainder is less than the number of slots.
        let start = usize::try_from(hash % sets as u64).unwrap_or(0) * WAYS;
        &mut self.slots[start..start + WAYS]
    }

    /// Inserts a domain that is not there. It takes a free slot as long as there may be more domains, or if the set has no other.
    fn insert(&mut self, new: Slot) {
        let some_more = self.max_domains / 16;
        let in_set = self.set(new.hash).iter().filter(|slot| slot.first != 0).count();
        // Sets with few domains may grow a little more, so that none stays small for ever.
        let limit = self.max_domains + if in_set < WAYS / SLOTS_EACH { some_more } else { 0 };
        let is_full = self.domains >= limit;
        let age = |slot: &&mut Slot| ((slot.first == 0) == is_full, slot.last);
        let Some(oldest) = self.set(new.hash).iter_mut().min_by_key(age) else {
            return;
        };
        let was_free = std::mem::replace(oldest, new).first == 0;
        self.domains += u64::from(was_free);
        self.evicted += u64::from(!was_free);
    }

    /// Returns the contents of the file: 8 bytes that name the format, each domain in 16 bytes (hash, first and last time in seconds since
    /// 1970, little-endian), and the XXH3 hash of all before it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = self.slots.iter().filter(|slot| slot.first != 0);
        let mut bytes = MAGIC.to_vec();
        for Slot { hash, first, last } in used {
            bytes.extend(hash.to_le_bytes());
            bytes.extend(first.to_le_bytes());
            bytes.extend(last.to_le_bytes());
        }
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    /// Reads the contents of a file into a table of about `max_domains`. If there are more, those that were seen last
    /// stay.
    ///
    /// # Errors
    /// The contents are not those of [`Self::to_bytes`]; says why.
    pub fn from_bytes(max_domains: usize, bytes: &[u8]) -> Result<Self, &'static str> {
        let (body, checksum) = bytes.split_last_chunk().ok_or("it is too short")?;
        let slots = body.strip_prefix(MAGIC).ok_or("its format is another one")?;
        if xxh3_64(body) != u64::from_le_bytes(*checksum) || slots.len() % SLOT_BYTES != 0 {
            return Err("its checksum is wrong");
        }
        let mut table = Self::new(max_domains);
        let (slots, _) = slots.as_chunks::<SLOT_BYTES>();
        let mut slots: Vec<Slot> = slots.iter().filter_map(Slot::from_bytes).collect();
        slots.sort_unstable_by_key(|slot| slot.last);
        for slot in slots {
            table.insert(slot);
        }
        table.evicted = 0;
        Ok(table)
    }
}

impl Slot {
    fn from_bytes(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (hash, times) = bytes.split_first_chunk()?;
        let (first, last) = times.split_first_chunk()?;
        let [first, last] = [*first, last.try_into().ok()?].map(u32::from_le_bytes);
        Some(Self { hash: u64::from_le_bytes(*hash), first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * SECOND)
    }

    #[test]
    fn names_that_do_not_exist_take_no_place() {
        let mut table = FirstSeenTable::new(64);
        assert_eq!(table.see(at(10), "made-up.example", false), None);
        assert_eq!(table.see(at(20), "a.example", true), Some(at(20)));
        assert_eq!(table.see(at(30), "a.example", false), Some(at(20)));
        assert_eq!((table.domains, table.evicted), (1, 0));
        // The clock was set back.
        assert_eq!(table.see(at(5), "a.example", true), Some(at(20)));
    }

    #[test]
    fn domains_are_forgotten_only_where_the_table_is_full() {
        const MAX: u64 = 20_000;
        let mut table = FirstSeenTable::new(20_000);
        for number in 0..MAX {
            table.see(at(100 + number), &format!("{number}.example"), true);
        }
        assert!(table.evicted <= MAX / 1_000, "{} of {MAX}", table.evicted);
        // One that is full: the new take the place of the longest unseen.
        (0..MAX / 2).for_each(|number| {
            table.see(at(100_000), &format!("{number}.example"), true);
        });
        let before = table.evicted;
        for number in 0..MAX / 10 {
            table.see(at(200_000), &format!("{number}.new"), true);
        }
        let forgotten = table.evicted - before;
        assert!((MAX / 30..=MAX / 10).contains(&forgotten), "{forgotten}");
        assert!(table.domains <= MAX + MAX / 16);
        let known = |table: &mut FirstSeenTable, range: std::ops::Range<u64>| {
            range
                .filter(|number| {
                    let name = format!("{number}.example");
                    table.see(at(300_000), &name, false).is_some()
                })
                .count() as u64
        };
        assert!(known(&mut table, 0..MAX / 2) > MAX / 2 - MAX / 100, "those seen lately stay");
        assert!(known(&mut table, MAX / 2..MAX) < MAX / 2 - MAX / 40);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused() {
        let mut table = FirstSeenTable::new(64);
        table.see(at(1), "a.example", true);
        let bytes = table.to_bytes();
        assert_eq!(bytes.len(), MAGIC.len() + SLOT_BYTES + 8);
        for length in 0..bytes.len() {
            assert!(FirstSeenTable::from_bytes(64, &bytes[..length]).is_err(), "{length}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(FirstSeenTable::from_bytes(64, &changed).is_err(), "{place}");
        }
    }

    proptest! {
        /// As a map without limits has it, as long as nothing is evicted; and so after a restart, in a table of another size.
        #[test]
        fn is_a_map_that_outlives_a_restart(seen in prop::collection::vec((0..40_u64, 1..1000_u64, any::<bool>()), 0..200)) {
            let (mut table, mut wanted) = (FirstSeenTable::new(4096), HashMap::new());
            for (domain, time, exists) in seen {
                if exists {
                    wanted.entry(domain).or_insert(at(time));
                }
                prop_assert_eq!(table.see(at(time), &domain.to_string(), exists), wanted.get(&domain).copied());
            }
            let mut again = FirstSeenTable::from_bytes(8192, &table.to_bytes()).unwrap();
            prop_assert_eq!((again.domains, again.evicted), (wanted.len() as u64, 0));
            for (domain, first) in wanted {
                prop_assert_eq!(again.see(at(2000), &domain.to_string(), false), Some(first));
            }
        }
    }
}
