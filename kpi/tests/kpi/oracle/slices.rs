//! Ratios by slice: what is divided and what it is divided by are of the same slice.

use crate::world::{Server, World, event};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Values of a KPI on a day by its slices.
fn slices(server: &Server, kpi: &str, question: &str) -> BTreeMap<String, Value> {
    let values = World::values(server, &format!("/v1/kpis/{kpi}?{question}"));
    let slice = |key: &str| key.split_once('/').map_or_else(String::new, |(_, slice)| slice.into());
    values.into_iter().map(|(key, value)| (slice(&key), value["value"].clone())).collect()
}

fn expected<const N: usize>(values: [(&str, f64); N]) -> BTreeMap<String, Value> {
    values.into_iter().map(|(slice, euros)| (slice.to_owned(), json!(euros * 1e6))).collect()
}

fn money(domain: &str, euros: u32, channel: &str, partner: &str) -> Value {
    json!({"domain": domain, "amount_micros": euros * 1_000_000, "currency": "EUR", "channel": channel, "partner": partner})
}

/// Ten domains pay by one channel and later by another, one by the other alone.
#[test]
fn lifetime_value_is_of_the_slice_that_a_domain_came_by() {
    let world = World::with_kpis(&["cohort_lifetime_value"]);
    let mut rows = Vec::new();
    let mut add = |kind: &str, at: &str, fields: Value| {
        rows.push(event(u32::try_from(rows.len()).unwrap(), kind, at, fields));
    };
    for number in 0..10 {
        let domain = format!("d{number}.com");
        let start = json!({"domain": domain, "channel": "shop"});
        add("registration_completed", "2025-01-10T10:00:00Z", start);
        add("payment_captured", "2025-01-10T10:00:00Z", money(&domain, 10, "shop", "p"));
        add("payment_captured", "2026-01-10T10:00:00Z", money(&domain, 10, "api", "p"));
    }
    add(
        "registration_completed",
        "2025-01-11T10:00:00Z",
        json!({"domain": "x.com", "channel": "api"}),
    );
    add("payment_captured", "2025-01-11T10:00:00Z", money("x.com", 10, "api", "p"));
    // Lapsed, and registered again in the same month: one domain, of the slice that it came by first.
    add(
        "registration_completed",
        "2025-03-02T10:00:00Z",
        json!({"domain": "y.com", "channel": "shop"}),
    );
    add("payment_captured", "2025-03-02T11:00:00Z", money("y.com", 4, "shop", "p"));
    add(
        "registration_completed",
        "2025-03-20T10:00:00Z",
        json!({"domain": "y.com", "channel": "api"}),
    );
    add("payment_captured", "2025-03-20T11:00:00Z", money("y.com", 6, "api", "p"));
    add("payment_refunded", "2025-03-21T11:00:00Z", money("y.com", 1, "phone", "p"));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    let server = world.serve(&["--no-auth"]);
    let found = slices(&server, "cohort_lifetime_value", "date=2026-01-10&by=channel");
    let by_channel =
        [("shop/2025-01-01/EUR", 20.0), ("api/2025-01-01/EUR", 10.0), ("shop/2025-03-01/EUR", 9.0)];
    assert_eq!(found, expected(by_channel));
    let found = slices(&server, "cohort_lifetime_value", "date=2026-01-10&filter=channel=api");
    assert_eq!(found, expected([("2025-01-01/EUR", 10.0)]));
    let found = slices(&server, "cohort_lifetime_value", "date=2026-01-10");
    let whole = [("2025-01-01/EUR", 210.0 / 11.0), ("2025-03-01/EUR", 9.0)];
    for (slice, euros) in whole {
        let near = found[slice].as_f64().unwrap() / 1e6 - euros;
        assert!(near.abs() < 1e-6, "{slice}: {found:?}");
    }
}

