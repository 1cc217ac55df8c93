//! Running totals over windows, and values of cohorts, worked out by hand.

use crate::world::{Server, World, event};
use serde_json::{Value, json};

/// Asserts the values of a KPI: day, with its slice, and value.
fn check(server: &Server, path: &str, expected: &[(&str, Value)]) {
    let values = World::values(server, &format!("/v1/kpis/{path}"));
    for (key, value) in expected {
        assert_eq!(values[*key]["value"], *value, "{path}, {key}: {values:#?}");
    }
}

#[test]
fn totals_over_windows() {
    let world = World::new();
    let at = |day: &str| format!("2026-{day}T10:00:00Z");
    let mut number = 0;
    let mut one = |kind: &str, day: &str, more: Value| {
        number += 1;
        event(number, kind, &at(day), more)
    };
    let money = |domain: &str, euros: i64| json!({"domain": domain, "amount_micros": euros * 1_000_000, "currency": "EUR"});
    let rows = [
        one("registration_completed", "01-01", json!({"domain": "x.com"})),
        one("payment_captured", "01-01", money("x.com", 10)),
        one("registration_completed", "01-05", json!({"domain": "y.com", "business_key": "y"})),
        one("payment_captured", "01-05", money("y.com", 2)),
        one("payment_captured", "01-20", money("x.com", 6)),
        one("registration_completed", "01-28", json!({"domain": "c.com"})),
        one("payment_refunded", "01-29", money("x.com", 4)),
        one("registration_completed", "01-29", json!({"domain": "d.com"})),
        // Never registered with us: in no cohort.
        one("payment_captured", "01-30", money("z.com", 100)),
        // Gone, and registered anew: a cohort of its own.
        one("deleted", "02-01", json!({"domain": "x.com"})),
        one("registration_completed", "02-02", json!({"domain": "x.com"})),
        one("payment_captured", "02-02", money("x.com", 20)),
        // Taken back, and so on its own day.
        one("registration_reversed", "02-03", json!({"corrects": "y"})),
    ];
    world.import("a.ndjson", &rows);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    check(
        &server,
        "registrations_28d",
        &[
            // Of 1 and 28 January; of 28 and 29 January; 6 January to 2 February.
            ("2026-01-28", json!(2)),
            ("2026-01-29", json!(2)),
            ("2026-02-02", json!(3)),
            ("2026-02-03", json!(3)),
        ],
    );
    check(&server, "registrations_28d?grain=month", &[("2026-01-01", json!(2))]);
    let values = World::values(&server, "/v1/kpis/registrations_28d");
    assert_eq!(values["2026-01-27"]["state"], "incomplete", "nothing is known of 31 December");
    assert_eq!(values["2026-01-28"]["state"], "provisional");
    let refused = server.get("/v1/kpis/registrations_28d?grain=hour");
    assert_eq!(refused.0, 400, "{}", refused.1);
    let micros = |euros: i64| json!(euros * 1_000_000);
    check(
        &server,
        "revenue_month_to_date",
        &[
            ("2026-01-01/EUR", micros(10)),
            ("2026-01-19/EUR", micros(12)),
            ("2026-01-20/EUR", micros(18)),
            ("2026-01-29/EUR", micros(14)),
            ("2026-01-30/EUR", micros(114)),
            ("2026-02-02/EUR", micros(20)),
            ("2026-02-03/EUR", micros(20)),
        ],
    );
    // Divided by one domain, and by one more, until the registration of the other is reversed: its payment is in no cohort then.
    let euros = |euros: f64| json!(euros * 1_000_000.0);
    check(
        &server,
        "cohort_lifetime_value",
        &[
            ("2026-01-01/2026-01-01/EUR", euros(10.0)),
            ("2026-01-05/2026-01-01/EUR", euros(10.0)),
            ("2026-01-20/2026-01-01/EUR", euros(16.0)),
            ("2026-02-03/2026-01-01/EUR", euros(12.0)),
            ("2026-02-03/2026-02-01/EUR", euros(20.0)),
        ],
    );
    let cohorts = World::values(&server, "/v1/kpis/cohort_lifetime_value?date=2026-02-03");
    assert_eq!(cohorts.len(), 2, "{cohorts:#?}");
}

/// A payment has the cohort of the registration that it is for, also if it comes first.
#[test]
fn payments_before_their_registration_are_in_its_cohort() {
    let world = World::new();
    let start = |number: u32, day: &str, more: Value| {
        event(number, "registration_completed", &format!("{day}T10:00:00Z"), more)
    };
    let pay = |number: u32, at: &str, domain: &str, request: &str| {
        let money = json!({"domain": domain, "request_id": request, "amount_micros": number, "currency": "EUR"});
        event(number, "payment_captured", at, money)
    };
    world.import(
        "a.ndjson",
        &[
            pay(1, "2025-01-05T09:59:59Z", "a.com", "q1"),
            start(2, "2025-01-05", json!({"domain": "a.com"})),
            // Lapsed, and registered anew by the same request.
            pay(4, "2026-02-01T09:59:59Z", "a.com", "q2"),
            start(5, "2026-02-01", json!({"domain": "a.com", "request_id": "q2"})),
            // Paid three days before, by the same request.
            start(6, "2025-01-06", json!({"domain": "b.com"})),
            pay(16, "2026-01-31T10:00:00Z", "b.com", "q3"),
            start(8, "2026-02-03", json!({"domain": "b.com", "request_id": "q3"})),
        ],
    );
    world.compute();
    let server = world.serve(&["--no-auth"]);
    check(
        &server,
        "cohort_lifetime_value?date=2026-02-03",
        &[("2026-02-03/2025-01-01/EUR", json!(1.0)), ("2026-02-03/2026-02-01/EUR", json!(10.0))],
    );
}

