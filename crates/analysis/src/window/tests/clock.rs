//! Windows when the clock advances, events back, or stops.

use super::*;

/// An event for windows.
#[derive(Clone, Copy)]
enum Event {
    /// The clock is at this many seconds after the epoch.
    Now(u64),
    /// A transaction with a timestamp this many seconds after the epoch.
    Of(u64),
}
use Event::{Now, Of};

/// Plays events until `end`; returns the closed windows.
fn play(events: &[Event], end: u64) -> (Vec<ClosedWindow>, Windows) {
    let mut windows = Windows::new(at(0), LATENESS);
    let mut closed = Vec::new();
    let mut keep = |span: &Span, groups: &Groups| {
        closed.push(ClosedWindow { span: *span, groups: groups.clone() });
    };
    for event in events {
        match event {
            Now(seconds) => windows.expire(at(*seconds), &mut keep),
            Of(seconds) => windows.observe(&example(at(*seconds))),
        }
    }
    windows.finish(at(end), &mut keep);
    (closed, windows)
}

/// Lists the windows of a kind: start in seconds after the epoch, transactions, and whether
/// partial.
fn list(closed: &[ClosedWindow], kind: WindowKind) -> Vec<(u64, u64, bool)> {
    let of_kind = closed.iter().filter(|closed| closed.span.kind == kind);
    of_kind
        .map(|closed| {
            let start = closed.span.start.as_nanos() / 1_000_000_000;
            (start.wrapping_sub(EPOCH), closed.node().transactions, closed.span.partial)
        })
        .collect()
}

#[test]
fn window_waits_for_late_transactions() {
    // 1,700,000,000 is 20 s after the start of a minute, and 200 s after that of five minutes.
    let events =
        [Now(1), Of(1), Now(11), Of(9), Now(15), Of(5), Of(15), Now(16), Of(3), Now(20), Of(16)];
    let (closed, windows) = play(&events, 25);
    assert_eq!(list(&closed, WindowKind::TenSeconds), [(0, 3, false), (10, 2, false)]);
    assert_eq!(windows.late, 1, "the window of 3 was closed at 16");
    assert_eq!(closed.last().unwrap().span.late_total, 1);
}

#[test]
fn last_windows_are_partial() {
    let (closed, _) = play(&[Now(1), Of(1)], 12);
    assert_eq!(list(&closed, WindowKind::TenSeconds), [(0, 1, false)], "had ended");
    let minus = |seconds: u64| 0_u64.wrapping_sub(seconds);
    assert_eq!(list(&closed, WindowKind::Sliding), [(minus(50), 1, true)], "began before");
    assert_eq!(list(&closed, WindowKind::Minute), [(minus(20), 1, true)]);
    assert_eq!(list(&closed, WindowKind::FiveMinutes), [(minus(200), 1, true)]);
}

#[test]
fn silence_at_the_end_hides_nothing() {
    let (closed, _) = play(&[Now(101), Of(101)], 150);
    assert_eq!(list(&closed, WindowKind::TenSeconds), [(100, 1, false)]);
    assert_eq!(list(&closed, WindowKind::Sliding).len(), 4, "all that ended 6 s before");
    assert_eq!(list(&closed, WindowKind::Minute), [(100, 1, true)]);
    assert_eq!(list(&closed, WindowKind::FiveMinutes), [(100, 1, true)]);
    let (closed, _) = play(&[Now(101), Of(101)], 10_000);
    assert_eq!(list(&closed, WindowKind::Sliding).len(), 6);
    assert_eq!(list(&closed, WindowKind::Minute), [(100, 1, false)]);
    assert_eq!(list(&closed, WindowKind::FiveMinutes), [(100, 1, false)]);
}

#[test]
fn long_silence_is_skipped() {
    let years = 3_000_000_000;
    let (closed, _) = play(&[Now(1), Of(1), Now(years), Of(years)], years);
    assert!(closed.len() < 30, "{}", closed.len());
    assert_eq!(list(&closed, WindowKind::FiveMinutes).len(), 2);
}

#[test]
fn small_step_back_is_ignored() {
    let (closed, windows) = play(&[Now(31), Of(31), Now(28), Of(28), Now(12), Of(12), Now(33)], 33);
    assert_eq!(list(&closed, WindowKind::TenSeconds), [(20, 1, false), (30, 1, true)]);
    assert_eq!(windows.late, 1);
}

#[test]
fn large_step_back_restarts_windows() {
    let later = 20_000;
    let events = [Now(later), Of(later), Now(1), Of(1), Now(2), Of(2), Of(later)];
    let (closed, windows) = play(&events, 40);
    assert_eq!(list(&closed, WindowKind::TenSeconds), [(later, 1, true), (0, 2, true)]);
    assert_eq!(windows.late, 1, "what is of the time before");
    for kind in [WindowKind::Minute, WindowKind::FiveMinutes] {
        let closed = list(&closed, kind);
        assert!(closed.len() == 2 && closed.iter().all(|(_, _, partial)| *partial), "{closed:?}");
    }
}

