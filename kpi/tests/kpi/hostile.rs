//! Input that would give a wrong number without a mark: each value is right, or its state says that it may not be.

use crate::world::World;
use serde_json::{Value, json};

const DAY: &str = "2026-03-01";

/// An event at ten o'clock with keys of its own.
fn fact(id: &str, key: &str, kind: &str, day: &str, more: Value) -> Value {
    let mut fact = json!({ "event_id": id, "business_key": key, "event_type": kind,
        "event_ts": format!("{day}T10:00:00Z"), "source_system": "s" });
    if let (Value::Object(fact), Value::Object(more)) = (&mut fact, more) {
        fact.extend(more);
    }
    fact
}

fn euro() -> Value {
    json!({"amount_micros": 10_000_000, "currency": "EUR"})
}

fn registration(number: u32, day: &str) -> Value {
    fact(
        &format!("r{number}"),
        &format!("r-{number}"),
        "registration_completed",
        day,
        json!({"domain": format!("d{number}.com")}),
    )
}

/// The only value of a KPI on a day, with all that the API says about it.
fn value(world: &World, kpi: &str, day: &str) -> Value {
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, &format!("/v1/kpis/{kpi}?from={day}&to={day}"));
    values.into_values().next().unwrap_or(Value::Null)
}

fn state(world: &World, kpi: &str, day: &str) -> (Value, String) {
    let value = value(world, kpi, day);
    (value["value"].clone(), value["state"].as_str().unwrap_or("none").to_owned())
}

fn is(value: impl Into<Value>, state: &str) -> (Value, String) {
    (value.into(), state.to_owned())
}

#[test]
fn equal_technical_keys_of_two_files_are_two_facts() {
    let world = World::new();
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
fn corrections_take_away_facts_of_their_own_family_only() {
    let world = World::new();
    let rows = [
        fact("1", "o-1", "registration_completed", DAY, json!({})),
        fact("2", "o-1", "payment_captured", DAY, euro()),
        fact("3", "v-1", "payment_voided", "2026-03-02", json!({"corrects": "o-1"})),
        // By type and key, and by technical key.
        fact("4", "o-2", "transfer_in_completed", DAY, json!({"domain": "b.com"})),
        fact("5", "o-2", "transfer_out_completed", DAY, json!({"domain": "b.com"})),
        fact("6", "o-3", "transfer_out_completed", DAY, json!({"domain": "c.com"})),
        fact("7", "v-2", "transfer_reversed", DAY, json!({"corrects": "o-2", "corrects_type": "transfer_out_completed"})),
        fact("8", "v-3", "transfer_reversed", DAY, json!({"corrects_event_id": "6"})),
    ];
    world.import("a.ndjson", &rows);
    world.compute();
    assert_eq!(state(&world, "registrations", DAY).0, 1);
    assert_eq!(value(&world, "revenue", DAY), Value::Null);
    assert_eq!(state(&world, "transfers_in", DAY).0, 1);
    assert_eq!(state(&world, "transfers_out", DAY).0, 0);
    assert_eq!(state(&world, "corrections", DAY).0, 3);
}

#[test]
fn times_that_cannot_be_right_are_refused() {
    let world = World::new();
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
fn chains_of_corrections_have_any_length() {
    for length in [7_u32, 8, 9, 30] {
        let world = World::new();
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

