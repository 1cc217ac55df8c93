//! What the decision rules of KPIs say of their values.

use crate::decision::{LOOK_BACK_DAYS, MEAN_DAYS, Reference, Rule};
use crate::dictionary::Kpi;
use crate::facts::epoch_day;
use crate::rows::date;
use crate::values::{KpiValue, ValueState};
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Least number of days with a value that tell what is usual.
const LEAST_DAYS: usize = 14;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The rule holds: action is asked for.
    Fires,
    /// The rule does not hold.
    Quiet,
    /// Data are missing, of the day or of what it is compared with: not known.
    Muted,
}

/// What a rule says of a day of a KPI, or of a slice of one that is always sliced.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    /// The day.
    pub day: Date,
    /// Slice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by: BTreeMap<String, Option<String>>,
    /// Whether somebody should act.
    pub state: Judgement,
    /// What the value was compared with, in the KPI's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Values of one slice by day.
struct Known<'a>(BTreeMap<Date, &'a KpiValue>);

impl Known<'_> {
    /// The value of a day, or why it cannot be judged.
    fn value(&self, day: Date) -> Result<f64, String> {
        let none = || format!("{day} has no value");
        let value = self.0.get(&day).ok_or_else(none)?;
        match value.state {
            ValueState::Incomplete => {
                let reason = value.reasons.first().map(|reason| format!(": {reason}"));
                Err(format!("{day} is incomplete{}", reason.unwrap_or_default()))
            }
            _ if value.open_until.is_some() => Err(format!("{day} is still open")),
            ValueState::Provisional | ValueState::Final => value.value.as_f64().ok_or_else(none),
        }
    }
}

/// Judges `day` by the rule of a KPI: once, or for each slice if the KPI is always sliced. `values` are those of single days,
/// from [`LOOK_BACK_DAYS`] before it on. Nothing without a rule.
#[must_use]
pub fn verdicts(kpi: &Kpi, values: &[KpiValue], day: Date) -> Vec<Verdict> {
    let Some(rule) = &kpi.decision.when else { return Vec::new() };
    let mut slices: BTreeMap<&BTreeMap<String, Option<String>>, Known<'_>> = BTreeMap::new();
    for value in values.iter().filter(|value| value.from == value.to) {
        slices.entry(&value.by).or_insert(Known(BTreeMap::new())).0.insert(value.from, value);
    }
    // A day without rows has one value without a slice, which says that data are missing: it is no slice beside others.
    if slices.len() > 1 {
        slices.retain(|by, known| {
            by.values().any(Option::is_some) || known.0.values().any(|one| !one.value.is_null())
        });
    }
    let judge = |known: &Known<'_>| {
        let bound = bound(rule, known, day)?;
        let mut holds = true;
        for days in 0..i32::from(rule.days) {
            holds &= rule.holds(known.value(before(day, days))?, bound);
        }
        Ok((if holds { Judgement::Fires } else { Judgement::Quiet }, bound))
    };
    let verdict = |(by, known): (&BTreeMap<String, Option<String>>, Known<'_>)| {
        let (state, bound, reason) = match judge(&known) {
            Ok((state, bound)) => (state, Some(bound), None),
            Err(reason) => (Judgement::Muted, None, Some(reason)),
        };
        Verdict { day, by: by.clone(), state, bound, reason }
    };
    slices.into_iter().map(verdict).collect()
}

/// The bound for the value of `day`, or why there is none.
fn bound(rule: &Rule, known: &Known<'_>, day: Date) -> Result<f64, String> {
    let (Some(reference), Some(factor)) = (rule.vs, rule.factor) else {
        return rule.value.ok_or_else(|| "the rule has no bound".to_owned());
    };
    let usual = match reference {
        Reference::WeekBefore => known.value(before(day, 7))?,
        Reference::Mean28d => {
            let days = (1..=LOOK_BACK_DAYS).filter_map(|days| known.value(before(day, days)).ok());
            let values: Vec<f64> = days.collect();
            if values.len() < LEAST_DAYS {
                return Err(format!(
                    "{} of the {MEAN_DAYS} days before have a value: {LEAST_DAYS} are needed",
                    values.len()
                ));
            }
            #[expect(clippy::cast_precision_loss, reason = "at most 28")]
            let count = values.len() as f64;
            values.iter().sum::<f64>() / count
        }
    };
    Ok(usual * factor)
}

