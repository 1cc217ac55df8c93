use super::*;
use proptest::prelude::*;

/// A ring of so many records, its reader, and what comes, per second.
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

    fn told(&self) -> f64 {
        1.0 - f64::from(self.pressure.cut()) / f64::from(PARTS)
    }

    /// So many seconds with so many records per second, of which the told share comes.
    fn run(&mut self, seconds: f64, rate: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += TURN;
            self.held += rate * TURN.as_secs_f64() * self.told();
            let over = (self.held - self.size).max(0.0);
            (self.held, self.lost) = (self.held - over, self.lost + over);
            let load = Load { fill: self.held / self.size, waited: &[self.waited] };
            self.pressure.observe(self.now, load);
            let can = self.capacity * TURN.as_secs_f64();
            let does = self.held.min(can);
            self.held -= does;
            self.waited += TURN.mul_f64(1.0 - does / can);
        }
    }
}

#[test]
fn what_can_be_handled_is_all_told() {
    let mut model = Model::new(0.01, 100_000.0, 100_000.0);
    model.run(30.0, 95_000.0);
    assert_eq!(model.pressure.cut(), 0);
}

#[test]
fn twice_as_much_comes_to_rest_near_half() {
    let mut model = Model::new(0.01, 100_000.0, 100_000.0);
    model.run(60.0, 200_000.0);
    assert!((0.2..0.55).contains(&model.told()), "{}", model.told());
    assert!(model.lost == 0.0, "{}", model.lost);
    let before = model.told();
    model.run(60.0, 200_000.0);
    assert!((before - model.told()).abs() < 1e-9, "it swings");
    assert!(before > 0.3, "it tells less than it could: {before}");
    model.run(30.0, 50_000.0);
    assert_eq!(model.pressure.cut(), 0, "all is told again");
}

#[test]
fn a_storm_is_thinned_to_the_floor_and_no_further() {
    let mut model = Model::new(0.05, 100_000.0, 1_000.0);
    model.run(20.0, 10_000_000.0);
    assert!((model.told() - 0.05).abs() < 1e-3, "{}", model.told());
    model.run(30.0, 100.0);
    // What waits in the ring takes its time, 100 seconds here.
    model.run(90.0, 100.0);
    assert_eq!(model.pressure.cut(), 0);
}

#[test]
fn more_is_told_only_when_the_busiest_has_time() {
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
    assert_eq!(run(30, 0.0, true), cut, "the other one's time is of no use");
    assert_eq!(run(30, 0.0, false), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the load, it stays within its bounds, only loses where it may not thin any further or
    /// had no time to, and tells all again soon after.
    #[test]
    fn bounds_are_kept(
        floor in 0.001..1.0_f64,
        rates in prop::collection::vec((0.0..5.0_f64, 0.0..3_000_000.0_f64), 1..12),
    ) {
        let mut model = Model::new(floor, 100_000.0, 200_000.0);
        for (seconds, rate) in rates {
            let before = model.lost;
            model.run(seconds, rate);
            prop_assert!(model.told() >= floor - 1e-9 && model.told() <= 1.0);
            let can = rate * floor < 100_000.0;
            // A ring that is losing is full at the next look, and then a quarter is told: of what comes,
            // all of one pause can be lost, a quarter of the next, and so on.
            let most = rate * (PAUSE + TURN).as_secs_f64() * 4.0 / 3.0;
            let lost = model.lost - before;
            prop_assert!(!can || lost <= most, "{lost} of {most}");
        }
        model.run(60.0, 1_000.0);
        prop_assert_eq!(model.pressure.cut(), 0);
    }

    /// The cuts of late are around that of now, and around each that is not too old.
    #[test]
    fn responses_follow_their_queries(
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
        prop_assert_eq!(cuts.now, history.last().unwrap().1);
        prop_assert!(cuts.least <= cuts.now && cuts.now <= cuts.most);
        for (place, (_, cut)) in history.iter().enumerate() {
            let until = history.get(place + 1).map_or(now, |(at, _)| *at);
            if until + memory >= now && cuts != Cuts::default() {
                prop_assert!(cuts.least <= *cut && *cut <= cuts.most);
            }
        }
        let quiet = recent.cuts(now + memory + memory);
        prop_assert!((quiet.least, quiet.most) == (cuts.now, cuts.now));
    }
}
