//! The reference of all KPIs for people (`docs/kpis.md`), generated from the dictionary.

use crate::dictionary::{Aggregation, Dictionary, FAMILIES, Kpi};
use crate::event::EVENT_TYPES;
use crate::metrics::METRICS;
use dnscribe_admin::metric::Metric;
use std::fmt::Write as _;

const HEAD: &str = "# KPIs\n\n\
    *Generated from `kpi/metrics.yaml` by `dnscribe-kpi export --format markdown`.* How facts become values: \
    [kpi.md](kpi.md).\n\n\
    Days are in UTC by `event_ts`. Events count net of duplicates and of what other events take away. Ratios over \
    nothing are null. A value is provisional until `compute --final` freezes it, at the earliest after its lateness.\n";

/// Writes the reference in Markdown.
#[must_use]
pub fn markdown(dictionary: &Dictionary) -> String {
    let mut page = HEAD.to_owned();
    for family in FAMILIES {
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {}\n", capital(family));
        for kpi in dictionary.kpis.iter().filter(|kpi| kpi.family == family) {
            add_kpi(&mut page, dictionary, kpi);
        }
    }
    add_event_types(&mut page, dictionary);
    page.push_str("\n## Metrics\n\nOf `/metrics` of `dnscribe-kpi serve`, for Prometheus.\n");
    page.extend(METRICS.iter().map(Metric::markdown));
    page.push_str("\n## Measures\n\n| measure | is | final after |\n|---|---|---|\n");
    for measure in &dictionary.measures {
        let what = match (measure.agg, &measure.expr) {
            (Aggregation::Count, _) => "rows".to_owned(),
            (Aggregation::Sum, Some(expr)) => format!("sum of `{expr}`"),
            (Aggregation::Samples, Some(expr)) => format!("values of `{expr}`"),
            (_, None) => String::new(),
        };
        let condition = measure.condition.as_deref().map(|sql| format!(" where `{}`", sql.trim()));
        let days = measure.lateness_days;
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {what} of `{}`{} | {days} {} |",
            measure.name,
            measure.model,
            condition.unwrap_or_default(),
            if days == 1 { "day" } else { "days" },
        );
    }
    page.push_str("\n## Models\n");
    for model in &dictionary.models {
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n### {}\n\n{} From `{}`.\n\n```sql\n{}\n```\n",
            model.name,
            model.description,
            model.source,
            model.sql.trim()
        );
    }
    page
}

fn add_kpi(page: &mut String, dictionary: &Dictionary, kpi: &Kpi) {
    let list = |names: Vec<&str>| {
        let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    };
    let days = dictionary.lateness_days(kpi);
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "\n### {}\n\n{}\n\n- Formula: `{}`\n- Unit: {}. Grain: {}, {}, final after {days} {}.\n- Dimensions: {}{}\n\
         - Sources: {}. Owner: {}.\n- {}: {} ([runbook]({}))\n",
        kpi.name,
        kpi.description,
        kpi.formula(),
        kpi.unit,
        dictionary.grain(kpi).name(),
        kpi.cadence,
        if days == 1 { "day" } else { "days" },
        list(dictionary.dimensions(kpi)),
        if kpi.always_by.is_empty() {
            String::new()
        } else {
            format!("; always by {}", list(kpi.always_by.iter().map(String::as_str).collect()))
        },
        list(dictionary.sources(kpi).into_iter().collect()),
        kpi.owner,
        kpi.decision
            .when
            .as_ref()
            .map_or_else(|| "Always".to_owned(), |rule| format!("If {}", rule.in_words(&kpi.unit))),
        kpi.decision.action,
        kpi.decision.runbook.trim_start_matches("docs/"),
    );
}

/// Adds the types of events with the columns that they need and the KPIs that count them.
fn add_event_types(page: &mut String, dictionary: &Dictionary) {
    page.push_str(
        "\n## Event types\n\nEvery event has `event_id` (made of type and `business_key` where a map names none), `business_key`, \
         `event_type` and `event_ts`, and may have all other fields of [registrar.event/1](fields.md#registrarevent1): by `tld`, `country`, `channel` and `tier` KPIs can be sliced. An event of a type \
         that is not listed is kept and counted by no KPI; `import` says so.\n\n\
         | `event_type` | is | needs | counted by |\n|---|---|---|---|\n",
    );
    for kind in &EVENT_TYPES {
        let needs = kind.needs.iter().flat_map(|need| need.split(" or ")).collect::<Vec<_>>();
        let needs = needs.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>();
        let is_choice = kind.needs.iter().any(|need| need.contains(" or "));
        let needs = needs.join(if is_choice { " or " } else { ", " });
        let kpis = dictionary.kpis.iter();
        let kpis = kpis.filter(|kpi| dictionary.event_types(kpi).contains(kind.name));
        let kpis: Vec<String> = kpis.map(|kpi| format!("[{0}](#{0})", kpi.name)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {needs} | {} |", kind.name, kind.is, kpis.join(", "));
    }
}

/// A word with a capital letter.
#[must_use]
pub fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/kpis.md");

    #[test]
    fn golden_reference_is_current() {
        let page = markdown(&Dictionary::load(None).unwrap());
        if std::env::var_os("DNSCRIBE_BLESS").is_some() {
            std::fs::write(STORED, &page).unwrap();
        }
        let stored = std::fs::read_to_string(STORED).unwrap();
        assert!(stored == page, "docs/kpis.md is stale: rewrite it with `cargo xtask bless --kpi`");
    }
}
