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
