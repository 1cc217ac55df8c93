//! The metric dictionary: models, measures and KPIs, as `kpi/metrics.yaml` says them.

mod check;

use crate::decision::Decision;
pub use crate::definition::KpiType;
use crate::definition::{Definition, Formula, Part, Window};
use crate::error::KpiError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The dictionary that the program brings along.
pub const BUILT_IN: &str = include_str!("../metrics.yaml");

/// Names of all dimensions, in the order of the columns of values.
pub const DIMENSIONS: [&str; 22] = [
    "tld",
    "country",
    "channel",
    "tier",
    "currency",
    "abuse_category",
    "error_code",
    "campaign",
    "cohort",
    "source_system",
    "vantage",
    "region",
    "service",
    "site",
    "endpoint",
    "partner",
    "segment",
    "owner",
    "product",
    "risk",
    "rule",
    "severity",
];

/// A dictionary.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dictionary {
    /// Version of the format.
    pub version: u32,
    /// What is counted.
    pub models: Vec<Model>,
    /// What is added up or collected.
    pub measures: Vec<Measure>,
    /// What people read.
    pub kpis: Vec<Kpi>,
    /// SHA-256 of the text, in hex.
    #[serde(skip)]
    pub sha256: String,
}

/// One row for each thing that is counted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name.
    pub name: String,
    /// What a row is.
    pub description: String,
    /// Schema of the records that it is made of.
    pub source: String,
    /// Column that identifies the thing.
    pub entity: String,
    /// Dimensions among its columns; for a model that `follows`, those beside [`OF_CUSTOMERS`].
    #[serde(default)]
    pub dimensions: Vec<String>,
    /// Query over `events`, `events_raw`, `events_unique`, `duplicates`, `corrected`, `rejected_raw`, `dns`,
    /// `probes` and `alerts`.
    #[serde(default)]
    pub sql: String,
    /// In place of `sql`: what is begun, and what follows it.
    pub follows: Option<Follows>,
    /// Expressions over `events`, texts, by which events go together: those with another value, or with none, do not change what a row
    /// says. None if each row is made of one event, window, measurement, alert or refused row alone. If it is left out, `compute` reads
    /// all facts each time. A model that `follows` needs none.
    pub keys: Option<Vec<String>>,
}

/// What is begun, and what follows it: a row for the first event of type `start` of each request, and domain of it, with `hours` until the first of
/// type `end` that comes after it, or null.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follows {
    /// Type of the event that begins.
    pub start: String,
    /// Type of the event that follows.
    pub end: String,
    /// What both have in common.
    pub by: Link,
    /// Days after the beginning in which something can follow; for ever if absent.
    pub within_days: Option<u16>,
}

/// What two events have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The request, and of it the domain, for events that have both; the one of the two that an event has.
    Request,
    /// The request, whatever the domain of what follows. Each domain of a request begins for itself.
    Case,
    /// As `Case`, or the domain of events without request.
    CaseOrDomain,
    /// The request.
    RequestId,
    /// The domain.
    Domain,
    /// The account.
    AccountId,
}

impl Link {
    /// Column of what is begun once, and expression of what both events have in common.
    pub(crate) const fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Request | Self::CaseOrDomain => ("request_id", "coalesce(request_id, domain)"),
            Self::Case | Self::RequestId => ("request_id", "request_id"),
            Self::Domain => ("domain", "domain"),
            Self::AccountId => ("account_id", "account_id"),
        }
    }
}

impl Follows {
    /// Microseconds after the beginning in which something can follow.
    pub(crate) fn within_us(&self) -> Option<i64> {
        self.within_days.map(|days| i64::from(days) * 86_400_000_000)
    }

