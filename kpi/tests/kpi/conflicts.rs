//! Keys, corrections and files that contradict each other: what is not known is said.

use crate::hostile::{euro, fact, is, registration, state, value};
use crate::world::World;
use serde_json::{Value, json};
use std::fs;

const DAY: &str = "2026-03-01";
const NEXT: &str = "2026-03-02";

fn reasons(world: &World, kpi: &str, day: &str) -> String {
    let value = value(world, kpi, day);
    assert_eq!(value["state"], "incomplete", "{value}");
    value["reasons"].to_string()
}

#[test]
fn one_key_of_two_facts_is_a_conflict() {
    let order = |id: &str, domain: &str, day: &str, more: Value| {
        let mut row = fact(id, "1001", "registration_completed", day, more);
        row["domain"] = json!(domain);
        row
    };
    for (second, days, what) in [
        (order("2", "b.com", DAY, json!({})), &[DAY][..], "domain"),
        (order("2", "a.com", NEXT, json!({})), &[DAY, NEXT], "day"),
        (order("2", "a.com", DAY, json!({"account_id": "7"})), &[DAY], "account"),
        (order("2", "a.com", DAY, json!({"source_system": "t"})), &[DAY], "source"),
    ] {
        let world = World::with_kpis(&["registrations"]);
        world.import("a.ndjson", &[order("1", "a.com", DAY, json!({})), second]);
        world.ok(&["compute", "--final"]);
        for day in days {
            let reasons = reasons(&world, "registrations", day);
            assert!(reasons.contains(&format!("with another {what}")), "{reasons}");
        }
    }
    // The same fact, sent twice.
    let world = World::with_kpis(&["registrations"]);
    let rows = ["1", "2"].map(|id| order(id, "a.com", DAY, json!({"source_system": null})));
    world.import("a.ndjson", &rows[..1]);
    world.import("b.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", DAY), is(1, "final"));
}

