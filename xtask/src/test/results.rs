//! Results of the tests, their time budgets, and the table that ends a run.

use super::Tier;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

impl Tier {
    /// Time that a test takes at most on two busy cores. The tests of `stream` include the time for which they wait for each other,
    /// because they share one stack.
    const fn budget(self) -> Duration {
        Duration::from_secs(match self {
            Self::Unit | Self::Kernel => 60,
            Self::E2e | Self::Cluster => 120,
            Self::Conformance | Self::Probe | Self::Kafka | Self::Kpi => 240,
            Self::Dashboards => 600,
            Self::Stream => 1200,
            // Its mutated inputs are no tests.
            Self::Fuzz => 0,
        })
    }
}

/// Result of one run of one test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestResult {
    pub tier: Tier,
    /// Program and path of the test function.
    pub id: String,
    pub time: Duration,
    pub passed: bool,
    /// Reason if the test could not run and passed without.
    pub left_out: Option<String>,
    /// First panic of a test that failed, or the error that it returned.
    pub panic: Option<String>,
}

/// Most characters of a panic in the summary.
const SHOWN_OF_PANIC: usize = 500;

impl TestResult {
    /// Finds the first panic in the output of a test.
    pub fn panic_in(output: &str) -> Option<String> {
        let mut lines = output.lines().skip_while(|line| !is_panic(line)).peekable();
        lines.peek()?;
        let lines = lines.take_while(|line| !ends_panic(line));
        let text = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
        let shown: String = text.chars().take(SHOWN_OF_PANIC).collect();
        Some(if shown.len() < text.len() { shown + " …" } else { shown })
    }

    /// Whether the test took longer than the budget of its tier.
    fn is_over_budget(&self) -> bool {
        self.time > self.tier.budget()
    }
}

/// Results of a run of tests, in the order in which they ended. A test that ran twice has two, and the last one counts.
#[derive(Debug, Default)]
pub struct Results(Vec<TestResult>);

impl Results {
    pub fn extend(&mut self, results: impl IntoIterator<Item = TestResult>) {
        self.0.extend(results);
    }

    /// Returns the last result of each test, with the number of its runs.
    fn last(&self) -> BTreeMap<&str, (&TestResult, usize)> {
        let mut last = BTreeMap::new();
        for result in &self.0 {
            let runs = last.get(result.id.as_str()).map_or(0, |(_, runs)| *runs);
            last.insert(result.id.as_str(), (result, runs + 1));
        }
        last
    }

    /// Returns the tests that failed.
    pub fn failures(&self) -> Vec<String> {
        let failed =
            |(result, _): (&TestResult, usize)| (!result.passed).then(|| result.id.clone());
        self.last().into_values().filter_map(failed).collect()
    }

    /// Returns a table of the tiers, and the names of tests that passed on their second try, took longer than their budget or were
    /// left out.
    pub fn summary(&self, tiers: &[Tier]) -> String {
        let last = self.last();
        let mut text =
            "tier         tests  failed  second try  left out  slowest test\n".to_owned();
        for &tier in tiers {
            let of_tier = || last.values().filter(move |(result, _)| result.tier == tier);
            let Some((slowest, _)) = of_tier().max_by_key(|(result, _)| result.time) else {
                continue;
            };
            let count =
                |is: fn(&(&TestResult, usize)) -> bool| of_tier().filter(|one| is(one)).count();
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:<12} {:>5}  {:>6}  {:>10}  {:>8}  {:.1} s of {} s: {}",
                tier.name(),
                of_tier().count(),
                count(|(result, _)| !result.passed),
                count(is_second_try),
                count(|(result, _)| result.left_out.is_some()),
                slowest.time.as_secs_f64(),
                tier.budget().as_secs(),
                slowest.id,
            );
        }
        let repeated: Vec<&str> =
            last.iter().filter(|(_, one)| is_second_try(one)).map(|(id, _)| *id).collect();
        if !repeated.is_empty() {
            let _ = writeln!(
                text,
                "{} passed on the second try only: {}",
                repeated.len(),
                repeated.join(", ")
            );
        }
        for result in self.0.iter().filter(|result| !result.passed) {
            let panic = result.panic.as_deref().unwrap_or("no panic was printed");
            let _ = writeln!(
                text,
                "{} failed after {:.1} s: {panic}",
                result.id,
                result.time.as_secs_f64()
            );
        }
        // No failure: how long it takes depends on the host, and is judged by people.
        for (result, _) in last.values().filter(|(result, _)| result.is_over_budget()) {
            let (id, seconds) = (&result.id, result.time.as_secs_f64());
            let budget = result.tier.budget().as_secs();
            let _ = writeln!(text, "{id} took {seconds:.1} s, its budget is {budget} s");
        }
        let reason = |(result, _): &(&TestResult, usize)| {
            Some(format!("  {}: {}", result.id, result.left_out.as_ref()?))
        };
        let left_out: Vec<String> = last.values().filter_map(reason).collect();
        if !left_out.is_empty() {
            let _ = writeln!(text, "{} left out:\n{}", left_out.len(), left_out.join("\n"));
        }
        text
    }
}

