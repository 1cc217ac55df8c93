//! Tables of entities that the traffic chooses, in bounded room.

use crate::time::Timestamp;
use std::time::Duration;

/// Slots that a key may be in.
const WAYS: usize = 8;

/// Values by the hash of what they belong to. A key has eight slots; where all are taken, the value that
/// was used least goes, of these the one unused longest. So each access costs the same whatever
/// comes, and entities that come once give way to those that keep coming.
///
/// The order of [`Self::iter`] depends on nothing but the keys and how they came.
#[derive(Debug)]
pub(super) struct Table<T> {
    keys: Box<[u64]>,
    /// Beside the values, so that to find the one that was used least is to look at one place of memory.
    uses: Box<[Use]>,
    values: Box<[Option<Box<T>>]>,
}

/// How often a value was used, and when it last was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    times: u32,
    last: Timestamp,
}

impl Use {
    fn count(&mut self, now: Timestamp) {
        self.times = self.times.saturating_add(1);
        self.last = self.last.max(now);
    }
}

impl<T> Table<T> {
    /// Room for so many values; rounded up to a power of two, and no fewer than [`WAYS`].
    pub(super) fn new(room: usize) -> Self {
        let room = room.next_power_of_two().max(WAYS);
        let values = std::iter::repeat_with(|| None).take(room).collect();
        Self { keys: vec![0; room].into(), uses: vec![Use::default(); room].into(), values }
    }

    /// The value of a key, as it is; looking does not count as a use.
    pub(super) fn get(&self, key: u64) -> Option<&T> {
        self.values[self.find(key)?].as_deref()
    }

    /// The same, and counts it as used.
    pub(super) fn get_mut(&mut self, key: u64, now: Timestamp) -> Option<&mut T> {
        let place = self.find(key)?;
        self.uses[place].count(now);
        self.values[place].as_deref_mut()
    }

    /// The value of a key, made where there is none.
    pub(super) fn entry(&mut self, key: u64, now: Timestamp, new: impl FnOnce() -> T) -> &mut T {
        let found = self.find(key);
        let place = found.unwrap_or_else(|| self.victim(key));
        let Self { keys, uses, values } = self;
        if found.is_none() {
            keys[place] = key;
            uses[place] = Use { times: 0, last: now };
        }
        uses[place].count(now);
        match (&mut values[place], found) {
            (Some(known), Some(_)) => known,
            // In the room of the one that goes.
            (Some(other), None) => {
                **other = new();
                other
            }
            (empty, _) => empty.insert(Box::new(new())),
        }
    }

    /// Forgets what was unused for `idle`, and lets old uses count for less.
    pub(super) fn age(&mut self, now: Timestamp, idle: Duration) {
        for (uses, value) in self.uses.iter_mut().zip(&mut self.values) {
            if now.since(uses.last) > idle {
                *value = None;
                *uses = Use::default();
            } else {
                uses.times -= uses.times / 4;
            }
        }
    }

    /// All values with their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let values = self.keys.iter().zip(&self.values);
        values.filter_map(|(key, value)| Some((*key, &**value.as_ref()?)))
    }

    /// All values.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten().map(|value| &mut **value)
    }

    /// Octets that the table takes, with what its values say that they have on the heap.
    pub(super) fn bytes(&self, heap: impl Fn(&T) -> usize) -> usize {
        let values = self.values.iter().flatten().map(|value| size_of::<T>() + heap(value));
        self.keys.len() * size_of::<(u64, Use, Option<Box<T>>)>() + values.sum::<usize>()
    }

    /// The slots of a key.
    fn ways(&self, key: u64) -> std::ops::Range<usize> {
        let sets = self.keys.len() / WAYS;
        // Both are at most the number of slots.
        let set = usize::try_from(key >> 32).unwrap_or(0) & (sets - 1);
        set * WAYS..(set + 1) * WAYS
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.ways(key).find(|place| self.keys[*place] == key && self.values[*place].is_some())
    }

    /// The slot to be used for a new key: an empty one, else that of the value that was used least.
    fn victim(&self, key: u64) -> usize {
        let ways = self.ways(key);
        ways.clone().min_by_key(|place| self.uses[*place]).unwrap_or(ways.start)
    }
}