#[test]
fn revenue_per_domain_is_of_the_slice_of_its_first_payment() {
    let world = World::with_kpis(&["revenue_per_domain"]);
    let mut rows = Vec::new();
    let mut add = |kind: &str, hour: u32, fields: Value| {
        let at = format!("2026-02-01T{hour:02}:00:00Z");
        rows.push(event(u32::try_from(rows.len()).unwrap(), kind, &at, fields));
    };
    for number in 0..10 {
        let domain = format!("e{number}.com");
        add("payment_captured", 8, money(&domain, 10, "shop", "p1"));
        add("payment_captured", 20, money(&domain, 10, "api", "p2"));
    }
    add("payment_refunded", 7, money("e0.com", 5, "phone", "p3"));
    add("payment_captured", 20, money("f.com", 10, "api", "p2"));
    // Refunds alone are of the slice of the first of them, and divided by the domains of that slice.
    add("payment_refunded", 9, money("g.com", 2, "api", "p2"));
    add("payment_refunded", 10, money("g.com", 1, "shop", "p1"));
    world.import("a.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    let server = world.serve(&["--no-auth"]);
    let found = |question: &str| {
        slices(&server, "revenue_per_domain", &format!("date=2026-02-01{question}"))
    };
    assert_eq!(found("&by=channel"), expected([("shop/EUR", 19.5), ("api/EUR", 7.0)]));
    assert_eq!(found("&by=partner"), expected([("EUR/p1", 19.5), ("EUR/p2", 7.0)]));
    let whole = found("")["EUR"].as_f64().unwrap() / 1e6;
    assert!((whole - 202.0 / 11.0).abs() < 1e-6, "{whole}");
}

/// Types of events that follow each other, some of them twice.
const COURSE: [&str; 33] = [
    "cart_created",
    "trial_started",
    "cart_created",
    "trial_started",
    "registration_completed",
    "payment_captured",
    "payment_captured",
    "payment_refunded",
    "payment_captured",
    "workflow_started",
    "workflow_started",
    "workflow_completed",
    "auth_code_requested",
    "auth_code_requested",
    "auth_code_issued",
    "transfer_in_requested",
    "transfer_in_requested",
    "transfer_in_completed",
    "registration_completed",
    "payment_captured",
    "payment_refunded",
    "restore_requested",
    "restore_requested",
    "restore_completed",
    "abuse_reported",
    "abuse_reported",
    "abuse_first_response",
    "abuse_resolved",
    "renewal_completed",
    "renewal_declined",
    "payment_captured",
    "expired",
    "renewal_completed",
];

/// Dimensions that each event has a value of its own for.
const CHANGING: [&str; 4] = ["channel", "tier", "partner", "campaign"];

/// Where the denominator of a ratio counts things once, whatever an event of such a thing says, each slice has a value, and the whole is
/// between those of its slices: it is their mean, weighted by their denominators.
#[test]
fn ratios_of_things_that_count_once_are_means_of_their_slices() {
    let world = World::new();
    let mut rows = Vec::new();
    let countries = ["DE", "FR", "IT", "ES", "PL"];
    for thing in 0..4_u32 {
        for (place, kind) in (0..).zip(COURSE) {
            let number = thing * 100 + place;
            let mut fields = json!({
                "domain": format!("d{thing}.com"), "request_id": format!("r{thing}"), "account_id": format!("a{thing}"),
                "country": countries[(number % 5) as usize],
            });
            for name in CHANGING {
                fields[name] = json!(((place + thing) % 7).to_string());
            }
            if kind.starts_with("payment_") {
                fields["amount_micros"] = json!((1 + place * 10 + thing) * 1_000_000);
                fields["currency"] = json!("EUR");
            }
            if kind == "abuse_reported" {
                fields["abuse_category"] = json!("spam");
            }
            let at = format!("2026-02-01T{:02}:{:02}:00Z", 1 + place / 2, place % 2 * 30 + thing);
            rows.push(event(number, kind, &at, fields));
        }
    }
    world.import("a.ndjson", &rows);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let mut checked = Vec::new();
    for kpi in server.get("/v1/kpis").1["kpis"].as_array().unwrap() {
        let name = kpi["name"].as_str().unwrap();
        if !counts_once(name) {
            continue;
        }
        let always: Vec<&str> =
            kpi["always_by"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let whole = slices(&server, name, "date=2026-02-01");
        for dimension in kpi["dimensions"].as_array().unwrap().iter().filter_map(Value::as_str) {
            if always.contains(&dimension) {
                continue;
            }
            let by = format!("/v1/kpis/{name}?date=2026-02-01&by={dimension}");
            let mut bounds: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            for (key, value) in World::values(&server, &by) {
                let of = always.iter().map(|name| value["by"][*name].as_str().unwrap_or(""));
                let of = of.collect::<Vec<_>>().join("/");
                let one = value["value"].as_f64();
                let one = one.unwrap_or_else(|| panic!("{name} by {dimension}, {key}: no value"));
                let bounds = bounds.entry(of).or_insert((one, one));
                *bounds = (bounds.0.min(one), bounds.1.max(one));
            }
            for (slice, value) in &whole {
                let (value, (low, high)) = (value.as_f64().unwrap(), bounds[slice]);
                let slack = value.abs() * 1e-9;
                let is_mean = low - slack <= value && value <= high + slack;
                assert!(is_mean, "{name} by {dimension}, {slice}: {value}, slices {low} to {high}");
            }
        }
        checked.push(name.to_owned());
    }
    for name in ["cohort_lifetime_value", "revenue_per_domain", "trial_conversion_ratio"] {
        assert!(checked.iter().any(|one| one == name), "{checked:?}");
    }
    assert!(checked.len() >= 10, "{checked:?}");
}

/// Whether a KPI of the built-in dictionary is divided by things of which each counts once: models number their rows, or those that begin.
fn counts_once(kpi: &str) -> bool {
    let dictionary: Value = serde_saphyr::from_str(include_str!("../../../metrics.yaml")).unwrap();
    let find = |list: &str, name: &str| -> Value {
        let list = dictionary[list].as_array().unwrap();
        list.iter().find(|it| it["name"] == name).cloned().unwrap_or_default()
    };
    let over = find("kpis", kpi)["over"].as_array().cloned().unwrap_or_default();
    over.iter().any(|measure| {
        let measure = find("measures", measure.as_str().unwrap());
        let model = find("models", measure["model"].as_str().unwrap_or("event"));
        let sql = model["sql"].as_str().unwrap_or_default();
        model["follows"].is_object() || sql.contains("row_number()")
    })
}
