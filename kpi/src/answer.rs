//! What the metrics API answers. The `OpenAPI` document has the schemas of these types.

use crate::decision::{self, Rule};
use crate::definition::KpiType;
use crate::dictionary::{self, Aggregation};
use crate::store::Undone;
use crate::values::{Change, Grain, KpiValue};
use crate::verdict::Verdict;
use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A failure (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
pub struct Problem<'a> {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// What the status means.
    pub title: &'a str,
    /// Status of the answer.
    pub status: u16,
    /// What is wrong.
    pub detail: &'a str,
}

/// All KPIs that the token may read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Dictionary<'a> {
    /// In the order of the dictionary.
    pub kpis: Vec<Kpi<'a>>,
}

/// A KPI of the dictionary.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Kpi<'a> {
    /// Name.
    pub name: &'a str,
    /// Name for people.
    pub label: &'a str,
    /// Family, which access is granted for.
    pub family: &'a str,
    /// What it is.
    pub description: &'a str,
    /// Kind, in the words of the dbt Semantic Layer.
    #[serde(rename = "type")]
    pub kind: KpiType,
    /// How it is made of measures.
    pub formula: String,
    /// Unit.
    pub unit: &'a str,
    /// Finest grain.
    pub grain: &'static str,
    /// Dimensions by which it can be sliced.
    pub dimensions: Vec<&'static str>,
    /// Dimensions by which values are always sliced, since their sum has no meaning.
    pub always_by: &'a [String],
    /// How often it is computed.
    pub cadence: &'a str,
    /// Days after the end of a day until the day's value can be final.
    pub lateness_days: u32,
    /// Days after a day until nothing can happen any more that its value counts.
    pub horizon_days: u32,
    /// Who answers for it.
    pub owner: &'a str,
    /// Schemas of the records that it is made of.
    pub sources: BTreeSet<&'a str>,
    /// What to do, and when.
    pub decision: Decision<'a>,
    /// What the rule says of the newest day that nothing can change any more; one for each slice.
    pub verdicts: &'a [Verdict],
}

/// What to do, and when.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Decision<'a> {
    /// What.
    pub action: &'a str,
    /// Page with the details.
    pub runbook: &'a str,
    /// When; always where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<&'a Rule>,
    /// The rule in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
}

impl<'a> Decision<'a> {
    /// Describes the decision of a KPI.
    #[must_use]
    pub fn of(kpi: &'a dictionary::Kpi) -> Self {
        let decision::Decision { when, action, runbook } = &kpi.decision;
        let threshold = when.as_ref().map(|rule| rule.in_words(&kpi.unit));
        Self { action, runbook, when: when.as_ref(), threshold }
    }
}

/// A page of a KPI's values.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answer<'a> {
    /// Name of the KPI.
    pub kpi: &'a str,
    /// Unit of the values.
    pub unit: &'a str,
    /// Length of the spans.
    pub grain: Grain,
    /// Time zone of the days.
    pub time_zone: &'a str,
    /// When values were computed last.
    pub as_of: Option<Timestamp>,
    /// Age of the newest fact of the KPI's sources.
    pub freshness_seconds: Option<i64>,
    /// Path of the KPI's lineage.
    pub lineage: String,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<usize>,
    /// The values, by time and slice.
    pub values: &'a [KpiValue],
}

/// A KPI before and after a moment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChangeAnswer<'a> {
    /// Name of the KPI.
    pub kpi: &'a str,
    /// Unit of the values.
    pub unit: &'a str,
    /// Length of the parts.
    pub grain: Grain,
    /// The moment.
    pub at: Timestamp,
    /// When values were computed last.
    pub as_of: Option<Timestamp>,
    /// The comparison.
    pub change: Change,
}

/// Where the values of a KPI come from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Lineage<'a> {
    /// Name of the KPI.
    pub kpi: &'a str,
    /// How it is made of measures.
    pub formula: String,
    /// The measures.
    pub measures: Vec<LineageMeasure<'a>>,
    /// The models whose rows they are made of.
    pub models: Vec<LineageModel<'a>>,
    /// Schemas of the records that those are made of.
    pub sources: BTreeSet<&'a str>,
    /// Number of imports with such records.
    pub import_count: usize,
    /// The newest of them, 100 at most.
    pub imports: Vec<LineageImport<'a>>,
    /// The newest imports that were taken back, 100 at most.
    pub undone: Vec<&'a Undone>,
    /// Final days that were reopened, the newest time first, 100 at most.
    pub reopened: Vec<LineageReopening<'a>>,
    /// SHA-256 of the dictionary.
    pub dictionary_sha256: &'a str,
}

/// A measure of a KPI.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineageMeasure<'a> {
    /// Name.
    pub name: &'a str,
    /// Model whose rows it is made of.
    pub model: &'a str,
    /// How.
    pub agg: Aggregation,
    /// Condition on the rows.
    #[serde(rename = "where")]
    pub condition: Option<&'a str>,
    /// What is summed or collected.
    pub expr: Option<&'a str>,
    /// Types of events that it depends on.
    pub event_types: &'a [String],
    /// Days after the end of a day until the day's value can be final.
    pub lateness_days: u32,
    /// Whole query, for one day.
    pub sql: Option<String>,
}

/// A model of the dictionary.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineageModel<'a> {
    /// Name.
    pub name: &'a str,
    /// What a row is.
    pub description: &'a str,
    /// Schema of the records that it is made of.
    pub source: &'a str,
    /// Query.
    pub sql: &'a str,
}

/// An imported file or topic.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineageImport<'a> {
    /// SHA-256 of the content.
    pub sha256: &'a str,
    /// Name of the source.
    pub source: &'a str,
    /// Name of the file or topic.
    pub name: &'a str,
    /// When it was imported.
    pub imported_at: Timestamp,
    /// Rows read.
    pub rows: u64,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows refused.
    pub rejected: u64,
}

/// A final day that was reopened.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineageReopening<'a> {
    /// The day.
    pub day: Date,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: &'a str,
}

/// Age of values and sources.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// Whether there are values.
    pub status: HealthStatus,
    /// When values were computed last.
    pub as_of: Option<Timestamp>,
    /// Number of the newest commit.
    pub commit: u64,
    /// Days with values.
    pub days: usize,
    /// The first of them.
    pub first_day: Option<Date>,
    /// The last of them.
    pub last_day: Option<Date>,
    /// Days of which data are missing.
    pub incomplete_days: usize,
    /// Imported files and topics.
    pub imports: usize,
    /// Rows that were refused and wait for a correction.
    pub rejected_rows: u64,
    /// Newest fact by table.
    pub sources: BTreeMap<&'static str, Newest>,
}

/// Whether there are values.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// There are.
    Ok,
    /// Nothing was computed yet.
    NoValues,
}

/// The newest fact of a table.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Newest {
    /// Its time.
    pub newest: Timestamp,
    /// Seconds since then.
    pub age_seconds: i64,
}
