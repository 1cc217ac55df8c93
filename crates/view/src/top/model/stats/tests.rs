use super::*;
use proptest::prelude::*;

/// A transaction of this kind at this time.
fn event(now: u64, at: u64, kind: OutcomeKind, latency_ms: Option<f64>) -> Event {
    let moment = Moment { now, at, start: 1000 };
    Event { moment, side: Side::Client, kind, latency_ms, retries: 0, pid: 0 }
}

fn figures(stats: &Stats, now: u64, span: Span) -> Figures {
    Figures::of([stats].into_iter(), Moment { now, at: now, start: 1000 }, span)
}

#[test]
fn a_rate_is_that_of_the_last_ten_seconds() {
    let mut stats = Stats::default();
    for second in 1000..1030 {
        for _ in 0..5 {
            stats.add(&event(second, second, OutcomeKind::Noerror, Some(2.0)));
        }
    }
    assert!((figures(&stats, 1030, Span::Recent).rate - 5.0).abs() < 1e-9);
    assert!((figures(&stats, 1035, Span::Recent).rate - 2.5).abs() < 1e-9, "silent since");
    assert!((figures(&stats, 1030, Span::Whole).rate - 5.0).abs() < 1e-9);
    let recent = figures(&stats, 1030, Span::Recent);
    assert_eq!(recent.counts.queries(), 150);
    assert_eq!(recent.history.iter().sum::<u32>(), 150);
    assert!((recent.latencies.quantile(0.5).unwrap() - 2.0).abs() < 0.05);
    assert_eq!(figures(&stats, 1200, Span::Recent).counts.sum(), 0, "all of it is long ago");
    assert_eq!(figures(&stats, 1200, Span::Recent).latencies.count(), 0);
    assert_eq!(figures(&stats, 1200, Span::Whole).counts.sum(), 150);
}

#[test]
fn kinds_agree_with_the_table_of_failures() {
    let kinds = [
        OutcomeKind::of("answered", Some("NOERROR")),
        OutcomeKind::of("answered", Some("NXDOMAIN")),
        OutcomeKind::of("answered", Some("SERVFAIL")),
        OutcomeKind::of("answered", Some("REFUSED")),
        OutcomeKind::of("timeout", None),
        OutcomeKind::of("icmp_error", None),
        OutcomeKind::of("open", None),
        OutcomeKind::of("duplicate", Some("NOERROR")),
    ];
    for (place, kind) in kinds.into_iter().enumerate() {
        assert_eq!(kind as usize, place);
        let failed = kind.is_failure() && kind != OutcomeKind::Nxdomain;
        assert_eq!(failed, FAILURES[place], "{kind:?}");
    }
}

#[test]
fn shares_are_of_queries_whose_outcome_is_known() {
    let counts = Counts([6, 1, 1, 0, 1, 1, 5, 7]);
    assert!((counts.share(&[OutcomeKind::Timeout, OutcomeKind::Unreachable]) - 0.2).abs() < 1e-9);
    assert!(Counts::default().share(&[OutcomeKind::Timeout]).abs() < 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_lost_within_the_minute_or_on_the_whole(
        seconds in prop::collection::vec((0..5_000_u64, 0..8_usize), 1..200),
    ) {
        let kinds = [
            OutcomeKind::Noerror, OutcomeKind::Nxdomain, OutcomeKind::Servfail, OutcomeKind::OtherError, OutcomeKind::Timeout,
            OutcomeKind::Unreachable, OutcomeKind::Unsettled, OutcomeKind::Stray,
        ];
        let mut stats = Stats::default();
        let mut now = 1000;
        for (second, kind) in &seconds {
            let at = 1000 + second;
            now = now.max(at);
            stats.add(&event(now, at, kinds[*kind], None));
        }
        let recent = figures(&stats, now, Span::Recent);
        let minute = seconds.iter().filter(|(second, _)| 1000 + second + RECENT as u64 > now);
        prop_assert_eq!(recent.counts.sum(), minute.count() as u64);
        let whole = figures(&stats, now, Span::Whole);
        prop_assert_eq!(whole.counts.sum(), seconds.len() as u64);
        prop_assert_eq!(u64::from(whole.history.iter().sum::<u32>()), whole.counts.queries());
    }
}
