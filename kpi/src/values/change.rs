//! Before and after a moment, such as that of a change of DNS: means or ratios of both, and an interval of their difference.

use super::calendar::Calendar;
use super::sums::{Lack, Sums, shown};
use super::{Grain, Question, Scope, UTC, ValueState, Values};
use crate::definition::Part;
use crate::dictionary::{Dictionary, Kpi, KpiType};
use crate::facts::{day_of, epoch_day};
use crate::rows::date;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Parts on a side at most: two days of five minutes.
const MAX_PARTS: usize = 576;
/// Parts on a side at least: fewer have no spread to judge by.
const MIN_PARTS: usize = 3;
/// Quantile 0.975 of the standard normal distribution, for an interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// What is compared.
#[derive(Clone, Debug)]
pub struct ChangeQuestion {
    /// The moment. The part that it is in belongs to neither side, unless it begins then.
    pub at: Timestamp,
    /// Number of parts before, and after.
    pub parts: usize,
    /// Length of the parts and filter.
    pub question: Question,
}

/// A side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Side {
    /// Beginning of its first part.
    pub start: Option<Timestamp>,
    /// End of its last part.
    pub end: Option<Timestamp>,
    /// Number of its parts.
    pub parts: usize,
    /// Mean of a part, or ratio of the sums of all parts; none if a part has no values, and for a ratio over nothing.
    pub value: Option<f64>,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Before the moment.
    pub before: Side,
    /// After it.
    pub after: Side,
    /// `after` minus `before`.
    pub difference: Option<f64>,
    /// What the difference is between, with a confidence of 95 %, if parts depend on nothing but their side.
    pub interval: Option<[f64; 2]>,
    /// Why there is no interval.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

impl ChangeQuestion {
    /// Checks whether a KPI can be compared so.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self, dictionary: &Dictionary, kpi: &Kpi) -> Result<(), String> {
        match kpi.kind {
            KpiType::Percentile | KpiType::Cumulative => {
                return Err("percentiles and running totals have no mean of parts".to_owned());
            }
            KpiType::Simple | KpiType::Derived | KpiType::Ratio | KpiType::Conversion => {}
        }
        if self.question.time_zone != UTC || !self.question.by.is_empty() {
            return Err("a comparison has neither time_zone nor by".to_owned());
        }
        let one = |name: &&String| self.question.filter.get(*name).is_none_or(|v| v.len() != 1);
        if let Some(name) = kpi.always_by.iter().find(one) {
            return Err(format!("filter: choose one {name}, since a sum over them has no meaning"));
        }
        if !(MIN_PARTS..=MAX_PARTS).contains(&self.parts) {
            return Err(format!("parts: give {MIN_PARTS} to {MAX_PARTS}"));
        }
        if !self.question.grain.is_regular() {
            let regular = Grain::regular_names().join(", ");
            return Err(format!("grain: parts have one length: choose from {regular}"));
        }
        self.question.check_grain(dictionary.grain(kpi))
    }

    /// Length of a part in microseconds.
    fn step_us(&self) -> i64 {
        self.question.grain.step_us().unwrap_or(Part::Day.micros())
    }
}

impl Values {
    /// Compares a KPI before and after a moment.
    #[must_use]
    pub fn change(&self, dictionary: &Dictionary, kpi: &Kpi, asked: &ChangeQuestion) -> Change {
        let at = asked.at.as_microsecond();
        let parts = i64::try_from(asked.parts).unwrap_or(i64::MAX);
        let reach = asked.step_us().saturating_mul(parts + 1);
        let last = self.span().map_or(day_of(at), |(_, last)| last);
        let days = (day_of(at.saturating_sub(reach)), day_of(at.saturating_add(reach)).min(last));
        let until = self.as_of.map_or(i64::MIN, Timestamp::as_microsecond);
        let scope = Scope {
            selection: self.selection(kpi, &asked.question),
            calendar: Calendar::new(&asked.question, days, until),
            is_cumulative: false,
            window: None,
            opening: self.coverage.opening(&kpi.name),
            most: usize::MAX,
        };
        let definition = dictionary.definition(kpi);
        let states = self.span_states(dictionary, kpi, &asked.question, &scope, &definition);
        let mut sums: BTreeMap<usize, Sums> = BTreeMap::new();
        let collected =
            self.collect(&scope, 1, |_, day| day.official(kpi, &definition.formula), |_, _| true);
        for ((index, _), added) in collected.into_iter().flatten().flatten() {
            sums.entry(index).or_default().add(&added);
        }
        let spans = &scope.calendar.spans;
        let ended = spans.partition_point(|span| span.end_us <= at);
        let begun = spans.partition_point(|span| span.start_us < at);
        let ranges = [
            ended.saturating_sub(asked.parts)..ended,
            begun..spans.len().min(begun.saturating_add(asked.parts)),
        ];
        let horizon = i32::try_from(dictionary.horizon_days(kpi)).unwrap_or_default();
        let mut reasons = Vec::new();
        let estimates = ranges.clone().map(|range| {
            for index in range.clone() {
                if states[index].state() == ValueState::Incomplete {
                    reasons.extend(states[index].reasons());
                }
                let closes = date(epoch_day(states[index].last) + horizon);
                if horizon > 0 && day_of(until) <= closes {
                    reasons.push(format!("{} is open until {closes}", states[index].last));
                }
            }
            let lacks = |index: usize| {
                [Lack::Values, Lack::Parts].iter().any(|it| states[index].lacks(*it))
            };
            let has_values = !range.clone().any(lacks);
            let of = |index: usize| sums.get(&index).cloned().unwrap_or_default();
            let estimate = Estimate::of(kpi, &range.map(of).collect::<Vec<_>>());
            Estimate { value: estimate.value.filter(|_| has_values), ..estimate }
        });
        for ((estimate, which), range) in estimates.iter().zip(["before", "after"]).zip(&ranges) {
            if range.len() < MIN_PARTS {
                reasons
                    .push(format!("{} parts {which}: an interval needs {MIN_PARTS}", range.len()));
            } else if estimate.variance.is_none() {
                reasons.push(format!("a ratio over nothing {which}"));
            }
        }
        reasons.dedup();
        let reasons = shown(reasons, 0);
        let [before, after] = &estimates;
        let difference = before.value.zip(after.value).map(|(before, after)| after - before);
        let margin = margin([before, after]).filter(|_| reasons.is_empty());
        let side = |index: usize, estimate: &Estimate| {
            let time = |micros: i64| Timestamp::from_microsecond(micros).ok();
            let of_side = &spans[ranges[index].clone()];
            Side {
                start: of_side.first().and_then(|span| time(span.start_us)),
                end: of_side.last().and_then(|span| time(span.end_us)),
                parts: of_side.len(),
                value: estimate.value,
            }
        };
        Change {
            before: side(0, before),
            after: side(1, after),
            difference,
            interval: difference
                .zip(margin)
                .map(|(difference, margin)| [difference - margin, difference + margin]),
            reasons,
        }
    }
}

