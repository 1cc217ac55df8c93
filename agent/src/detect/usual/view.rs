//! One entity's last minute beside what is usual of it.

use super::{Followed, Number};
use crate::detect::baseline::at_least;
use crate::detect::finding::{Baseline, Entity, Evidence, Figure, Finding, Level, Rule};
use crate::detect::minute::{Minute, Place};
use crate::detect::options::{DetectOptions, UsualOptions};
use crate::number::float;
use crate::time::Timestamp;
use crate::window::Grouping;

/// A slowdown of less is nobody's trouble, in milliseconds: of the median, of the 95th percentile.
const SLOWER: [f64; 2] = [20.0, 100.0];
/// The tail varies more than the middle: so many times more is asked of it.
const TAIL: f64 = 1.5;
/// What is faster is never critical, in milliseconds.
const SLOW: f64 = 500.0;
/// Fewer than this share of the usual queries are few.
const FEW: f64 = 0.2;
/// While nothing is known yet, failures beyond this share are wrong, whatever is usual.
const ALWAYS_WRONG: f64 = 0.5;
/// And beyond this one critical: hardly anything works.
const NOTHING_WORKS: f64 = 0.9;

/// When a number is far enough from what is usual.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    query_rate: UsualOptions,
    latency: UsualOptions,
    nxdomain: UsualOptions,
    servfail: UsualOptions,
    timeout: UsualOptions,
}

impl Thresholds {
    pub(super) const fn of(options: &DetectOptions) -> Self {
        let DetectOptions { query_rate, latency, nxdomain, servfail, timeout, .. } = *options;
        Self { query_rate, latency, nxdomain, servfail, timeout }
    }
}

/// How it is looked at.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) thresholds: &'a Thresholds,
    pub(super) at: Timestamp,
    /// Whether the minute is not whole, so that its rate is not known.
    pub(super) partial: bool,
}

impl View<'_> {
    /// Gives what is wrong, and says of which numbers.
    pub(super) fn look(
        self,
        place: &Place,
        minute: &Minute,
        followed: &Followed,
        each: &mut dyn FnMut(Finding),
    ) -> [bool; Number::ALL.len()] {
        let Thresholds { nxdomain, servfail, timeout, .. } = *self.thresholds;
        let one = One { view: self, place, minute, followed };
        let (rate, latency) = (one.rate(), one.latency());
        let nxdomain = one.share(
            (Rule::Nxdomain, Number::Nxdomain, "nxdomain_ratio", nxdomain),
            (minute.nxdomain, minute.responses),
        );
        let servfail = one.share(
            (Rule::Servfail, Number::Servfail, "servfail_ratio", servfail),
            (minute.servfail, minute.responses),
        );
        let timeout = one.share(
            (Rule::Timeout, Number::Unanswered, "unanswered_ratio", timeout),
            (minute.unanswered, minute.queries),
        );
        let mut wrong = [false; Number::ALL.len()];
        for (number, is_wrong) in [
            (Number::QueryRate, rate.is_some()),
            (Number::Median, latency.is_some()),
            (Number::Percentile95, latency.is_some()),
            (Number::Nxdomain, nxdomain.is_some()),
            (Number::Servfail, servfail.is_some()),
            (Number::Unanswered, timeout.is_some()),
        ] {
            wrong[number as usize] = is_wrong;
        }
        [rate, latency, nxdomain, servfail, timeout].into_iter().flatten().for_each(each);
        wrong
    }
}

/// An entity to look at.
struct One<'a> {
    view: View<'a>,
    place: &'a Place,
    minute: &'a Minute,
    followed: &'a Followed,
}

