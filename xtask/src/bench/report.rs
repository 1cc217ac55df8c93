//! Results of a part: a JSON line for each figure, and the table.

use super::case::Readings;
use super::statistics::{self, Spread};
use super::table::{Table, number};
use crate::console;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bound that a figure should keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// Upper bound.
    AtMost(f64),
    /// Lower bound.
    AtLeast(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {}", number(bound)),
            Self::AtLeast(bound) => format!("≥ {}", number(bound)),
        }
    }
}

/// A row of the table: one figure of a case. The aim applies to the ratio if there is one, else to the figure.
#[derive(Clone, Debug)]
pub struct Row {
    case: String,
    figure: String,
    base: Option<String>,
    aim: Option<Aim>,
}

impl Row {
    /// Creates a row for a figure of a case.
    pub fn new(case: &str, figure: &str) -> Self {
        Self { case: case.to_owned(), figure: figure.to_owned(), base: None, aim: None }
    }

    /// Adds the ratio to the same figure of another case.
    pub fn relative_to(mut self, base: &str) -> Self {
        self.base = Some(base.to_owned());
        self
    }

    /// Sets an upper bound as the aim.
    pub fn at_most(mut self, bound: f64) -> Self {
        self.aim = Some(Aim::AtMost(bound));
        self
    }

    /// Sets a lower bound as the aim.
    pub fn at_least(mut self, bound: f64) -> Self {
        self.aim = Some(Aim::AtLeast(bound));
        self
    }

    /// Case whose figure the row shows.
    pub fn case(&self) -> &str {
        &self.case
    }

    /// Figure that the row shows.
    pub fn figure(&self) -> &str {
        &self.figure
    }

    /// Returns the cases that the row refers to.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        [Some(self.case.as_str()), self.base.as_deref()].into_iter().flatten()
    }
}

/// A row with its measured values.
struct RowResult {
    row: Row,
    value: Option<Spread>,
    ratio: Option<Spread>,
}

impl RowResult {
    fn new(row: Row, readings: &Readings) -> Self {
        let own = readings.get(&row.case, &row.figure);
        let values: Vec<f64> = own.iter().map(|(_, value)| *value).collect();
        let base = row.base.as_ref();
        let ratio = base.and_then(|case| statistics::ratio(own, readings.get(case, &row.figure)));
        Self { value: Spread::from_values(&values), ratio, row }
    }

    /// Whether the aim was met; `None` without an aim or without a value.
    fn met(&self) -> Option<bool> {
        let judged = if self.row.base.is_some() { self.ratio } else { self.value };
        Some(self.row.aim?.is_met(judged?.median))
    }

    fn json(&self, part: &str, repetitions: u32) -> Value {
        let Row { case, figure, base, aim } = &self.row;
        let mut line = json!({
            "bench": part, "summary": true, "case": case, "figure": figure, "repetitions": repetitions,
        });
        if let Some(Spread { median, min, max }) = self.value {
            line["median"] = median.into();
            line["min"] = min.into();
            line["max"] = max.into();
        }
        if let (Some(base), Some(ratio)) = (base, self.ratio) {
            line["base"] = base.as_str().into();
            line["ratio"] = ratio.median.into();
            line["ratio_min"] = ratio.min.into();
            line["ratio_max"] = ratio.max.into();
        }
        if let Some(aim) = aim {
            line["aim"] = aim.text().into();
            line["met"] = self.met().into();
        }
        line
    }

    fn cells(&self, absent: &BTreeMap<String, String>) -> [String; 7] {
        let Row { case, figure, base, aim } = &self.row;
        let cell = |spread: Option<Spread>, format: fn(Spread) -> String| spread.map(format);
        let none = || "–".to_owned();
        let reason = self.row.cases().find_map(|name| absent.get(name));
        let ratio = base
            .as_ref()
            .zip(self.ratio)
            .map(|(base, ratio)| format!("{} × {base} ({})", number(ratio.median), range(ratio)));
        [
            case.clone(),
            figure.replace('_', " "),
            cell(self.value, |value| number(value.median))
                .or_else(|| reason.cloned())
                .unwrap_or_else(none),
            cell(self.value, range).unwrap_or_else(none),
            ratio.unwrap_or_else(none),
            aim.map_or_else(none, Aim::text),
            match self.met() {
                Some(true) => "yes".to_owned(),
                Some(false) => "**no**".to_owned(),
                None => none(),
            },
        ]
    }
}