#[test]
fn a_row_beside_a_refused_one_of_its_key_does_not_correct_it() {
    let world = World::with_kpis(&["registrations"]);
    let rows = ["DE", "Germany"].map(|country| {
        let more = json!({"country": country, "domain": format!("{country}.com")});
        fact(country, "1001", "registration_completed", DAY, more)
    });
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert!(reasons(&world, "registrations", DAY).contains("1 rows were refused"));
    // Refused after the other was accepted.
    let world = World::with_kpis(&["registrations"]);
    world.import("a.ndjson", &rows[..1]);
    let refused = world.path("b.ndjson");
    fs::write(&refused, rows[1].to_string()).unwrap();
    let output = world.run(&["import", refused.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "no row of it was accepted");
    world.ok(&["compute", "--final"]);
    assert!(reasons(&world, "registrations", DAY).contains("1 rows were refused"));
    let mut corrected = rows[1].clone();
    corrected["country"] = json!("DE");
    corrected["business_key"] = json!("1001-2");
    world.import("c.ndjson", &[corrected]);
    world.ok(&["compute", "--final"]);
    assert_eq!(
        state(&world, "registrations", DAY),
        is(2, "incomplete"),
        "nobody said what c replaces"
    );
    let undone = ["import", "--undo", refused.to_str().unwrap(), "--reason", "corrected"];
    world.ok(&undone);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", DAY), is(2, "final"));
}

#[test]
fn a_correction_that_takes_nothing_away_is_said() {
    let world = World::with_kpis(&["corrections", "registrations", "revenue"]);
    let void = fact("2", "v-1", "payment_voided", NEXT, json!({"corrects": "P-1"}));
    world.import(
        "a.ndjson",
        &[fact("1", "p-1", "payment_captured", DAY, euro()), void, registration(1, NEXT)],
    );
    world.ok(&["compute", "--final"]);
    assert!(reasons(&world, "revenue", NEXT).contains("1 corrections take nothing away"));
    assert_eq!(state(&world, "revenue", DAY), is(10_000_000, "final"));
    assert_eq!(state(&world, "registrations", NEXT), is(1, "final"));
    // The fact comes later.
    world.import("b.ndjson", &[fact("3", "P-1", "payment_captured", NEXT, euro())]);
    world.ok(&["compute", "--final"]);
    assert_eq!(value(&world, "revenue", NEXT)["state"], "final");
}

#[test]
fn a_correction_of_facts_of_two_types_is_said() {
    let world = World::with_kpis(&["revenue"]);
    let rows = [
        fact("1", "p-1", "payment_captured", DAY, euro()),
        fact("2", "p-1", "payment_refunded", DAY, euro()),
        fact("3", "p-2", "payment_captured", DAY, euro()),
        fact("4", "v-1", "payment_voided", NEXT, json!({"corrects": "p-1"})),
    ];
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    assert!(reasons(&world, "revenue", NEXT).contains("facts of several types"));
    // Take it back, and say which.
    let refund = json!({"corrects": "p-1", "corrects_type": "payment_refunded"});
    let back = json!({"corrects": "v-1"});
    world.import(
        "b.ndjson",
        &[
            fact("5", "v-2", "payment_voided", NEXT, back),
            fact("6", "v-3", "payment_voided", NEXT, refund),
        ],
    );
    world.ok(&["compute", "--final", "--from", DAY, "--to", NEXT]);
    assert_eq!(value(&world, "revenue", NEXT)["state"], "final");
}

#[test]
fn a_correction_of_a_misspelt_type_concerns_all_types() {
    let exact = json!({"corrects": "p-1", "corrects_type": "payment_refunded"});
    let misspelt = json!({"corrects": "p-1", "corrects_type": "payment_capturd"});
    for (kind, more, registrations) in [
        ("payment_voided", exact, "final"),
        ("payment_voided", misspelt, "incomplete"),
        ("paymnt_voided", json!({"corrects": "p-1"}), "incomplete"),
        ("payment_failed_voided", json!({"corrects": "p-1"}), "final"),
    ] {
        let world = World::with_kpis(&["registrations"]);
        let payment = fact("1", "p-1", "payment_captured", DAY, euro());
        world.import(
            "a.ndjson",
            &[payment, fact("2", "v-1", kind, NEXT, more), registration(1, NEXT)],
        );
        world.ok(&["compute", "--final"]);
        assert_eq!(state(&world, "registrations", NEXT), is(1, registrations), "{kind}");
    }
}

#[test]
fn tokens_of_different_keys_are_no_conflict() {
    let token = |key: &str, digit: &str| format!("{key}:{}", digit.repeat(32));
    for (account, expected) in [
        (token("k2", "b"), "final"),
        (token("k1", "b"), "incomplete"),
        ("a-17".to_owned(), "final"),
    ] {
        let world = World::with_kpis(&["registrations"]);
        let rows = [("1", token("k1", "a")), ("2", account)].map(|(id, account)| {
            let more = json!({"domain": "a.com", "account_id": account});
            fact(id, "1001", "registration_completed", DAY, more)
        });
        world.import("a.ndjson", &rows);
        world.ok(&["compute", "--final"]);
        assert_eq!(state(&world, "registrations", DAY), is(1, expected));
    }
}

#[test]
fn revenue_that_stops_is_zero_and_its_rule_fires() {
    let world = World::with_kpis(&["revenue"]);
    let payment = |day: u32, currency: &str| {
        let id = format!("{currency}{day}");
        let mut row = fact(&id, &id, "payment_captured", &format!("2026-03-{day:02}"), euro());
        row["currency"] = json!(currency);
        row
    };
    let euros = (1..=20).map(|day| payment(day, "EUR"));
    world.import(
        "a.ndjson",
        &euros.chain((1..=19).map(|day| payment(day, "USD"))).collect::<Vec<_>>(),
    );
    world.ok(&["compute", "--final"]);
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/revenue?date=2026-03-20");
    let dollars = &values["2026-03-20/USD"];
    assert_eq!((&dollars["value"], &dollars["state"]), (&json!(0), &json!("final")));
    assert_eq!(values["2026-03-20/EUR"]["value"], 10_000_000);
    let all = World::values(&server, "/v1/kpis/revenue");
    assert_eq!((all.len(), &all["2026-03-20/USD"]), (40, dollars));
    let known = server.get("/v1/kpis").1;
    let revenue = known["kpis"].as_array().unwrap().iter().find(|kpi| kpi["name"] == "revenue");
    let verdicts = revenue.unwrap()["verdicts"].as_array().unwrap().clone();
    let of =
        |currency: &str| verdicts.iter().find(|one| one["by"]["currency"] == currency).unwrap();
    assert_eq!((&of("USD")["state"], &of("EUR")["state"]), (&json!("fires"), &json!("quiet")));
}

#[test]
fn files_that_are_no_exports_are_refused() {
    let world = World::new();
    for (name, bytes, problem) in [
        ("orders.xlsx", &b"PK\x03\x04\x14\0\x06\0"[..], "neither CSV nor JSON"),
        ("page.csv", b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "--map FILE"),
        ("orders.csv", b"Order,Kind\n1,REG\n", "no column of the header is known (Order, Kind)"),
    ] {
        let file = world.path(name);
        fs::write(&file, bytes).unwrap();
        let output = world.run(&["import", file.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(problem), "{name}: {text}");
    }
    let table = world.path("accounts.csv");
    fs::write(&table, "account_id,valid_from,segment\n1,,small\n2,01.03.2026,large\n").unwrap();
    let output = world.run(&["import", table.to_str().unwrap(), "--dimension", "account"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 rows of the table were refused"), "{text}");
}

#[test]
fn a_file_of_another_source_is_said() {
    let world = World::new();
    let file = world.path("a.ndjson");
    fs::write(&file, registration(1, DAY).to_string()).unwrap();
    let words = ["import", file.to_str().unwrap(), "--source"];
    let import = |source: &str| world.run(&[&words[..], &[source]].concat());
    assert_eq!(import("shop").status.code(), Some(0));
    assert_eq!(import("shop").status.code(), Some(0), "imported before");
    let output = import("billing");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("of source shop, not billing") && text.contains("--undo"), "{text}");
}

#[test]
fn each_reopening_of_a_day_is_shown() {
    let world = World::with_kpis(&["registrations"]);
    for (number, reason) in [(1, "first"), (2, "second"), (3, "")] {
        world.import(&format!("{number}.ndjson"), &[registration(number, DAY)]);
        world.ok(&["compute", "--final"]);
        if !reason.is_empty() {
            world.ok(&["compute", "--reopen", DAY, "--reason", reason]);
        }
    }
    let found = value(&world, "registrations", DAY);
    let last =
        (&found["value"], &found["restatement"]["previous"], &found["restatement"]["reason"]);
    assert_eq!(last, (&json!(3), &json!(2), &json!("second")));
    let earlier = found["earlier_restatements"].as_array().unwrap();
    assert_eq!(earlier.len(), 1, "{found}");
    assert_eq!((&earlier[0]["previous"], &earlier[0]["reason"]), (&json!(1), &json!("first")));
    let server = world.serve(&["--no-auth"]);
    let lineage = server.get("/v1/kpis/registrations/lineage").1;
    let reasons: Vec<&Value> =
        lineage["reopened"].as_array().unwrap().iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, ["second", "first"]);
}

#[test]
fn names_in_unicode_are_those_of_dns() {
    let world = World::with_kpis(&["transfer_completion_ratio", "transfers_in"]);
    let transfer =
        |id: &str, kind: &str, domain: &str| fact(id, id, kind, DAY, json!({ "domain": domain }));
    world.import(
        "a.ndjson",
        &[
            transfer("1", "transfer_in_requested", "München.de"),
            transfer("2", "transfer_in_completed", "xn--mnchen-3ya.de"),
        ],
    );
    world.compute();
    assert_eq!(state(&world, "transfer_completion_ratio", DAY).0, 1.0);
    world.table("domain", "domains.csv", "domain,segment\nMÜNCHEN.DE.,city\n", &[]);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/transfers_in?by=segment");
    assert_eq!(values["2026-03-01/city"]["value"], 1, "{values:?}");
}
