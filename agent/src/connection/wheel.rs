//! A hashed timer wheel: O(1) to set a timer, timers never cancelled but checked when they ring.
//!
//! Not the wheel of queries (`pair/wheel.rs`), which takes timers back: that one is laid over a table of
//! numbered places, one timer for each, and cannot tell which rings first. Connections have no such
//! places, and a full table ends the one that rings first. What the timers of connections that are over
//! take is bounded by [`Wheel::keep`].

use crate::time::Timestamp;

/// Nanoseconds of a tick, as a power of two: about 17 ms.
const TICK_BITS: u32 = 24;

/// Ticks of a turn: about 17 s.
const TICKS: u64 = 1 << 10;

/// Timers that ring with a `T`.
///
/// A timer rings once its whole tick has passed, so up to a tick after its time, and in the order
/// of the ticks. One that is further away than a turn stays in its place for as many turns as it
/// needs.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    places: Vec<Vec<(u64, T)>>,
    /// The first tick that has not passed.
    next: u64,
    /// Timers whose tick has passed, the next to ring last.
    due: Vec<T>,
    /// Timers of the place that room was made in last, the next to ring last; not due yet.
    first: Vec<(u64, T)>,
    /// Timers in `places`.
    set: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self {
            places: (0..TICKS).map(|_| Vec::new()).collect(),
            next: 0,
            due: Vec::new(),
            first: Vec::new(),
            set: 0,
        }
    }
}

impl<T: Copy> Wheel<T> {
    /// Sets a timer.
    pub(super) fn insert(&mut self, deadline: Timestamp, rings: T) {
        let tick = deadline.as_nanos() >> TICK_BITS;
        self.place(tick).push((tick, rings));
        self.set += 1;
    }

    /// The next timer that rings at `now`.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<T> {
        let now = now.as_nanos() >> TICK_BITS;
        if now < self.next {
            // The clock stepped back: timers may be set for ticks that seemed past.
            self.next = now;
        }
        if self.set == 0 {
            self.next = now;
        }
        // After a turn every place has been seen, however far the clock jumped.
        self.next = self.next.max(now.saturating_sub(TICKS));
        if let Some((_, rings)) = self.first.pop_if(|(tick, _)| *tick < now) {
            return Some(rings);
        }
        while self.due.is_empty() && self.next < now {
            let Self { places, due, set, .. } = self;
            if let Some(place) = places.get_mut(index(self.next)) {
                due.extend(take(place, now).map(|(_, rings)| rings));
                due.reverse();
                *set -= due.len();
            }
            self.next += 1;
        }
        self.due.pop()
    }

    /// The timer that would ring first, whatever the time; for making room.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        if let Some(rings) = self.due.pop() {
            return Some(rings);
        }
        let mut tick = self.next;
        while self.first.is_empty() && self.set > 0 && tick < self.next + TICKS {
            let Self { places, first, set, .. } = self;
            if let Some(place) = places.get_mut(index(tick)) {
                first.extend(take(place, tick + 1));
                first.reverse();
                *set -= first.len();
            }
            tick += 1;
        }
        let first = self.first.pop().or_else(|| {
            // Every timer is more than a turn away: none is worth more than another.
            let place = self.places.iter_mut().find(|place| !place.is_empty())?;
            self.set -= 1;
            place.pop()
        });
        first.map(|(_, rings)| rings)
    }

    /// Timers that are set or wait to be popped.
    pub(super) fn len(&self) -> usize {
        self.set + self.due.len() + self.first.len()
    }

    /// Takes back every timer that is not wanted; in O(timers).
    pub(super) fn keep(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        for place in &mut self.places {
            place.retain(|(_, rings)| wanted(rings));
        }
        self.set = self.places.iter().map(Vec::len).sum();
        self.due.retain(&mut wanted);
        self.first.retain(|(_, rings)| wanted(rings));
    }

    fn place(&mut self, tick: u64) -> &mut Vec<(u64, T)> {
        &mut self.places[index(tick)]
    }
}

