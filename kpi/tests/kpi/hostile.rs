//! Input that would give a wrong number without a mark: each value is right, or its state says that it may not be.

use crate::world::{World, event};
use serde_json::{Value, json};
use std::fs;

const DAY: &str = "2026-03-01";

/// An event at ten o'clock with keys of its own.
pub fn fact(id: &str, key: &str, kind: &str, day: &str, more: Value) -> Value {
    let mut fact = json!({ "event_id": id, "business_key": key, "event_type": kind,
        "event_ts": format!("{day}T10:00:00Z"), "source_system": "s" });
    if let (Value::Object(fact), Value::Object(more)) = (&mut fact, more) {
        fact.extend(more);
    }
    fact
}

pub fn euro() -> Value {
    json!({"amount_micros": 10_000_000, "currency": "EUR"})
}

pub fn registration(number: u32, day: &str) -> Value {
    fact(
        &format!("r{number}"),
        &format!("r-{number}"),
        "registration_completed",
        day,
        json!({"domain": format!("d{number}.com")}),
    )
}

/// The only value of a KPI on a day, with all that the API says about it.
pub fn value(world: &World, kpi: &str, day: &str) -> Value {
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, &format!("/v1/kpis/{kpi}?from={day}&to={day}"));
    values.into_values().next().unwrap_or(Value::Null)
}

pub fn state(world: &World, kpi: &str, day: &str) -> (Value, String) {
    let value = value(world, kpi, day);
    (value["value"].clone(), value["state"].as_str().unwrap_or("none").to_owned())
}

pub fn is(value: impl Into<Value>, state: &str) -> (Value, String) {
    (value.into(), state.to_owned())
}

#[test]
fn equal_technical_keys_of_two_files_are_two_facts() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    let header = "event_id,business_key,event_type,event_ts";
    world.import_text(
        "registry.csv",
        &format!("{header},domain\n1,reg-1,registration_completed,{DAY}T10:00:00Z,a.com\n"),
    );
    world.import_text(
        "billing.csv",
        &format!("{header},amount_micros,currency\n1,pay-1,payment_captured,{DAY}T11:00:00Z,10000000,EUR\n"),
    );
    world.compute();
    assert_eq!(state(&world, "revenue", DAY), is(10_000_000, "provisional"));
    assert_eq!(state(&world, "registrations", DAY), is(1, "provisional"));
}

#[test]
fn one_technical_key_of_two_facts_is_a_conflict() {
    let world = World::with_kpis(&["payment_failure_ratio", "revenue"]);
    let payment = fact("1", "p-1", "payment_captured", DAY, euro());
    world.import(
        "a.ndjson",
        &[fact("1", "a-1", "registration_completed", DAY, json!({})), payment.clone()],
    );
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "revenue", DAY), is(Value::Null, "incomplete"));
    let server = world.serve(&["--no-auth"]);
    let failures =
        World::values(&server, &format!("/v1/kpis/payment_failure_ratio?from={DAY}&to={DAY}"));
    assert_eq!(failures[DAY]["state"], "incomplete");
    assert!(failures[DAY]["reasons"].to_string().contains("key"), "{}", failures[DAY]);
    drop(server);
    // With a technical key of its own the payment counts, and the conflict is over.
    let mut mended = payment;
    mended["event_id"] = json!("2");
    world.import("b.ndjson", &[mended]);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "revenue", DAY), is(10_000_000, "final"));
}

#[test]
fn one_payment_with_two_amounts_is_a_conflict() {
    // The event is sent anew, or changed in its source and sent again.
    for id in ["2", "1"] {
        let world = World::with_kpis(&["revenue"]);
        let mut other = fact(id, "p-1", "payment_captured", DAY, euro());
        other["amount_micros"] = json!(99_000_000);
        world.import("a.ndjson", &[fact("1", "p-1", "payment_captured", DAY, euro()), other]);
        world.ok(&["compute", "--final"]);
        assert_eq!(state(&world, "revenue", DAY), is(10_000_000, "incomplete"), "{id}");
        // Voided and captured anew under another key, the amount is certain.
        let void = fact("3", "v-1", "payment_voided", DAY, json!({"corrects": "p-1"}));
        world.import("b.ndjson", &[void, fact("4", "p-2", "payment_captured", DAY, euro())]);
        world.ok(&["compute", "--final"]);
        assert_eq!(state(&world, "revenue", DAY), is(10_000_000, "final"), "{id}");
    }
}

