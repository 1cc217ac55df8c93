//! Runs every capture of the corpus through `dnscribe replay` and compares the records, field by
//! field, with the results of tshark and other programs.
//!
//! `DNSCRIBE_CORPUS` names the corpus (default: `../shared/corpus` beside the workspace). Intended
//! differences are listed in [`reasons`]. `docs/conformance.md` has the whole table and must be up
//! to date; `DNSCRIBE_BLESS=1` writes it.

mod conformance {
    pub mod compare;
    pub mod examples;
    pub mod fields;
    pub mod golden;
    pub mod agent_records;
    pub mod page;
    pub mod pairing;
    pub mod peers;
    pub mod reasons;
}

use anyhow::{Context as _, Result, ensure};
use conformance::compare::{Comparison, compare};
use conformance::{agent_records, golden, page, reasons};
use dnscribe_tests::environment;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

#[test]
fn golden_conformance() -> Result<()> {
    let Some(corpus) = environment::corpus() else { return Ok(()) };
    let mut comparisons = BTreeMap::new();
    for (name, summary) in golden::summaries(&corpus)? {
        let comparison = compare(&corpus, &name, &summary).with_context(|| name.clone())?;
        comparisons.insert(name, comparison);
    }
    let (page, wrong) = (page::render(&comparisons), unexplained(&comparisons));
    if let Some(path) = std::env::var_os("DNSCRIBE_CONFORMANCE") {
        fs::write(path, &page)?;
    }
    ensure!(
        wrong.is_empty(),
        "differences without a reason, or reasons without a difference:\n{wrong}"
    );
    let path = environment::workspace().join("docs/conformance.md");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        return fs::write(&path, page).with_context(|| path.display().to_string());
    }
    ensure!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "{} is out of date: run `cargo xtask conformance --bless`",
        path.display()
    );
    Ok(())
}

/// Lists differences without a reason and reasons without a difference.
fn unexplained(comparisons: &BTreeMap<String, Comparison>) -> String {
    let mut wrong = String::new();
    for (name, comparison) in comparisons {
        for difference in &comparison.differences {
            if reasons::explain(name, difference).is_none() {
                let _ = writeln!(
                    wrong,
                    "{name}, frame {}, {}: `{}`, not `{}`",
                    difference.frame, difference.field, difference.found, difference.expected,
                );
            }
        }
    }
    for reason in reasons::ALL {
        let differences = comparisons.get(reason.capture).map(|found| &found.differences);
        if !differences.is_some_and(|all| all.iter().any(|one| reason.explains(one))) {
            let _ = writeln!(wrong, "{}: nothing to explain by “{}”", reason.capture, reason.why);
        }
    }
    wrong
}

/// Captures made from another one by cutting, shuffling, clipping or encapsulation hold the same
/// messages.
#[test]
fn derived_captures_have_equal_messages() -> Result<()> {
    let Some(corpus) = environment::corpus() else { return Ok(()) };
    let ids = |name: &str| -> Result<Vec<(bool, u16)>> {
        let actual = agent_records::replay(&corpus.join("pcap").join(name), reasons::ports(name))?;
        let ids = actual.messages.iter().map(agent_records::identity);
        let mut ids: Vec<_> =
            ids.map(|header| header.map(|h| (h.response, h.id))).collect::<Result<_>>()?;
        ids.sort_unstable();
        Ok(ids)
    };
    for (source, derived) in reasons::DERIVED {
        let wanted = ids(source)?;
        for name in *derived {
            ensure!(ids(name)? == wanted, "{name}: the messages differ from those of {source}");
        }
    }
    Ok(())
}