fn before(day: Date, days: i32) -> Date {
    date(epoch_day(day) - days)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::Dictionary;
    use serde_json::json;

    const DAY: Date = jiff::civil::date(2026, 3, 29);

    fn kpi(rule: serde_json::Value) -> Kpi {
        let dictionary = Dictionary::load(None).unwrap();
        let mut kpi = dictionary.kpi("registrations").unwrap().clone();
        kpi.decision.when = serde_json::from_value(rule).unwrap();
        kpi
    }

    /// Values of successive days, the last of them of [`DAY`].
    fn values(numbers: &[f64]) -> Vec<KpiValue> {
        let day = |index: usize| before(DAY, i32::try_from(numbers.len() - 1 - index).unwrap());
        let value = |(index, number): (usize, &f64)| KpiValue {
            from: day(index),
            to: day(index),
            start: None,
            end: None,
            value: json!(number),
            state: ValueState::Final,
            by: BTreeMap::new(),
            open_until: None,
            adjustment: None,
            restatement: None,
            earlier_restatements: Vec::new(),
            reasons: Vec::new(),
            notes: Vec::new(),
            rejected_rows: 0,
        };
        numbers.iter().enumerate().map(value).collect()
    }

    fn judged(rule: serde_json::Value, values: &[KpiValue]) -> Verdict {
        let mut found = verdicts(&kpi(rule), values, DAY);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_bound_fires_on_one_side_only() {
        let rule = || json!({ "op": "below", "value": 0.97 });
        assert_eq!(judged(rule(), &values(&[0.99, 0.9456])).state, Judgement::Fires);
        assert_eq!(judged(rule(), &values(&[0.5, 0.97])).state, Judgement::Quiet);
        let above = json!({ "op": "above", "value": 24 });
        let found = judged(above, &values(&[25.0]));
        assert_eq!((found.state, found.bound), (Judgement::Fires, Some(24.0)));
    }

    #[test]
    fn what_must_hold_for_days_needs_each_of_them() {
        let rule = || json!({ "op": "below", "value": 0, "days": 3 });
        assert_eq!(judged(rule(), &values(&[-1.0, -2.0, -3.0])).state, Judgement::Fires);
        assert_eq!(judged(rule(), &values(&[-1.0, 2.0, -3.0])).state, Judgement::Quiet);
        assert_eq!(judged(rule(), &values(&[-2.0, -3.0])).state, Judgement::Muted);
    }

    #[test]
    fn compares_with_the_same_day_of_the_week_before() {
        let rule = || json!({ "op": "below", "vs": "week_before", "factor": 0.8 });
        let mut week = values(&[100.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 79.0]);
        let found = judged(rule(), &week);
        assert_eq!((found.state, found.bound), (Judgement::Fires, Some(80.0)));
        week[7].value = json!(80);
        assert_eq!(judged(rule(), &week).state, Judgement::Quiet);
        week[0].state = ValueState::Incomplete;
        week[0].reasons = vec!["source shop is silent".to_owned()];
        let found = judged(rule(), &week);
        assert_eq!(found.state, Judgement::Muted);
        assert_eq!(found.reason.unwrap(), "2026-03-22 is incomplete: source shop is silent");
    }

    #[test]
    fn compares_with_the_mean_of_days_that_have_values() {
        let rule = || json!({ "op": "above", "vs": "mean_28d", "factor": 2 });
        let mut days = values(&[vec![10.0; 28], vec![21.0]].concat());
        assert_eq!(judged(rule(), &days).state, Judgement::Fires);
        for day in &mut days[..14] {
            day.state = ValueState::Incomplete;
            day.value = json!(1_000_000);
        }
        assert_eq!(judged(rule(), &days).state, Judgement::Fires, "of 14 days");
        days[14].state = ValueState::Incomplete;
        let found = judged(rule(), &days);
        assert_eq!(found.state, Judgement::Muted);
        assert_eq!(found.reason.unwrap(), "13 of the 28 days before have a value: 14 are needed");
    }

    #[test]
    fn is_muted_while_the_day_is_unknown() {
        let rule = || json!({ "op": "below", "value": 5 });
        let mut day = values(&[1.0]);
        day[0].value = serde_json::Value::Null;
        assert_eq!(judged(rule(), &day).reason.unwrap(), "2026-03-29 has no value");
        day[0].value = json!(1);
        day[0].open_until = Some(jiff::civil::date(2026, 4, 5));
        assert_eq!(judged(rule(), &day).reason.unwrap(), "2026-03-29 is still open");
        day[0].open_until = None;
        day[0].state = ValueState::Incomplete;
        assert_eq!(judged(rule(), &day).state, Judgement::Muted);
        day[0].state = ValueState::Provisional;
        assert_eq!(judged(rule(), &day).state, Judgement::Fires);
    }

    #[test]
    fn judges_each_slice_by_its_own_values() {
        let mut all = values(&[1.0]);
        let mut other = values(&[9.0]);
        for (value, currency) in [(&mut all[0], "EUR"), (&mut other[0], "USD")] {
            value.by.insert("currency".into(), Some(currency.into()));
        }
        all.extend(other);
        let found = verdicts(&kpi(json!({ "op": "below", "value": 5 })), &all, DAY);
        let states: Vec<_> =
            found.iter().map(|one| (one.by["currency"].clone().unwrap(), one.state)).collect();
        let expected = [("EUR", Judgement::Fires), ("USD", Judgement::Quiet)];
        assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    }

    #[test]
    fn a_day_without_rows_is_no_slice() {
        let rule = json!({ "op": "below", "value": 5 });
        let mut all = values(&[1.0, 1.0]);
        for (value, currency) in all.iter_mut().zip([None, Some("EUR")]) {
            value.by.insert("currency".into(), currency.map(str::to_owned));
        }
        let states = |all: &[KpiValue]| -> Vec<_> {
            let found = verdicts(&kpi(rule.clone()), all, DAY).into_iter();
            found.map(|one| (one.by["currency"].clone(), one.state)).collect()
        };
        let euro = (Some("EUR".to_owned()), Judgement::Fires);
        assert_eq!(states(&all), [(None, Judgement::Muted), euro.clone()], "without currency");
        all[0].value = serde_json::Value::Null;
        all[0].state = ValueState::Incomplete;
        assert_eq!(states(&all), [euro]);
        // Where nothing else is known, the reason stays.
        all[0].to = DAY;
        all[0].from = DAY;
        assert_eq!(states(&all[..1]), [(None, Judgement::Muted)]);
    }

    #[test]
    fn no_rule_says_nothing() {
        let dictionary = Dictionary::load(None).unwrap();
        let mut kpi = dictionary.kpi("registrations").unwrap().clone();
        kpi.decision.when = None;
        assert_eq!(verdicts(&kpi, &values(&[1.0]), DAY), []);
    }
}
