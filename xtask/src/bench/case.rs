//! Cases: what is measured, each in turn, forth and back, as often as wanted.
//!
//! A part of the benchmark makes a [`Plan`] of its cases and of the rows that its table is to have, and
//! runs it. Every run of a case prints its JSON line at once.

use super::report::{Report, Row};
use super::statistics::Reading;
use crate::interrupt::Interrupt;
use crate::say;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::shell;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// What one run of a case gave: names with their units in them, and values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// The same with one more.
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    /// What a program prints that measures itself: the numbers of a JSON object.
    pub fn of(command: &mut Command) -> Result<Self> {
        let printed = String::from_utf8(shell::output(command)?.stdout)?;
        Self::parse(&printed).with_context(|| format!("`{}`", shell::shown(command)))
    }

    fn parse(json: &str) -> Result<Self> {
        let object: Map<String, Value> =
            serde_json::from_str(json).with_context(|| format!("not figures: {json}"))?;
        let numbers = object.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
        Ok(Self(numbers.collect()))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(one, _)| one == name).map(|(_, value)| *value)
    }
}

type Run<'a> = Box<dyn FnMut() -> Result<Figures> + 'a>;

/// Something to measure.
struct Case<'a> {
    name: String,
    /// Runs on the way forth only, and with nothing before it that warms up.
    slow: bool,
    run: Run<'a>,
}

/// What a part of the benchmark measures and tells.
pub struct Plan<'a> {
    part: &'static str,
    cases: Vec<Case<'a>>,
    /// Cases that cannot be measured here, and why.
    absent: BTreeMap<String, String>,
    rows: Vec<Row>,
}

impl<'a> Plan<'a> {
    /// Nothing yet, of the part of this name.
    pub fn new(part: &'static str) -> Self {
        Self { part, cases: Vec::new(), absent: BTreeMap::new(), rows: Vec::new() }
    }

    /// One more case. Its first run warms up and is not counted.
    pub fn case(&mut self, name: &str, run: impl FnMut() -> Result<Figures> + 'a) -> &mut Self {
        self.push(name, false, Box::new(run))
    }

    /// One more case, which takes so long that it runs once a repetition, not twice, and without a
    /// run that warms up.
    pub fn slow_case(
        &mut self,
        name: &str,
        run: impl FnMut() -> Result<Figures> + 'a,
    ) -> &mut Self {
        self.push(name, true, Box::new(run))
    }

    fn push(&mut self, name: &str, slow: bool, run: Run<'a>) -> &mut Self {
        self.cases.push(Case { name: name.to_owned(), slow, run });
        self
    }

    /// A case that cannot be measured here: its rows say why.
    pub fn absent(&mut self, name: &str, why: &str) -> &mut Self {
        self.absent.insert(name.to_owned(), why.to_owned());
        self
    }

    /// One more row of the table.
    pub fn row(&mut self, row: Row) -> &mut Self {
        self.rows.push(row);
        self
    }

    /// Runs the cases: once each uncounted, then forth and back in each repetition.
    pub fn run(mut self, repetitions: u32, interrupt: &Interrupt) -> Result<Report> {
        self.check()?;
        for case in self.cases.iter_mut().filter(|case| !case.slow) {
            interrupt.check()?;
            (case.run)().with_context(|| failed(self.part, &case.name))?;
        }
        let mut readings = Readings::default();
        for repetition in 0..repetitions {
            let forth = 0..self.cases.len();
            let back = forth.clone().rev().filter(|place| !self.cases[*place].slow);
            let order: Vec<usize> = forth.chain(back).collect();
            for place in order {
                interrupt.check()?;
                let case = &mut self.cases[place];
                let figures = (case.run)().with_context(|| failed(self.part, &case.name))?;
                say::result(&line(self.part, &case.name, repetition, &figures).to_string());
                readings.add(&case.name, repetition, figures);
            }
        }
        Ok(Report::new(self.part, repetitions, self.rows, &readings, self.absent))
    }

    /// Two cases of one name, or a row about none, would only show at the end.
    fn check(&self) -> Result<()> {
        let mut names: Vec<&str> = self.cases.iter().map(|case| case.name.as_str()).collect();
        names.extend(self.absent.keys().map(String::as_str));
        names.sort_unstable();
        if let Some(twice) = names.iter().zip(names.iter().skip(1)).find(|(one, two)| one == two) {
            bail!("{}: two cases are called {}", self.part, twice.0);
        }
        for name in self.rows.iter().flat_map(Row::cases) {
            if names.binary_search(&name).is_err() {
                bail!("{}: a row is about {name}, which is no case", self.part);
            }
        }
        Ok(())
    }
}

fn failed(part: &str, case: &str) -> String {
    format!("{part}: {case}")
}

fn line(part: &str, case: &str, repetition: u32, figures: &Figures) -> Value {
    let mut line = json!({ "bench": part, "case": case, "repetition": repetition });
    for (name, value) in &figures.0 {
        line[name] = json!(value);
    }
    line
}

/// All figures of all cases, by case and name.
#[derive(Debug, Default)]
pub struct Readings(Vec<(String, String, Vec<Reading>)>);

impl Readings {
    fn add(&mut self, case: &str, repetition: u32, figures: Figures) {
        for (name, value) in figures.0 {
            let known = self.0.iter_mut().find(|(of, figure, _)| of == case && *figure == name);
            match known {
                Some((.., readings)) => readings.push((repetition, value)),
                None => self.0.push((case.to_owned(), name, vec![(repetition, value)])),
            }
        }
    }

    /// Of one figure of a case; empty where it has none.
    pub fn of(&self, case: &str, figure: &str) -> &[Reading] {
        let found = self.0.iter().find(|(of, name, _)| of == case && name == figure);
        found.map_or(&[], |(.., readings)| readings)
    }

    /// Every case and figure, in the order of their first appearance.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(case, figure, _)| (case.as_str(), figure.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn figures_are_the_numbers_of_an_object() {
        let figures = Figures::parse("{\"ns\": 1.5, \"of\": \"all\", \"records\": 7}").unwrap();
        assert_eq!(figures, Figures::default().with("ns", 1.5).with("records", 7.0));
        assert_eq!((figures.get("records"), figures.get("other")), (Some(7.0), None));
        assert!(Figures::parse("").is_err());
    }

    #[test]
    fn cases_run_forth_and_back_after_a_run_that_does_not_count() {
        let ran = RefCell::new(String::new());
        let mut plan = Plan::new("test");
        let run = |name: char| {
            let ran = &ran;
            move || {
                ran.borrow_mut().push(name);
                Ok(Figures::default().with("runs", 1.0))
            }
        };
        plan.case("a", run('a')).slow_case("s", run('s')).case("b", run('b'));
        plan.row(Row::of("a", "runs")).row(Row::of("s", "runs"));
        let report = plan.run(2, &Interrupt::listen().unwrap()).unwrap();
        assert_eq!(ran.into_inner(), "ab".to_owned() + "asb" + "ba" + "asb" + "ba");
        assert_eq!(report.missed(), 0);
    }

    #[test]
    fn a_plan_that_contradicts_itself_is_refused() {
        let mut plan = Plan::new("test");
        plan.case("a", || Ok(Figures::default())).absent("a", "not here");
        assert!(plan.run(1, &Interrupt::listen().unwrap()).is_err());
        let mut plan = Plan::new("test");
        plan.row(Row::of("a", "runs"));
        assert!(plan.run(1, &Interrupt::listen().unwrap()).is_err());
    }
}