#[test]
fn corrections_take_away_facts_of_their_own_family_only() {
    let world = World::with_kpis(&[
        "corrections",
        "registrations",
        "revenue",
        "transfers_in",
        "transfers_out",
    ]);
    let rows = [
        fact("1", "o-1", "registration_completed", DAY, json!({})),
        fact("2", "o-1", "payment_captured", DAY, euro()),
        fact("3", "v-1", "payment_voided", "2026-03-02", json!({"corrects": "o-1"})),
        // By type and key, and by technical key.
        fact("4", "o-2", "transfer_in_completed", DAY, json!({"domain": "b.com"})),
        fact("5", "o-2", "transfer_out_completed", DAY, json!({"domain": "b.com"})),
        fact("6", "o-3", "transfer_out_completed", DAY, json!({"domain": "c.com"})),
        fact(
            "7",
            "v-2",
            "transfer_reversed",
            DAY,
            json!({"corrects": "o-2", "corrects_type": "transfer_out_completed"}),
        ),
        fact("8", "v-3", "transfer_reversed", DAY, json!({"corrects_event_id": "6"})),
    ];
    world.import("a.ndjson", &rows);
    world.compute();
    assert_eq!(state(&world, "registrations", DAY).0, 1);
    assert_eq!(value(&world, "revenue", DAY), Value::Null, "no currency has revenue");
    assert_eq!(state(&world, "transfers_in", DAY).0, 1);
    assert_eq!(state(&world, "transfers_out", DAY).0, 0);
    assert_eq!(state(&world, "corrections", DAY).0, 3);
}

#[test]
fn a_kpi_without_a_source_is_incomplete() {
    let world = World::with_kpis(&[
        "abuse_reports",
        "registration_failures",
        "registrations",
        "renewal_ratio",
        "revenue",
    ]);
    world.import("a.ndjson", &[registration(1, DAY)]);
    world.ok(&["compute", "--final"]);
    let reports = value(&world, "abuse_reports", DAY);
    assert_eq!((&reports["value"], &reports["state"]), (&Value::Null, &json!("incomplete")));
    assert!(reports["reasons"].to_string().contains("abuse_reported"), "{reports}");
    assert_eq!(state(&world, "registration_failures", DAY), is(Value::Null, "incomplete"));
    assert_eq!(state(&world, "revenue", DAY), is(Value::Null, "incomplete"));
    assert_eq!(state(&world, "renewal_ratio", DAY), is(Value::Null, "incomplete"));
    assert_eq!(state(&world, "registrations", DAY), is(1, "final"));
    // Billing is connected later.
    world.import("b.ndjson", &[fact("2", "p-1", "payment_captured", DAY, euro())]);
    world.ok(&["compute", "--final"]);
    let revenue = value(&world, "revenue", DAY);
    assert_eq!((&revenue["value"], &revenue["state"]), (&json!(10_000_000), &json!("final")));
    assert_eq!(revenue["adjustment"], Value::Null);
}

#[test]
fn few_refused_rows_make_a_day_incomplete() {
    let world = World::with_kpis(&["abuse_reports", "revenue"]);
    let mut rows: Vec<Value> = (1..=4)
        .map(|n| {
            fact(
                &n.to_string(),
                &format!("a-{n}"),
                "abuse_reported",
                DAY,
                json!({"domain": "a.com", "category": "spam"}),
            )
        })
        .collect();
    rows.push(registration(9, DAY));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    let reports = value(&world, "abuse_reports", DAY);
    assert_eq!((&reports["state"], &reports["rejected_rows"]), (&json!("incomplete"), &json!(4)));
    // Forty payments of a thousand.
    let rows: Vec<Value> = (0..1000)
        .map(|n| {
            let country = if n < 40 { "Germany" } else { "DE" };
            let mut row =
                fact(&format!("p{n}"), &format!("p-{n}"), "payment_captured", DAY, euro());
            row["country"] = json!(country);
            row
        })
        .collect();
    world.import("b.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "revenue", DAY), is(9_600_000_000_i64, "incomplete"));
}

#[test]
fn times_that_cannot_be_right_are_refused() {
    let world = World::with_kpis(&["registrations"]);
    let mut rows: Vec<Value> = [1, 2, 3, 5, 6, 7, 8, 9]
        .iter()
        .map(|day| registration(*day, &format!("2026-03-{day:02}")))
        .collect();
    rows.extend([registration(98, "1970-01-01"), registration(99, "2106-02-07")]);
    let imported = world.import("a.ndjson", &rows);
    assert_eq!(imported["rejected"], json!({"implausible_time": 2}));
    let computed = world.ok(&["compute", "-o", "json"]);
    let computed: Value = serde_json::from_str(&computed).unwrap();
    assert_eq!(computed["days"], 9);
    assert_eq!(state(&world, "registrations", "2026-03-04"), is(Value::Null, "incomplete"));
}

#[test]
fn a_running_total_needs_all_days_before() {
    let world = World::with_kpis(&["portfolio"]);
    let mut rows = vec![registration(1, DAY), registration(2, "2026-03-03")];
    rows.extend((1..=5).map(|n| {
        fact(
            &format!("d{n}"),
            &format!("d-{n}"),
            "deleted",
            "2026-03-02",
            json!({"country": "Germany"}),
        )
    }));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "portfolio", "2026-03-03"), is(2, "incomplete"));
    for row in &mut rows {
        row["country"] = json!("DE");
    }
    world.import("b.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "portfolio", "2026-03-03"), is(-3, "final"));
}