    /// Query of the model.
    fn sql(&self, dimensions: &[String]) -> String {
        let Self { start, end, by, .. } = self;
        let (column, link) = by.columns();
        let in_time = self
            .within_us()
            .map_or_else(String::new, |within| format!(" AND e.event_us <= s.event_us + {within}"));
        let list = |prefix: &str, suffix: fn(&str) -> String| {
            let names = dimensions.iter().map(|name| format!("{prefix}{name}{}", suffix(name)));
            names.collect::<Vec<_>>().join(", ")
        };
        let each = match by {
            Link::Request | Link::Case | Link::CaseOrDomain => "request_id, coalesce(domain, '')",
            Link::RequestId | Link::Domain | Link::AccountId => column,
        };
        let (plain, of_start) = (list("", |_| String::new()), list("s.", |_| String::new()));
        let named = list("s.", |name| format!(" AS {name}"));
        let starts = format!(
            "SELECT * FROM (SELECT day, event_us, row_id, domain, {link} AS link, {plain}, \
             row_number() OVER (PARTITION BY {each}, \
             CASE WHEN {column} IS NULL THEN business_key END ORDER BY event_us, row_id) AS nth \
             FROM events WHERE event_type = '{start}') AS numbered WHERE nth = 1"
        );
        let ends = format!(
            "SELECT {link} AS link, domain, event_us FROM events WHERE event_type = '{end}'"
        );
        let (starts, ends, is_same) = match by {
            // One request may be for several domains, and an event that names none goes with all of them. So each event is there
            // once for its domain, and once for those that name none: a join by an alternative would compare all pairs.
            Link::Request => {
                let twice = |columns: &str, rows: &str, domain: &str, other: &str| {
                    format!(
                        "SELECT {columns}, CASE WHEN w.wide = 1 THEN {other} WHEN n.domain IS NULL THEN {domain} \
                         ELSE concat('=', n.domain) END AS place \
                         FROM (SELECT 0 AS wide UNION ALL SELECT 1 AS wide) AS w CROSS JOIN ({rows}) AS n"
                    )
                };
                let columns = list("n.", |name| format!(" AS {name}"));
                let columns = format!(
                    "n.day AS day, n.event_us AS event_us, n.row_id AS row_id, n.link AS link, {columns}"
                );
                let without = "CASE WHEN n.domain IS NULL THEN '*' ELSE '' END";
                (
                    twice(&columns, &starts, "'*'", without),
                    twice("n.link AS link, n.event_us AS event_us", &ends, "''", "'*'"),
                    " AND s.place = e.place",
                )
            }
            Link::Case | Link::CaseOrDomain | Link::RequestId | Link::Domain | Link::AccountId => {
                (starts, ends, "")
            }
        };
        format!(
            "SELECT s.day AS day, s.event_us AS event_us, {named}, \
             (min(CASE WHEN e.event_us >= s.event_us{in_time} THEN e.event_us END) - s.event_us) / 3600000000.0 AS hours \
             FROM ({starts}) AS s LEFT JOIN ({ends}) AS e ON s.link = e.link{is_same} \
             GROUP BY s.day, s.event_us, s.row_id, s.link, {of_start}"
        )
    }
}

/// How a measure is made of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Number of rows.
    #[default]
    Count,
    /// Sum of integers.
    Sum,
    /// All values, for percentiles.
    Samples,
}

/// What is added up or collected for each day and slice.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Name.
    pub name: String,
    /// Model whose rows it is made of.
    #[serde(default = "event_model")]
    pub model: String,
    /// How.
    #[serde(default)]
    pub agg: Aggregation,
    /// Types of events of the model `event` that it counts; stands for a condition, and for `types`.
    #[serde(default)]
    pub events: Vec<String>,
    /// Condition on the rows.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// What is summed or collected.
    pub expr: Option<String>,
    /// Dimensions by which it can be sliced; all of the model if absent.
    pub dimensions: Option<Vec<String>>,
    /// Dimensions of the model beside [`OF_CUSTOMERS`] by which it can be sliced, for a measure with `events`.
    #[serde(default)]
    pub also_by: Vec<String>,
    /// Types of events that it depends on.
    #[serde(default)]
    pub types: Vec<String>,
    /// Parts of a day that its rows are kept for, by `event_us` of the model; a quarter of an hour if absent for a measure with
    /// `events` or of a model that `follows`, else a day.
    pub grain: Option<Part>,
    /// Days after the end of a day until the day's value can be final, as the dictionary says it.
    #[serde(rename = "lateness_days")]
    declared_lateness: Option<u32>,
    /// Days after the end of a day until the day's value can be final: three more than `horizon_days`, unless the dictionary says more.
    #[serde(skip)]
    pub lateness_days: u32,
    /// Days after the end of a day on which something can still happen to what the day's rows stand for: until then the
    /// measure is open.
    #[serde(default)]
    pub horizon_days: u32,
}

fn event_model() -> String {
    "event".to_owned()
}

/// Days that what has happened may take to be delivered, unless a measure says more.
const DELIVERY_DAYS: u32 = 3;

