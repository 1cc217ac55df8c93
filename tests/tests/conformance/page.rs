//! Renders the table of `docs/conformance.md`.

use super::compare::Comparison;
use super::reasons;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const ABOUT: &str = "# Conformance

Written by `cargo xtask conformance --bless`; do not edit.

Each capture of the corpus goes through `dnscribe replay` and its records are compared with what
tshark makes of it. *Messages*: ours / tshark's, and how many of them both call malformed.
*Fields*: alike / compared, over time, addresses, header, counts, size, question, answers and EDNS of
every message. *Outcomes*: how many queries were answered, unanswered and retransmitted, how many
responses were orphans and duplicates, by a plain model of the pairing key. *Latencies*: of the pairs
that tshark makes, to the nanosecond. *Peers*: statements of other programs about the capture that
hold for ours. What differs is explained below the table; *missing* are messages that only tshark
has, *extra* those that only ours has.

";

/// Renders the whole page.
pub fn render(comparisons: &BTreeMap<String, Comparison>) -> String {
    let mut page = ABOUT.to_owned();
    let mut sum = Comparison::default();
    for comparison in comparisons.values() {
        sum.expected += comparison.expected;
        sum.found += comparison.found;
        sum.refused += comparison.refused;
        for (sum, one) in [
            (&mut sum.fields, comparison.fields),
            (&mut sum.outcomes, comparison.outcomes),
            (&mut sum.latencies, comparison.latencies),
            (&mut sum.peers, comparison.peers),
        ] {
            sum.0 += one.0;
            sum.1 += one.1;
        }
    }
    page.push_str("| capture | messages | malformed | fields | outcomes | latencies | peers |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    row(&mut page, &format!("**all {}**", comparisons.len()), &sum);
    for (name, comparison) in comparisons {
        row(&mut page, name, comparison);
    }
    page.push_str(
        "\n## What differs, and why\n\n| capture | what | times | why |\n|---|---|---|---|\n",
    );
    for reason in reasons::ALL {
        let differences = comparisons.get(reason.capture).map(|found| found.differences.iter());
        let times = differences.into_iter().flatten().filter(|one| reason.explains(one)).count();
        let _ =
            writeln!(page, "| {} | {} | {times} | {} |", reason.capture, reason.what(), reason.why);
    }
    page
}

fn row(page: &mut String, name: &str, comparison: &Comparison) {
    let part = |(equal, compared): (usize, usize)| match compared {
        0 => "–".to_owned(),
        _ => format!("{equal}/{compared}"),
    };
    let _ = writeln!(
        page,
        "| {name} | {}/{} | {} | {} | {} | {} | {} |",
        comparison.found,
        comparison.expected,
        comparison.refused,
        part(comparison.fields),
        part(comparison.outcomes),
        part(comparison.latencies),
        part(comparison.peers),
    );
}
