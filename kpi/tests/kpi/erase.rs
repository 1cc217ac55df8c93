//! Persons who are erased: all of theirs, nothing of others, and what comes again.

use crate::hostile::{fact, value};
use crate::world::World;
use serde_json::{Value, json};
use std::fs;

const DAY: &str = "2026-03-01";

/// A payment of an account for a domain.
fn payment(id: &str, account: &str, domain: &str, amount: u64) -> Value {
    let more = json!({"account_id": account, "domain": domain, "amount_micros": amount, "currency": "EUR"});
    fact(id, id, "payment_captured", DAY, more)
}

fn erase(world: &World, words: &[&str]) -> Value {
    let words = [&["erase", "--reason", "ticket 7", "-o", "json"], words].concat();
    serde_json::from_str(&world.ok(&words)).unwrap()
}

/// Revenue of the day, by all values of a slice.
fn revenue(world: &World, by: &str) -> Value {
    let server = world.serve(&["--no-auth"]);
    let path = format!("/v1/kpis/revenue?date={DAY}&by={by}");
    let values = World::values(&server, &path);
    values.into_iter().map(|(slice, value)| (slice, value["value"].clone())).collect()
}

#[test]
fn those_with_similar_names_stay_as_they_are() {
    let world = World::with_kpis(&["revenue"]);
    let rows = [
        payment("shop.de-1", "acc-17", "shop.de", 5_000_000),
        payment("my-shop.de-1", "acc-18", "my-shop.de", 7_000_000),
        payment("eu.shop.de-1", "acc-17-2", "eu.shop.de", 9_000_000),
        payment("acc-17-2/9", "acc-17-2", "other.de", 1_000_000),
    ];
    world.import("a.ndjson", &rows);
    let accounts = "account_id,segment\nacc-17,small\nacc-18,mid\nacc-17-2,large\n";
    world.table("account", "accounts.csv", accounts, &[]);
    world.table("domain", "domains.csv", "domain,owner\nmy-shop.de,anna\nshop.de,bert\n", &[]);
    world.compute();
    let known = [revenue(&world, "segment"), revenue(&world, "owner")];
    let erased = erase(&world, &["--account", "acc-17", "--domain", "shop.de"]);
    // The event, the account's row and the domain's row.
    assert_eq!((&erased["facts"], &erased["raw_rows"]), (&json!(3), &json!(3)), "{erased}");
    assert_eq!(erased["unknown"], 0, "{erased}");
    world.ok(&["compute", "--all"]);
    assert_eq!([revenue(&world, "segment"), revenue(&world, "owner")], known);
    // Later facts of the others meet the earlier ones, and their rows can be read.
    for (name, read) in [("a.ndjson", 3), ("accounts.csv", 2), ("domains.csv", 1)] {
        let words = ["import", "--again", name, "--reason", "x", "-o", "json"];
        let again: Value = serde_json::from_str(&world.ok(&words)).unwrap();
        assert_eq!((&again["read"], &again["changed"]), (&json!(read), &json!(false)), "{again}");
    }
    for id in ["my-shop.de-1", "eu.shop.de-1", "acc-17-2/9"] {
        assert!(!world.with_texts(&[id]).is_empty(), "{id}");
    }
}

#[test]
fn facts_that_come_again_after_their_erasure_count_once() {
    let world = World::with_kpis(&["revenue"]);
    let first = [
        payment("acc-17-1", "acc-17", "bruno.de", 5_000_000),
        // Its keys have no name, and so stay.
        payment("e2", "acc-17", "bruno.de", 4_000_000),
        payment("acc-18-1", "acc-18", "anna.de", 7_000_000),
    ];
    let imported = |name: &str, rows: &[Value]| {
        world.import(name, rows);
        world.compute();
        revenue(&world, "segment")
    };
    imported("first.ndjson", &first);
    world.table("account", "accounts.csv", "account_id,segment\nacc-17,small\nacc-18,mid\n", &[]);
    world.compute();
    let known = revenue(&world, "segment");
    erase(&world, &["--account", "acc-17"]);
    world.compute();
    assert_eq!(revenue(&world, "segment"), known);
    // An export with all that was, and one of them with another technical key.
    let mut rows = [&first[..], &first[..1]].concat();
    rows[3]["event_id"] = json!("e9");
    assert_eq!(imported("second.ndjson", &rows), known);
    assert_eq!(world.with_texts(&["acc-17", "bruno.de"]), [""; 0]);
    // The first import is taken back, and imported again.
    world.ok(&["import", "--undo", world.path("second.ndjson").to_str().unwrap(), "--reason", "x"]);
    world.ok(&["import", "--undo", world.path("first.ndjson").to_str().unwrap(), "--reason", "x"]);
    assert_eq!(imported("first.ndjson", &first), known);
    // A second erasure knows what the first one has erased.
    erase(&world, &["--domain", "anna.de"]);
    assert_eq!(imported("third.ndjson", &rows), known);
    // A correction meets its erased fact.
    let mut void = fact("v", "v", "payment_voided", DAY, json!({"corrects": "acc-17-1"}));
    void["event_ts"] = json!("2026-03-01T12:00:00Z");
    let values = imported("void.ndjson", &[void]);
    assert_eq!(values[format!("{DAY}/EUR/small")], 4_000_000, "{values}");
    assert_eq!(value(&world, "revenue", DAY)["state"], "provisional");
    // Another event of the person is a fact of its own.
    let values = imported("new.ndjson", &[payment("e3", "acc-17", "bruno.de", 1_000_000)]);
    assert_eq!(values[format!("{DAY}/EUR/small")], 4_000_000, "{values}");
    assert_eq!(value(&world, "revenue", DAY)["value"], 12_000_000);
}

