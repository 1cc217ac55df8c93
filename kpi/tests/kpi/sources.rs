//! Declared sources: which days they have delivered, and what is said of the others.

use crate::hostile::{euro, fact, is, registration, state, value};
use crate::world::World;
use serde_json::{Value, json};
use std::fs;
use std::process::Output;

/// A store with some KPIs, whose sources are declared.
struct Declared {
    world: World,
    config: String,
}

impl Declared {
    fn new(kpis: &[&str], sources: &str) -> Self {
        let world = World::with_kpis(kpis);
        let config = world.path("kpi.yaml").to_str().unwrap().to_owned();
        let declared = Self { world, config };
        declared.declare(sources);
        declared
    }

    fn declare(&self, sources: &str) {
        fs::write(&self.config, format!("version: 1\nsources:\n{sources}")).unwrap();
    }

    fn run(&self, words: &[&str]) -> Output {
        self.world.run(&[&["--config", &self.config], words].concat())
    }

    fn ok(&self, words: &[&str]) -> String {
        self.world.ok(&[&["--config", &self.config], words].concat())
    }

    /// Imports rows of a source, and returns those that were refused, by reason.
    fn import(&self, name: &str, source: &str, rows: &[Value]) -> Value {
        let file = self.world.path(name);
        let rows: Vec<String> = rows
            .iter()
            .map(|row| {
                let mut row = row.clone();
                // The rows of the helpers name another source.
                if row["source_system"] == "s" {
                    row["source_system"] = json!(source);
                }
                row.to_string()
            })
            .collect();
        fs::write(&file, rows.join("\n")).unwrap();
        let file = file.to_str().unwrap();
        let output = self.run(&["import", file, "--source", source, "-o", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let code = i32::from(report["accepted"] == 0);
        assert_eq!(output.status.code(), Some(code), "1 if no row is accepted: {report}");
        report["rejected"].clone()
    }

    fn compute(&self) {
        self.ok(&["compute", "--final"]);
    }

    fn state(&self, kpi: &str, day: &str) -> (Value, String) {
        state(&self.world, kpi, day)
    }

    fn reasons(&self, kpi: &str, day: &str) -> String {
        value(&self.world, kpi, day)["reasons"].to_string()
    }
}

const REGISTRY: &str = "\x20 - { name: registry, types: [\"registration_*\", \"transfer_*\", \"restore_*\", deleted], \
    first_day: 2026-03-03 }\n";

/// A registration on a day of March 2026.
fn on(day: u32) -> Value {
    registration(day, &format!("2026-03-{day:02}"))
}

#[test]
fn a_kpi_is_final_when_its_declared_sources_have_delivered() {
    let store = Declared::new(
        &["abuse_reports", "registrations", "renewals", "revenue"],
        "\x20 - { name: registry, types: [\"registration_*\"], calendar: weekdays, first_day: 2026-03-01 }\n\
         \x20 - { name: billing, types: [\"payment_*\"], first_day: 2026-03-01, time_zone: Europe/Berlin, key: business_key }\n\
         \x20 - { name: abuse, types: [\"abuse_*\"], first_day: 2026-03-01, calendar: sparse }\n",
    );
    let checked = store.ok(&["check"]);
    let note = "note  renewals: no declared source delivers renewal_completed";
    assert!(checked.contains(note), "{checked}");
    assert!(!checked.contains("note  registrations:"), "{checked}");
    // 2 March is a Monday, and 7 March a Saturday, on which the registry rests.
    let registrations: Vec<Value> = (2..=6).chain([9]).map(on).collect();
    assert_eq!(store.import("a.ndjson", "registry", &registrations), json!({}));
    store.compute();
    assert_eq!(store.state("registrations", "2026-03-02"), is(1, "final"));
    assert_eq!(store.state("registrations", "2026-03-07"), is(0, "final"));
    assert_eq!(store.state("revenue", "2026-03-03"), is(Value::Null, "incomplete"));
    let reasons = store.reasons("revenue", "2026-03-03");
    assert!(reasons.contains("billing has never delivered"), "{reasons}");
    let reasons = store.reasons("renewals", "2026-03-03");
    assert!(reasons.contains("no declared source delivers renewal_completed"), "{reasons}");

    // The third of March in UTC ends in the fourth of Berlin. Without event_id, the business key is the key.
    let payment = |day: u32| {
        let at = format!("2026-03-{day:02}");
        let mut row = fact("", &format!("p-{day}"), "payment_captured", &at, euro());
        row.as_object_mut().unwrap().remove("event_id");
        row
    };
    for (last, missing) in [(3, "2026-03-03"), (4, "2026-03-04")] {
        let rows: Vec<Value> = (3..=last).map(payment).collect();
        assert_eq!(store.import(&format!("b{last}.ndjson"), "billing", &rows), json!({}));
        store.compute();
        let reasons = store.reasons("revenue", "2026-03-03");
        assert!(
            reasons.contains(&format!("billing may not have delivered all of {missing}")),
            "{reasons}"
        );
    }
    assert_eq!(store.import("c.ndjson", "billing", &[payment(5)]), json!({}));
    store.compute();
    assert_eq!(store.state("revenue", "2026-03-03"), is(10_000_000, "final"));

    // A day without abuse reports is complete once a later one has come.
    let abuse = |day: &str| {
        let more = json!({"domain": "a.com", "abuse_category": "spam"});
        fact(day, day, "abuse_reported", day, more)
    };
    assert_eq!(store.import("d.ndjson", "abuse", &[abuse("2026-03-02")]), json!({}));
    store.compute();
    assert_eq!(store.state("abuse_reports", "2026-03-03"), is(Value::Null, "incomplete"));
    assert_eq!(store.import("e.ndjson", "abuse", &[abuse("2026-03-05")]), json!({}));
    store.compute();
    assert_eq!(store.state("abuse_reports", "2026-03-03"), is(0, "final"));

    // What was not declared is refused.
    let mut stranger = on(20);
    stranger["source_system"] = json!("stranger");
    let early = registration(21, "2026-02-27");
    let rejected = store.import("f.ndjson", "registry", &[stranger, early, abuse("2026-03-06")]);
    let expected = json!({"undeclared_source": 1, "before_first_day": 1, "undeclared_type": 1});
    assert_eq!(rejected, expected);
}

#[test]
fn a_feed_that_died_at_noon_has_not_delivered_its_day() {
    let store = Declared::new(&["registrations"], REGISTRY);
    store.import("a.ndjson", "registry", &[on(3), on(4)]);
    store.compute();
    assert_eq!(store.state("registrations", "2026-03-03"), is(1, "final"));
    assert_eq!(store.state("registrations", "2026-03-04"), is(1, "incomplete"));
    let reasons = store.reasons("registrations", "2026-03-04");
    assert!(reasons.contains("may not have delivered all of 2026-03-04"), "{reasons}");
    // A time after the import, of a wrong clock, shows nothing.
    let mut wrong = on(5);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(20);
    wrong["event_ts"] = json!(later.to_string());
    assert_eq!(store.import("wrong.ndjson", "registry", &[wrong]), json!({}));
    store.ok(&["compute", "--final", "--from", "2026-03-03", "--to", "2026-03-06"]);
    assert_eq!(store.state("registrations", "2026-03-04").1, "incomplete");
    // The source's owner says that nothing is missing, also of a day without events.
    let today = jiff::Timestamp::now().to_string()[..10].to_owned();
    for (day, source) in
        [(&*today, "registry"), ("2026-03-02", "registry"), ("2026-03-04", "other")]
    {
        let output = store.run(&["import", "--complete", day, "--source", source]);
        assert_eq!(output.status.code(), Some(2), "{day} {source}");
    }
    for day in ["2026-03-04", "2026-03-05"] {
        let said = store.ok(&["import", "--complete", day, "--source", "registry"]);
        assert_eq!(said, format!("registry: {day} is complete; `compute` takes it into account\n"));
    }
    store.ok(&["compute", "--final", "--from", "2026-03-03", "--to", "2026-03-06"]);
    assert_eq!(store.state("registrations", "2026-03-04"), is(1, "final"));
    assert_eq!(store.state("registrations", "2026-03-05"), is(0, "final"));
    let reasons = store.reasons("registrations", "2026-03-06");
    assert!(reasons.contains("registry has not delivered 2026-03-06"), "{reasons}");
}

#[test]
fn a_running_total_opens_with_the_first_day_of_its_sources() {
    let store = Declared::new(&["portfolio"], REGISTRY);
    // Facts from before the declaration.
    store.world.import("old.ndjson", &[on(1), on(2)]);
    store.import("a.ndjson", "registry", &[on(3), on(4), on(5)]);
    store.compute();
    let before = value(&store.world, "portfolio", "2026-03-02");
    assert_eq!(before["state"], "incomplete", "{before}");
    assert!(
        before["reasons"].to_string().contains("registry delivers from 2026-03-03 on"),
        "{before}"
    );
    let total = value(&store.world, "portfolio", "2026-03-04");
    assert_eq!((&total["value"], &total["state"]), (&json!(2), &json!("final")), "{total}");
    assert!(total["notes"].to_string().contains("counted from 2026-03-03 on"), "{total}");
    let server = store.world.serve(&["--no-auth"]);
    let month =
        World::values(&server, "/v1/kpis/portfolio?from=2026-03-01&to=2026-03-04&grain=month");
    assert_eq!(
        (&month["2026-03-01"]["value"], &month["2026-03-01"]["state"]),
        (&json!(2), &json!("final"))
    );
    drop(server);

    // Another registry begins later: what was complete without it stays so, and the total is one from its first day.
    store.declare(&format!(
        "{REGISTRY}\x20 - {{ name: other, types: [\"registration_*\"], first_day: 2026-03-06 }}\n"
    ));
    store.import("b.ndjson", "registry", &[on(6), on(7)]);
    store.compute();
    assert_eq!(store.state("portfolio", "2026-03-05"), is(3, "final"));
    let reasons = store.reasons("portfolio", "2026-03-06");
    assert!(reasons.contains("other has never delivered"), "{reasons}");
    store.import(
        "c.ndjson",
        "other",
        &[registration(60, "2026-03-06"), registration(70, "2026-03-07")],
    );
    store.compute();
    assert_eq!(store.state("portfolio", "2026-03-06"), is(5, "final"));
}

#[test]
fn a_total_that_was_final_keeps_its_opening() {
    let store = Declared::new(&["portfolio"], REGISTRY);
    store.world.import("old.ndjson", &[on(1), on(2)]);
    store.import("a.ndjson", "registry", &[on(3), on(4), on(5)]);
    store.compute();
    assert_eq!(store.state("portfolio", "2026-03-04"), is(2, "final"));
    for first_day in ["2026-03-01", "2026-03-04", "2026-03-06"] {
        store.declare(&REGISTRY.replace("2026-03-03", first_day));
        store.compute();
        let total = value(&store.world, "portfolio", "2026-03-04");
        assert_eq!((&total["value"], &total["state"]), (&json!(2), &json!("final")), "{first_day}");
        assert_eq!(total["adjustment"], Value::Null, "{total}");
        assert!(total["notes"].to_string().contains("counted from 2026-03-03 on"), "{total}");
    }
    // What was final before is shown as it was.
    for day in ["2026-03-03", "2026-03-04"] {
        store.ok(&["compute", "--reopen", day, "--reason", "late registry file"]);
    }
    let total = value(&store.world, "portfolio", "2026-03-04");
    assert_eq!((&total["value"], &total["restatement"]["previous"]), (&json!(2), &json!(2)));
}

#[test]
fn an_import_that_is_taken_back_has_delivered_nothing() {
    let store = Declared::new(&["registrations"], REGISTRY);
    let compute =
        || store.ok(&["compute", "--final", "--from", "2026-03-03", "--to", "2026-03-09"]);
    store.import("a.ndjson", "registry", &[on(3)]);
    // The source is named by the row, and not by the import.
    let mut row = on(4);
    row["source_system"] = json!("registry");
    let file = store.world.path("wrong.ndjson");
    fs::write(&file, row.to_string()).unwrap();
    let file = file.to_str().unwrap();
    store.ok(&["import", file]);
    for day in ["2026-03-04", "2026-03-08", "2026-03-09"] {
        store.ok(&["import", "--complete", day, "--source", "registry"]);
    }
    compute();
    assert_eq!(store.state("registrations", "2026-03-04"), is(1, "final"));
    assert_eq!(store.state("registrations", "2026-03-08"), is(0, "final"));
    store.ok(&["import", "--undo", file, "--reason", "test data"]);
    // What is final and has no row of the import stays, also beyond the last fact.
    assert_eq!(store.state("registrations", "2026-03-08"), is(0, "final"));
    compute();
    assert_eq!(store.state("registrations", "2026-03-04"), is(Value::Null, "incomplete"));
    let reasons = store.reasons("registrations", "2026-03-04");
    assert!(reasons.contains("registry has not delivered 2026-03-04"), "{reasons}");
    // Another day's word is still given.
    store.ok(&["compute", "--reopen", "2026-03-08", "--reason", "test"]);
    assert_eq!(store.state("registrations", "2026-03-08"), is(0, "provisional"));
}

#[test]
fn rows_before_the_first_day_concern_their_own_day_alone() {
    let store = Declared::new(&["registrations"], REGISTRY);
    let rejected = store.import("a.ndjson", "registry", &[on(2), on(3), on(4), on(5)]);
    assert_eq!(rejected, json!({"before_first_day": 1}));
    store.compute();
    for day in ["2026-03-03", "2026-03-04"] {
        let value = value(&store.world, "registrations", day);
        assert_eq!((&value["value"], &value["state"]), (&json!(1), &json!("final")), "{value}");
        assert_eq!(value["rejected_rows"], Value::Null);
    }
    store.ok(&["compute", "--from", "2026-03-02", "--to", "2026-03-05"]);
    let early = value(&store.world, "registrations", "2026-03-02");
    assert_eq!(
        (&early["state"], &early["rejected_rows"]),
        (&json!("incomplete"), &json!(1)),
        "{early}"
    );
}

#[test]
fn a_correction_of_a_fact_before_the_first_day_lacks_nothing() {
    let store = Declared::new(&["registrations"], REGISTRY);
    let reversal = |number: u32, corrected: &str| {
        let (id, day) = (format!("v{number}"), "2026-03-04");
        fact(&id, &id, "registration_reversed", day, json!({ "corrects": corrected }))
    };
    let states = |expected: &str| {
        for words in [&["compute"][..], &["compute", "--all"]] {
            store.ok(words);
            assert_eq!(store.state("registrations", "2026-03-04"), is(1, expected), "{words:?}");
        }
    };
    // What is corrected comes later, and is refused.
    let first = [on(3), on(4), on(5), reversal(1, "r-2")];
    assert_eq!(store.import("a.ndjson", "registry", &first), json!({}));
    states("incomplete");
    assert_eq!(store.import("b.ndjson", "registry", &[on(2)]), json!({"before_first_day": 1}));
    states("provisional");
    // What is corrected was refused before.
    assert_eq!(store.import("c.ndjson", "registry", &[on(1)]), json!({"before_first_day": 1}));
    assert_eq!(store.import("d.ndjson", "registry", &[reversal(2, "r-1")]), json!({}));
    states("provisional");
    // Taking back such a correction changes nothing.
    assert_eq!(store.import("e.ndjson", "registry", &[reversal(3, "v1")]), json!({}));
    states("provisional");
    assert_eq!(store.import("f.ndjson", "registry", &[reversal(4, "r-99")]), json!({}));
    states("incomplete");
}

#[test]
fn a_type_without_a_source_is_a_note_until_sources_are_declared() {
    let store = Declared::new(&["revenue"], REGISTRY);
    let world = &store.world;
    // Nobody has ever sent refunds.
    world.import("a.ndjson", &[fact("1", "p-1", "payment_captured", "2026-03-03", euro())]);
    assert!(world.ok(&["compute"]).contains("no sources are declared"));
    let revenue = value(world, "revenue", "2026-03-03");
    assert_eq!((&revenue["value"], &revenue["state"]), (&json!(10_000_000), &json!("provisional")));
    let note = "payment_refunded has never come, and no sources are declared: none is counted";
    assert!(revenue["notes"].to_string().contains(note), "{revenue}");
    store.compute();
    assert_eq!(state(world, "revenue", "2026-03-03").1, "incomplete");
    let reasons = store.reasons("revenue", "2026-03-03");
    assert!(
        reasons.contains("no declared source delivers payment_captured, payment_refunded"),
        "{reasons}"
    );
    // Who forgets the configuration changes nothing.
    let more = world.path("b.ndjson");
    fs::write(&more, on(4).to_string()).unwrap();
    let import = ["import", more.to_str().unwrap()];
    let reopen = ["compute", "--reopen", "2026-03-03", "--reason", "late"];
    for words in [&["compute"][..], &["compute", "--final"], &reopen, &import] {
        let output = world.run(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text.contains("give their file with --config"), "{text}");
    }
    assert!(store.reasons("revenue", "2026-03-03").contains("no declared source"));
}