/// Which of many things were seen before, roughly: one that was not seen is taken for seen as
/// often as the set is full.
#[derive(Clone, Debug)]
pub(super) struct Seen<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Default for Seen<WORDS> {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl<const WORDS: usize> Seen<WORDS> {
    /// Whether a hash is in the set.
    pub(super) fn has(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.0[word] & bit != 0
    }

    /// Puts a hash into the set.
    pub(super) fn insert(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        self.0[word] |= bit;
    }

    fn place(hash: u64) -> (usize, u64) {
        // The low half: tables use the high one.
        let low = usize::try_from(hash & 0xFFFF_FFFF).unwrap_or(0);
        (low / 64 % WORDS, 1 << (low % 64))
    }
}

/// A clock that goes back by more was set back; by less, somebody looks at what is past.
const SET_BACK: Duration = Duration::from_secs(3600);

/// Two spans of time, the one under way and the one before it: together they look back at least one
/// span and at most two.
#[derive(Clone, Debug, Default)]
pub(super) struct Halves<T> {
    began: Timestamp,
    /// The span under way.
    pub(super) now: T,
    /// The one before it.
    pub(super) before: T,
}

impl<T: Default> Halves<T> {
    /// Moves on to the span that `ts` is in.
    pub(super) fn roll(&mut self, ts: Timestamp, span: Duration) {
        if ts < self.began {
            // What comes late counts as now; a clock that was set back begins anew.
            if self.began.since(ts) > SET_BACK.max(span) {
                *self = Self { began: ts, ..Self::default() };
            }
            return;
        }
        let passed = ts.since(self.began);
        if passed >= span * 2 {
            *self = Self { began: ts, ..Self::default() };
        } else if passed >= span {
            self.before = std::mem::take(&mut self.now);
            self.began = self.began.plus(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    fn key(number: u64) -> u64 {
        xxh3_64(&number.to_ne_bytes())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_keeps_coming_survives_a_flood() {
        let mut table = Table::new(512);
        for number in 0..200_000 {
            table.entry(key(number), at(number / 10_000), || number);
            if number % 100 == 0 {
                *table.entry(1 << 40, at(number / 10_000), || 0) += 1;
            }
            if number % 20_000 == 0 {
                table.age(at(number / 10_000), Duration::from_secs(600));
            }
        }
        assert_eq!(table.get(1 << 40), Some(&2_000));
        assert!(table.iter().count() <= 512);
    }

    #[test]
    fn what_is_idle_is_forgotten() {
        let mut table = Table::new(8);
        table.entry(1, at(0), || "old");
        table.entry(2, at(50), || "new");
        table.age(at(70), Duration::from_secs(60));
        assert_eq!(table.iter().collect::<Vec<_>>(), [(2, &"new")]);
        assert_eq!(table.get_mut(1, at(70)), None);
    }

    #[test]
    fn sets_know_what_they_saw() {
        let mut seen = Seen::<16>::default();
        assert!(!seen.has(key(7)));
        seen.insert(key(7));
        assert!(seen.has(key(7)));
    }

    #[test]
    fn halves_look_back_one_span_at_least() {
        let span = Duration::from_secs(60);
        let mut halves = Halves::<u32>::default();
        halves.roll(at(1000), span);
        halves.now += 1;
        halves.roll(at(1059), span);
        halves.now += 1;
        halves.roll(at(1061), span);
        assert_eq!((halves.now, halves.before), (0, 2));
        // Late still counts as now; hours back is another time.
        halves.roll(at(100), span);
        assert_eq!(halves.before, 2);
        halves.roll(at(20_000), span);
        halves.now = 3;
        halves.roll(at(100), span);
        assert_eq!((halves.now, halves.before), (0, 0));
        halves.now = 3;
        halves.roll(at(400), span);
        assert_eq!((halves.now, halves.before), (0, 0));
    }
}
