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

const OF_KPI: &[(&str, &str)] = &[
    ("kpi", "name"),
    ("family", "operations, sales, product, pipeline"),
    ("unit", "unit"),
    ("slice", SLICE),
];

const SLICE: &str = "value of the dimension that a KPI is always sliced by, such as the currency; `NAME=VALUE,…` where it is by several; else empty";

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
        ("slice", SLICE),
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
        from: Some(before(day, LOOK_BACK_DAYS + horizon(dictionary, kpi))),
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
    before(day, horizon(dictionary, kpi))
}

fn horizon(dictionary: &Dictionary, kpi: &Kpi) -> i32 {
    i32::try_from(dictionary.horizon_days(kpi)).unwrap_or_default()
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

/// The last day that was over when values were computed, if one was.
fn last_day(values: &Values) -> Option<Date> {
    let (first, last) = values.span()?;
    let computed = day_of(values.as_of?.as_microsecond());
    Some(last.min(before(computed, 1))).filter(|day| *day >= first)
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

/// A slice as a label: of several dimensions with their names, quoted as a filter is, since equal labels would be one series.
fn slice(by: &BTreeMap<String, Option<String>>) -> String {
    let mut pairs = by.iter().map(|(name, value)| (name, value.as_deref().unwrap_or_default()));
    match (pairs.next(), pairs.next()) {
        (None, _) => String::new(),
        (Some((_, only)), None) => only.to_owned(),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(pairs);
            let quoted = all.map(|(name, value)| {
                let pair = format!("{name}={value}");
                if pair.contains([',', '"']) {
                    format!("\"{}\"", pair.replace('"', "\"\""))
                } else {
                    pair
                }
            });
            quoted.collect::<Vec<_>>().join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_is_one_whose_horizon_is_over() {
        let short = "types: [restore_requested], lateness_days: 10, horizon_days: 7";
        let long = "types: [restore_requested], lateness_days: 63, horizon_days: 60";
        let text = crate::dictionary::BUILT_IN.replacen(short, long, 1);
        let dictionary = Dictionary::parse(&text, "test").unwrap();
        let day = jiff::civil::date(2026, 3, 29);
        let closed = |name: &str| closed(&dictionary, dictionary.kpi(name).unwrap(), day);
        assert_eq!(closed("restore_completion_ratio"), jiff::civil::date(2026, 1, 28));
        assert_eq!(closed("transfer_completion_ratio"), jiff::civil::date(2026, 3, 22));
        assert_eq!(closed("registrations"), day);
    }

    #[test]
    fn slices_have_labels_of_their_own() {
        let label = |pairs: &[(&str, Option<&str>)]| {
            let pair = |(name, value): &(&str, Option<&str>)| {
                ((*name).to_owned(), value.map(str::to_owned))
            };
            slice(&pairs.iter().map(pair).collect())
        };
        assert_eq!(label(&[]), "");
        assert_eq!(label(&[("currency", Some("EUR"))]), "EUR");
        let two = |channel, partner| label(&[("channel", channel), ("partner", partner)]);
        assert_eq!(two(Some("a"), Some("b c")), "channel=a,partner=b c");
        assert_eq!(two(Some("a b"), Some("c")), "channel=a b,partner=c");
        assert_eq!(two(None, Some("x")), "channel=,partner=x");
        assert_eq!(two(Some("x"), None), "channel=x,partner=");
        let quoted = two(Some("a,partner=b"), Some("say \"hi\""));
        assert_eq!(quoted, r#""channel=a,partner=b","partner=say ""hi""""#);
    }
}
