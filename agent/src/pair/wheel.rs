//! A hashed timer wheel: O(1) to set a timer and to take it back.

use super::list::{Links, List};
use crate::time::Timestamp;

/// Nanoseconds of a tick, as a power of two: about 17 ms.
const TICK_BITS: u32 = 24;

/// Ticks of a turn: about 17 s.
const TICKS: u64 = 1 << 10;

/// Instead of its tick: the timer waits to be popped.
const DUE: u64 = u64::MAX;

/// Timers that ring with the number of a place, one timer for each place.
///
/// A timer rings once its whole tick has passed, so up to a tick after its time, and in the order
/// of the ticks. One that is further away than a turn stays where it is for as many turns as it
/// needs. Its memory is that of the places: a timer taken back leaves nothing behind.
#[derive(Debug)]
pub(super) struct Wheel {
    spokes: Vec<List>,
    links: Links,
    /// By place: its tick, or [`DUE`].
    ticks: Vec<u64>,
    /// The first tick that has not passed.
    next: u64,
    /// Timers whose tick has passed, in order.
    due: List,
    /// Timers in `spokes`.
    set: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            spokes: (0..TICKS).map(|_| List::default()).collect(),
            links: Links::default(),
            ticks: Vec::new(),
            next: 0,
            due: List::default(),
            set: 0,
        }
    }
}

impl Wheel {
    /// Sets the timer of a place, which has none.
    pub(super) fn insert(&mut self, deadline: Timestamp, at: u32) {
        let needed = at as usize + 1;
        if self.ticks.len() < needed {
            self.ticks.resize(needed, 0);
        }
        let tick = deadline.as_nanos() >> TICK_BITS;
        self.ticks[at as usize] = tick;
        self.links.push(&mut self.spokes[index(tick)], at);
        self.set += 1;
    }

    /// Takes back the timer of a place, which has not rung.
    pub(super) fn remove(&mut self, at: u32) {
        match self.ticks[at as usize] {
            DUE => self.links.remove(&mut self.due, at),
            tick => {
                self.links.remove(&mut self.spokes[index(tick)], at);
                self.set -= 1;
            }
        }
    }

    /// The next timer that rings at `now`; it is then set no more.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<u32> {
        let now = now.as_nanos() >> TICK_BITS;
        if now < self.next || self.set == 0 {
            // Where the clock stepped back, timers may be set for ticks that seemed past.
            self.next = now;
        }
        // After a turn every spoke has been seen, however far the clock jumped.
        self.next = self.next.max(now.saturating_sub(TICKS));
        while self.due.first().is_none() && self.next < now {
            self.collect(index(self.next), now);
            self.next += 1;
        }
        let at = self.due.first()?;
        self.links.remove(&mut self.due, at);
        Some(at)
    }

    /// Makes due what a spoke holds for ticks before `end`.
    fn collect(&mut self, spoke: usize, end: u64) {
        let mut candidate = self.spokes[spoke].first();
        while let Some(at) = candidate {
            candidate = self.links.behind(at);
            if self.ticks[at as usize] < end {
                self.links.remove(&mut self.spokes[spoke], at);
                self.links.push(&mut self.due, at);
                self.ticks[at as usize] = DUE;
                self.set -= 1;
            }
        }
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

    fn ring(wheel: &mut Wheel, ms: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_due(at(ms))).collect()
    }

    #[test]
    fn rings_in_order_and_not_before_time() {
        let mut wheel = Wheel::default();
        for (place, ms) in [(0, 300), (1, 100), (2, 60_000), (3, 200)] {
            wheel.insert(at(ms), place);
        }
        assert_eq!(ring(&mut wheel, 99), Vec::<u32>::new());
        assert_eq!(ring(&mut wheel, 260), [1, 3]);
        assert_eq!(ring(&mut wheel, 59_999), [0]);
        assert_eq!(ring(&mut wheel, 60_100), [2]);
    }

    #[test]
    fn what_was_taken_back_does_not_ring() {
        let mut wheel = Wheel::default();
        for (place, ms) in [(0, 100), (1, 100), (2, 101)] {
            wheel.insert(at(ms), place);
        }
        wheel.remove(1);
        assert_eq!(wheel.pop_due(at(200)), Some(0));
        // The third is due by now, and not rung yet.
        wheel.remove(2);
        assert_eq!(ring(&mut wheel, 300), Vec::<u32>::new());
        wheel.insert(at(400), 1);
        assert_eq!(ring(&mut wheel, 500), [1]);
    }

    #[test]
    fn survives_a_clock_that_jumps() {
        let mut wheel = Wheel::default();
        let year_2106 = 4_294_967_296_000;
        wheel.insert(at(year_2106 + 5000), 1);
        assert_eq!(ring(&mut wheel, year_2106), Vec::<u32>::new());
        wheel.insert(at(1_000_005_000), 2);
        assert_eq!(ring(&mut wheel, 1_000_000_000), Vec::<u32>::new());
        assert_eq!(ring(&mut wheel, 1_000_006_000), [2]);
        assert_eq!(ring(&mut wheel, year_2106 + 6000), [1]);
    }

    proptest! {
        #[test]
        fn every_timer_rings_once(timers in proptest::collection::vec((0_u64..100_000, any::<bool>()), 0..200)) {
            let mut wheel = Wheel::default();
            for (place, (ms, _)) in (0..).zip(&timers) {
                wheel.insert(at(*ms), place);
            }
            let mut expected = Vec::new();
            for (place, (_, stays)) in (0..).zip(&timers) {
                if *stays {
                    expected.push(place);
                } else {
                    wheel.remove(place);
                }
            }
            let mut rung = Vec::new();
            for now in (0..100_200).step_by(37) {
                for place in ring(&mut wheel, now) {
                    let ms = timers[place as usize].0;
                    prop_assert!(ms <= now && now - ms <= 37 + 17);
                    rung.push(place);
                }
            }
            rung.sort_unstable();
            prop_assert_eq!(rung, expected);
        }
    }
}
