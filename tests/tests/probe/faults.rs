//! Every fault of the laboratory in one run of the probe.

use crate::page;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::environment;
use dnscribe_tests::faults::{Fault, FaultLab, read_records};
use std::fs;
use std::thread;

#[test]
fn golden_faults() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let (lab, binary) = (FaultLab::up()?, environment::probe_binary()?);
    let faults = lab.faults();
    let config = lab.write_config(&faults)?;
    let output = lab.run_probe(&binary, &config, &["-o", "json"])?;
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, stderr(&output));
    let records = read_records(&output)?;
    let said = peers(&lab, &faults);
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (fault, said) in faults.iter().zip(said) {
        match (fault.check(&records), said) {
            (Ok(finding), Ok(said)) => rows.push((fault, finding, said)),
            (found, said) => {
                let errors = [found.err(), said.err()].into_iter().flatten();
                wrong.extend(errors.map(|error| format!("{}: {error:#}", fault.name)));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let page = page::render(&lab, &rows);
    let path = environment::workspace().join("docs/probe-faults.md");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        return fs::write(&path, page).with_context(|| path.display().to_string());
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().find(|line| !known.lines().any(|other| other == *line));
    ensure!(
        known == page,
        "{} is out of date: DNSCRIBE_BLESS=1 writes it; first new line: {}",
        path.display(),
        differs.unwrap_or_default()
    );
    Ok(())
}

/// Runs all peers, each in a thread of its own: most of them wait for a time limit.
fn peers(lab: &FaultLab, faults: &[Fault]) -> Vec<Result<String>> {
    thread::scope(|scope| {
        let running: Vec<_> =
            faults.iter().map(|fault| scope.spawn(|| fault.peer.run(lab))).collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The healthy service alone: the table and the exit code of `run --once`.
#[test]
fn prints_a_table_and_succeeds_where_nothing_is_wrong() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let (lab, binary) = (FaultLab::up()?, environment::probe_binary()?);
    let healthy: Vec<_> = lab.faults().into_iter().filter(|one| one.failures.is_empty()).collect();
    let config = lab.write_config(&healthy)?;
    let output = lab.run_probe(&binary, &config, &["-o", "text"])?;
    let table = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {table}{}", output.status, stderr(&output));
    let lines: Vec<&str> = table.lines().collect();
    ensure!(lines.first().is_some_and(|head| head.contains("SERVICE")), "{table}");
    let ok = lines.iter().filter(|line| line.starts_with("ok ")).count();
    ensure!(ok > healthy.len(), "{table}");
    ensure!(!table.contains("FAIL"), "{table}");
    Ok(())
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