#[test]
fn a_restored_domain_is_back() {
    let world = World::new();
    let one = |number: u32, kind: &str| {
        event(number, kind, &format!("2026-01-0{number}T10:00:00Z"), json!({"domain": "a.com"}))
    };
    world.import(
        "a.ndjson",
        &[one(1, "registration_completed"), one(2, "deleted"), one(3, "restore_completed")],
    );
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let expected = [("2026-01-01", json!(1)), ("2026-01-02", json!(0)), ("2026-01-03", json!(1))];
    check(&server, "portfolio", &expected);
}

#[test]
fn lifetime_value_is_of_domains_that_have_paid() {
    let world = World::new();
    let payment = |number: u32, domain: &str, kind: &str, euros: i64, currency: &str| {
        let money =
            json!({"domain": domain, "amount_micros": euros * 1_000_000, "currency": currency});
        event(number, kind, "2026-01-02T10:00:00Z", money)
    };
    let start = |number: u32, kind: &str, domain: &str| {
        event(number, kind, "2026-01-01T10:00:00Z", json!({ "domain": domain }))
    };
    world.import(
        "a.ndjson",
        &[
            start(1, "registration_completed", "a.com"),
            start(2, "registration_completed", "b.com"),
            start(3, "registration_completed", "never-pays.com"),
            start(4, "transfer_in_completed", "t.com"),
            payment(10, "a.com", "payment_captured", 10, "EUR"),
            payment(11, "a.com", "payment_captured", 2, "EUR"),
            payment(12, "b.com", "payment_captured", 4, "EUR"),
            payment(13, "b.com", "payment_captured", 7, "USD"),
            payment(14, "t.com", "payment_captured", 5, "EUR"),
            // A refund alone makes nobody pay.
            payment(15, "never-pays.com", "payment_refunded", 1, "EUR"),
        ],
    );
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let euros = |euros: f64| json!(euros * 1_000_000.0);
    check(
        &server,
        "cohort_lifetime_value",
        &[
            ("2026-01-02/2026-01-01/EUR", euros(7.5)),
            ("2026-01-02/2026-01-01/USD", euros(7.0)),
            ("2026-01-02/transfer 2026-01-01/EUR", euros(5.0)),
        ],
    );
}

/// A domain that lapses and is registered again in the same month has paid as one domain; its first payment may come last.
#[test]
fn lifetime_value_counts_a_domain_once_a_cohort() {
    let world = World::new();
    let one = |number: u32, kind: &str, day: &str, more: Value| {
        let mut row = event(number, kind, &format!("2026-{day}T10:00:00Z"), more);
        row["domain"] = json!("twice.com");
        row
    };
    let pay = |number: u32, day: &str, euros: i64| {
        let money = json!({"amount_micros": euros * 1_000_000, "currency": "EUR"});
        one(number, "payment_captured", day, money)
    };
    let start = |number: u32, day: &str| one(number, "registration_completed", day, json!({}));
    world.import(
        "a.ndjson",
        &[
            start(1, "01-02"),
            one(2, "deleted", "01-04", json!({})),
            start(3, "01-06"),
            pay(4, "01-07", 10),
            one(5, "deleted", "01-20", json!({})),
            // Another month is another cohort, and so is a transfer.
            start(6, "02-02"),
            pay(7, "02-03", 30),
            one(8, "transfer_out_completed", "02-10", json!({})),
            one(9, "transfer_in_completed", "02-12", json!({})),
            pay(10, "02-13", 7),
        ],
    );
    world.compute();
    let euros = |euros: f64| json!(euros * 1_000_000.0);
    let kpi = "cohort_lifetime_value";
    let others = [
        ("2026-02-03/2026-02-01/EUR", euros(30.0)),
        ("2026-02-13/transfer 2026-02-01/EUR", euros(7.0)),
    ];
    let server = world.serve(&["--no-auth"]);
    check(&server, kpi, &[("2026-01-07/2026-01-01/EUR", euros(10.0))]);
    check(&server, kpi, &others);
    drop(server);

    // What comes now was paid first, for the first of both registrations.
    world.import("b.ndjson", &[pay(11, "01-03", 10)]);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let expected =
        [("2026-01-03/2026-01-01/EUR", euros(10.0)), ("2026-01-07/2026-01-01/EUR", euros(20.0))];
    check(&server, kpi, &expected);
    check(&server, kpi, &others);
}
