//! Definition of a KPI as values were computed with it: kept beside final values, which outlive changes of the dictionary.

use serde::{Deserialize, Serialize};

/// Kind of a KPI, in the words of the dbt Semantic Layer; `percentile` is a simple metric there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Running total since the first fact.
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
}

/// Formula of a KPI, and the hash of everything that its values depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// SHA-256 of the formula, its measures and their models, in hex.
    pub sha256: String,
    /// Formula.
    pub formula: Formula,
}
