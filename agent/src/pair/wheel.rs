//! A hashed timer wheel: O(1) to set a timer, timers never cancelled but checked when they ring.

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
    set: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self { places: (0..TICKS).map(|_| Vec::new()).collect(), next: 0, due: Vec::new(), set: 0 }
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
        while self.due.is_empty() && self.next < now {
            self.collect(self.next, now);
            self.next += 1;
        }
        self.due.pop()
    }

    /// The timer that would ring first, whatever the time; for making room.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let mut tick = self.next;
        while self.due.is_empty() && self.set > 0 && tick < self.next + TICKS {
            self.collect(tick, tick + 1);
            tick += 1;
        }
        self.due.pop().or_else(|| {
            // Every timer is more than a turn away: none is worth more than another.
            let place = self.places.iter_mut().find(|place| !place.is_empty())?;
            self.set -= 1;
            place.pop().map(|(_, rings)| rings)
        })
    }

    /// Moves the timers of one place that ring before the tick `end` into `due`, which is empty.
    fn collect(&mut self, tick: u64, end: u64) {
        let Self { places, due, set, .. } = self;
        let Some(place) = places.get_mut(index(tick)) else { return };
        place.retain(|&(at, rings)| {
            if at < end {
                due.push(rings);
            }
            at >= end
        });
        due.reverse();
        *set -= due.len();
    }

    fn place(&mut self, tick: u64) -> &mut Vec<(u64, T)> {
        &mut self.places[index(tick)]
    }
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
