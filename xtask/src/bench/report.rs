//! What a part tells when all its cases have run: a JSON line for every figure, and its table.

use super::case::Readings;
use super::statistics::{self, Spread};
use super::table::{Table, number};
use crate::say;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a figure should come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Aim {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(bound) => format!("≤ {}", number(bound)),
            Self::AtLeast(bound) => format!("≥ {}", number(bound)),
        }
    }
}

/// A row of the table: one figure of a case. Its aim is about the ratio where it has one, else about
/// the figure itself.
#[derive(Clone, Debug)]
pub struct Row {
    case: String,
    figure: String,
    base: Option<String>,
    aim: Option<Aim>,
}

impl Row {
    /// A figure of a case.
    pub fn of(case: &str, figure: &str) -> Self {
        Self { case: case.to_owned(), figure: figure.to_owned(), base: None, aim: None }
    }

    /// The same, with its ratio to what another case of the same run has there.
    pub fn beside(mut self, base: &str) -> Self {
        self.base = Some(base.to_owned());
        self
    }

    /// The same, to be at most this.
    pub fn at_most(mut self, bound: f64) -> Self {
        self.aim = Some(Aim::AtMost(bound));
        self
    }

    /// The same, to be at least this.
    pub fn at_least(mut self, bound: f64) -> Self {
        self.aim = Some(Aim::AtLeast(bound));
        self
    }

    /// The cases that it is about.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        [Some(self.case.as_str()), self.base.as_deref()].into_iter().flatten()
    }
}

/// A row with what was measured.
struct Found {
    row: Row,
    value: Option<Spread>,
    ratio: Option<Spread>,
}

impl Found {
    fn new(row: Row, readings: &Readings) -> Self {
        let mine = readings.of(&row.case, &row.figure);
        let values: Vec<f64> = mine.iter().map(|(_, value)| *value).collect();
        let base = row.base.as_ref();
        let ratio = base.and_then(|case| statistics::ratio(mine, readings.of(case, &row.figure)));
        Self { value: Spread::of(&values), ratio, row }
    }

    /// Whether the aim was met; `None` where there is none, or nothing to judge.
    fn met(&self) -> Option<bool> {
        let judged = if self.row.base.is_some() { self.ratio } else { self.value };
        Some(self.row.aim?.met(judged?.median))
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
            line["aim"] = aim.shown().into();
            line["met"] = self.met().into();
        }
        line
    }

    fn cells(&self, absent: &BTreeMap<String, String>) -> [String; 7] {
        let Row { case, figure, base, aim } = &self.row;
        let of = |spread: Option<Spread>, shown: fn(Spread) -> String| spread.map(shown);
        let none = || "–".to_owned();
        let why = self.row.cases().find_map(|name| absent.get(name));
        let ratio = base
            .as_ref()
            .zip(self.ratio)
            .map(|(base, ratio)| format!("{} × {base} ({})", number(ratio.median), range(ratio)));
        [
            case.clone(),
            figure.replace('_', " "),
            of(self.value, |value| number(value.median))
                .or_else(|| why.cloned())
                .unwrap_or_else(none),
            of(self.value, range).unwrap_or_else(none),
            ratio.unwrap_or_else(none),
            aim.map_or_else(none, Aim::shown),
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

/// What was measured in one part.
pub struct Report {
    part: &'static str,
    rows: Vec<Found>,
    absent: BTreeMap<String, String>,
}

impl Report {
    /// Makes it of all readings, and prints a JSON line for each figure and each absent case.
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
            .map(|(case, figure)| Row::of(case, figure))
            .collect();
        for row in rest {
            say::result(&Found::new(row, readings).json(part, repetitions).to_string());
        }
        let rows: Vec<Found> = rows.into_iter().map(|row| Found::new(row, readings)).collect();
        for found in &rows {
            say::result(&found.json(part, repetitions).to_string());
        }
        for (case, why) in &absent {
            let line = json!({ "bench": part, "summary": true, "case": case, "absent": why });
            say::result(&line.to_string());
        }
        Self { part, rows, absent }
    }

    /// The part's name.
    pub const fn part(&self) -> &'static str {
        self.part
    }

    /// How many aims were missed.
    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.met() == Some(false)).count()
    }

    /// Its table.
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

    /// Cases whose figures are known: `slow` takes 2 and 4 where `quick` takes 1 and 1.
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
    fn an_aim_is_about_the_ratio_where_there_is_one() {
        let slow = || Row::of("slow", "seconds");
        let missed = |row| report(vec![row]).missed();
        assert_eq!(missed(slow().at_most(3.0)), 0);
        assert_eq!(missed(slow().at_most(2.9)), 1);
        assert_eq!(missed(slow().beside("quick").at_most(3.0)), 0);
        assert_eq!(missed(slow().beside("quick").at_least(3.1)), 1);
        assert_eq!(missed(slow().beside("peer").at_most(0.1)), 0, "nothing to compare with");
    }

    #[test]
    fn the_table_shows_ratios_and_what_is_absent() {
        let rows = vec![
            Row::of("slow", "seconds").beside("quick").at_most(2.0),
            Row::of("peer", "seconds"),
        ];
        let shown = report(rows).table().to_string();
        assert!(shown.contains("| slow | seconds |"), "{shown}");
        assert!(shown.contains("| 3 × quick (3–3) |"), "{shown}");
        assert!(shown.contains("| ≤ 2 | **no** |"), "{shown}");
        assert!(shown.contains("it is not installed"), "{shown}");
    }
}
