//! How well detection detects: an example of the agent makes incidents and quiet days, takes the corpus
//! where there is one, and says what was found. Its lines go through; a table of them goes to standard error.

use super::Bench;
use super::table::Table;
use crate::say;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::environment;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Seeds of incidents, each with every kind of them; no thresholds were chosen by these.
const SEEDS: u32 = 8;
/// Days of each of the four nodes on which nothing happens.
const DAYS: u32 = 7;

/// Columns of the table: what of a line, with how many decimals.
const COLUMNS: [(&str, &str, usize); 8] = [
    ("incidents", "incidents", 0),
    ("recall", "recall", 3),
    ("as warning", "recall_at_warning", 3),
    ("precision", "precision_at_warning", 3),
    ("p50 s", "seconds_to_detect_p50", 0),
    ("p95 s", "seconds_to_detect_p95", 0),
    ("false warn./day", "false_warnings_per_node_day", 3),
    ("false crit./week", "false_criticals_per_node_week", 3),
];

/// Runs the benchmark and prints its lines.
pub fn main(bench: &Bench) -> Result<()> {
    let mut command = Command::new(bench.example("detect_quality"));
    command.args(["holdout", &SEEDS.to_string(), &DAYS.to_string()]);
    command.args(environment::corpus());
    let output = command.stderr(Stdio::inherit()).output().context("cannot start the example")?;
    if !output.status.success() {
        bail!("the example failed ({})", output.status);
    }
    let text = String::from_utf8(output.stdout).context("its lines")?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    text.lines().for_each(say::result);
    table(&lines);
    Ok(())
}

fn table(lines: &[Value]) {
    let heads = ["rule"].into_iter().chain(COLUMNS.iter().map(|(head, ..)| *head));
    let mut table = Table::new(heads.map(ToOwned::to_owned));
    for line in lines.iter().filter(|line| line["rule"].is_string()) {
        let rule = line["rule"].as_str().unwrap_or_default().to_owned();
        let cells = COLUMNS.iter().map(|(_, key, decimals)| match line[*key].as_f64() {
            Some(value) => format!("{value:.decimals$}"),
            None => "–".to_owned(),
        });
        table.row([rule].into_iter().chain(cells));
    }
    say::progress(&table.to_string());
}
