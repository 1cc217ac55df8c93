//! `/metrics`: the newest value of each KPI for Prometheus, and how far values can be trusted.

use crate::decision::LOOK_BACK_DAYS;
use crate::dictionary::{Dictionary, Kpi};
use crate::facts::{day_of, epoch_day};
use crate::rows::date;
use crate::store::State;
use crate::values::{Grain, KpiValue, Question, UTC, ValueState, Values};
use crate::verdict::{Judgement, Verdict, verdicts};
use dnscribe_admin::metric::Metric;
use dnscribe_admin::page::{Family, Page};
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Days whose states are counted.
const DAYS: i32 = 28;

/// Days at most before the last one whose value stands for a KPI with a horizon: its own are still open.
const HORIZON_DAYS: i32 = 31;

const OF_KPI: &[(&str, &str)] = &[
    ("kpi", "name"),
    ("family", "operations, sales, product, pipeline"),
    ("unit", "unit"),
    ("slice", "such as the currency, for KPIs that are always sliced; else empty"),
];

/// Every metric of the page.
pub static METRICS: [Metric; 8] = [
    Metric::gauge(
        "dnscribe_kpi_value",
        "the KPI's",
        "Value of a KPI on the last day that was over when values were computed; of one with a horizon, on the last day whose horizon was over. Ratios over nothing are absent.",
    )
    .labels(OF_KPI)
    .source("values"),
    Metric::gauge(
        "dnscribe_kpi_value_week_before",
        "the KPI's",
        "Value of a KPI on the same weekday of the week before.",
    )
    .labels(OF_KPI)
    .source("values"),
    Metric::gauge(
        "dnscribe_kpi_rule_fires",
        "0 or 1",
        "Whether the decision rule of a KPI asks for action on the day of dnscribe_kpi_value. Absent without a rule, and while data are missing: of that day, or of what it is compared with.",
    )
    .labels(&[
        ("kpi", "name"),
        ("family", "operations, sales, product, pipeline"),
        ("owner", "who answers for it"),
        ("slice", "such as the currency, for KPIs that are always sliced; else empty"),
    ])
    .source("values"),
    Metric::gauge(
        "dnscribe_kpi_incomplete",
        "days",
        "Number of the last 28 days on which a KPI is incomplete: data are missing.",
    )
    .labels(&[("kpi", "name"), ("family", "operations, sales, product, pipeline")])
    .source("values"),
    Metric::gauge(
        "dnscribe_kpi_day_timestamp_seconds",
        "seconds since 1970",
        "Beginning (UTC) of the day that dnscribe_kpi_value is for.",
    )
    .source("values"),
    Metric::gauge(
        "dnscribe_kpi_computed_timestamp_seconds",
        "seconds since 1970",
        "When values were computed last.",
    )
    .source("commits"),
    Metric::gauge(
        "dnscribe_kpi_newest_fact_timestamp_seconds",
        "seconds since 1970",
        "Time of the newest fact.",
    )
    .labels(&[("source", "events, dns, probes, alerts")])
    .source("commits"),
    Metric::gauge(
        "dnscribe_kpi_rejected_rows",
        "rows",
        "Rows that imports have refused, corrected ones included.",
    )
    .source("commits"),
];

