//! Imports that are taken back.

use crate::hostile::{is, registration, state, value};
use crate::world::World;
use serde_json::{Value, json};
use std::fs;

const DAY: &str = "2026-03-01";

const ORDERS: &str = "Order,Kind,When,Domain\n1,NEW,2026-03-01T10:00:00Z,a.com\n2,NEW,2026-03-01T11:00:00Z,b.com\n\
    3,OLD,2026-03-02T11:00:00Z,c.com\n";

fn map(old: &str) -> String {
    format!(
        "version: 1\ncolumns: {{ business_key: Order, event_type: Kind, event_ts: When, domain: Domain }}\n\
         values:\n  event_type: {{ NEW: registration_completed, OLD: {old} }}\n"
    )
}

/// A map that names a column which the file lacks.
#[test]
fn rows_are_not_read_again_where_none_would_be_accepted() {
    let world = World::with_kpis(&["registrations"]);
    let (orders, mapping) = (world.path("orders.csv"), world.path("shop.yaml"));
    fs::write(&orders, ORDERS).unwrap();
    fs::write(&mapping, map("renewal_completed")).unwrap();
    let (orders, mapping) = (orders.to_str().unwrap(), mapping.to_str().unwrap());
    world.ok(&["import", orders, "--source", "shop", "--map", mapping]);
    world.ok(&["compute", "--final"]);
    let files = ["facts", "log", "raw"].map(|folder| world.files(folder));
    fs::write(mapping, map("renewal_completed").replace("Domain }", "Name }")).unwrap();
    let words = ["import", "--again", "orders.csv", "--reason", "x", "--map", mapping];
    let output = world.run(&words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no row would be accepted (missing_column 3), where 3 are"), "{said}");
    assert_eq!(["facts", "log", "raw"].map(|folder| world.files(folder)), files);
    assert_eq!(state(&world, "registrations", DAY), is(2, "final"));
    // Fewer rows than before may be what was meant.
    fs::write(mapping, map("renewal_completed").replace("OLD", "OTHER")).unwrap();
    let output = world.run(&words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 rows fewer are accepted"), "{said}");
}

#[test]
fn rows_of_a_wrong_map_are_taken_back() {
    let world = World::with_kpis(&["registrations", "renewals"]);
    let (orders, mapping) = (world.path("orders.csv"), world.path("shop.yaml"));
    fs::write(&orders, ORDERS).unwrap();
    let orders = orders.to_str().unwrap();
    // Renewals were taken for registrations.
    fs::write(&mapping, map("registration_completed")).unwrap();
    let words = ["import", orders, "--source", "shop", "--map", mapping.to_str().unwrap()];
    assert!(world.ok(&words).contains("3 accepted"));
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", "2026-03-02"), is(1, "final"));
    for words in [
        vec!["import", "--undo", orders],
        vec!["import", "--undo", orders, "--reason", " "],
        vec!["import", "--undo", "missing.csv", "--reason", "wrong map"],
    ] {
        assert_eq!(world.run(&words).status.code(), Some(2), "{words:?}");
    }
    // The map has been mended meanwhile: another import could have this name.
    fs::write(&mapping, map("renewal_completed")).unwrap();
    let output = world.run(&["import", "--undo", orders, "--reason", "wrong map"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(state(&world, "registrations", "2026-03-02"), is(1, "final"));
    let sha256 = text.lines().nth(1).unwrap().split_once(" of ").unwrap().0;
    let undo = ["import", "--undo", sha256, "--reason", "wrong map"];
    assert!(world.ok(&undo).contains("orders.csv: 3 rows taken back"));
    assert_eq!(world.run(&undo).status.code(), Some(2), "it is taken back already");
    // No fact is left: nothing is said about these days.
    world.compute();
    assert_eq!(state(&world, "registrations", "2026-03-02"), is(Value::Null, "incomplete"));
    assert!(world.ok(&words).contains("3 accepted"));
    world.compute();
    let restated = value(&world, "registrations", "2026-03-02");
    assert_eq!((&restated["value"], &restated["state"]), (&json!(0), &json!("provisional")));
    assert_eq!(
        (&restated["restatement"]["previous"], &restated["restatement"]["reason"]),
        (&json!(1), &json!("wrong map"))
    );
    assert_eq!(state(&world, "renewals", "2026-03-02").0, 1);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", "2026-03-02"), is(0, "final"));
    let server = world.serve(&["--no-auth"]);
    let (_, lineage) = server.get("/v1/kpis/registrations/lineage");
    let undone = &lineage["undone"][0];
    assert_eq!(
        (&undone["name"], &undone["accepted"]),
        (&json!("orders.csv"), &json!(3)),
        "{undone}"
    );
    assert_eq!(lineage["import_count"], 1);
}

#[test]
fn days_of_others_keep_their_facts() {
    let world = World::with_kpis(&["portfolio", "registrations"]);
    world.import("a.ndjson", &[registration(1, DAY), registration(3, "2026-03-03")]);
    // One row is a duplicate of a row that stays.
    let wrong = world.import(
        "wrong.ndjson",
        &[registration(1, DAY), registration(2, DAY), registration(9, "2025-11-01")],
    );
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "portfolio", "2026-03-03").0, 4);
    let server = world.serve(&["--no-auth"]);
    world.ok(&["import", "--undo", wrong["sha256"].as_str().unwrap(), "--reason", "test data"]);
    world.ok(&["compute", "--final"]);
    let total = value(&world, "portfolio", "2026-03-03");
    assert_eq!((&total["value"], &total["state"]), (&json!(2), &json!("final")), "{total}");
    assert_eq!(total["restatement"]["reason"], "test data", "{total}");
    let day = value(&world, "registrations", DAY);
    assert_eq!((&day["value"], &day["state"]), (&json!(1), &json!("final")), "{day}");
    assert_eq!(day["restatement"]["previous"], 2, "{day}");
    assert_eq!(state(&world, "registrations", "2025-11-01"), is(Value::Null, "incomplete"));
    // A server that runs has learned of it.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let values = World::values(&server, &format!("/v1/kpis/registrations?date={DAY}"));
    assert_eq!(values[DAY]["value"], 1);
    // The same file again is a new import.
    world.ok(&["import", world.path("wrong.ndjson").to_str().unwrap()]);
    world.compute();
    let day = value(&world, "registrations", DAY);
    assert_eq!((&day["value"], &day["adjustment"]["value"]), (&json!(1), &json!(2)), "{day}");
}