#[test]
fn batch_of_transactions_is_counted() {
    let mut windows = Windows::new(at(0), LATENESS);
    for second in [1, 5, 25] {
        windows.now = at(second);
        windows.observe(&example(at(second)));
    }
    assert_eq!(windows.late, 0);
    windows.observe(&example(at(1_000)));
    assert_eq!(windows.late, 1);
}

#[test]
fn packet_from_the_future_is_harmless() {
    let (closed, _) =
        play(&[Now(1), Of(1), Now(4_000_000_000), Now(2), Of(2), Now(11), Of(11)], 12);
    let counts: Vec<_> =
        list(&closed, WindowKind::TenSeconds).iter().map(|(_, count, _)| *count).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn first_transactions_may_be_unordered() {
    let (closed, windows) = play(&[Now(14), Of(14), Of(5), Of(12), Now(15), Of(9)], 40);
    assert_eq!(windows.late, 0);
    assert_eq!(list(&closed, WindowKind::TenSeconds), [(0, 2, false), (10, 2, false)]);
}

/// Seconds of the host's clock after the epoch at which a window starts and ends.
fn by_the_host(closed: &ClosedWindow, shift: ClockShift) -> (i64, bool) {
    let start = shift.apply(closed.span.start).as_nanos() / 1_000_000_000;
    (start.cast_signed() - EPOCH.cast_signed(), closed.span.partial)
}

#[test]
fn windows_begin_anew_when_the_clock_of_the_host_is_set() {
    for by_seconds in [-3603_i64, 3603] {
        let shift = ClockShift::from_nanos(by_seconds * 1_000_000_000);
        let mut windows = Windows::new(at(0), LATENESS);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let count = |windows: &mut Windows, second: u64| {
            windows.now = at(second);
            windows.observe(&example(at(second)));
        };
        let keep = |closed: &mut Vec<ClosedWindow>, span: &Span, groups: &Groups| {
            closed.push(ClosedWindow { span: *span, groups: groups.clone() });
        };
        for second in [100, 103, 104] {
            count(&mut windows, second);
        }
        windows.expire(at(105), &mut |span, groups| keep(&mut before, span, groups));
        windows.set_clock(shift, &mut |span, groups| keep(&mut before, span, groups));
        // The first one began before the step, and ends after it.
        windows.observe(&example(at(104)));
        count(&mut windows, 106);
        windows.finish(at(130), &mut |span, groups| keep(&mut after, span, groups));
        let short = |closed: &[ClosedWindow], shift| -> Vec<_> {
            of(closed, 10, 10).map(|one| by_the_host(one, shift)).collect()
        };
        assert_eq!(short(&before, ClockShift::default()), [(100, true)], "{by_seconds}");
        let tens = (106 + by_seconds).div_euclid(10) * 10;
        assert_eq!(short(&after, shift), [(tens, true)], "{by_seconds}");
        let transactions = |closed: &[ClosedWindow]| -> u64 {
            of(closed, 10, 10).map(|one| one.node().transactions).sum()
        };
        assert_eq!((transactions(&before), transactions(&after), windows.late), (3, 2, 0));
    }
}

#[test]
fn small_step_of_the_host_moves_the_bounds_of_windows() {
    let shift = ClockShift::from_nanos(-400_000_000);
    let mut windows = Windows::new(at(0), LATENESS);
    let mut closed = Vec::new();
    windows.observe(&example(at(0)));
    windows.set_clock(shift, &mut |_, _| panic!("no window ends"));
    windows.now = at(20);
    windows.observe(&example(at(10)));
    windows.finish(at(40), &mut |span, groups| {
        closed.push(ClosedWindow { span: *span, groups: groups.clone() });
    });
    let tens: Vec<_> =
        of(&closed, 10, 10).map(|one| (one.span.start, one.node().transactions)).collect();
    // At ten seconds by the capture's clock, the host shows 9.6.
    assert_eq!(tens, [(at(0).plus(Duration::from_millis(400)), 2)]);
}

/// Queries from before a reload wait as long as the timeout at that time.
#[test]
fn shorter_lateness_begins_when_the_longer_one_is_over() {
    let mut windows = Windows::new(at(0), LATENESS);
    windows.observe(&example(at(0)));
    windows.expire(at(12), &mut |_, _| {});
    windows.set_lateness(Duration::from_secs(1));
    windows.expire(at(15), &mut |_, _| panic!("a query may still wait for its response"));
    windows.observe(&example(at(9)));
    assert_eq!(windows.late, 0);
    let mut starts = Vec::new();
    windows.expire(at(18), &mut |span, _| starts.push(span.start));
    assert_eq!((starts[0], windows.lateness), (at(0), Duration::from_secs(1)));
    windows.set_lateness(LATENESS);
    assert_eq!(windows.lateness, LATENESS, "a longer one begins at once");
}
