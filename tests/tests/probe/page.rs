//! Renders `docs/probe-faults.md`.

use dnscribe_tests::faults::{Fault, FaultLab, Finding};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

const ABOUT: &str = "# Faults, and what `dnscribe-probe` says of them

Written by `cargo xtask test probe` (with `DNSCRIBE_BLESS=1`); do not edit.

Each row is a service in a laboratory of real servers: knot with signed zones, unbound, nginx, and servers that
misbehave on purpose. *Another program* is what dig, delv, kdig, openssl or curl say on the same host: the first line
that tells. *Probe* is what fails in the records of `dnscribe-probe run --once -o json`, as kind, stage and reason, or
what they say of a target that is as it should be. *Verdict* is the alert of the service.

";

/// Renders the whole page.
pub fn render(lab: &FaultLab, rows: &[(&Fault, Finding, String)]) -> String {
    let mut page = ABOUT.to_owned();
    page.push_str("| fault | another program | probe | verdict |\n|---|---|---|---|\n");
    for (fault, finding, said) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | {} |",
            fault.title,
            said.replace('|', "\\|"),
            probe(fault, finding),
            verdict(finding),
        );
    }
    page.push_str("\n## Commands\n\n| fault | command of the other program |\n|---|---|\n");
    for (fault, ..) in rows {
        let command = fault.peer.command(lab).replace('|', "\\|");
        let _ = writeln!(page, "| {} | `{command}` |", fault.title);
    }
    page
}

fn probe(fault: &Fault, finding: &Finding) -> String {
    let failed = finding.probes.iter().filter(|record| record["ok"] == Value::Bool(false));
    let texts: BTreeSet<_> = failed.map(failure).collect();
    if !texts.is_empty() {
        return texts.into_iter().collect::<Vec<_>>().join(", ");
    }
    let fields = fault.fields.iter().filter(|(path, _)| *path != "ok");
    let fields: Vec<_> = fields.map(|(path, value)| format!("{path} {value}")).collect();
    format!("ok: {}", fields.join(", "))
}

fn failure(record: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let error = &record["error"];
    format!("{}: `{} {}`", word(&record["kind"]), word(&error["stage"]), word(&error["reason"]))
}

fn verdict(finding: &Finding) -> String {
    let rules = finding.alerts.iter().filter_map(|alert| alert["rule"].as_str());
    let rules: BTreeSet<_> = rules.map(|rule| format!("`{rule}`")).collect();
    rules.into_iter().collect::<Vec<_>>().join(", ")
}
