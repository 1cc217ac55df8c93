//! Decision rules: on which values of a KPI somebody should act.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Days before a day whose mean its value is compared with.
pub const MEAN_DAYS: u16 = 28;

/// Days before the judged one that a rule may look at.
pub const LOOK_BACK_DAYS: i32 = MEAN_DAYS as i32;

/// What to do, and when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// When; always where absent.
    pub when: Option<Rule>,
    /// What.
    pub action: String,
    /// Page with the details.
    pub runbook: String,
}

/// On which side of the bound a value asks for action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Op")]
pub enum Side {
    /// Less than the bound.
    Below,
    /// More than the bound.
    Above,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The value of the same day of the week before.
    WeekBefore,
    /// The mean of the values of the 28 days before.
    #[serde(rename = "mean_28d")]
    Mean28d,
}

/// When a value asks for action: `{op: below, value: 0.97}`, `{op: below, vs: week_before, factor: 0.8}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Side of the bound.
    pub op: Side,
    /// The bound, in the KPI's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// In place of `value`: what `factor` is multiplied with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vs: Option<Reference>,
    /// With `vs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Number of successive days on which it must hold.
    #[serde(default = "one_day")]
    pub days: u16,
}

const fn one_day() -> u16 {
    1
}

impl Rule {
    /// Returns what is wrong with the rule.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let is_finite = |number: Option<f64>| number.is_none_or(f64::is_finite);
        match (self.value, self.vs, self.factor) {
            _ if !is_finite(self.value) || !is_finite(self.factor) => Some("a bound is a number"),
            _ if self.days == 0 || self.days > MEAN_DAYS => Some("days: give 1 to 28"),
            (Some(_), None, None) => None,
            (None, Some(_), Some(_)) if self.days == 1 => None,
            (None, Some(_), Some(_)) => Some("days: only with value"),
            _ => Some("give value, or vs and factor"),
        }
    }

    /// Whether a value is on the side of the bound that asks for action.
    #[must_use]
    pub const fn holds(&self, value: f64, bound: f64) -> bool {
        match self.op {
            Side::Below => value < bound,
            Side::Above => value > bound,
        }
    }
}

impl Rule {
    /// The rule as people say it: `below 97 %`.
    #[must_use]
    pub fn in_words(&self, unit: &str) -> String {
        let side = match self.op {
            Side::Below => "below",
            Side::Above => "above",
        };
        let bound = match (self.value, self.vs, self.factor) {
            (_, Some(reference), Some(factor)) => {
                let of = if factor < 1.0 { "of" } else { "times" };
                let what = match reference {
                    Reference::WeekBefore => "the same day of the week before",
                    Reference::Mean28d => "the mean of the 28 days before",
                };
                let factor = if factor < 1.0 { percent(factor) } else { factor.to_string() };
                format!("{factor} {of} {what}")
            }
            (Some(value), ..) if unit == "ratio" => percent(value),
            (value, ..) => format!("{} {unit}", value.unwrap_or(f64::NAN)),
        };
        match self.days {
            1 => format!("{side} {bound}"),
            days => format!("{side} {bound} for {days} days"),
        }
    }
}

/// A share in percent, without digits that only binary fractions have.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e8).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rule(rule: Value) -> Rule {
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_rule_has_one_bound() {
        let problem = |json| rule(json).problem();
        assert_eq!(problem(json!({ "op": "below", "value": 1, "days": 7 })), None);
        assert_eq!(problem(json!({ "op": "above", "vs": "mean_28d", "factor": 2 })), None);
        for bad in [
            json!({ "op": "below" }),
            json!({ "op": "below", "value": 1, "vs": "week_before" }),
            json!({ "op": "below", "vs": "week_before" }),
            json!({ "op": "below", "value": 1, "factor": 2 }),
            json!({ "op": "below", "value": 1, "days": 0 }),
            json!({ "op": "below", "value": 1, "days": 29 }),
            json!({ "op": "below", "vs": "week_before", "factor": 0.8, "days": 2 }),
        ] {
            assert!(problem(bad.clone()).is_some(), "{bad}");
        }
    }

    #[test]
    fn reads_as_people_say_it() {
        let text = |json, unit| rule(json).in_words(unit);
        assert_eq!(text(json!({ "op": "below", "value": 0.97 }), "ratio"), "below 97 %");
        assert_eq!(text(json!({ "op": "above", "value": 0.001 }), "ratio"), "above 0.1 %");
        assert_eq!(text(json!({ "op": "above", "value": 24 }), "hours"), "above 24 hours");
        assert_eq!(
            text(json!({ "op": "below", "vs": "week_before", "factor": 0.8 }), "domains"),
            "below 80 % of the same day of the week before"
        );
        assert_eq!(
            text(json!({ "op": "above", "vs": "mean_28d", "factor": 2 }), "events"),
            "above 2 times the mean of the 28 days before"
        );
        assert_eq!(
            text(json!({ "op": "below", "value": 0, "days": 7 }), "domains"),
            "below 0 domains for 7 days"
        );
    }
}