impl One<'_> {
    fn compare(&self, number: Number) -> Option<(f64, Baseline)> {
        self.followed.compare(number, self.view.at, self.minute)
    }

    fn finding(&self, rule: Rule, level: Level, what: &str, figures: Vec<Figure>) -> Finding {
        Finding {
            rule,
            entity: Entity::from(self.place),
            level,
            summary: format!("{}: {what}.", self.place),
            evidence: Evidence { figures, ..Evidence::default() },
        }
    }

    fn rate(&self) -> Option<Finding> {
        let options = self.view.thresholds.query_rate;
        let (rate, usual) = self.compare(Number::QueryRate).filter(|_| !self.view.partial)?;
        let least = float(options.min_queries) / 60.0;
        let is_much = usual.z >= options.z_score
            && rate >= usual.mean * options.warning
            && rate - usual.mean >= least;
        // That a pod or a process ends is no news.
        let lasts = matches!(self.place.grouping, Grouping::Node | Grouping::Resolver);
        let is_little = lasts
            && -usual.z >= options.z_score / 2.0
            && rate <= usual.mean * FEW
            && usual.mean >= least;
        if !is_much && !is_little {
            return None;
        }
        let is_critical = options.critical.is_some_and(|times| rate >= usual.mean * times);
        let level = match (is_much, lasts) {
            (true, true) if is_critical => Level::Critical,
            (true, true) => Level::Warning,
            _ => Level::Info,
        };
        let what = format!("{rate:.1} queries per second, usually {:.1}", usual.mean);
        let threshold = usual.mean * if is_much { options.warning } else { FEW };
        let figure = Figure {
            name: "query_rate",
            value: rate,
            threshold: Some(threshold),
            baseline: Some(usual),
        };
        Some(self.finding(Rule::QueryRate, level, &what, vec![figure]))
    }

    fn latency(&self) -> Option<Finding> {
        let options = self.view.thresholds.latency;
        if self.minute.measured < options.min_queries {
            return None;
        }
        let numbers = [
            (Number::Median, "latency_p50_ms", 1.0, SLOWER[0]),
            (Number::Percentile95, "latency_p95_ms", TAIL, SLOWER[1]),
        ];
        let mut level = None;
        let mut figures = Vec::new();
        for (number, name, more, least) in numbers {
            let Some((log, learned)) = self.compare(number) else { continue };
            let (now, usual) = (log.exp(), learned.mean.exp());
            let beyond = |threshold: f64| now >= usual * threshold * more;
            if learned.z >= options.z_score && beyond(options.warning) && now - usual >= least {
                let critical = options.critical.is_some_and(beyond) && now >= SLOW;
                let is_critical = critical && number == Number::Median;
                level = level.max(Some(if is_critical { Level::Critical } else { Level::Warning }));
            }
            let deviation = usual * (learned.deviation.exp() - 1.0);
            let baseline = Baseline { mean: usual, deviation, ..learned };
            let threshold = Some(usual * options.warning * more);
            figures.push(Figure { name, value: now, threshold, baseline: Some(baseline) });
        }
        let level = level?;
        let [what, ..] = figures.as_slice() else { return None };
        let what = format!(
            "half of the answers take {:.0} ms or longer, usually {:.0} ms; the slowest 5 % {:.0} ms",
            what.value,
            what.baseline.map_or(0.0, |usual| usual.mean),
            figures.last().map_or(0.0, |last| last.value),
        );
        Some(self.finding(Rule::Latency, level, &what, figures))
    }

    fn share(
        &self,
        (rule, number, name, options): (Rule, Number, &'static str, UsualOptions),
        (part, whole): (u64, u64),
    ) -> Option<Finding> {
        if whole < options.min_queries || part == 0 {
            return None;
        }
        let surely = at_least(part, whole);
        let share = float(part) / float(whole);
        let Some((_, usual)) = self.compare(number) else {
            return self.unknown(rule, name, share, surely);
        };
        let beyond = |more: f64| surely >= usual.mean + more && share >= usual.mean * 2.0;
        let is_odd = usual.z >= options.z_score;
        let level = if is_odd && options.critical.is_some_and(beyond) {
            Level::Critical
        } else if is_odd && beyond(options.warning) {
            Level::Warning
        } else if is_odd && beyond(options.warning / 2.0) {
            Level::Info
        } else {
            return None;
        };
        let what =
            format!("{:.1} % {}, usually {:.1} %", share * 100.0, words(rule), usual.mean * 100.0);
        let threshold = Some(usual.mean + options.warning);
        let figure = Figure { name, value: share, threshold, baseline: Some(usual) };
        let count = Figure { name: "count", value: float(part), threshold: None, baseline: None };
        Some(self.finding(rule, level, &what, vec![figure, count]))
    }

    /// Failures of which nobody can say yet what is usual.
    fn unknown(&self, rule: Rule, name: &'static str, share: f64, surely: f64) -> Option<Finding> {
        let matters = matches!(rule, Rule::Servfail | Rule::Timeout)
            && matches!(self.place.grouping, Grouping::Node | Grouping::Resolver | Grouping::Pod);
        if !matters || surely < ALWAYS_WRONG {
            return None;
        }
        let what = format!("{:.1} % {}", share * 100.0, words(rule));
        let (level, threshold) = if surely >= NOTHING_WORKS {
            (Level::Critical, Some(NOTHING_WORKS))
        } else {
            (Level::Warning, Some(ALWAYS_WRONG))
        };
        let figure = Figure { name, value: share, threshold, baseline: None };
        Some(self.finding(rule, level, &what, vec![figure]))
    }
}

/// For a sentence.
const fn words(rule: Rule) -> &'static str {
    match rule {
        Rule::Nxdomain => "NXDOMAIN",
        Rule::Servfail => "SERVFAIL",
        _ => "of the queries without an answer",
    }
}