fn range(spread: Spread) -> String {
    format!("{}–{}", number(spread.min), number(spread.max))
}

/// Results of one part.
pub struct Report {
    part: &'static str,
    rows: Vec<RowResult>,
    absent: BTreeMap<String, String>,
}

impl Report {
    /// Creates the report from all readings. Prints a JSON line for each figure and each absent case.
    pub fn new(
        part: &'static str,
        repetitions: u32,
        rows: Vec<Row>,
        readings: &Readings,
        absent: BTreeMap<String, String>,
    ) -> Self {
        let rest: Vec<Row> = readings
            .names()
            .filter(|(case, figure)| {
                !rows.iter().any(|row| row.case == *case && row.figure == *figure)
            })
            .map(|(case, figure)| Row::new(case, figure))
            .collect();
        for row in rest {
            console::result(&RowResult::new(row, readings).json(part, repetitions).to_string());
        }
        let rows: Vec<RowResult> =
            rows.into_iter().map(|row| RowResult::new(row, readings)).collect();
        for found in &rows {
            console::result(&found.json(part, repetitions).to_string());
        }
        for (case, reason) in &absent {
            let line = json!({ "bench": part, "summary": true, "case": case, "absent": reason });
            console::result(&line.to_string());
        }
        Self { part, rows, absent }
    }

    /// Name of the part.
    pub const fn part(&self) -> &'static str {
        self.part
    }

    /// Number of aims that were missed.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.met() == Some(false)).count()
    }

    /// Returns the table.
    pub fn table(&self) -> Table {
        let head = ["case", "figure", "median", "spread", "ratio", "aim", "met?"];
        let mut table = Table::new(head.map(ToOwned::to_owned));
        for row in &self.rows {
            table.row(row.cells(&self.absent));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Figures, Plan};
    use super::*;
    use crate::interrupt::Interrupt;

    /// Returns the report of two cases with fixed figures: `slow` takes 2 and 4, `quick` takes 1 and 1.
    fn report(rows: Vec<Row>) -> Report {
        let mut slow = [9.0, 2.0, 4.0].into_iter();
        let mut plan = Plan::new("test");
        plan.case("quick", || Ok(Figures::default().with("seconds", 1.0)));
        plan.case("slow", move || Ok(Figures::default().with("seconds", slow.next().unwrap())));
        plan.absent("peer", "it is not installed");
        for row in rows {
            plan.row(row);
        }
        plan.run(1, &Interrupt::listen().unwrap()).unwrap()
    }

    #[test]
    fn applies_aim_to_ratio_if_there_is_one() {
        let slow = || Row::new("slow", "seconds");
        let missed = |row| report(vec![row]).missed();
        assert_eq!(missed(slow().at_most(3.0)), 0);
        assert_eq!(missed(slow().at_most(2.9)), 1);
        assert_eq!(missed(slow().relative_to("quick").at_most(3.0)), 0);
        assert_eq!(missed(slow().relative_to("quick").at_least(3.1)), 1);
        assert_eq!(missed(slow().relative_to("peer").at_most(0.1)), 0, "nothing to compare with");
    }

    #[test]
    fn table_shows_ratios_and_absent_cases() {
        let rows = vec![
            Row::new("slow", "seconds").relative_to("quick").at_most(2.0),
            Row::new("peer", "seconds"),
        ];
        let shown = report(rows).table().to_string();
        assert!(shown.contains("| slow | seconds |"), "{shown}");
        assert!(shown.contains("| 3 × quick (3–3) |"), "{shown}");
        assert!(shown.contains("| ≤ 2 | **no** |"), "{shown}");
        assert!(shown.contains("it is not installed"), "{shown}");
    }
}