/// A mean or ratio of parts, with the variance of this estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    value: Option<f64>,
    variance: Option<f64>,
    parts: usize,
}

impl Estimate {
    /// Estimates by the jackknife: how the value moves as each part is left out. For a mean, this is its standard error.
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn of(kpi: &Kpi, parts: &[Sums]) -> Self {
        let is_ratio = matches!(kpi.kind, KpiType::Ratio | KpiType::Conversion);
        let (mut above, mut below) = (0_i128, 0_i128);
        for part in parts {
            above += part.numerator;
            below += if is_ratio { part.denominator } else { 1 };
        }
        let has_value = parts.iter().all(|part| !part.is_too_large);
        let value = |above: i128, below: i128| {
            (has_value && below != 0).then(|| above as f64 / below as f64)
        };
        let without = parts.iter().map(|part| {
            value(above - part.numerator, below - if is_ratio { part.denominator } else { 1 })
        });
        let count = parts.len();
        let without: Option<Vec<f64>> = without.collect();
        let variance = without.filter(|all| all.len() >= MIN_PARTS).map(|all| {
            let mean = all.iter().sum::<f64>() / count as f64;
            let squares: f64 = all.iter().map(|one| (one - mean).powi(2)).sum();
            squares * (count - 1) as f64 / count as f64
        });
        Self { value: value(above, below), variance, parts: count }
    }
}

/// Half the length of the interval of a difference: Welch's, of estimates with different variances.
#[expect(clippy::cast_precision_loss, reason = "a number of parts")]
fn margin(sides: [&Estimate; 2]) -> Option<f64> {
    let [before, after] = [sides[0].variance?, sides[1].variance?];
    let sum = before + after;
    if sum == 0.0 {
        return Some(0.0);
    }
    let share = |variance: f64, side: &Estimate| variance.powi(2) / (side.parts - 1) as f64;
    let freedom = sum.powi(2) / (share(before, sides[0]) + share(after, sides[1]));
    Some(student(freedom) * sum.sqrt())
}

/// Quantile 0.975 of Student's distribution with this many degrees of freedom, within 1 % from two on (Abramowitz and Stegun,
/// 26.7.5).
fn student(freedom: f64) -> f64 {
    let terms = [
        (Z.powi(3) + Z) / 4.0,
        (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0,
        (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0,
        (79.0 * Z.powi(9) + 776.0 * Z.powi(7) + 1482.0 * Z.powi(5)
            - 1920.0 * Z.powi(3)
            - 945.0 * Z)
            / 92_160.0,
    ];
    (1..).zip(terms).fold(Z, |sum, (power, term)| sum + term / freedom.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        for (freedom, expected) in
            [(2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (60.0, 2.0)]
        {
            let found = student(freedom);
            assert!((found / expected - 1.0).abs() < 0.01, "{freedom}: {found}");
        }
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let dictionary = Dictionary::load(None).unwrap();
        let mut random = 7_u64;
        let mut next = move || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            random >> 33
        };
        for name in ["registrations", "registration_success_ratio"] {
            let kpi = dictionary.kpi(name).unwrap();
            let mut side = |chance: u64| {
                let parts: Vec<Sums> = (0..12)
                    .map(|_| {
                        let tries = 50 + next() % 50;
                        let hits = (0..tries).filter(|_| next() % 100 < chance).count();
                        let (numerator, denominator) = (hits as i128, i128::from(tries));
                        Sums { numerator, denominator, ..Sums::default() }
                    })
                    .collect();
                Estimate::of(kpi, &parts)
            };
            let mut held = 0;
            for _ in 0..2_000 {
                let (before, after) = (side(30), side(30));
                let difference = after.value.unwrap() - before.value.unwrap();
                held += i32::from(difference.abs() <= margin([&before, &after]).unwrap());
            }
            assert!((1_860..=1_940).contains(&held), "{name}: {held} of 2,000");
            // A change of a tenth of the chance is seen.
            let (before, after) = (side(30), side(60));
            let difference = after.value.unwrap() - before.value.unwrap();
            assert!(difference > margin([&before, &after]).unwrap(), "{name}");
        }
    }
}