/// Dimensions that events of customers have, by themselves or by dimension tables.
pub const OF_CUSTOMERS: [&str; 9] =
    ["tld", "country", "channel", "tier", "partner", "segment", "owner", "product", "risk"];

/// What people read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kpi {
    /// Name.
    pub name: String,
    /// Name for people.
    pub label: String,
    /// Family, which access is granted for: `operations`, `sales`, `product` or `pipeline`.
    pub family: String,
    /// What it is.
    pub description: String,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: KpiType,
    /// Measures that are added. Here, in `minus` and in `over`, `kpi:NAME` stands for the sum of a KPI above.
    #[serde(default)]
    pub plus: Vec<String>,
    /// Measures that are subtracted.
    #[serde(default)]
    pub minus: Vec<String>,
    /// Measures whose sum is the denominator.
    #[serde(default)]
    pub over: Vec<String>,
    /// Measure with the values of a percentile.
    pub samples: Option<String>,
    /// Which percentile, 0 to 1; interpolated between the two nearest values.
    pub percentile: Option<f64>,
    /// Days that a running total adds up, if not all since the first fact.
    pub window: Option<Window>,
    /// Dimensions by which values are always sliced, since their sum has no meaning.
    #[serde(default)]
    pub always_by: Vec<String>,
    /// Unit.
    pub unit: String,
    /// Finest grain, if it is not the finest that all of its measures have.
    pub grain: Option<Part>,
    /// How often it is computed.
    pub cadence: String,
    /// Who answers for it.
    pub owner: String,
    /// What to do, and when.
    pub decision: Decision,
}

impl Kpi {
    /// Names of all measures, each once.
    #[must_use]
    pub fn measures(&self) -> Vec<&str> {
        let all = self.plus.iter().chain(&self.minus).chain(&self.over).chain(&self.samples);
        let mut seen = BTreeSet::new();
        all.map(String::as_str).filter(|name| seen.insert(*name)).collect()
    }

    /// Whether it adds up everything since the first fact.
    #[must_use]
    pub fn is_running_total(&self) -> bool {
        self.kind == KpiType::Cumulative && self.window.is_none()
    }

    /// Formula over measures, in SQL.
    #[must_use]
    pub fn formula(&self) -> String {
        let sums = |names: &[String], sign: &str| {
            let sums: Vec<_> = names.iter().map(|name| format!("sum({name})")).collect();
            sums.join(sign)
        };
        if let (Some(samples), Some(percentile)) = (&self.samples, self.percentile) {
            return format!("percentile_cont({percentile}) WITHIN GROUP (ORDER BY {samples})");
        }
        let mut formula = sums(&self.plus, " + ");
        if !self.minus.is_empty() {
            formula = format!("{formula} - {}", sums(&self.minus, " - "));
        }
        match self.kind {
            KpiType::Ratio | KpiType::Conversion => {
                let is_one = self.plus.len() + self.minus.len() == 1;
                let numerator = if is_one { formula } else { format!("({formula})") };
                format!("{numerator} / nullif({}, 0)", sums(&self.over, " + "))
            }
            KpiType::Cumulative => {
                let window = self.window.map_or_else(|| "ORDER BY day".to_owned(), Window::sql);
                let total = |formula: &str| format!("sum({formula}) OVER ({window})");
                match &*self.over {
                    [] => total(&formula),
                    over => {
                        format!("{} / nullif({}, 0)", total(&formula), total(&sums(over, " + ")))
                    }
                }
            }
            _ => formula,
        }
    }
}

