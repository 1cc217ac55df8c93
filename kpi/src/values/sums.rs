//! Sums of a slice, and the values made of them; what is known of a span of days.

use super::SpanSlice;
use super::question::ValueState;
use crate::definition::{Definition, Formula};
use crate::dictionary::{Kpi, KpiType};
use crate::store::{DayState, Reopening};
use jiff::civil::Date;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Sums of one slice and span.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) numerator: i128,
    pub(super) denominator: i128,
    pub(super) samples: Samples,
    pub(super) rows: usize,
    /// Whether one of the rows is too large to have a value.
    pub(super) is_too_large: bool,
}

impl Sums {
    /// Returns whether the value cannot be represented.
    pub(super) fn is_too_large(&self, formula: &Formula) -> bool {
        self.is_too_large || formula.over.is_empty() && i64::try_from(self.numerator).is_err()
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts")]
    fn ratio(&self) -> Value {
        if self.denominator == 0 {
            return Value::Null;
        }
        json!(self.numerator as f64 / self.denominator as f64)
    }

    pub(super) fn value(self, formula: &Formula, is_incomplete: bool) -> Value {
        match formula.kind {
            _ if self.is_too_large(formula) => Value::Null,
            KpiType::Ratio | KpiType::Conversion => self.ratio(),
            KpiType::Cumulative if !formula.over.is_empty() => self.ratio(),
            KpiType::Percentile => {
                percentile(&mut self.samples.all(), formula.percentile.unwrap_or(0.5))
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
        self.is_too_large |= other.is_too_large;
    }
}

/// Different values that are counted: so many stay in the processor's cache.
const COUNTED: usize = 16 << 10;

/// Values with their numbers. There may be as many as events, but mostly they are few different ones, such as whole milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// Numbers by the bits of the value.
    counts: HashMap<u64, i64, BuildHasherDefault<BitsHasher>>,
    /// Values beyond [`COUNTED`].
    others: Vec<(f64, i64)>,
}

impl Samples {
    pub(super) fn add(&mut self, value: f64, number: i64) {
        if let Some(count) = self.counts.get_mut(&value.to_bits()) {
            *count += number;
        } else if self.counts.len() < COUNTED {
            self.counts.insert(value.to_bits(), number);
        } else {
            self.others.push((value, number));
        }
    }

    fn all(self) -> Vec<(f64, i64)> {
        let mut all = self.others;
        all.extend(self.counts.into_iter().map(|(bits, number)| (f64::from_bits(bits), number)));
        all
    }
}

/// Hash of the bits of a number.
#[derive(Clone, Debug, Default)]
struct BitsHasher(u64);

impl Hasher for BitsHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    /// The low bits of whole numbers are 0: the high ones of the product are added to those of the hash.
    fn write_u64(&mut self, bits: u64) {
        let product = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

/// Returns the percentile `p` (0 to 1) of values with their numbers, interpolated as `percentile_cont` of SQL. Changes their order.
#[expect(clippy::cast_precision_loss, reason = "a number of values")]
fn percentile(samples: &mut [(f64, i64)], p: f64) -> Option<f64> {
    let count: i64 = samples.iter().map(|(_, count)| count).sum();
    if count <= 0 {
        return None;
    }
    let rank = p * (count - 1) as f64;
    let (low, high) = at_rank(samples, rank.floor())?;
    Some(low + (high - low) * (rank - rank.floor()))
}

/// Returns the values of a rank from 0 and of the next one, by quickselect: sorting all values takes several times as long.
#[expect(clippy::cast_precision_loss, reason = "a number of values")]
fn at_rank(mut samples: &mut [(f64, i64)], mut rank: f64) -> Option<(f64, f64)> {
    // The least of the values behind `samples`.
    let mut behind = None;
    while let Some(last) = samples.len().checked_sub(1) {
        let (less, (value, count), more) =
            samples.select_nth_unstable_by(last / 2, |(a, _), (b, _)| a.total_cmp(b));
        let before = less.iter().map(|(_, count)| count).sum::<i64>() as f64;
        let until = before + *count as f64;
        if rank < before {
            behind = Some(*value);
            samples = less;
        } else if rank < until || more.is_empty() {
            let more = more.iter().map(|(value, _)| *value).min_by(f64::total_cmp).or(behind);
            return Some((*value, more.filter(|_| rank + 1.0 >= until).unwrap_or(*value)));
        } else {
            rank -= until;
            samples = more;
        }
    }
    None
}

/// Reasons that are shown: enough to see what is wrong, where a year without data would give hundreds.
const SHOWN_REASONS: usize = 8;

/// Leaves out reasons beyond [`SHOWN_REASONS`], and says how many, with those that were left out before.
pub(super) fn shown(mut reasons: Vec<String>, more: usize) -> Vec<String> {
    let more = more + reasons.len().saturating_sub(SHOWN_REASONS);
    reasons.truncate(SHOWN_REASONS);
    reasons.extend((more > 0).then(|| format!("and {more} more")));
    reasons
}

/// What days of a span do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lack {
    /// Values: they were not computed, or with another definition.
    Values,
    /// Parts, as the question asks for them.
    Parts,
    /// Values of the newest computation with the present definition. The final ones are there.
    Present,
}

/// What is known of a span of days.
#[derive(Clone, Debug)]
pub(super) struct SpanState {
    pub(super) last: Date,
    is_final: bool,
    reasons: Vec<String>,
    /// Number of reasons that are left out.
    more_reasons: usize,
    pub(super) rejected: u64,
    lacks: BTreeSet<Lack>,
    /// Definition of the last final value, if it is not the present one.
    pub(super) definition: Option<Arc<Definition>>,
    /// When and why days were reopened.
    pub(super) reopened: BTreeMap<jiff::Timestamp, String>,
}

impl SpanState {
    pub(super) fn new(first: Date) -> Self {
        Self {
            last: first,
            is_final: true,
            reasons: Vec::new(),
            more_reasons: 0,
            rejected: 0,
            lacks: BTreeSet::new(),
            definition: None,
            reopened: BTreeMap::new(),
        }
    }

    pub(super) fn add_reason(&mut self, reason: String) {
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < SHOWN_REASONS {
            self.reasons.push(reason);
        } else {
            self.more_reasons += 1;
        }
    }

    /// Notes that a day lacks something, and why the span is incomplete.
    pub(super) fn add_lack(&mut self, lack: Lack, reason: String) {
        self.lacks.insert(lack);
        self.add_reason(reason);
    }

    pub(super) fn lacks(&self, lack: Lack) -> bool {
        self.lacks.contains(&lack)
    }

    /// Why the span is incomplete, at the end with how much is left out.
    pub(super) fn reasons(&self) -> Vec<String> {
        shown(self.reasons.clone(), self.more_reasons)
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
            let reason = format!("{day}: not computed: `compute --date {day}` does it");
            self.add_lack(Lack::Values, reason);
            return;
        };
        // Former versions did not say what they computed values with.
        let definitions = state.definitions.as_ref();
        let is_present =
            definitions.is_none_or(|all| all.get(&kpi.name).is_some_and(|known| known == sha256));
        if !is_present {
            self.lacks.insert(Lack::Present);
        }
        self.rejected += state.rejected;
        let has = |one: &&Reopening| one.previous.contains_key(&kpi.name);
        let reopened = state.reopened.iter().filter(has);
        self.reopened.extend(reopened.map(|one| (one.at, one.reason.clone())));
        match state.frozen.get(&kpi.name) {
            // What was complete when it became final stays final.
            Some(frozen) if frozen.definition.sha256 == sha256 => {}
            Some(frozen) => self.definition = Some(Arc::clone(&frozen.definition)),
            None => {
                self.is_final = false;
                if !is_present {
                    let reason =
                        format!("{day}: computed with another definition: `compute` does it again");
                    self.add_lack(Lack::Values, reason);
                }
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
    sums: &mut BTreeMap<SpanSlice, Sums>,
    before: BTreeMap<u32, Sums>,
    spans: usize,
) {
    let mut totals = before;
    for index in 0..spans {
        let slices: Vec<_> = sums
            .range((index, 0)..=(index, u32::MAX))
            .map(|((_, number), added)| (*number, added.clone()))
            .collect();
        for (number, added) in slices {
            totals.entry(number).or_default().add(&added);
        }
        for (number, total) in &totals {
            sums.insert((index, *number), total.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolates_percentiles() {
        assert_eq!(percentile(&mut [], 0.5), None);
        assert_eq!(percentile(&mut [(3.0, 1)], 0.95), Some(3.0));
        assert_eq!(percentile(&mut [(2.0, 1), (1.0, 1)], 0.5), Some(1.5));
        assert_eq!(percentile(&mut [(4.0, 1), (1.0, 2)], 0.5), Some(1.0));
        assert_eq!(percentile(&mut [(10.0, 1), (0.0, 1)], 0.95), Some(9.5));
    }

    #[test]
    fn samples_are_those_that_were_added() {
        for different in [1, 100, u32::try_from(COUNTED).unwrap() + 1_000] {
            let mut samples = Samples::default();
            for number in 0..3 * different {
                samples.add(f64::from(number % different), i64::from(number % 2) + 1);
            }
            let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
            for (value, number) in samples.all() {
                *counts.entry(value.to_bits()).or_default() += number;
            }
            let mut expected: BTreeMap<u64, i64> = BTreeMap::new();
            for number in 0..3 * different {
                let bits = f64::from(number % different).to_bits();
                *expected.entry(bits).or_default() += i64::from(number % 2) + 1;
            }
            assert_eq!(counts, expected, "{different}");
        }
    }

    #[test]
    fn percentiles_are_those_of_sorted_values() {
        let mut random = 7_u64;
        let mut next = move |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u32::try_from((random >> 33) % bound).unwrap()
        };
        for _ in 0..2_000 {
            let mut samples: Vec<(f64, i64)> = (0..=next(40))
                .map(|_| (f64::from(next(20)) - 5.0, i64::from(next(3)) + 1))
                .collect();
            let each = |(value, count): &(f64, i64)| vec![*value; usize::try_from(*count).unwrap()];
            let mut sorted: Vec<f64> = samples.iter().flat_map(each).collect();
            sorted.sort_by(f64::total_cmp);
            let last = u32::try_from(sorted.len() - 1).unwrap();
            // Also halfway between two values.
            let halves = next(2 * u64::from(last) + 1);
            let found = percentile(&mut samples, f64::from(halves) / f64::from(2 * last.max(1)));
            let (rank, above) = (halves / 2, halves.div_ceil(2));
            let expected = f64::midpoint(sorted[rank as usize], sorted[above as usize]);
            assert!((found.unwrap() - expected).abs() < 1e-9, "{rank} of {sorted:?}: {found:?}");
        }
    }
}
