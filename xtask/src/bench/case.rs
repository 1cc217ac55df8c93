//! Cases of a part of the benchmark, and the order in which they run.
//!
//! A part makes a [`Plan`] of its cases and of the rows of its table, and runs it. In each repetition the cases run
//! forward and then backward. Every run of a case prints its JSON line at once.

use super::compare::Side;
use super::report::{Report, Row};
use super::statistics::Reading;
use crate::console;
use crate::interrupt::Interrupt;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::shell;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::rc::Rc;

/// Figures of one run of a case: names, which include the unit, and values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(Vec<(String, f64)>);

impl Figures {
    /// Adds a figure.
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    /// Runs a program that prints its figures as a JSON object, and returns the numbers in it.
    pub fn measure(command: &mut Command) -> Result<Self> {
        let printed = String::from_utf8(shell::output(command)?.stdout)?;
        Self::parse(&printed).with_context(|| format!("`{}`", shell::command_line(command)))
    }

    fn parse(json: &str) -> Result<Self> {
        let object: Map<String, Value> =
            serde_json::from_str(json).with_context(|| format!("not a JSON object: {json}"))?;
        let numbers = object.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
        Ok(Self(numbers.collect()))
    }

    /// Returns the value of a figure.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

type Run<'a> = Box<dyn FnMut() -> Result<Figures> + 'a>;

/// One thing to measure.
struct Case<'a> {
    name: String,
    /// Whether it runs once per repetition instead of twice, and without a warm-up run.
    slow: bool,
    run: Run<'a>,
}

/// Cases and table rows of a part of the benchmark.
pub struct Plan<'a> {
    part: &'static str,
    cases: Vec<Case<'a>>,
    /// Cases that cannot run on this host, with the reason.
    absent: BTreeMap<String, String>,
    rows: Vec<Row>,
}

impl<'a> Plan<'a> {
    /// Creates an empty plan for the part `part`.
    pub fn new(part: &'static str) -> Self {
        Self { part, cases: Vec::new(), absent: BTreeMap::new(), rows: Vec::new() }
    }

    /// Adds a case. Its first run is a warm-up and is not counted.
    pub fn case(&mut self, name: &str, run: impl FnMut() -> Result<Figures> + 'a) -> &mut Self {
        self.push(name, false, Box::new(run))
    }

    /// Adds a case that takes long: it runs once per repetition, not twice, and without a warm-up run.
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

    /// Adds a case that cannot run on this host. Its rows show the reason.
    pub fn absent(&mut self, name: &str, reason: &str) -> &mut Self {
        self.absent.insert(name.to_owned(), reason.to_owned());
        self
    }

    /// Adds a row to the table.
    pub fn row(&mut self, row: Row) -> &mut Self {
        self.rows.push(row);
        self
    }

    /// Leaves out the cases whose name contains none of `texts`, and the rows that refer to one of them.
    ///
    /// # Errors
    /// If no case is left.
    pub fn only(mut self, texts: &[String]) -> Result<Self> {
        self.check()?;
        let is_wanted = |name: &str| texts.iter().any(|text| name.contains(text));
        self.cases.retain(|case| is_wanted(&case.name));
        self.absent.retain(|name, _| is_wanted(name));
        self.rows.retain(|row| row.cases().all(is_wanted));
        if self.cases.is_empty() {
            bail!("{}: no case that can run here is called like {}", self.part, texts.join(" or "));
        }
        Ok(self)
    }

    /// Doubles the plan: each case also runs with the programs of another commit, as `CASE@COMMIT`, and each row has the ratio
    /// to that. `select` turns to the programs of one side.
    pub fn compared(self, commit: &str, select: impl Fn(Side) -> Result<()> + Copy + 'a) -> Self {
        let theirs = |name: &str| format!("{name}@{commit}");
        let mut plan = Self::new(self.part);
        for Case { name, slow, run } in self.cases {
            let run = Rc::new(RefCell::new(run));
            for (side, name) in [(Side::Ours, name.clone()), (Side::Theirs, theirs(&name))] {
                let run = Rc::clone(&run);
                let run = move || {
                    select(side)?;
                    (run.borrow_mut())()
                };
                plan.push(&name, slow, Box::new(run));
            }
        }
        let mut rows = BTreeSet::new();
        for row in self.rows {
            if plan.cases.iter().any(|case| case.name == row.case())
                && rows.insert((row.case().to_owned(), row.figure().to_owned()))
            {
                plan.row(Row::new(row.case(), row.figure()).relative_to(&theirs(row.case())));
            }
        }
        plan
    }

    /// Runs the cases: one uncounted warm-up each, then forward and backward in each repetition.
    ///
    /// # Errors
    /// If a case fails or the command is interrupted.
    pub fn run(mut self, repetitions: u32, interrupt: &Interrupt) -> Result<Report> {
        self.check()?;
        for case in self.cases.iter_mut().filter(|case| !case.slow) {
            interrupt.check()?;
            (case.run)().with_context(|| failed(self.part, &case.name))?;
        }
        let mut readings = Readings::default();
        for repetition in 0..repetitions {
            let forward = 0..self.cases.len();
            let backward = forward.clone().rev().filter(|place| !self.cases[*place].slow);
            let order: Vec<usize> = forward.chain(backward).collect();
            for place in order {
                interrupt.check()?;
                let case = &mut self.cases[place];
                let figures = (case.run)().with_context(|| failed(self.part, &case.name))?;
                console::result(&line(self.part, &case.name, repetition, &figures).to_string());
                readings.add(&case.name, repetition, figures);
            }
        }
        Ok(Report::new(self.part, repetitions, self.rows, &readings, self.absent))
    }

