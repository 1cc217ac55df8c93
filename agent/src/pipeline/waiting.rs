//! Values that wait by key, in the order in which they came.

use dnscribe_record::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// Longest time that a value waits.
const RETENTION: Duration = Duration::from_secs(10);

/// Entries of values that wait no more, beside two for each that does, up to which they stay in the queue.
const MAX_SETTLED: usize = 1 << 12;

/// Values that wait by key, within bounds of time and number.
pub(super) struct WaitingTable<K, V> {
    queues: HashMap<K, VecDeque<(Timestamp, V)>>,
    /// In order of arrival, those that wait no more included.
    order: VecDeque<(Timestamp, K)>,
    /// Number of values that wait.
    len: usize,
    max: usize,
    /// Number of values that were forgotten.
    pub(super) forgotten: u64,
}

impl<K: Copy + Eq + Hash, V> WaitingTable<K, V> {
    /// Creates an empty table for `max` values.
    pub(super) fn new(max: usize) -> Self {
        Self { queues: HashMap::new(), order: VecDeque::new(), len: 0, max, forgotten: 0 }
    }

    /// Number of values that wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a value that came at `ts`, and forgets those that have waited too long then.
    pub(super) fn push(&mut self, ts: Timestamp, key: K, value: V) {
        self.expire(ts);
        while self.len >= self.max {
            self.forget_oldest();
        }
        if self.order.len() >= 2 * self.len + MAX_SETTLED {
            self.forget_settled();
        }
        self.order.push_back((ts, key));
        self.queues.entry(key).or_default().push_back((ts, value));
        self.len += 1;
    }

    /// Takes the first value of a key that fits, with its time.
    pub(super) fn take_first(
        &mut self,
        key: K,
        fits: impl Fn(&V) -> bool,
    ) -> Option<(Timestamp, V)> {
        let at = self.queues.get(&key)?.iter().position(|(_, value)| fits(value))?;
        self.take(key, at)
    }

    /// Takes the last value of a key that fits, with its time.
    pub(super) fn take_last(
        &mut self,
        key: K,
        fits: impl Fn(&V) -> bool,
    ) -> Option<(Timestamp, V)> {
        let at = self.queues.get(&key)?.iter().rposition(|(_, value)| fits(value))?;
        self.take(key, at)
    }

    fn take(&mut self, key: K, at: usize) -> Option<(Timestamp, V)> {
        let queue = self.queues.get_mut(&key)?;
        let taken = queue.remove(at)?;
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        self.len -= 1;
        Some(taken)
    }

    /// Forgets the values that have waited too long at `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(oldest, _)| now.since(*oldest) > RETENTION) {
            self.forget_oldest();
        }
    }

    /// Forgets all values.
    pub(super) fn clear(&mut self) {
        self.forgotten += self.len as u64;
        self.len = 0;
        self.queues.clear();
        self.order.clear();
    }

    fn forget_oldest(&mut self) {
        let Some((ts, key)) = self.order.pop_front() else { return };
        while let Some(queue) = self.queues.get(&key)
            && queue.front().is_some_and(|(oldest, _)| *oldest <= ts)
            && self.take(key, 0).is_some()
        {
            self.forgotten += 1;
        }
    }

    fn forget_settled(&mut self) {
        let of_queue = |(key, queue): (&K, &VecDeque<(Timestamp, V)>)| {
            queue.iter().map(|(ts, _)| (*ts, *key)).collect::<Vec<_>>()
        };
        let mut waiting: Vec<_> = self.queues.iter().flat_map(of_queue).collect();
        waiting.sort_unstable_by_key(|(ts, _)| *ts);
        self.order = waiting.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn takes_in_order_and_forgets_with_time() {
        let mut table = WaitingTable::new(100);
        for (ms, key, value) in [(0, 'a', 1), (1, 'a', 2), (2, 'a', 3), (3, 'b', 4)] {
            table.push(at(ms), key, value);
        }
        assert_eq!(table.take_first('a', |_| true), Some((at(0), 1)));
        assert_eq!(table.take_last('a', |value| *value < 3), Some((at(1), 2)));
        assert_eq!(table.take_first('c', |_| true), None);
        table.expire(at(10_002));
        assert_eq!((table.len(), table.forgotten), (2, 0));
        table.push(at(10_003), 'b', 5);
        assert_eq!((table.len(), table.forgotten), (2, 1));
        table.clear();
        assert_eq!((table.len(), table.forgotten), (0, 3));
    }

    #[test]
    fn is_bounded() {
        let mut table = WaitingTable::new(10);
        for number in 0..100_000_u64 {
            table.push(at(number / 1_000), number % 3, number);
            if number % 5 != 0 {
                assert!(table.take_last(number % 3, |value| *value == number).is_some());
            }
            assert!(table.len() <= 10 && table.order.len() <= 2 * 10 + MAX_SETTLED + 1);
        }
        let waiting: usize = table.queues.values().map(VecDeque::len).sum();
        assert_eq!(waiting, table.len());
        // Values of one key that came at one time are forgotten together.
        assert!(waiting > 5, "{waiting}");
        assert_eq!(table.forgotten + waiting as u64, 100_000 / 5);
    }
}