fn describe(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Writes the page, with the KPIs of the families that `allows` accepts.
#[must_use]
pub fn page(
    dictionary: &Dictionary,
    values: &Values,
    commits: &State,
    allows: impl Fn(&str) -> bool,
) -> Page {
    let mut page = Page::new(describe);
    if let Some(day) = last_day(values) {
        let kpis = dictionary.kpis.iter().filter(|kpi| allows(&kpi.family));
        let answer = |kpi| (kpi, recent(dictionary, values, kpi, day));
        let answers: Vec<(&Kpi, Vec<KpiValue>)> = kpis.map(answer).collect();
        let closed = |kpi: &Kpi, day| closed(dictionary, kpi, day);
        write_values(page.family("dnscribe_kpi_value"), &answers, |kpi| closed(kpi, day));
        let week_before = before(day, 7);
        let family = page.family("dnscribe_kpi_value_week_before");
        write_values(family, &answers, |kpi| closed(kpi, week_before));
        let mut family = page.family("dnscribe_kpi_rule_fires");
        for (kpi, values) in &answers {
            for verdict in verdicts(kpi, values, closed(kpi, day)) {
                let number = match verdict.state {
                    Judgement::Fires => 1,
                    Judgement::Quiet => 0,
                    Judgement::Muted => continue,
                };
                let slice = slice(&verdict.by);
                let labels = [
                    ("kpi", &*kpi.name),
                    ("family", &kpi.family),
                    ("owner", &kpi.owner),
                    ("slice", &slice),
                ];
                family.count(&labels, number);
            }
        }
        let mut family = page.family("dnscribe_kpi_incomplete");
        for (kpi, values) in &answers {
            let first = before(day, DAYS - 1);
            let counted = values.iter().filter(|value| value.from >= first);
            let incomplete = counted.filter(|value| value.state == ValueState::Incomplete);
            let days: BTreeSet<Date> = incomplete.map(|value| value.from).collect();
            family.count(&[("kpi", &kpi.name), ("family", &kpi.family)], days.len() as u64);
        }
        let begin = f64::from(epoch_day(day)) * 86_400.0;
        page.family("dnscribe_kpi_day_timestamp_seconds").value(&[], begin);
    }
    let seconds =
        |at: jiff::Timestamp| at.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64();
    if let Some(at) = values.as_of {
        page.family("dnscribe_kpi_computed_timestamp_seconds").value(&[], seconds(at));
    }
    let mut family = page.family("dnscribe_kpi_newest_fact_timestamp_seconds");
    for (table, at) in &values.newest {
        family.value(&[("source", table.name())], seconds(*at));
    }
    page.count("dnscribe_kpi_rejected_rows", commits.rejected_rows());
    page
}

/// Values of the days until `day` that the page and the rules need.
fn recent(dictionary: &Dictionary, values: &Values, kpi: &Kpi, day: Date) -> Vec<KpiValue> {
    let question = Question {
        from: Some(before(day, LOOK_BACK_DAYS + HORIZON_DAYS)),
        to: Some(day),
        grain: Grain::Day,
        time_zone: UTC.to_owned(),
        by: Vec::new(),
        filter: BTreeMap::new(),
    };
    values.answer(dictionary, kpi, &question)
}

/// The last day until `day` whose horizon was over with it.
fn closed(dictionary: &Dictionary, kpi: &Kpi, day: Date) -> Date {
    let horizon = i32::try_from(dictionary.horizon_days(kpi)).unwrap_or(HORIZON_DAYS);
    before(day, horizon.min(HORIZON_DAYS))
}

/// What the rule of a KPI says of the last day that was over when values were computed, and whose horizon was over.
#[must_use]
pub fn newest_verdicts(dictionary: &Dictionary, values: &Values, kpi: &Kpi) -> Vec<Verdict> {
    match last_day(values) {
        Some(day) if kpi.decision.when.is_some() => {
            let recent = recent(dictionary, values, kpi, day);
            verdicts(kpi, &recent, closed(dictionary, kpi, day))
        }
        _ => Vec::new(),
    }
}

/// The last day that was over when values were computed.
fn last_day(values: &Values) -> Option<Date> {
    let (first, last) = values.span()?;
    let computed = day_of(values.as_of?.as_microsecond());
    Some(last.min(before(computed, 1)).max(first))
}

fn before(day: Date, days: i32) -> Date {
    date(epoch_day(day) - days)
}

fn write_values(
    mut family: Family<'_>,
    answers: &[(&Kpi, Vec<KpiValue>)],
    day_of: impl Fn(&Kpi) -> Date,
) {
    for (kpi, values) in answers {
        let day = day_of(kpi);
        for value in values.iter().filter(|value| value.from == day) {
            let slice = slice(&value.by);
            let Some(number) = value.value.as_f64() else { continue };
            let labels = [
                ("kpi", &*kpi.name),
                ("family", &kpi.family),
                ("unit", &kpi.unit),
                ("slice", &slice),
            ];
            family.value(&labels, number);
        }
    }
}

fn slice(by: &BTreeMap<String, Option<String>>) -> String {
    by.values().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}