impl Dictionary {
    /// Reads the dictionary in a file, or the built-in one.
    ///
    /// # Errors
    /// The file cannot be read, or [`Self::parse`] refuses it.
    pub fn load(file: Option<&Path>) -> Result<Self, KpiError> {
        let Some(file) = file else { return Self::parse(BUILT_IN, "kpi/metrics.yaml") };
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| KpiError::Usage(format!("{name}: {error}")))?;
        Self::parse(&text, &name)
    }

    /// Parses a dictionary.
    ///
    /// # Errors
    /// The text is not a dictionary, or [`Self::problems`] finds something.
    pub fn parse(text: &str, name: &str) -> Result<Self, KpiError> {
        let mut dictionary: Self = serde_saphyr::from_str(text)
            .map_err(|error| KpiError::Usage(format!("{name}: {error}")))?;
        dictionary.sha256 = crate::input::hex(&Sha256::digest(text.as_bytes()));
        let mut problems = dictionary.unclear();
        dictionary.resolve_kpis(&mut problems);
        dictionary.complete();
        problems.extend(dictionary.problems());
        if problems.is_empty() {
            return Ok(dictionary);
        }
        Err(KpiError::Usage(format!("{name}: {}", problems.join(&format!("\n{name}: ")))))
    }

    /// Replaces names of KPIs in formulas by their measures.
    fn resolve_kpis(&mut self, problems: &mut Vec<String>) {
        for index in 0..self.kpis.len() {
            let (above, rest) = self.kpis.split_at_mut(index);
            let Some(kpi) = rest.first_mut() else { return };
            let mut slices = Vec::new();
            let mut resolve = |names: &[String]| {
                let (mut same, mut other) = (Vec::new(), Vec::new());
                for name in names {
                    let Some(wanted) = name.strip_prefix("kpi:") else {
                        same.push(name.clone());
                        continue;
                    };
                    let is_sum =
                        |kpi: &&Kpi| matches!(kpi.kind, KpiType::Simple | KpiType::Derived);
                    match above.iter().find(|kpi| kpi.name == wanted).filter(is_sum) {
                        Some(sum) => {
                            same.extend(sum.plus.iter().cloned());
                            other.extend(sum.minus.iter().cloned());
                            slices.extend(sum.always_by.iter().cloned());
                        }
                        None => problems.push(format!(
                            "kpi {}: {name}: no KPI above it of this name is a sum",
                            kpi.name
                        )),
                    }
                }
                (same, other)
            };
            let (plus, minus) = resolve(&kpi.plus);
            let (subtracted, added) = resolve(&kpi.minus);
            let (over, not_over) = resolve(&kpi.over);
            if !not_over.is_empty() {
                problems.push(format!("kpi {}: over: nothing can be subtracted there", kpi.name));
            }
            (kpi.plus, kpi.minus, kpi.over) =
                ([plus, added].concat(), [minus, subtracted].concat(), over);
            for name in slices {
                if !kpi.always_by.contains(&name) {
                    kpi.always_by.push(name);
                }
            }
        }
    }

    /// Writes out what is declared in short.
    fn complete(&mut self) {
        for model in &mut self.models {
            if let Some(follows) = &model.follows {
                let more = OF_CUSTOMERS.map(str::to_owned).into_iter();
                let mut more: Vec<String> = more.chain(model.dimensions.clone()).collect();
                let mut seen = BTreeSet::new();
                more.retain(|name| seen.insert(name.clone()));
                model.dimensions = more;
                model.sql = follows.sql(&model.dimensions);
            }
        }
        let follows = self.models.iter().filter(|model| model.follows.is_some());
        let follows: BTreeSet<&str> = follows.map(|model| model.name.as_str()).collect();
        for measure in &mut self.measures {
            measure.lateness_days = measure
                .declared_lateness
                .unwrap_or_else(|| measure.horizon_days.saturating_add(DELIVERY_DAYS));
            if !measure.events.is_empty() || follows.contains(measure.model.as_str()) {
                measure.grain.get_or_insert(Part::QuarterHour);
            }
        }
        for measure in self.measures.iter_mut().filter(|measure| !measure.events.is_empty()) {
            let types: Vec<_> = measure.events.iter().map(|kind| format!("'{kind}'")).collect();
            let types = match &*types {
                [only] => format!("event_type = {only}"),
                several => format!("event_type IN ({})", several.join(", ")),
            };
            measure.condition = Some(match &measure.condition {
                Some(condition) => format!("{types} AND {condition}"),
                None => types,
            });
            measure.types.clone_from(&measure.events);
            let dimensions =
                OF_CUSTOMERS.map(str::to_owned).into_iter().chain(measure.also_by.clone());
            measure.dimensions.get_or_insert_with(|| dimensions.collect());
        }
    }

    /// Finds a KPI.
    #[must_use]
    pub fn kpi(&self, name: &str) -> Option<&Kpi> {
        self.kpis.iter().find(|kpi| kpi.name == name)
    }

    /// Finds a measure.
    #[must_use]
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }

    /// Finds a model.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// Model of a measure.
    #[must_use]
    pub fn model_of(&self, measure: &Measure) -> Option<&Model> {
        self.model(&measure.model)
    }

    /// Types of events that rows of a model are made of; nothing if a measure does not say its types.
    #[must_use]
    pub fn types_of_model(&self, model: &Model) -> Option<BTreeSet<&str>> {
        let measures = self.measures.iter().filter(|measure| measure.model == model.name);
        let types = measures.map(|measure| (!measure.types.is_empty()).then_some(&measure.types));
        let types = types.collect::<Option<Vec<_>>>()?;
        Some(types.into_iter().flatten().map(String::as_str).collect())
    }

    /// Dimensions by which a measure can be sliced.
    #[must_use]
    pub fn dimensions_of_measure<'a>(&'a self, measure: &'a Measure) -> &'a [String] {
        match (&measure.dimensions, self.model_of(measure)) {
            (Some(dimensions), _) => dimensions,
            (None, Some(model)) => &model.dimensions,
            (None, None) => &[],
        }
    }

    /// Dimensions by which a KPI can be sliced: those that all of its measures have.
    #[must_use]
    pub fn dimensions(&self, kpi: &Kpi) -> Vec<&'static str> {
        let measures: Vec<_> =
            kpi.measures().iter().filter_map(|name| self.measure(name)).collect();
        let has = |measure: &Measure, name: &str| {
            self.dimensions_of_measure(measure).iter().any(|dimension| dimension == name)
        };
        let all = DIMENSIONS.into_iter();
        all.filter(|name| measures.iter().all(|measure| has(measure, name))).collect()
    }

    /// Days after the end of a day until the KPI's value can be final.
    #[must_use]
    pub fn lateness_days(&self, kpi: &Kpi) -> u32 {
        let measures = kpi.measures().into_iter().filter_map(|name| self.measure(name));
        measures.map(|measure| measure.lateness_days).max().unwrap_or_default()
    }

    /// Days after the end of a day until nothing can happen any more that the KPI's value counts.
    #[must_use]
    pub fn horizon_days(&self, kpi: &Kpi) -> u32 {
        let measures = kpi.measures().into_iter().filter_map(|name| self.measure(name));
        measures.map(|measure| measure.horizon_days).max().unwrap_or_default()
    }

    /// Finest grain of a KPI.
    #[must_use]
    pub fn grain(&self, kpi: &Kpi) -> Part {
        let measures = kpi.measures().into_iter().filter_map(|name| self.measure(name));
        let measures = measures.map(|measure| measure.grain.unwrap_or_default());
        // A window is made of days in UTC.
        let window = kpi.window.map(|_| Part::Day);
        measures.chain(kpi.grain).chain(window).max().unwrap_or_default()
    }

    /// Definition of a KPI.
    #[must_use]
    pub fn definition(&self, kpi: &Kpi) -> Definition {
        let formula = Formula {
            kind: kpi.kind,
            plus: kpi.plus.clone(),
            minus: kpi.minus.clone(),
            over: kpi.over.clone(),
            samples: kpi.samples.clone(),
            percentile: kpi.percentile,
            window: kpi.window,
        };
        let measures = kpi.measures().into_iter().filter_map(|name| self.measure(name));
        let measures = measures.map(|measure| {
            let sql = self.model_of(measure).map(|model| &model.sql);
            json!([measure.name, sql, measure.agg, measure.condition, measure.expr])
        });
        let all = json!([formula, kpi.always_by, measures.collect::<Vec<_>>()]).to_string();
        Definition { sha256: crate::input::hex(&Sha256::digest(all.as_bytes())), formula }
    }

    /// Hashes of the definitions of all KPIs, by their names.
    #[must_use]
    pub fn definitions(&self) -> BTreeMap<String, String> {
        let hash = |kpi: &Kpi| (kpi.name.clone(), self.definition(kpi).sha256);
        self.kpis.iter().map(hash).collect()
    }

    /// Schemas of the records that a KPI is made of, each once.
    #[must_use]
    pub fn sources(&self, kpi: &Kpi) -> BTreeSet<&str> {
        let measures = kpi.measures().into_iter().filter_map(|name| self.measure(name));
        measures.filter_map(|measure| self.model_of(measure)).map(|model| &*model.source).collect()
    }

    /// Types of events that a KPI is made of, each once.
    #[must_use]
    pub fn event_types(&self, kpi: &Kpi) -> BTreeSet<&str> {
        let measures = kpi.measures().into_iter().filter_map(|name| self.measure(name));
        measures.flat_map(|measure| &measure.types).map(String::as_str).collect()
    }
}

/// Families of KPIs.
pub const FAMILIES: [&str; 4] = ["operations", "sales", "product", "pipeline"];

#[cfg(test)]
mod tests;