#[test]
fn an_event_with_an_effect_corrects_nothing() {
    let world = World::with_kpis(&["revenue"]);
    let mut refund = fact("2", "q-1", "payment_refunded", DAY, euro());
    refund["corrects"] = json!("p-1");
    let imported =
        world.import("a.ndjson", &[fact("1", "p-1", "payment_captured", DAY, euro()), refund]);
    assert_eq!(imported["rejected"], json!({"corrects_with_effect": 1}));
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "revenue", DAY), is(10_000_000, "incomplete"));
}

#[test]
fn chains_of_corrections_have_any_length() {
    for length in [7_u32, 8, 9, 30] {
        let world = World::with_kpis(&["registrations"]);
        let mut rows = vec![fact("0", "c0", "registration_completed", DAY, json!({}))];
        rows.extend((1..=length).map(|n| {
            let corrects = json!({"corrects": format!("c{}", n - 1)});
            fact(&n.to_string(), &format!("c{n}"), "registration_reversed", "2026-03-02", corrects)
        }));
        world.import("a.ndjson", &rows);
        world.compute();
        assert_eq!(state(&world, "registrations", DAY).0, (length + 1) % 2, "{length}");
    }
}

#[test]
fn a_source_that_rests_on_sundays_is_complete_on_sundays() {
    let world = World::with_kpis(&["registrations"]);
    // 1 March 2026 is a Sunday.
    let days = (2..=31).filter(|day| day % 7 != 1);
    let rows: Vec<Value> =
        days.map(|day| registration(day, &format!("2026-03-{day:02}"))).collect();
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    for sunday in ["08", "15", "22", "29"] {
        assert_eq!(state(&world, "registrations", &format!("2026-03-{sunday}")), is(0, "final"));
    }
    // A Monday without events is a gap.
    let rows: Vec<Value> = rows.into_iter().filter(|row| row["business_key"] != "r-16").collect();
    let world = World::with_kpis(&["registrations"]);
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", "2026-03-16"), is(Value::Null, "incomplete"));
    assert_eq!(state(&world, "registrations", "2026-03-15"), is(0, "final"));
}

#[test]
fn compute_ends_beside_steady_imports() {
    let world = World::with_kpis(&["registrations"]);
    let sample = world.sample(20, 20, &[]);
    world.ok(&["import", &sample]);
    let mut computing = world.command(&["compute"]).spawn().unwrap();
    let mut number = 0;
    // Imports follow each other without a pause until the computation has ended.
    let status = loop {
        if let Some(status) = computing.try_wait().unwrap() {
            break status;
        }
        number += 1;
        let at = format!("{DAY}T10:00:00Z");
        world.import(
            &format!("i{number}.ndjson"),
            &[event(number, "registration_completed", &at, json!({}))],
        );
        assert!(number < 2000, "the computation does not end");
    };
    assert!(status.success());
    assert!(number > 1, "no import came between");
    world.compute();
    assert_eq!(state(&world, "registrations", DAY).0, number);
}