/// Takes out the timers of a place that ring before the tick `end`, in order.
fn take<T>(place: &mut Vec<(u64, T)>, end: u64) -> impl Iterator<Item = (u64, T)> {
    place.extract_if(.., move |(tick, _)| *tick < end)
}

const fn index(tick: u64) -> usize {
    (tick % TICKS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn ring(wheel: &mut Wheel<u64>, ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| wheel.pop_due(at(ms))).collect()
    }

    #[test]
    fn rings_in_order_and_not_before_time() {
        let mut wheel = Wheel::default();
        for ms in [300, 100, 60_000, 200] {
            wheel.insert(at(ms), ms);
        }
        assert_eq!(ring(&mut wheel, 99), Vec::<u64>::new());
        assert_eq!(ring(&mut wheel, 260), [100, 200]);
        assert_eq!(ring(&mut wheel, 59_999), [300]);
        assert_eq!(ring(&mut wheel, 60_100), [60_000]);
    }

    #[test]
    fn making_room_rings_nothing_else_before_its_time() {
        let mut wheel = Wheel::default();
        for ms in [5000, 5001, 5002, 6000] {
            wheel.insert(at(ms), ms);
        }
        assert_eq!(wheel.pop_first(), Some(5000));
        assert_eq!(ring(&mut wheel, 10), Vec::<u64>::new());
        assert_eq!(wheel.pop_first(), Some(5001));
        assert_eq!(ring(&mut wheel, 5100), [5002]);
        assert_eq!(ring(&mut wheel, 6100), [6000]);
        assert_eq!(wheel.pop_first(), None);
    }

    #[test]
    fn what_is_not_kept_does_not_ring() {
        let mut wheel = Wheel::default();
        for ms in [100, 101, 300, 301, 60_000, 60_001] {
            wheel.insert(at(ms), ms);
        }
        assert_eq!(wheel.pop_due(at(200)), Some(100));
        assert_eq!(wheel.pop_first(), Some(101));
        assert_eq!(wheel.pop_first(), Some(300));
        wheel.keep(|ms| ms % 2 == 0);
        assert_eq!(wheel.len(), 1);
        assert_eq!(ring(&mut wheel, 70_000), [60_000]);
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn survives_a_clock_that_jumps() {
        let mut wheel = Wheel::default();
        let year_2106 = 4_294_967_296_000;
        wheel.insert(at(year_2106 + 5000), 1);
        assert_eq!(ring(&mut wheel, year_2106), Vec::<u64>::new());
        wheel.insert(at(1_000_005_000), 2);
        assert_eq!(ring(&mut wheel, 1_000_000_000), Vec::<u64>::new());
        assert_eq!(ring(&mut wheel, 1_000_006_000), [2]);
        assert_eq!(ring(&mut wheel, year_2106 + 6000), [1]);
    }

    #[test]
    fn makes_room_from_the_front() {
        let mut wheel = Wheel::default();
        for ms in [5200, 5100, 90_000] {
            wheel.insert(at(ms), ms);
        }
        ring(&mut wheel, 500);
        let order: Vec<u64> = std::iter::from_fn(|| wheel.pop_first()).collect();
        assert_eq!(order, [5100, 5200, 90_000]);
    }

    proptest! {
        #[test]
        fn every_timer_rings_once(timers in proptest::collection::vec(0_u64..100_000, 0..200)) {
            let mut wheel = Wheel::default();
            for ms in &timers {
                wheel.insert(at(*ms), *ms);
            }
            let mut rung = Vec::new();
            for now in (0..100_200).step_by(37) {
                for ms in ring(&mut wheel, now) {
                    prop_assert!(ms <= now && now - ms <= 37 + 17);
                    rung.push(ms);
                }
            }
            let mut timers = timers;
            timers.sort_unstable();
            rung.sort_unstable();
            prop_assert_eq!(rung, timers);
        }
    }
}