/// Whether a panic begins with this line, `thread 'NAME' panicked at FILE:LINE:COLUMN:`, or the error that a test returns.
fn is_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains(" panicked at ") || line.starts_with("Error: ")
}

/// Whether a panic ends before this line.
fn ends_panic(line: &str) -> bool {
    line.starts_with("note: ")
        || line.eq_ignore_ascii_case("stack backtrace:")
        || line == "failures:"
}

fn is_second_try((result, runs): &(&TestResult, usize)) -> bool {
    *runs > 1 && result.passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, seconds: u64, passed: bool) -> TestResult {
        let (tier, time) = (Tier::E2e, Duration::from_secs(seconds));
        TestResult { tier, id: id.to_owned(), time, passed, left_out: None, panic: None }
    }

    #[test]
    fn counts_failures_second_tries_and_tests_over_budget() {
        let mut results = Results::default();
        let budget = Tier::E2e.budget().as_secs();
        results.extend([
            result("e2e good", 1, true),
            TestResult { panic: Some("thread".to_owned()), ..result("e2e flaky", 2, false) },
            result("e2e slow", budget + 1, true),
            result("e2e bad", 3, false),
            TestResult { left_out: Some("no corpus".to_owned()), ..result("e2e absent", 0, true) },
            result("e2e flaky", 2, true),
            result("e2e bad", 3, false),
        ]);
        assert_eq!(results.failures(), ["e2e bad"]);
        let summary = results.summary(&[Tier::Unit, Tier::E2e]);
        let row = "e2e              5       1           1         1  121.0 s of 120 s: e2e slow";
        assert!(summary.contains(row), "{summary}");
        assert!(summary.contains("1 passed on the second try only: e2e flaky"), "{summary}");
        assert!(summary.contains("e2e flaky failed after 2.0 s: thread\n"), "{summary}");
        let unknown = "e2e bad failed after 3.0 s: no panic was printed\n";
        assert_eq!(summary.matches(unknown).count(), 2, "{summary}");
        assert!(summary.contains("e2e slow took 121.0 s, its budget is 120 s"), "{summary}");
        assert!(summary.contains("1 left out:\n  e2e absent: no corpus"), "{summary}");
        assert!(!summary.contains("unit"), "{summary}");
    }

    #[test]
    fn finds_the_first_panic() {
        let output = "some output\n\nthread 'a::b' (5) panicked at a.rs:1:2:\nassertion failed:\n  left\n\
            note: run with RUST_BACKTRACE\nthread 'a::b' (5) panicked at c.rs:3:4:\nmore\n";
        let panic = "thread 'a::b' (5) panicked at a.rs:1:2: assertion failed: left";
        assert_eq!(TestResult::panic_in(output).as_deref(), Some(panic));
        assert_eq!(TestResult::panic_in("thread\npanicked at\n"), None);
        let returned = "Error: no dig\n\nCaused by:\n    not found\n\nStack backtrace:\n   0: a\n";
        let error = "Error: no dig Caused by: not found";
        assert_eq!(TestResult::panic_in(returned).as_deref(), Some(error));
        let long = format!("thread 'a' panicked at b:\n{}", "ö".repeat(1000));
        let shown = TestResult::panic_in(&long).unwrap();
        assert_eq!(shown.chars().count(), SHOWN_OF_PANIC + 2, "{shown}");
    }
}