#[test]
fn a_reopened_day_shows_both_values() {
    let world = World::with_kpis(&["portfolio", "registrations"]);
    world.import("a.ndjson", &[registration(1, DAY), registration(2, "2026-03-02")]);
    world.ok(&["compute", "--final"]);
    world.import("b.ndjson", &[registration(3, DAY)]);
    world.ok(&["compute", "--final"]);
    let before = value(&world, "registrations", DAY);
    assert_eq!((&before["value"], &before["adjustment"]["value"]), (&json!(1), &json!(2)));
    assert_eq!(before["adjustment"]["cause"], "late");
    for words in [
        vec!["compute", "--reopen", DAY],
        vec!["compute", "--reopen", DAY, "--reason", " "],
        vec!["compute", "--reopen", "2026-05-01", "--reason", "nothing is final"],
    ] {
        assert_eq!(world.run(&words).status.code(), Some(2), "{words:?}");
    }
    world.ok(&["compute", "--reopen", DAY, "--reason", "late registry file"]);
    let open = value(&world, "registrations", DAY);
    assert_eq!((&open["value"], &open["state"]), (&json!(2), &json!("provisional")));
    assert_eq!(open["adjustment"], Value::Null);
    assert_eq!(
        (&open["restatement"]["previous"], &open["restatement"]["reason"]),
        (&json!(1), &json!("late registry file"))
    );
    // A running total is restated on all days that follow.
    let total = value(&world, "portfolio", "2026-03-02");
    assert_eq!((&total["value"], &total["restatement"]["previous"]), (&json!(3), &json!(2)));
    assert_eq!(total["state"], "provisional");
    world.ok(&["compute", "--final"]);
    let restated = value(&world, "registrations", DAY);
    assert_eq!((&restated["value"], &restated["state"]), (&json!(2), &json!("final")));
    assert_eq!(restated["restatement"]["previous"], 1);
    assert_eq!(state(&world, "portfolio", "2026-03-02"), is(3, "final"));
    assert_eq!(value(&world, "registrations", "2026-03-02")["restatement"], Value::Null);
}

#[test]
fn a_changed_definition_is_no_late_fact() {
    let world = World::with_kpis(&["registrations"]);
    let mut failed = registration(2, DAY);
    failed["event_type"] = json!("registration_failed");
    world.import("a.ndjson", &[registration(1, DAY), failed]);
    world.ok(&["compute", "--final"]);
    let file = world.path("changed.yaml");
    let text = fs::read_to_string(world.path("metrics.yaml")).unwrap();
    let changed = text.replacen(
        r#""events":["registration_completed"]"#,
        r#""events":["registration_completed","registration_failed"]"#,
        1,
    );
    assert_ne!(text, changed);
    fs::write(&file, changed).unwrap();
    let dictionary = file.to_str().unwrap();
    world.ok(&["compute", "--final", "--dictionary", dictionary]);
    let server = world.serve(&["--no-auth", "--dictionary", dictionary]);
    let values = World::values(&server, &format!("/v1/kpis/registrations?from={DAY}&to={DAY}"));
    assert_eq!((&values[DAY]["value"], &values[DAY]["state"]), (&json!(1), &json!("final")));
    assert_eq!(
        values[DAY]["adjustment"],
        json!({"value": 2, "difference": 1, "cause": "definition"})
    );
}

