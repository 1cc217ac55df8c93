//! Runs a test program with all its tests in one process, and reads their results from what it prints.

use super::results::TestResult;
use super::{Program, name_programs};
use crate::console;
use crate::process::as_root;
use anyhow::{Context as _, Result};
use dnscribe_tests::environment::LEFT_OUT;
use dnscribe_tests::shell;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Tests that take longer are printed one by one.
const SHOWN: Duration = Duration::from_secs(1);

/// Runs a program, and those of its tests that failed once more, without the others. Prints tests that fail or take long, and at
/// the end the output of those that failed.
pub fn run(program: &Program, binary: &Path) -> Result<Vec<TestResult>> {
    let mut results = run_tests(program, binary, &[])?;
    let prefix = format!("{} ", program.name);
    let failed = results.iter().filter(|result| !result.passed);
    let names: Option<Vec<_>> = failed.map(|result| result.id.strip_prefix(&prefix)).collect();
    // Where the program as a whole failed, all its tests are in doubt.
    if let Some(names) = names.filter(|names| !names.is_empty() && names.iter().all(is_test)) {
        let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
        results.extend(run_tests(program, binary, &names)?);
    }
    Ok(results)
}

/// Whether this is the path of a test function.
fn is_test(name: &&str) -> bool {
    !name.contains(' ')
}

/// Runs these tests of a program; all of them if none is named.
fn run_tests(program: &Program, binary: &Path, names: &[String]) -> Result<Vec<TestResult>> {
    let mut test = as_root(&program.file)?;
    // Times of tests are an unstable option of the test harness, which a stable compiler's takes with this variable only.
    test.args(["-Zunstable-options", "--report-time", "--show-output"]).env("RUSTC_BOOTSTRAP", "1");
    if !names.is_empty() {
        test.arg("--exact").args(names);
    }
    test.current_dir(&program.folder).stdin(Stdio::null()).stdout(Stdio::piped());
    name_programs(&mut test, binary);
    program.add_environment(&mut test)?;
    let start = Instant::now();
    let command = shell::command_line(&test);
    let mut child = test.spawn().with_context(|| format!("cannot start `{command}`"))?;
    let output = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut reader = Reader {
        program,
        results: Vec::new(),
        block: None,
        is_failing: false,
        show: console::progress,
    };
    for line in output.split(b'\n') {
        reader.read(&String::from_utf8_lossy(&line?));
    }
    reader.end_block();
    let status = child.wait().with_context(|| command.clone())?;
    let mut results = reader.results;
    if !status.success() && results.iter().all(|result| result.passed) {
        // Not a test, but the program as a whole: it was killed, or a test ended the process.
        let id = format!("{} ({status})", program.name);
        let (tier, time) = (program.tier, start.elapsed());
        results.push(TestResult { tier, id, time, passed: false, left_out: None, panic: None });
    }
    let (count, seconds) = (results.len(), start.elapsed().as_secs_f64());
    console::progress(&format!("{}: {count} tests in {seconds:.1} s", program.name));
    Ok(results)
}

/// Reads the output of a test program line by line.
struct Reader<'a> {
    program: &'a Program,
    results: Vec<TestResult>,
    /// Test whose output is being read, and what has been read of it.
    block: Option<(String, String)>,
    /// Whether the lines are about tests that failed.
    is_failing: bool,
    show: fn(&str),
}

impl Reader<'_> {
    fn read(&mut self, line: &str) {
        if let Some((name, passed, time)) = parse_result(line).filter(|_| self.block.is_none()) {
            if !passed || time > SHOWN {
                (self.show)(line);
            }
            let id = self.id(name);
            self.results.push(TestResult {
                tier: self.program.tier,
                id,
                time,
                passed,
                left_out: None,
                panic: None,
            });
            return;
        }
        self.is_failing |= line == "failures:";
        if self.is_failing {
            (self.show)(line);
        }
        if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.end_block();
            self.block = Some((self.id(name), String::new()));
        } else if let Some((_, output)) = &mut self.block {
            output.push_str(line);
            output.push('\n');
        }
    }

    /// Reads the output of a test that has been read to its end.
    fn end_block(&mut self) {
        let Some((id, output)) = self.block.take() else { return };
        let Some(result) = self.results.iter_mut().find(|result| result.id == id) else { return };
        result.left_out =
            output.lines().find_map(|line| line.strip_prefix(LEFT_OUT)).map(str::to_owned);
        result.panic = (!result.passed).then(|| TestResult::panic_in(&output)).flatten();
    }

    fn id(&self, name: &str) -> String {
        format!("{} {name}", self.program.name)
    }
}

/// Parses `test NAME ... ok <0.123s>`. `None` for other lines, also for ignored tests.
fn parse_result(line: &str) -> Option<(&str, bool, Duration)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let (result, time) = rest.split_once(" <")?;
    let seconds = time.strip_suffix("s>")?.parse().ok()?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    Some((name, result == "ok", Duration::try_from_secs_f64(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Tier;
    use super::*;

    #[test]
    fn reads_results_times_and_reasons() {
        let (name, folder) = ("dnscribe".to_owned(), "/a".into());
        let program = Program { name, tier: Tier::Unit, file: "/a/b".into(), folder };
        let mut reader = Reader {
            program: &program,
            results: Vec::new(),
            block: None,
            is_failing: false,
            show: |_| {},
        };
        let text = "\nrunning 3 tests\ntest a::b ... ok <0.004s>\ntest a::c - should panic ... ok <2.000s>\n\
            test d ... FAILED <0.100s>\ntest e ... ignored\n\nsuccesses:\n\n---- a::b stdout ----\n\
            skipped, because there is nothing\ntest x ... ok <9.000s>\n\n\nsuccesses:\n    a::b\n\nfailures:\n\n\
            ---- d stdout ----\n\nthread 'd' (7) panicked at d.rs:1:2:\nnot found\n\n\nfailures:\n    d\n";
        text.lines().for_each(|line| reader.read(line));
        reader.end_block();
        let result = |id: &str, ms, passed, left_out: Option<&str>| TestResult {
            tier: Tier::Unit,
            id: id.to_owned(),
            time: Duration::from_millis(ms),
            passed,
            left_out: left_out.map(str::to_owned),
            panic: None,
        };
        let expected = [
            result("dnscribe a::b", 4, true, Some("there is nothing")),
            result("dnscribe a::c", 2000, true, None),
            TestResult {
                panic: Some("thread 'd' (7) panicked at d.rs:1:2: not found".to_owned()),
                ..result("dnscribe d", 100, false, None)
            },
        ];
        assert_eq!(reader.results, expected);
    }
}
