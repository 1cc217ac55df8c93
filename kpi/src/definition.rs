//! Definition of a KPI as values were computed with it: kept beside final values, which outlive changes of the dictionary.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kind of a KPI, in the words of the dbt Semantic Layer; `percentile` is a simple metric there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KpiType {
    /// Sum of measures.
    Simple,
    /// Sum of measures minus others.
    Derived,
    /// Sums divided by sums.
    Ratio,
    /// Share of things to which something else happened in time.
    Conversion,
    /// Running total: since the first fact, or over a window; divided by another one, if there is one.
    Cumulative,
    /// Percentile of collected values.
    Percentile,
}

/// How a KPI is made of measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Formula {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: KpiType,
    /// Measures that are added.
    pub plus: Vec<String>,
    /// Measures that are subtracted.
    pub minus: Vec<String>,
    /// Measures whose sum is the denominator.
    pub over: Vec<String>,
    /// Measure with the values of a percentile.
    pub samples: Option<String>,
    /// Which percentile, 0 to 1.
    pub percentile: Option<f64>,
    /// Days that a running total adds up, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// Days up to the last one of a span that a running total adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last days, of this number.
    Days(u16),
    /// Days of its month.
    Month,
    /// Days of its quarter.
    Quarter,
    /// Days of its year.
    Year,
}

impl Window {
    /// First day of the window that ends with `last`.
    #[must_use]
    pub fn start(self, last: Date) -> Date {
        let of_month = |month: i8| Date::new(last.year(), month, 1).unwrap_or(last);
        match self {
            Self::Days(days) => {
                last.saturating_sub(jiff::Span::new().days(i64::from(days.saturating_sub(1))))
            }
            Self::Month => of_month(last.month()),
            Self::Quarter => of_month((last.month() - 1) / 3 * 3 + 1),
            Self::Year => of_month(1),
        }
    }

    /// The window in SQL, over rows by day.
    #[must_use]
    pub fn sql(self) -> String {
        let part = match self {
            Self::Days(days) => {
                let days = days.saturating_sub(1);
                return format!(
                    "ORDER BY day RANGE BETWEEN INTERVAL '{days} days' PRECEDING AND CURRENT ROW"
                );
            }
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        };
        format!("PARTITION BY date_trunc('{part}', day) ORDER BY day")
    }
}

/// Formula of a KPI, and the hash of everything that its values depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// SHA-256 of the formula, its measures and their models, in hex.
    pub sha256: String,
    /// Formula.
    pub formula: Formula,
}

/// Length of the parts of a day that rows of a measure are kept for, shortest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// A quarter of an hour, which no time zone divides.
    #[serde(rename = "15m")]
    QuarterHour,
    /// A day in UTC.
    #[default]
    #[serde(rename = "day")]
    Day,
}

impl Part {
    /// Length in microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        match self {
            Self::FiveMinutes => 300_000_000,
            Self::QuarterHour => 900_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// Name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::QuarterHour => "15m",
            Self::Day => "day",
        }
    }
}