/// What was computed with another dictionary is no value of this one: neither 0 nor what another condition has counted.
#[test]
fn values_of_another_dictionary_are_incomplete() {
    let world = World::with_kpis(&["registration_success_ratio", "registrations"]);
    let mut failed = registration(2, DAY);
    failed["event_type"] = json!("registration_failed");
    failed["error_code"] = json!("other");
    world.import("a.ndjson", &[registration(1, DAY), failed, registration(3, "2026-03-02")]);
    world.compute();
    let first = fs::read_to_string(world.path("metrics.yaml")).unwrap();
    let mut dictionary: Value = serde_json::from_str(&first).unwrap();
    let kpis = dictionary["kpis"].as_array_mut().unwrap();
    let registrations = kpis.iter().find(|kpi| kpi["name"] == "registrations").unwrap();
    let mut added = registrations.clone();
    added["name"] = json!("registrations_of_com");
    added["plus"] = json!(["of_com"]);
    added["decision"]["when"] = json!({"op": "below", "value": 1});
    kpis.push(added);
    let measures = dictionary["measures"].as_array_mut().unwrap();
    let of_com = "tld = 'com'";
    measures.push(json!({"name": "of_com", "events": ["registration_completed"], "where": of_com}));
    for measure in measures {
        if measure["name"] == "registration_failed" {
            measure["where"] = json!("error_code = 'busy'");
        }
    }
    let second = dictionary.to_string();
    fs::write(world.path("metrics.yaml"), &second).unwrap();

    assert_eq!(state(&world, "registrations_of_com", DAY), (Value::Null, "incomplete".to_owned()));
    assert_eq!(state(&world, "registration_success_ratio", DAY).1, "incomplete");
    assert_eq!(state(&world, "registrations", DAY), is(1, "provisional"), "its definition stayed");
    let found = value(&world, "registrations_of_com", DAY);
    let reason = found["reasons"][0].as_str().unwrap();
    assert!(reason.contains("another definition"), "{reason}");
    let server = world.serve(&["--no-auth"]);
    let (_, _, page) = server.request("GET", "/metrics", "");
    let rule = "dnscribe_kpi_rule_fires{kpi=\"registrations_of_com\"";
    assert!(!page.contains(rule), "{page}");
    drop(server);

    // One day alone, then all; and back again, where files of values are equal.
    world.ok(&["compute", "--date", DAY]);
    assert_eq!(state(&world, "registrations_of_com", DAY), is(1, "provisional"));
    assert_eq!(state(&world, "registrations_of_com", "2026-03-02").1, "incomplete");
    world.compute();
    assert_eq!(state(&world, "registrations_of_com", "2026-03-02"), is(1, "provisional"));
    let ratio = |day| state(&world, "registration_success_ratio", day);
    assert_eq!(ratio(DAY), (json!(1.0), "provisional".to_owned()));
    fs::write(world.path("metrics.yaml"), &first).unwrap();
    assert_eq!(ratio("2026-03-02").1, "incomplete");
    world.compute();
    assert_eq!(ratio(DAY), (json!(0.5), "provisional".to_owned()));
    assert_eq!(ratio("2026-03-02"), (json!(1.0), "provisional".to_owned()));

    // Final values stay, and no adjustment is made of what another definition has counted.
    world.ok(&["compute", "--final"]);
    fs::write(world.path("metrics.yaml"), &second).unwrap();
    let found = value(&world, "registration_success_ratio", DAY);
    assert_eq!((&found["value"], &found["state"]), (&json!(0.5), &json!("final")));
    assert_eq!(found["adjustment"], Value::Null);
    assert_eq!(state(&world, "registrations_of_com", DAY).1, "incomplete");
    world.compute();
    let found = value(&world, "registration_success_ratio", DAY);
    let expected = json!({"value": 1.0, "difference": 0.5, "cause": "definition"});
    assert_eq!(found["adjustment"], expected);
}

/// A former version did not say what it computed values with: they count as before.
#[test]
fn values_of_a_former_version_count() {
    let world = World::with_kpis(&["registrations"]);
    world.import("a.ndjson", &[registration(1, DAY)]);
    world.compute();
    for commit in world.files("log") {
        let commit = world.path("data/log").join(commit);
        let mut text: Value = serde_json::from_slice(&fs::read(&commit).unwrap()).unwrap();
        if let Some(compute) = text.get_mut("compute") {
            assert!(compute.as_object_mut().unwrap().remove("method").is_some());
        }
        fs::write(commit, text.to_string()).unwrap();
    }
    assert_eq!(state(&world, "registrations", DAY), is(1, "provisional"));
    let log = world.files("log").len();
    world.compute();
    assert_eq!(world.files("log").len(), log + 1, "now it says so");
    world.compute();
    assert_eq!(world.files("log").len(), log + 1);
    assert_eq!(state(&world, "registrations", DAY), is(1, "provisional"));
}

#[test]
fn windows_of_several_lengths_count_once_and_completely() {
    let window = |minute: u32, length: u32| {
        json!({"schema": "dns.fleet/1", "ts": format!("{DAY}T{:02}:{:02}:00Z", minute / 60, minute % 60),
            "window_seconds": length * 60, "step_seconds": length * 60, "grouping": "all", "vantage": "client",
            "queries": 100, "successes": 100, "rcodes": [], "statuses": {"answered": 100, "timeout": 0}})
    };
    // The length changes at noon.
    let mut rows: Vec<Value> = (0..12).map(|hour| window(hour * 60, 60)).collect();
    rows.extend((24..48).map(|half| window(half * 30, 30)));
    let world = World::with_kpis(&["dns_covered_seconds", "dns_queries"]);
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "dns_queries", DAY), is(3600, "final"));
    assert_eq!(state(&world, "dns_covered_seconds", DAY).0, 86_400);
    // Both lengths all day long.
    let world = World::with_kpis(&["dns_covered_seconds", "dns_queries"]);
    let mut rows: Vec<Value> = (0..24).map(|hour| window(hour * 60, 60)).collect();
    rows.extend((0..48).map(|half| window(half * 30, 30)));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "dns_covered_seconds", DAY), is(86_400, "final"));
    // Windows of one length that begin between others: of a job that was started anew, say.
    let world = World::with_kpis(&["dns_covered_seconds", "dns_queries"]);
    let mut rows: Vec<Value> = (0..23).map(|hour| window(hour * 60, 60)).collect();
    rows.extend([5, 9, 22].map(|hour| window(hour * 60 + 30, 60)));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "dns_covered_seconds", DAY), is(23 * 3600, "final"));
    assert_eq!(state(&world, "dns_queries", DAY), is(2300, "final"));
}

