//! What is wrong with a dictionary.

use super::{Aggregation, DELIVERY_DAYS, DIMENSIONS, Dictionary, FAMILIES, Kpi, KpiType, Measure};
use crate::decision::Rule;
use crate::definition::Window;
use std::collections::BTreeSet;

/// Horizon at most: no day is known that is so long ago.
const MAX_HORIZON_DAYS: u32 = 3_660;

impl Dictionary {
    /// Returns what is wrong with what is declared in short.
    pub(super) fn unclear(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for model in &self.models {
            let place = format!("model {}", model.name);
            if model.sql.is_empty() == model.follows.is_none() {
                problems.push(format!("{place}: give sql or follows"));
            }
            if model.follows.is_some() && model.keys.is_some() {
                problems.push(format!("{place}: follows has keys of its own: leave out keys"));
            }
            if let Some(follows) = &model.follows {
                unknown_types(&place, [&follows.start, &follows.end], &mut problems);
            }
        }
        for measure in &self.measures {
            let place = format!("measure {}", measure.name);
            unknown_types(&place, measure.events.iter().chain(&measure.types), &mut problems);
            if !measure.events.is_empty() && !measure.types.is_empty() {
                problems.push(format!("{place}: events are its types: leave out types"));
            }
        }
        problems
    }

    /// Returns what is wrong, without asking the query engine: each problem names its place.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.version != 1 {
            problems.push(format!("version {}: only 1 is known", self.version));
        }
        let names = self.models.iter().map(|model| ("model", &model.name));
        let names = names.chain(self.measures.iter().map(|measure| ("measure", &measure.name)));
        let names = names.chain(self.kpis.iter().map(|kpi| ("kpi", &kpi.name)));
        let mut seen = BTreeSet::new();
        for (kind, name) in names {
            if !seen.insert((kind, name)) {
                problems.push(format!("{kind} {name}: defined twice"));
            }
            let legal =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name.is_empty() || !name.bytes().all(legal) {
                problems.push(format!("{kind} \"{name}\": lower case letters, digits and _ only"));
            }
        }
        for model in &self.models {
            let place = format!("model {}", model.name);
            unknown_dimensions(&place, &model.dimensions, &mut problems);
        }
        for measure in &self.measures {
            self.check_measure(measure, &mut problems);
        }
        for kpi in &self.kpis {
            self.check_kpi(kpi, &mut problems);
        }
        problems
    }

    fn check_measure(&self, measure: &Measure, problems: &mut Vec<String>) {
        let place = format!("measure {}", measure.name);
        let Some(model) = self.model_of(measure) else {
            problems.push(format!("{place}: there is no model {}", measure.model));
            return;
        };
        for dimensions in measure.dimensions.iter().chain([&measure.also_by]) {
            unknown_dimensions(&place, dimensions, problems);
            for name in dimensions.iter().filter(|name| !model.dimensions.contains(name)) {
                problems.push(format!("{place}: model {} has no dimension {name}", model.name));
            }
        }
        if measure.horizon_days > MAX_HORIZON_DAYS {
            let days = measure.horizon_days;
            problems
                .push(format!("{place}: horizon_days: {days}: give {MAX_HORIZON_DAYS} or less"));
        }
        let least = measure.horizon_days.saturating_add(DELIVERY_DAYS);
        if measure.horizon_days > 0 && measure.lateness_days < least {
            problems.push(format!(
                "{place}: lateness_days: what happens on the last day of horizon_days may come later: give {least} or more"
            ));
        }
        if (measure.agg == Aggregation::Count) == measure.expr.is_some() {
            problems.push(format!("{place}: sum and samples need expr, count has none"));
        }
    }

    fn check_kpi(&self, kpi: &Kpi, problems: &mut Vec<String>) {
        let place = format!("kpi {}", kpi.name);
        for name in kpi.measures() {
            match self.measure(name) {
                None => problems.push(format!("{place}: there is no measure {name}")),
                Some(measure) => {
                    let is_sample = measure.agg == Aggregation::Samples;
                    if is_sample != (kpi.samples.as_deref() == Some(name)) {
                        problems.push(format!("{place}: {name} is for percentiles, or is not"));
                    }
                }
            }
        }
        let fits = match kpi.kind {
            KpiType::Simple => kpi.minus.is_empty() && kpi.over.is_empty() && !kpi.plus.is_empty(),
            KpiType::Derived => kpi.over.is_empty() && !kpi.plus.is_empty(),
            KpiType::Cumulative => !kpi.plus.is_empty(),
            KpiType::Ratio | KpiType::Conversion => !kpi.plus.is_empty() && !kpi.over.is_empty(),
            KpiType::Percentile => {
                kpi.samples.is_some() && kpi.plus.is_empty() && kpi.over.is_empty()
            }
        };
        let percentile_fits = kpi.percentile.is_some_and(|p| (0.0..=1.0).contains(&p));
        if !fits || (kpi.kind == KpiType::Percentile) != percentile_fits {
            problems.push(format!("{place}: plus, minus, over, samples do not fit its type"));
        }
        match kpi.window {
            Some(_) if kpi.kind != KpiType::Cumulative => {
                problems.push(format!("{place}: window: only for cumulative"));
            }
            Some(Window::Days(days)) if !(2..=400).contains(&days) => {
                problems.push(format!("{place}: window: {days} days: give 2 to 400"));
            }
            _ => {}
        }
        if !FAMILIES.contains(&kpi.family.as_str()) {
            problems.push(format!(
                "{place}: family {}: choose from {}",
                kpi.family,
                FAMILIES.join(", ")
            ));
        }
        for (key, text) in [
            ("label", &kpi.label),
            ("description", &kpi.description),
            ("unit", &kpi.unit),
            ("cadence", &kpi.cadence),
            ("owner", &kpi.owner),
            ("decision.action", &kpi.decision.action),
            ("decision.runbook", &kpi.decision.runbook),
        ] {
            if text.trim().is_empty() {
                problems.push(format!("{place}: {key} is empty"));
            }
        }
        if let Some(problem) = kpi.decision.when.as_ref().and_then(Rule::problem) {
            problems.push(format!("{place}: decision.when: {problem}"));
        }
        if let Some(grain) = kpi.grain.filter(|grain| *grain < self.grain(kpi)) {
            problems
                .push(format!("{place}: grain {}: not all of its measures have it", grain.name()));
        }
        let dimensions = self.dimensions(kpi);
        for name in kpi.always_by.iter().filter(|name| !dimensions.contains(&name.as_str())) {
            problems.push(format!("{place}: always_by {name}: not all of its measures have it"));
        }
    }
}

fn unknown_dimensions(place: &str, dimensions: &[String], problems: &mut Vec<String>) {
    for name in dimensions.iter().filter(|name| !DIMENSIONS.contains(&name.as_str())) {
        problems.push(format!("{place}: unknown dimension {name}"));
    }
}

/// Names of types stand in SQL.
fn unknown_types<'a>(
    place: &str,
    types: impl IntoIterator<Item = &'a String>,
    problems: &mut Vec<String>,
) {
    // A schema stands for its records.
    let is_name = |name: &str| {
        let is_legal =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_./".contains(&byte);
        name.bytes().all(is_legal)
    };
    for name in types.into_iter().filter(|name| name.is_empty() || !is_name(name)) {
        problems
            .push(format!("{place}: event type \"{name}\": lower case letters, digits and _ only"));
    }
}
