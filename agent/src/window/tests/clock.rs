//! Which windows there are, as the clock goes on, steps and stops.

use super::*;

/// What happens to windows.
#[derive(Clone, Copy)]
enum Step {
    /// The clock shows so many seconds after the epoch.
    Now(u64),
    /// A transaction of so many seconds after the epoch is there.
    Of(u64),
}
use Step::{Now, Of};

/// Plays steps and ends at a time.
fn play(steps: &[Step], end: u64) -> (Vec<Told>, Windows) {
    let mut windows = Windows::new(at(0), LATENESS);
    let mut told = Vec::new();
    let mut keep =
        |span: &Span, groups: &Groups| told.push(Told { span: *span, groups: groups.clone() });
    for step in steps {
        match step {
            Now(seconds) => windows.expire(at(*seconds), &mut keep),
            Of(seconds) => windows.observe(&example(at(*seconds))),
        }
    }
    windows.finish(at(end), &mut keep);
    (told, windows)
}

/// Windows of a kind: where they begin in seconds after the epoch, their transactions, whether they
/// are partial.
fn list(told: &[Told], kind: Kind) -> Vec<(u64, u64, bool)> {
    let of_kind = told.iter().filter(|told| told.span.kind == kind);
    of_kind
        .map(|told| {
            let start = told.span.start.as_nanos() / 1_000_000_000;
            (start.wrapping_sub(EPOCH), told.node().transactions, told.span.partial)
        })
        .collect()
}

#[test]
fn a_window_waits_for_what_may_still_come() {
    // 1,700,000,000 is 20 s after the beginning of a minute, and 200 s after that of five.
    let steps =
        [Now(1), Of(1), Now(11), Of(9), Now(15), Of(5), Of(15), Now(16), Of(3), Now(20), Of(16)];
    let (told, windows) = play(&steps, 25);
    assert_eq!(list(&told, Kind::TenSeconds), [(0, 3, false), (10, 2, false)]);
    assert_eq!(windows.late(), 1, "the window of 3 was closed at 16");
    assert_eq!(told.last().unwrap().span.late_total, 1);
}

#[test]
fn what_ends_with_the_capture_is_partial() {
    let (told, _) = play(&[Now(1), Of(1)], 12);
    assert_eq!(list(&told, Kind::TenSeconds), [(0, 1, false)], "had ended");
    let minus = |seconds: u64| 0_u64.wrapping_sub(seconds);
    assert_eq!(list(&told, Kind::Sliding), [(minus(50), 1, true)], "began before");
    assert_eq!(list(&told, Kind::Minute), [(minus(20), 1, true)]);
    assert_eq!(list(&told, Kind::FiveMinutes), [(minus(200), 1, true)]);
}

#[test]
fn a_silence_at_the_end_hides_nothing() {
    let (told, _) = play(&[Now(101), Of(101)], 150);
    assert_eq!(list(&told, Kind::TenSeconds), [(100, 1, false)]);
    assert_eq!(list(&told, Kind::Sliding).len(), 4, "all that ended 6 s before");
    assert_eq!(list(&told, Kind::Minute), [(100, 1, true)]);
    assert_eq!(list(&told, Kind::FiveMinutes), [(100, 1, true)]);
    let (told, _) = play(&[Now(101), Of(101)], 10_000);
    assert_eq!(list(&told, Kind::Sliding).len(), 6);
    assert_eq!(list(&told, Kind::Minute), [(100, 1, false)]);
    assert_eq!(list(&told, Kind::FiveMinutes), [(100, 1, false)]);
}

#[test]
fn a_silence_of_years_costs_nothing() {
    let years = 3_000_000_000;
    let (told, _) = play(&[Now(1), Of(1), Now(years), Of(years)], years);
    assert!(told.len() < 30, "{}", told.len());
    assert_eq!(list(&told, Kind::FiveMinutes).len(), 2);
}

#[test]
fn a_clock_that_steps_back_a_little_goes_on() {
    let (told, windows) = play(&[Now(31), Of(31), Now(28), Of(28), Now(12), Of(12), Now(33)], 33);
    assert_eq!(list(&told, Kind::TenSeconds), [(20, 1, false), (30, 1, true)]);
    assert_eq!(windows.late(), 1);
}

#[test]
fn a_clock_that_steps_back_far_begins_anew() {
    let later = 20_000;
    let steps = [Now(later), Of(later), Now(1), Of(1), Now(2), Of(2), Of(later)];
    let (told, windows) = play(&steps, 40);
    assert_eq!(list(&told, Kind::TenSeconds), [(later, 1, true), (0, 2, true)]);
    assert_eq!(windows.late(), 1, "what is of the time before");
    for kind in [Kind::Minute, Kind::FiveMinutes] {
        let told = list(&told, kind);
        assert!(told.len() == 2 && told.iter().all(|(_, _, partial)| *partial), "{told:?}");
    }
}

#[test]
fn what_comes_to_light_all_at_once_is_counted() {
    let mut windows = Windows::new(at(0), LATENESS);
    for second in [1, 5, 25] {
        windows.tick(at(second));
        windows.observe(&example(at(second)));
    }
    assert_eq!(windows.late(), 0);
    windows.observe(&example(at(1_000)));
    assert_eq!(windows.late(), 1);
}

#[test]
fn a_packet_from_the_future_does_not_end_everything() {
    let (told, _) = play(&[Now(1), Of(1), Now(4_000_000_000), Now(2), Of(2), Now(11), Of(11)], 12);
    let counts: Vec<_> = list(&told, Kind::TenSeconds).iter().map(|(_, count, _)| *count).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn the_first_transactions_may_come_in_any_order() {
    let (told, windows) = play(&[Now(14), Of(14), Of(5), Of(12), Now(15), Of(9)], 40);
    assert_eq!(windows.late(), 0);
    assert_eq!(list(&told, Kind::TenSeconds), [(0, 2, false), (10, 2, false)]);
}