#[test]
fn numbers_that_cannot_be_right_are_refused() {
    let window = json!({"schema": "dns.fleet/1", "ts": format!("{DAY}T10:00:00Z"), "window_seconds": 3600,
        "step_seconds": 3600, "grouping": "all", "vantage": "client", "queries": 100, "successes": 100,
        "rcodes": [], "statuses": {"answered": 100, "timeout": 0}});
    let probe = json!({"schema": "dns.probe/1", "ts": format!("{DAY}T10:00:00Z"), "event_id": "1", "kind": "dns",
        "service": "shop", "ok": true, "duration_ms": -1.0});
    let mut rows = vec![window.clone(), probe];
    let wrong = [("successes", 101), ("queries", -1), ("window_seconds", 0)];
    for (field, value) in wrong.into_iter().chain([("window_seconds", 1_i64 << 58)]) {
        let mut row = window.clone();
        row[field] = json!(value);
        rows.push(row);
    }
    let imported = World::new().import("a.ndjson", &rows);
    assert_eq!(imported["rejected"], json!({"bad_dns_fleet": 4, "bad_dns_probe": 1}));
}

#[test]
fn a_cohort_is_the_registration_that_is_alive() {
    let world = World::with_kpis(&["cohort_renewal_ratio"]);
    let a = json!({"domain": "a.com"});
    let b = json!({"domain": "b.com"});
    let rows = [
        fact("1", "r-1", "registration_completed", "2024-01-10", a.clone()),
        fact("2", "x-1", "deleted", "2025-02-01", a.clone()),
        fact("3", "r-2", "registration_completed", "2025-03-05", a.clone()),
        fact("4", "n-1", "renewal_completed", "2026-03-05", a),
        fact("5", "t-1", "transfer_in_completed", "2025-03-06", b.clone()),
        fact("6", "n-2", "renewal_declined", "2026-03-05", b),
    ];
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--from", "2026-03-05", "--to", "2026-03-05"]);
    let server = world.serve(&["--no-auth"]);
    let values =
        World::values(&server, "/v1/kpis/cohort_renewal_ratio?from=2026-03-05&to=2026-03-05");
    let found: Vec<(&str, &Value)> =
        values.iter().map(|(key, value)| (key.as_str(), &value["value"])).collect();
    let (renewed, declined) = (json!(1.0), json!(0.0));
    let expected =
        [("2026-03-05/2025-03-01", &renewed), ("2026-03-05/transfer 2025-03-01", &declined)];
    assert_eq!(found, expected);
}