/// Rows that name a short account have its keys, and so have others.
#[test]
fn a_key_has_one_pseudonym_in_all_rows() {
    // One at least of each model that counts one of these events.
    let world = World::with_kpis(&[
        "abuse_first_response_hours_p50",
        "abuse_reports",
        "abuse_response_sla_ratio",
        "corrections",
        "duplicate_ratio",
        "revenue",
        "revenue_per_domain",
    ]);
    let void = fact("v", "void-1", "payment_voided", DAY, json!({"corrects": "order-a1-5"}));
    let of = |id: &str, kind: &str, more: Value| fact(id, id, kind, DAY, more);
    let answered = json!({"request_id": "case-a1"});
    let reported = json!({"request_id": "case-a1", "account_id": "a1", "domain": "anna.de"});
    let rows = [
        payment("order-a1-5", "a1", "anna.de", 5_000_000),
        payment("order-a1-6", "a1", "anna.de", 4_000_000),
        void,
        of("r", "abuse_reported", reported),
        of("s", "abuse_first_response", answered),
    ];
    world.import("a.ndjson", &rows);
    world.compute();
    let values = world.contents("values");
    let erased = erase(&world, &["--account", "a1"]);
    assert_eq!(erased["facts"], 5, "{erased}");
    let computed = world.ok(&["compute", "--all"]);
    assert!(computed.contains(", 0 changed"), "{computed}");
    assert_eq!(world.contents("values"), values);
    assert_eq!(world.with_texts(&["order-a1-5", "case-a1"]), [""; 0]);
}

#[test]
fn names_go_in_each_of_their_forms() {
    let world = World::new();
    let mut rows = [
        payment("order-münchen.de-1", "acc-17", "münchen.de", 1),
        payment("2", "acc-17", "xn--mnchen-3ya.de", 1),
        payment("3", "acc-99", "anna.de", 1),
        payment("4", "acc-17", "münchen.de", 1),
        payment("5", "acc-99", "anna.de", 1),
    ];
    rows[2]["request_id"] = json!("merge of MÜNCHEN.DE");
    rows[3]["event_ts"] = json!("refused");
    (rows[4]["request_id"], rows[4]["event_ts"]) = (json!("of münchen.de"), json!("refused"));
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    // JSON may escape letters.
    let text = text.join("\n").replace("merge of M\u{dc}", "merge of M\\u00DC");
    world.import_text("a.ndjson", &text.replace("of m\u{fc}", "of m\\u00fc"));
    let names = ["münchen", "MÜNCHEN", "xn--mnchen-3ya", "u00fc", "u00DC"];
    assert!(!world.with_texts(&names).is_empty());
    let erased = erase(&world, &["--account", "acc-17"]);
    assert_eq!((&erased["facts"], &erased["raw_rows"]), (&json!(5), &json!(5)), "{erased}");
    assert_eq!(world.with_texts(&names), [""; 0]);
}