    /// Checks that case names are unique and that each row has a case, before the long runs.
    fn check(&self) -> Result<()> {
        let mut names: Vec<&str> = self.cases.iter().map(|case| case.name.as_str()).collect();
        names.extend(self.absent.keys().map(String::as_str));
        names.sort_unstable();
        if let Some(duplicate) =
            names.iter().zip(names.iter().skip(1)).find(|(name, next)| name == next)
        {
            bail!("{}: two cases are called {}", self.part, duplicate.0);
        }
        for name in self.rows.iter().flat_map(Row::cases) {
            if names.binary_search(&name).is_err() {
                bail!("{}: a row refers to {name}, which is not a case", self.part);
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

/// Figures of all runs, by case and name.
#[derive(Debug, Default)]
pub struct Readings(Vec<(String, String, Vec<Reading>)>);

impl Readings {
    fn add(&mut self, case: &str, repetition: u32, figures: Figures) {
        for (name, value) in figures.0 {
            let known =
                self.0.iter_mut().find(|(known, figure, _)| known == case && *figure == name);
            match known {
                Some((.., readings)) => readings.push((repetition, value)),
                None => self.0.push((case.to_owned(), name, vec![(repetition, value)])),
            }
        }
    }

    /// Returns the readings of a figure of a case; empty if there are none.
    pub fn get(&self, case: &str, figure: &str) -> &[Reading] {
        let found = self.0.iter().find(|(known, name, _)| known == case && name == figure);
        found.map_or(&[], |(.., readings)| readings)
    }

    /// Returns every case and figure, in the order of their first appearance.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(case, figure, _)| (case.as_str(), figure.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn parses_numbers_of_object() {
        let figures = Figures::parse("{\"ns\": 1.5, \"of\": \"all\", \"records\": 7}").unwrap();
        assert_eq!(figures, Figures::default().with("ns", 1.5).with("records", 7.0));
        assert_eq!((figures.get("records"), figures.get("other")), (Some(7.0), None));
        assert!(Figures::parse("").is_err());
    }

    #[test]
    fn runs_cases_forward_and_backward_after_warm_up() {
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
        plan.row(Row::new("a", "runs")).row(Row::new("s", "runs"));
        let report = plan.run(2, &Interrupt::listen().unwrap()).unwrap();
        assert_eq!(ran.into_inner(), "ab".to_owned() + "asb" + "ba" + "asb" + "ba");
        assert_eq!(report.missed(), 0);
    }

    #[test]
    fn comparisons_run_each_case_with_both_sides() {
        let side = Cell::new(Side::Theirs);
        let ran = RefCell::new(Vec::new());
        let mut plan = Plan::new("test");
        let run = || {
            ran.borrow_mut().push(side.get());
            Ok(Figures::default().with("ns", if side.get() == Side::Ours { 1.0 } else { 4.0 }))
        };
        plan.case("a", run).case("base", || Ok(Figures::default().with("ns", 1.0)));
        plan.absent("peer", "it is not installed").row(Row::new("peer", "ns"));
        // Of both rows of one figure, one is left. Its aim is not what is asked for here.
        plan.row(Row::new("a", "ns").at_most(0.5)).row(Row::new("a", "ns").relative_to("base"));
        let select = |wanted: Side| {
            side.set(wanted);
            Ok(())
        };
        let plan = plan.compared("abc", select);
        let report = plan.run(1, &Interrupt::listen().unwrap()).unwrap();
        let both = [Side::Ours, Side::Theirs];
        assert_eq!(*ran.borrow(), [both, both, [Side::Theirs, Side::Ours]].concat());
        let table = report.table().to_string();
        assert!(table.contains("0.25 × a@abc") && !table.contains("peer"), "{table}");
        assert_eq!((table.matches("| a ").count(), report.missed()), (1, 0), "{table}");
    }

    #[test]
    fn only_keeps_named_cases_and_their_rows() {
        let plan = || {
            let mut plan = Plan::new("test");
            plan.slow_case("copy", || bail!("not wanted"));
            plan.slow_case("enrich", || Ok(Figures::default().with("rate", 1.0)));
            plan.row(Row::new("enrich", "rate").relative_to("copy").at_least(0.5));
            plan.row(Row::new("enrich", "rate").at_least(2.0));
            plan
        };
        let run = plan().only(&["rich".to_owned()]).unwrap();
        let report = run.run(1, &Interrupt::listen().unwrap()).unwrap();
        assert_eq!(report.missed(), 1);
        assert!(plan().only(&["poor".to_owned()]).is_err());
    }

    #[test]
    fn rejects_duplicate_and_unknown_cases() {
        let mut plan = Plan::new("test");
        plan.case("a", || Ok(Figures::default())).absent("a", "not here");
        assert!(plan.run(1, &Interrupt::listen().unwrap()).is_err());
        let mut plan = Plan::new("test");
        plan.row(Row::new("a", "runs"));
        assert!(plan.run(1, &Interrupt::listen().unwrap()).is_err());
    }
}