#[test]
fn an_empty_export_agrees_with_nothing() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    world.import(
        "a.ndjson",
        &[fact("1", "p-1", "payment_captured", DAY, euro()), registration(1, DAY)],
    );
    world.compute();
    let header = "business_key,event_type,event_ts,amount_micros,currency\n";
    let row = format!("p-1,payment_captured,{DAY}T10:00:00Z,10000000,EUR\n");
    let reconcile = |text: &str, more: &[&str]| {
        let file = world.path("billing.csv");
        fs::write(&file, text).unwrap();
        let output =
            world.run(&[&["reconcile", "--against", file.to_str().unwrap()], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let whole = ["--has", "payment_captured"];
    assert_eq!(reconcile(&format!("{header}{row}"), &whole).0, Some(0));
    for empty in ["", header, "day,kpi,by,value\n"] {
        let (code, text) = reconcile(empty, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("no rows"), "{text}");
    }
}

#[test]
fn half_an_export_lacks_what_it_is_said_to_have() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    let days = ["2026-03-01", "2026-03-02", "2026-03-03"];
    let payment = |day: &&str| fact(day, &format!("p-{day}"), "payment_captured", day, euro());
    let mut rows: Vec<Value> = days.iter().map(payment).collect();
    rows.push(registration(1, DAY));
    world.import("a.ndjson", &rows);
    world.compute();
    let file = world.path("export");
    let reconcile = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        let output =
            world.run(&[&["reconcile", "--against", file.to_str().unwrap()], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let half = format!("{}\n{}\n", rows[0], rows[1]);
    let (code, text) = reconcile(&half, &[]);
    assert_eq!(code, Some(1), "{text}");
    let said = "2026-03-01 to 2026-03-02, payment_captured: 2 compared, 0 differences: agrees as far as it goes: \
                2 of ours not compared";
    assert!(text.contains(said), "{text}");
    let (code, text) = reconcile(&half, &["--has", "payment_captured"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1 of ours not compared"), "{text}");
    let (code, text) = reconcile(&half, &["--from", DAY, "--to", "2026-03-02"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1 of ours not compared"), "{text}");
    let all = ["--from", DAY, "--to", "2026-03-02", "--has", "payment_captured"];
    let (code, text) = reconcile(&half, &all);
    assert_eq!(code, Some(0), "{text}");
    let said = "2026-03-01 to 2026-03-02, payment_captured: 2 compared, 0 differences: ok";
    assert!(text.contains(said), "{text}");
    let (code, text) = reconcile(&half, &["--to", "2026-03-03"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2026-03-03 payment_captured p-2026-03-03: extra"), "{text}");
    let (code, text) = reconcile(&half, &["--has", "payment_captured,registration_completed"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("registration_completed r-1: extra"), "{text}");
    // Values, of which a day or a KPI is missing.
    let half = "day,kpi,by,value\n2026-03-02,revenue,EUR,10000000\n";
    let (code, text) = reconcile(half, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("1 compared, 0 differences: agrees as far as it goes: 2 of ours"),
        "{text}"
    );
    // A day in the middle.
    let ends =
        "day,kpi,by,value\n2026-03-01,revenue,EUR,10000000\n2026-03-03,revenue,EUR,10000000\n";
    let (code, text) = reconcile(ends, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2026-03-02 revenue currency=EUR: value"), "{text}");
    assert_eq!(reconcile(half, &["--from", "2026-03-02", "--to", "2026-03-02"]).0, Some(0));
    let (code, text) = reconcile(half, &["--to", "2026-03-03"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2026-03-03 revenue currency=EUR"), "{text}");
    let (code, text) = reconcile(half, &["--from", DAY, "--has", "registrations"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2026-03-01 registrations"), "{text}");
}

#[test]
fn keys_that_are_personal_data_are_tokens() {
    let world = World::with_kpis(&["registrations"]);
    let (policy, key) = (world.path("policy.yaml"), world.path("key"));
    fs::write(&key, "0123456789abcdef").unwrap();
    let text = format!("key_id: k1\nkey_file: {}\n", key.display());
    fs::write(&policy, format!("version: 1\nfields: {{ business_key: tokenise }}\n{text}"))
        .unwrap();
    let policy = policy.to_str().unwrap();
    let mut rows = vec![
        fact("anna-1", "anna", "registration_completed", DAY, json!({"country": "DE"})),
        fact("bruno-1", "bruno", "registration_completed", DAY, json!({"country": "Germany"})),
        fact("carla-1", "carla", "registration_completed", DAY, json!({})),
        fact("v-1", "v", "registration_reversed", DAY, json!({"corrects": "carla"})),
    ];
    let import = |name: &str, rows: &[Value]| {
        let file = world.path(name);
        let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs::write(&file, rows.join("\n")).unwrap();
        world.ok(&["import", file.to_str().unwrap(), "--policy", policy]);
        file.to_str().unwrap().to_owned()
    };
    import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", DAY), is(1, "incomplete"));
    // The token of a refused row's key meets that of the corrected row.
    rows[1]["country"] = json!("DE");
    let export = import("b.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", DAY), is(2, "final"));
    let reconcile = |more: &[&str]| {
        let output = world.run(&[&["reconcile", "--against", &export], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(reconcile(&["--policy", policy]).0, Some(0));
    let (code, text) = reconcile(&[]);
    assert_eq!(code, Some(1), "{text}");
    let extra: Vec<&str> = text.lines().filter(|line| line.contains(": extra: ")).collect();
    assert!(extra.len() == 3 && extra.iter().all(|line| line.contains(" k1:")), "{text}");
}

#[test]
fn a_json_array_is_refused() {
    let world = World::new();
    let file = world.path("a.json");
    fs::write(&file, format!("[{}]\n", registration(1, DAY))).unwrap();
    let output = world.run(&["import", file.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("JSON array"), "{text}");
}

#[test]
fn spans_are_bounded_by_the_days_with_values() {
    let world = World::with_kpis(&["registrations"]);
    world.import("a.ndjson", &[registration(1, DAY)]);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    for span in ["from=0001-01-01&limit=1", "to=9999-12-31", "from=0001-01-01&to=9999-12-31"] {
        let (status, problem) = server.get(&format!("/v1/kpis/registrations?{span}"));
        assert_eq!(status, 400, "{span}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("days"), "{problem}");
    }
    assert_eq!(server.get("/v1/kpis/registrations?from=2026-01-01").0, 200);
}

#[test]
fn shares_are_of_what_was_due_and_open_until_their_horizon() {
    let world = World::with_kpis(&[
        "abuse_response_sla_ratio",
        "restore_completion_ratio",
        "transfer_completion_ratio",
        "transfer_sla_ratio",
    ]);
    let case = |n: u32, kind: &str, at: &str| {
        let more = json!({"request_id": format!("q{n}"), "abuse_category": "spam", "event_ts": at});
        fact(&format!("{kind}{n}"), &format!("{kind}-{n}"), kind, DAY, {
            let mut more = more;
            more["domain"] = json!(format!("d{n}.com"));
            more
        })
    };
    let mut rows: Vec<Value> =
        (0..10).map(|n| case(n, "abuse_reported", "2026-03-01T10:00:00Z")).collect();
    rows.push(case(0, "abuse_first_response", "2026-03-01T12:00:00Z"));
    rows.push(case(1, "abuse_first_response", "2026-03-03T12:00:00Z"));
    // Two restores end on a day on which one is requested.
    rows.extend((0..2).map(|n| case(n, "restore_requested", "2026-02-27T10:00:00Z")));
    rows.push(case(2, "restore_requested", "2026-03-01T10:00:00Z"));
    rows.extend((0..2).map(|n| case(n, "restore_completed", "2026-03-01T11:00:00Z")));
    let now = jiff::Timestamp::now();
    let yesterday = (now - jiff::SignedDuration::from_hours(24)).to_string();
    rows.push(case(7, "transfer_in_requested", &yesterday));
    rows.push(case(8, "transfer_in_requested", "2026-03-01T10:00:00Z"));
    rows.push(case(8, "transfer_in_completed", "2026-03-07T10:00:00Z"));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "abuse_response_sla_ratio", DAY), is(0.1, "final"));
    assert_eq!(state(&world, "restore_completion_ratio", "2026-02-27"), is(1.0, "final"));
    assert_eq!(state(&world, "restore_completion_ratio", DAY), is(0.0, "final"));
    assert_eq!(state(&world, "transfer_sla_ratio", DAY), is(0.0, "final"));
    let closed = value(&world, "transfer_completion_ratio", DAY);
    assert_eq!((&closed["value"], &closed["open_until"]), (&json!(1.0), &Value::Null));
    let open = value(&world, "transfer_completion_ratio", &yesterday[..10]);
    assert_eq!((&open["value"], &open["state"]), (&json!(0.0), &json!("provisional")));
    assert!(open["open_until"].as_str().unwrap() > &now.to_string()[..10], "{open}");
}

/// Rows without a time may be of any day up to that of the import.
#[test]
fn rows_whose_time_cannot_be_read_concern_all_days() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    let days = ["2026-03-01", "2026-03-02", "2026-03-04"];
    let rows = [registration(1, days[0]), registration(2, days[1]), registration(3, days[2])];
    world.import("a.ndjson", &rows);
    world.import("b.ndjson", &[fact("9", "p-9", "payment_captured", days[1], euro())]);
    let mut late = registration(4, days[1]);
    late["event_ts"] = json!("2026-03-02 10:00");
    // None of its rows is accepted; or one is, of another day.
    for (name, more) in [("c.ndjson", None), ("d.ndjson", Some(registration(5, days[2])))] {
        let file: Vec<Value> = std::iter::once(late.clone()).chain(more).collect();
        let path = world.path(name);
        let text: Vec<String> = file.iter().map(Value::to_string).collect();
        fs::write(&path, text.join("\n")).unwrap();
        let path = path.to_str().unwrap();
        world.run(&["import", path]);
        world.ok(&["compute", "--final"]);
        for day in days.iter().chain(&["2026-03-03"]) {
            assert_eq!(state(&world, "registrations", day).1, "incomplete", "{name} {day}");
        }
        assert_eq!(state(&world, "revenue", days[1]).1, "final");
        world.ok(&["import", "--undo", path, "--reason", "test"]);
    }
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", days[1]), is(1, "final"));
}
