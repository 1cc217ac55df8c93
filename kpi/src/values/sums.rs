//! Sums of a slice, and the values made of them; what is known of a span of days.

use super::question::ValueState;
use super::{Key, TextId};
use crate::definition::{Definition, Formula};
use crate::dictionary::{Kpi, KpiType};
use crate::store::DayState;
use jiff::civil::Date;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sums of one slice and span.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) numerator: i128,
    pub(super) denominator: i128,
    pub(super) samples: Vec<(f64, i64)>,
    pub(super) rows: usize,
}

impl Sums {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    fn ratio(&self) -> Value {
        if self.denominator == 0 {
            return Value::Null;
        }
        json!(self.numerator as f64 / self.denominator as f64)
    }

    pub(super) fn value(mut self, formula: &Formula, is_incomplete: bool) -> Value {
        match formula.kind {
            KpiType::Ratio | KpiType::Conversion => self.ratio(),
            KpiType::Cumulative if !formula.over.is_empty() => self.ratio(),
            KpiType::Percentile => {
                self.samples.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
                percentile(&self.samples, formula.percentile.unwrap_or(0.5))
                    .map_or(Value::Null, |value| json!(value))
            }
            KpiType::Simple | KpiType::Derived if is_incomplete && self.rows == 0 => Value::Null,
            KpiType::Simple | KpiType::Derived | KpiType::Cumulative => {
                i64::try_from(self.numerator).map_or(Value::Null, Value::from)
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.numerator += other.numerator;
        self.denominator += other.denominator;
        self.rows += other.rows;
    }
}

/// Returns the percentile `p` (0 to 1) of sorted values with their numbers, interpolated as `percentile_cont` of SQL.
#[expect(clippy::cast_precision_loss, reason = "a number of values")]
fn percentile(samples: &[(f64, i64)], p: f64) -> Option<f64> {
    let count: i64 = samples.iter().map(|(_, count)| count).sum();
    if count <= 0 {
        return None;
    }
    let rank = p * (count - 1) as f64;
    let at = |rank: f64| {
        let mut before = 0;
        let holds = samples.iter().find(|(_, count)| {
            before += count;
            rank < before as f64
        });
        holds.or(samples.last()).map(|(value, _)| *value)
    };
    let (low, high) = (at(rank.floor())?, at(rank.ceil())?);
    Some(low + (high - low) * (rank - rank.floor()))
}

/// What is known of a span of days.
#[derive(Clone, Debug)]
pub(super) struct SpanState {
    pub(super) last: Date,
    is_final: bool,
    pub(super) reasons: Vec<String>,
    pub(super) rejected: u64,
    /// Definition of the last final value, if it is not the present one.
    pub(super) definition: Option<Arc<Definition>>,
    /// When and why one of the days was reopened last.
    pub(super) reopened: Option<(jiff::Timestamp, String)>,
}

impl SpanState {
    pub(super) fn new(first: Date) -> Self {
        Self {
            last: first,
            is_final: true,
            reasons: Vec::new(),
            rejected: 0,
            definition: None,
            reopened: None,
        }
    }

    pub(super) fn add_reason(&mut self, reason: String) {
        // Enough to see what is wrong; a year without data would give hundreds.
        if self.reasons.len() < 8 && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Adds a day, with what is known of it and why it is incomplete.
    pub(super) fn add(
        &mut self,
        kpi: &Kpi,
        day: Date,
        state: Option<&DayState>,
        sha256: &str,
        reasons: impl FnOnce() -> Vec<String>,
    ) {
        self.last = day;
        let Some(state) = state else {
            self.is_final = false;
            self.add_reason(format!("{day}: not computed"));
            return;
        };
        self.rejected += state.rejected;
        if let Some(reopening) = &state.reopened
            && reopening.previous.contains_key(&kpi.name)
        {
            self.reopened = Some((reopening.at, reopening.reason.clone()));
        }
        match state.frozen.get(&kpi.name) {
            // What was complete when it became final stays final.
            Some(frozen) if frozen.definition.sha256 == sha256 => {}
            Some(frozen) => self.definition = Some(Arc::clone(&frozen.definition)),
            None => {
                self.is_final = false;
                for reason in reasons() {
                    self.add_reason(reason);
                }
            }
        }
    }

    pub(super) fn state(&self) -> ValueState {
        match (self.reasons.is_empty(), self.is_final) {
            (false, _) => ValueState::Incomplete,
            (true, true) => ValueState::Final,
            (true, false) => ValueState::Provisional,
        }
    }
}

/// Makes running totals of the sums of spans.
pub(super) fn accumulate(
    sums: &mut BTreeMap<Key, Sums>,
    before: BTreeMap<Vec<TextId>, Sums>,
    spans: usize,
) {
    let mut totals = before;
    for index in 0..spans {
        let slices: Vec<_> = sums
            .range((index, Vec::new())..)
            .take_while(|((span, _), _)| *span == index)
            .map(|((_, slice), added)| (slice.clone(), added.clone()))
            .collect();
        for (slice, added) in slices {
            totals.entry(slice).or_default().add(&added);
        }
        for (slice, total) in &totals {
            sums.insert((index, slice.clone()), total.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_percentiles() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[(3.0, 1)], 0.95), Some(3.0));
        assert_eq!(percentile(&[(1.0, 1), (2.0, 1)], 0.5), Some(1.5));
        assert_eq!(percentile(&[(1.0, 2), (4.0, 1)], 0.5), Some(1.0));
        assert_eq!(percentile(&[(0.0, 1), (10.0, 1)], 0.95), Some(9.5));
    }
}
