use super::*;
use proptest::prelude::*;

/// Model of a ring with `size` records whose reader handles `capacity` records per second.
struct Model {
    pressure: Pressure,
    size: f64,
    capacity: f64,
    now: Instant,
    held: f64,
    waited: Duration,
    lost: f64,
}

const TURN: Duration = Duration::from_millis(2);

impl Model {
    fn new(floor: f64, size: f64, capacity: f64) -> Self {
        Self {
            pressure: Pressure::new(floor),
            size,
            capacity,
            now: Instant::now(),
            held: 0.0,
            waited: Duration::ZERO,
            lost: 0.0,
        }
    }

    /// Returns the exported share.
    fn exported(&self) -> f64 {
        1.0 - f64::from(self.pressure.cut()) / f64::from(PARTS)
    }

    /// Runs the model for `seconds` at `rate` records per second, of which the exported share arrives.
    fn run(&mut self, seconds: f64, rate: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += TURN;
            self.held += rate * TURN.as_secs_f64() * self.exported();
            let over = (self.held - self.size).max(0.0);
            (self.held, self.lost) = (self.held - over, self.lost + over);
            let load = Load { fill: self.held / self.size, waited: &[self.waited] };
            self.pressure.observe(self.now, load);
            let limit = self.capacity * TURN.as_secs_f64();
            let handled = self.held.min(limit);
            self.held -= handled;
            self.waited += TURN.mul_f64(1.0 - handled / limit);
        }
    }
}

#[test]
fn exports_everything_below_capacity() {
    let mut model = Model::new(0.01, 100_000.0, 100_000.0);
    model.run(30.0, 95_000.0);
    assert_eq!(model.pressure.cut(), 0);
}

#[test]
fn twice_the_capacity_settles_near_half() {
    let mut model = Model::new(0.01, 100_000.0, 100_000.0);
    model.run(60.0, 200_000.0);
    assert!((0.2..0.55).contains(&model.exported()), "{}", model.exported());
    assert!(model.lost == 0.0, "{}", model.lost);
    let before = model.exported();
    model.run(60.0, 200_000.0);
    assert!((before - model.exported()).abs() < 1e-9, "it oscillates");
    assert!(before > 0.3, "it exports less than it could: {before}");
    model.run(30.0, 50_000.0);
    assert_eq!(model.pressure.cut(), 0, "everything is exported again");
}

#[test]
fn overload_is_sampled_down_to_the_floor() {
    let mut model = Model::new(0.05, 100_000.0, 1_000.0);
    model.run(20.0, 10_000_000.0);
    assert!((model.exported() - 0.05).abs() < 1e-3, "{}", model.exported());
    model.run(30.0, 100.0);
    // The records in the ring take 100 seconds to read.
    model.run(90.0, 100.0);
    assert_eq!(model.pressure.cut(), 0);
}

#[test]
fn exports_more_only_if_the_busiest_reader_is_idle() {
    let mut pressure = Pressure::new(0.01);
    let (mut now, mut idle, mut busy) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    let mut run = |seconds: u64, fill: f64, is_busy: bool| {
        for _ in 0..seconds * 100 {
            let step = Duration::from_millis(10);
            (now, idle) = (now + step, idle + step);
            busy += if is_busy { step / 10 } else { step };
            pressure.observe(now, Load { fill, waited: &[idle, busy] });
        }
        pressure.cut()
    };
    let cut = run(1, 0.5, true);
    assert!(cut > 0);
    assert_eq!(run(30, 0.0, true), cut, "idle time of other readers does not help");
    assert_eq!(run(30, 0.0, false), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any load, the share stays within its bounds, records are lost only at the floor or before the first
    /// reaction, and everything is exported again soon after.
    #[test]
    fn bounds_are_kept(
        floor in 0.001..1.0_f64,
        rates in prop::collection::vec((0.0..5.0_f64, 0.0..3_000_000.0_f64), 1..12),
    ) {
        let mut model = Model::new(floor, 100_000.0, 200_000.0);
        for (seconds, rate) in rates {
            let before = model.lost;
            model.run(seconds, rate);
            prop_assert!(model.exported() >= floor - 1e-9 && model.exported() <= 1.0);
            let is_possible = rate * floor < 100_000.0;
            // A ring that loses records is full at the next check, which reduces the share to a quarter: all
            // records of one pause can be lost, a quarter of the next, and so on.
            let max_lost = rate * (PAUSE + TURN).as_secs_f64() * 4.0 / 3.0;
            let lost = model.lost - before;
            prop_assert!(!is_possible || lost <= max_lost, "{lost} of {max_lost}");
        }
        model.run(60.0, 1_000.0);
        prop_assert_eq!(model.pressure.cut(), 0);
    }

    /// The limits include the current cut and every recent one.
    #[test]
    fn limits_include_recent_cuts(
        changes in prop::collection::vec((0..4_000_u64, any::<Cut>()), 1..40),
        late in 0..5_000_u64,
    ) {
        let memory = Duration::from_secs(5);
        let mut recent = Recent::new(memory);
        let mut now = Instant::now();
        let mut history = vec![(now, 0)];
        for (after, cut) in changes {
            now += Duration::from_millis(after);
            recent.change(now, cut);
            history.push((now, cut));
        }
        now += Duration::from_millis(late);
        let cuts = recent.cuts(now);
        prop_assert_eq!(cuts.current, history.last().unwrap().1);
        prop_assert!(cuts.min <= cuts.current && cuts.current <= cuts.max);
        for (index, (_, cut)) in history.iter().enumerate() {
            let until = history.get(index + 1).map_or(now, |(at, _)| *at);
            if until + memory >= now && cuts != Cuts::default() {
                prop_assert!(cuts.min <= *cut && *cut <= cuts.max);
            }
        }
        let quiet = recent.cuts(now + memory + memory);
        prop_assert!((quiet.min, quiet.max) == (cuts.current, cuts.current));
    }
}

/// A response follows its query for as long as the timeout at that time allows.
#[test]
fn shorter_memory_begins_when_the_longer_one_is_over() {
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let mut recent = Recent::new(second * 10);
    recent.change(start, 5);
    recent.change(start + second, 9);
    recent.set_memory(start + second * 2, second);
    let cuts = recent.cuts(start + second * 9);
    assert_eq!((cuts.min, cuts.max), (0, 9), "queries of before wait for ten seconds");
    assert_eq!(cuts.memory_ticks, Cuts::memory(10_000_000_000));
    let cuts = recent.cuts(start + second * 13);
    assert_eq!((cuts.min, cuts.max, cuts.memory_ticks), (9, 9, Cuts::memory(1_000_000_000)));
    // A longer one begins at once.
    recent.set_memory(start + second * 14, second * 30);
    assert_eq!(recent.cuts(start + second * 14).memory_ticks, Cuts::memory(30_000_000_000));
    // The last one counts.
    recent.set_memory(start + second * 15, second);
    recent.set_memory(start + second * 16, second * 30);
    assert_eq!(recent.cuts(start + second * 90).memory_ticks, Cuts::memory(30_000_000_000));
}
