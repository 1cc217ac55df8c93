//! Quality of detection. `detect_quality` (`tests/benches`) generates incidents and quiet days, reads the
//! corpus if there is one, and prints JSON lines with what was detected. This part passes the lines on and
//! prints a table of them to standard error.

use super::Bench;
use super::table::Table;
use crate::console;
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::environment;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Number of seeds; each gives one incident of every kind. The thresholds were not tuned on these seeds.
const SEEDS: u32 = 8;
/// Number of days without incident, for each of the four nodes.
const DAYS: u32 = 7;

/// Columns of the table: heading, JSON key, number of decimals.
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

/// Runs this part of the benchmark and prints its lines.
pub fn main(bench: &Bench) -> Result<()> {
    let mut command = Command::new(bench.program("detect_quality"));
    command.args(["holdout", &SEEDS.to_string(), &DAYS.to_string()]);
    command.args(environment::find_corpus());
    let output =
        command.stderr(Stdio::inherit()).output().context("cannot start detect_quality")?;
    if !output.status.success() {
        bail!("detect_quality failed ({})", output.status);
    }
    let text = String::from_utf8(output.stdout).context("the output of detect_quality")?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    text.lines().for_each(console::result);
    print_table(&lines);
    Ok(())
}

fn print_table(lines: &[Value]) {
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
    console::progress(&table.to_string());
}
