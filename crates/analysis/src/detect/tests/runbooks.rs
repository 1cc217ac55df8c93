//! Checks `docs/runbooks` against the code: a page for each rule, a section for each loss. Rules of
//! fleet detection and of probes are those of their source; `dnscribe-kpi` has one rule.

use crate::detect::Rule;
use dnscribe_common::counter::Counter;
use dnscribe_delivery::drop_reasons;
use dnscribe_transaction::decode::Malformed;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pages that do not belong to a rule.
const OTHERS: [&str; 3] = ["README", "health", "losses"];

/// Sections of every rule's page, in this order.
const SECTIONS: [&str; 7] = [
    "Symptom",
    "Meaning",
    "How it is detected",
    "Checks",
    "Likely causes",
    "Remedy",
    "False alarms",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks")
}

fn read(page: &str) -> String {
    fs::read_to_string(folder().join(page).with_extension("md")).unwrap()
}

fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.strip_suffix(".md").unwrap().to_owned()).collect()
}

/// Names of the agent's rules, of the fleet's, of the probe's and of `dnscribe-kpi`'s.
fn rules() -> Vec<String> {
    let fleet = "../../stream/src/main/java/dnscribe/stream/detect/Rule.java";
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(fleet)).unwrap();
    let constants = source.lines().filter_map(|line| line.strip_prefix("  ")?.split_once('('));
    let is_constant = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let constants = constants.map(|(name, _)| name).filter(|name| is_constant(name));
    let fleet = constants.map(str::to_lowercase);
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../probe/src/verdict/rule.rs");
    let probe = fs::read_to_string(probe).unwrap();
    let rules_of_probe = probe.split("pub enum Rule {").nth(1).unwrap().split('}').next().unwrap();
    let rules_of_probe = rules_of_probe.lines().filter_map(|line| line.split('"').nth(1));
    let others: Vec<String> = fleet.chain(rules_of_probe.map(str::to_owned)).collect();
    assert!(others.len() > 11, "no rules in {source} or {probe}");
    let own = Rule::ALL.map(|rule| rule.name().to_owned());
    others.into_iter().chain(own).chain(["reconciliation".to_owned()]).collect()
}

fn page(rule: &str) -> String {
    rule.replace('_', "-")
}

#[test]
fn rules_and_pages_match() {
    let pages_of_rules = rules().into_iter().map(|rule| page(&rule));
    let expected: BTreeSet<String> = pages_of_rules.chain(OTHERS.map(str::to_owned)).collect();
    assert_eq!(pages(), expected);
}

#[test]
fn pages_have_the_same_sections() {
    for rule in rules() {
        let text = read(&page(&rule));
        assert!(text.starts_with(&format!("# {rule}: ")), "{rule}");
        let sections: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{rule}");
    }
}

#[test]
fn links_resolve() {
    let index = read("README");
    for rule in rules() {
        let link = format!("[{rule}]({}.md)", page(&rule));
        assert!(index.contains(&link), "{link}");
    }
    for page in pages() {
        for link in read(&page).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            let file = folder().join(target);
            assert!(target.starts_with("http") || file.exists(), "{page}: {target}");
        }
    }
}

#[test]
fn every_loss_has_a_section() {
    let page = read("losses");
    let has = |name: &str| page.lines().any(|line| line == format!("### `{name}`"));
    for reason in drop_reasons() {
        assert!(has(reason), "{reason}");
    }
    for reason in Malformed::ALL {
        assert!(has(&format!("malformed.{}", reason.name())), "{reason:?}");
    }
    for (_, reason) in Counter::SKIPPED {
        assert!(has(&format!("skipped.{reason}")), "{reason}");
    }
    let others = [
        "lost_ring_full",
        "sampled_out",
        "clipped",
        "evicted_streams",
        "pairing.evicted",
        "connections.evicted",
        "dnscribe_links_overflow_total",
        "dnscribe_windows_late_total",
    ];
    for name in others {
        assert!(has(name), "{name}");
    }
}
