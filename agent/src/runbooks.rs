//! `docs/runbooks` keeps up with the code: a page for each rule, a section for each loss.

use crate::decode::Malformed;
use crate::detect::Rule;
use crate::sink::drop_reasons;
use dnscribe_common::counter::Counter;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pages that are no rule's.
const OTHERS: [&str; 3] = ["README", "health", "losses"];

/// What every rule's page answers, in this order.
const SECTIONS: [&str; 6] = [
    "What it means",
    "How it is decided",
    "First checks",
    "Likely causes",
    "What to do",
    "When it is a false alarm",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbooks")
}

fn read(page: &str) -> String {
    fs::read_to_string(folder().join(page).with_extension("md")).unwrap()
}

fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.strip_suffix(".md").unwrap().to_owned()).collect()
}

fn page(rule: Rule) -> String {
    rule.name().replace('_', "-")
}

#[test]
fn each_rule_has_its_page_and_each_page_its_rule() {
    let rules = Rule::ALL.map(page).into_iter();
    let expected: BTreeSet<String> = rules.chain(OTHERS.map(str::to_owned)).collect();
    assert_eq!(pages(), expected);
}

#[test]
fn each_page_answers_the_same_questions() {
    for rule in Rule::ALL {
        let text = read(&page(rule));
        assert!(text.starts_with(&format!("# {}: ", rule.name())), "{}", rule.name());
        let sections: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(sections, SECTIONS, "{}", rule.name());
    }
}

#[test]
fn the_index_and_all_links_between_pages_lead_somewhere() {
    let index = read("README");
    for rule in Rule::ALL {
        let link = format!("[{}]({}.md)", rule.name(), page(rule));
        assert!(index.contains(&link), "{link}");
    }
    for page in pages() {
        for link in read(&page).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            let file = folder().join(target);
            let is_near = !target.contains('/');
            assert!(!is_near || file.exists(), "{page}: {target}");
        }
    }
}

#[test]
fn each_loss_has_its_section() {
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
        "join.table_full",
        "dnscribe_windows_late_total",
    ];
    for name in others {
        assert!(has(name), "{name}");
    }
}