#[test]
fn what_is_lost_is_nobody_else_s_loss() {
    for folder in ["raw", "raw-keys"] {
        let world = World::new();
        world.import("lost.ndjson", &[payment("1", "acc-17", "bruno.de", 1)]);
        for path in world.files(folder) {
            fs::remove_file(world.path("data").join(folder).join(path)).unwrap();
        }
        world.import("a.ndjson", &[payment("2", "acc-17", "bruno.de", 1)]);
        let erased = erase(&world, &["--account", "acc-17"]);
        assert_eq!((&erased["facts"], &erased["raw_rows"]), (&json!(2), &json!(1)), "{erased}");
        assert_eq!(world.with_texts(&["acc-17", "bruno.de"]), [""; 0]);
    }
    // Nobody can find an account in keys that are damaged.
    let world = World::new();
    world.import("a.ndjson", &[payment("1", "acc-17", "bruno.de", 1)]);
    let path = world.files("raw-keys").into_iter().next().unwrap();
    let path = world.path("data/raw-keys").join(path);
    let mut keys = fs::read(&path).unwrap();
    let place = keys.len() - 40;
    keys[place] ^= 1;
    fs::write(&path, keys).unwrap();
    let words = ["erase", "--account", "acc-17", "--reason", "x"];
    let output = world.run(&words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("damaged"), "{said}");
    fs::remove_file(&path).unwrap();
    world.ok(&words);
    assert_eq!(world.with_texts(&["acc-17", "bruno.de"]), [""; 0]);
    // Without what is known of erased events, everything else goes on.
    for path in world.files("erased") {
        fs::remove_file(world.path("data/erased").join(path)).unwrap();
    }
    world.import("b.ndjson", &[payment("2", "acc-18", "anna.de", 1)]);
    erase(&world, &["--account", "acc-18"]);
}

#[test]
fn names_that_are_none_are_refused_and_those_that_nobody_has_are_said() {
    let world = World::new();
    world.import("a.ndjson", &[payment("1", "acc-17", "bruno.de", 1)]);
    let said = |words: &[&str]| {
        let output = world.run(&[&["erase", "--reason", "x"], words].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for domain in ["", ".", "de", "bruno de.com"] {
        let (code, text) = said(&["--domain", domain]);
        assert!(code == Some(2) && text.contains("two labels"), "{domain}: {text}");
    }
    assert_eq!(said(&["--account", " "]).0, Some(2));
    let (code, text) = said(&["--account", "acc-71", "--domain", " Bruno.de"]);
    assert!(code == Some(0) && text.contains("acc-71: no fact"), "{text}");
    assert!(!text.contains("runo.de: no fact"), "{text}");
    assert_eq!(world.with_texts(&["bruno.de"]), [""; 0]);
}

/// Columns were exchanged: the name is where the type should be, and the day's gaps are listed by type.
#[test]
fn a_name_in_the_wrong_column_of_a_refused_row_goes() {
    let world = World::with_kpis(&["registrations", "rejected_ratio"]);
    let text = "event_id,event_ts,event_type,business_key,domain\n\
        1,2026-03-01T10:00:00Z,registration_completed,k1,anna-meier.de\n\
        2,2026-03-01T10:00:00Z,anna-meier.de,k2,registration_completed\n\
        3,bad,acmeshop,k3,x.de\n4,2026-03-01,acmeshop,k4,x.de\n";
    world.import_text("a.csv", text);
    world.compute();
    let reasons = value(&world, "registrations", DAY)["reasons"].to_string();
    assert!(reasons.contains("rows of a.csv were refused"), "they may be of any type: {reasons}");
    let log = |name: &str| {
        let commits = world.contents("log").into_values();
        commits.into_iter().any(|commit| String::from_utf8_lossy(&commit).contains(name))
    };
    assert!(!log("anna-meier.de") && !log("acmeshop"), "commits are never written anew");
    let erased = erase(&world, &["--domain", "anna-meier.de", "--account", "acmeshop"]);
    assert_eq!(erased["unknown"], 0, "{erased}");
    assert_eq!(world.with_texts(&["anna-meier.de", "acmeshop"]), [""; 0]);
    world.compute();
    assert_eq!(world.with_texts(&["anna-meier.de", "acmeshop"]), [""; 0]);
}

/// The row is cut in the middle, and so is no JSON.
#[test]
fn a_name_with_escapes_in_an_unreadable_row_goes() {
    let world = World::new();
    let row =
        r#"{"event_id":"1","business_key":"k1","domain":"gr\u00fcn-anna.de","event_type":"regis"#;
    let other = payment("2", "acc-18", "x.de", 1);
    world.import_text("a.ndjson", &format!("{row}\n{other}\n"));
    let erased = erase(&world, &["--domain", "grün-anna.de"]);
    assert_eq!((&erased["unknown"], &erased["facts"]), (&json!(0), &json!(1)), "{erased}");
    assert_eq!(world.with_texts(&[r"gr\u00fcn-anna.de"]), [""; 0]);
}
