use super::*;
use crate::vm::report;
use serde_json::json;

fn section(name: &str, code: i32, files: &[(&str, &str)]) -> Report {
    let files = files.iter().fold(String::new(), |all, (file, text)| {
        all + &format!("@file {file}\n{}\n", text.trim_end())
    });
    report::parse(&format!("@begin {name}\n{files}@end {name} {code}\n@done 1\n")).unwrap()
}

#[test]
fn expects_capture_or_refusal_by_kernel_and_layout() {
    use Expected::{Captures, Refuses};
    let on = |kernel, layout, hook| expected(kernel, layout, hook);
    assert_eq!(on(Kernel::V6_1, Layout::Unified, "cgroup"), Captures("cgroup"));
    assert_eq!(on(Kernel::V6_1, Layout::Hybrid, "auto"), Captures("cgroup"));
    assert_eq!(on(Kernel::V6_1, Layout::Legacy, "auto"), Captures("socket"));
    assert!(matches!(on(Kernel::V6_1, Layout::Legacy, "cgroup"), Refuses(_)));
    assert_eq!(on(Kernel::V5_10, Layout::Unified, "socket"), Refuses(TOO_OLD));
}

#[test]
fn empty_report_fails_every_check() {
    let verdicts = evaluate(Kernel::V6_1, Layout::Unified, &Report::default());
    assert!(verdicts.len() > 3);
    assert!(verdicts.iter().all(|verdict| verdict.outcome.is_err()));
}

#[test]
fn refusal_needs_exit_code_and_words() {
    let run = |code, words| {
        let report = section("cgroup", code, &[("stderr", words)]);
        refuses(report.section("cgroup").unwrap(), TOO_OLD)
    };
    assert!(run(3, "error: Linux 5.12 or later is needed").is_ok());
    assert!(run(3, "error: something").is_err());
    assert!(run(0, "error: Linux 5.12 or later is needed").is_err());
}

#[test]
fn transaction_must_be_unique_and_match() {
    let record = |status: &str, comm: &str| {
        json!({ "qname": "a.test", "vantage": "client", "transport": "udp", "status": status,
                "process": { "comm": comm } })
    };
    let judge = |records: &[Value], process| {
        transaction(records, "a.test", "client", "udp", "answered", process)
    };
    let good = record("answered", "kdig");
    assert!(judge(std::slice::from_ref(&good), Some("kdig")).is_ok());
    assert!(judge(&[], Some("kdig")).is_err());
    assert!(judge(&[good.clone(), good.clone()], Some("kdig")).is_err());
    assert!(judge(&[record("timeout", "kdig")], Some("kdig")).is_err());
    assert!(judge(&[record("answered", "other")], Some("kdig")).is_err());
    assert!(judge(&[good], None).is_err());
}

#[test]
fn probe_must_fail_by_name_with_remedy() {
    let probe = |required: bool| {
        json!({ "probes": [{ "name": "btf", "ok": false, "required": required,
                             "detail": "none", "remedy": "CONFIG_DEBUG_INFO_BTF=y" }] })
    };
    let run = |code, required| {
        let text = probe(required).to_string();
        section("no-btf", code, &[("report", &text), ("stderr", "")])
    };
    let warned = run(0, false);
    let warned = warned.section("no-btf").unwrap();
    assert!(warns(warned, "btf", "DEBUG_INFO").is_ok());
    assert!(warns(warned, "kernel", "DEBUG_INFO").is_err());
    assert!(fails(warned, "btf", "DEBUG_INFO").is_err());
    assert!(fails(run(3, true).section("no-btf").unwrap(), "btf", "DEBUG_INFO").is_ok());
}
