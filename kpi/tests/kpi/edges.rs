//! Rows, exports and questions at the edges, where a wrong number would come without a mark.

use crate::hostile::fact;
use crate::world::{World, event};
use serde_json::{Value, json};
use std::fs;

fn amount(micros: i64) -> Value {
    json!({ "amount_micros": micros, "currency": "EUR" })
}

/// A refund that the map refuses: its day has no final revenue.
#[test]
fn a_refused_row_marks_the_day_and_type_that_lack_it() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    let write = |name: &str, text: &str| {
        let path = world.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let map = write(
        "shop.yaml",
        "version: 1\ncolumns: { business_key: Order, event_type: Kind, event_ts: When, amount_micros: Price }\n\
         constants: { currency: EUR }\nvalues: { event_type: { REG: registration_completed, SALE: payment_captured, BACK: payment_refunded } }\n\
         time: { format: \"%d.%m.%Y\" }\namount: { decimal: \",\" }\n",
    );
    let config = write(
        "sources.yaml",
        "version: 1\nsources: [{ name: shop, types: [\"registration_*\", \"payment_*\"], first_day: 2026-03-01 }]\n",
    );
    let rows = [
        "1,SALE,01.03.2026,\"5000,00\"\n1,REG,01.03.2026,\n",
        // No sign is a refund's of this map. The other rows of the file are of another day.
        "1,BACK,01.03.2026,\"-5000,00\"\n2,REG,02.03.2026,\n",
        "3,REG,03.03.2026,\n",
    ];
    for (number, text) in rows.iter().enumerate() {
        let file = write(&format!("{number}.csv"), &format!("Order,Kind,When,Price\n{text}"));
        world.run(&["import", &file, "--source", "shop", "--map", &map, "--config", &config]);
    }
    world.ok(&["compute", "--final", "--config", &config]);
    assert_eq!(world.value("revenue", "2026-03-01").1, "incomplete");
    assert_eq!(world.value("registrations", "2026-03-01"), (json!(1), "final".to_owned()));
    assert_eq!(world.value("registrations", "2026-03-02"), (json!(1), "final".to_owned()));

    // The authority has it: it is not lost, but was refused.
    let export = write(
        "billing.csv",
        "business_key,event_type,event_ts,amount_micros,currency\n1,payment_captured,2026-03-01T00:00:00Z,5000000000,EUR\n\
         1,payment_refunded,2026-03-01T00:00:00Z,5000000000,EUR\n",
    );
    let output = world.run(&["reconcile", "--against", &export]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("payment_refunded 1: rejected: refused at import"), "{text}");
    assert!(text.contains("2 compared, 1 differences"), "{text}");
}

/// What an event names by the key of its second delivery is the event.
#[test]
fn a_correction_may_name_a_repeated_delivery() {
    for (named, left) in [("e1", 0), ("e2", 0), ("e9", 1)] {
        let world = World::with_kpis(&["registrations"]);
        let at = "2026-03-01T10:00:00Z";
        let mut again = event(2, "registration_completed", at, json!({}));
        again["business_key"] = json!("b1");
        world.import("a.ndjson", &[event(1, "registration_completed", at, json!({})), again]);
        world.compute();
        assert_eq!(world.value("registrations", "2026-03-01").0, 1);
        let named = json!({ "corrects_event_id": named });
        let reversal = event(3, "registration_reversed", "2026-03-02T10:00:00Z", named.clone());
        world.import("b.ndjson", &[reversal]);
        world.compute();
        assert_eq!(world.value("registrations", "2026-03-01").0, left, "{named}");
        world.ok(&["compute", "--all"]);
        assert_eq!(world.value("registrations", "2026-03-01").0, left, "{named}");
    }
}

#[test]
fn an_authority_agrees_to_the_unit_and_with_itself() {
    let world = World::with_kpis(&["revenue"]);
    let many = 2_000_000_001_000_000;
    world.import(
        "paid.ndjson",
        &[
            event(1, "payment_captured", "2026-03-01T10:00:00Z", amount(many)),
            event(2, "registration_completed", "2026-03-02T10:00:00Z", json!({})),
        ],
    );
    world.compute();
    let export = world.path("export.csv");
    let reconcile = |text: &str| {
        fs::write(&export, text).unwrap();
        let output = world.run(&["reconcile", "--against", export.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let value = |text: &str| {
        reconcile(&format!("day,kpi,by,value\n2026-03-01,revenue,currency=EUR,{text}\n"))
    };
    assert_eq!(value("2000000001000000").0, Some(0));
    assert_eq!(value("2000000001000001").0, Some(1));
    let (code, said) = value("2000000001000000\n2026-03-01,revenue,currency=EUR,2000000001000000");
    let twice = "unreadable: a slice is there twice: 2026-03-01 revenue currency=EUR: 1 rows";
    assert!(code == Some(1) && said.contains(twice) && said.contains("0 differences"), "{said}");
    for text in ["inf", "NaN"] {
        let (code, said) = value(text);
        assert!(code == Some(1) && said.contains(&format!("unreadable: value {text}")), "{said}");
    }
    let (code, said) = reconcile("Order,Kind\n1001,REG\n");
    let nothing = "\n0 compared, 0 differences: no row could be read, so nothing is known\n";
    assert!(code == Some(1) && said.ends_with(nothing), "{said}");
    // Two amounts of one fact.
    let head = "event_id,business_key,event_type,event_ts,amount_micros,currency\n";
    let row = |id: &str, micros: i64| {
        format!("{id},b1,payment_captured,2026-03-01T10:00:00Z,{micros},EUR\n")
    };
    let (_, said) = reconcile(&format!("{head}{}", row("1", many)));
    assert!(
        said.contains("1 compared, 0 differences: agrees as far as it goes: 1 of ours"),
        "{said}"
    );
    let (code, said) = reconcile(&format!("{head}{}{}", row("1", many), row("2", 5)));
    assert!(code == Some(1) && said.contains("a fact has several amounts"), "{said}");
    // Another type of the same key is another fact: it has not moved.
    let (code, said) =
        reconcile(&format!("{head}x,b2,payment_refunded,2026-03-01T10:00:00Z,4,EUR\n"));
    assert!(code == Some(1) && said.contains("payment_refunded b2: lost"), "{said}");
}

#[test]
fn sums_are_compared_to_the_last_digit() {
    let world = World::with_kpis(&["revenue"]);
    // As floating point, both are one number.
    let (ours, theirs) = (99_999_999_999_999_995_i64, "99999999999999994");
    world.import(
        "paid.ndjson",
        &[event(1, "payment_captured", "2026-03-01T10:00:00Z", amount(ours))],
    );
    world.compute();
    let export = world.path("export.csv");
    let reconcile = |value: &str, more: &[&str]| {
        let text = format!("day,kpi,by,value\n2026-03-01,revenue,currency=EUR,{value}\n");
        fs::write(&export, text).unwrap();
        let words = ["reconcile", "--against", export.to_str().unwrap()];
        let output = world.run(&[&words, more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(reconcile(&ours.to_string(), &[]).0, Some(0));
    let (code, said) = reconcile(theirs, &[]);
    let difference =
        "difference 1; ours is provisional (ours 99999999999999995, theirs 99999999999999994)";
    assert!(code == Some(1) && said.contains(difference), "{said}");
    assert_eq!(reconcile(theirs, &["--tolerance", "1"]).0, Some(0));
}

/// Every export has all of an empty span of days.
#[test]
fn days_in_the_wrong_order_are_refused() {
    let world = World::with_kpis(&["revenue"]);
    let paid = event(1, "payment_captured", "2026-03-01T10:00:00Z", amount(5));
    world.import("paid.ndjson", std::slice::from_ref(&paid));
    world.compute();
    let export = world.path("export.ndjson");
    fs::write(&export, paid.to_string()).unwrap();
    let export = export.to_str().unwrap();
    for words in [
        &["reconcile", "--against", export][..],
        &["export", "--format", "clickhouse"],
        &["compute"],
    ] {
        let days = ["--from", "2026-03-02", "--to", "2026-03-01"];
        let output = world.run(&[words, &days].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("from 2026-03-02 is after to 2026-03-01"), "{words:?}: {said}");
    }
}

#[test]
fn refused_personal_data_is_not_kept() {
    let world = World::new();
    let policy = world.path("policy.yaml");
    let key = world.path("key");
    fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    let text = format!(
        "version: 1\nfields: {{ account_id: tokenise, domain: tokenise }}\nkey_id: k\nkey_file: {}\n",
        key.display()
    );
    fs::write(&policy, text).unwrap();
    let rows = [
        json!({ "domain": "anna mueller.de" }),
        json!({ "account_id": { "mail": "anna@mueller.de" } }),
    ];
    let rows: Vec<String> = (1..)
        .zip(rows)
        .map(|(n, more)| {
            event(n, "registration_completed", "2026-03-01T10:00:00Z", more).to_string()
        })
        .collect();
    let file = world.path("rows.ndjson");
    fs::write(&file, rows.join("\n")).unwrap();
    world.run(&["import", file.to_str().unwrap(), "--policy", policy.to_str().unwrap()]);
    let refused = world.ok(&["rejected"]);
    assert_eq!(refused.lines().count(), 2, "{refused}");
    assert!(refused.contains("bad_type: account_id") && !refused.contains("mueller"), "{refused}");
    for file in world.files("facts") {
        let bytes = fs::read(world.path("data/facts").join(&file)).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"mueller"), "{}", file.display());
    }
}

#[test]
fn columns_and_amounts_that_cannot_be_right_are_refused() {
    let world = World::new();
    let file = world.path("twice.csv");
    let head = "event_id,business_key,event_type,event_ts,currency,amount_micros,amount_micros\n";
    fs::write(&file, format!("{head}1,1,payment_captured,2026-03-01T09:00:00Z,EUR,5,7\n")).unwrap();
    world.run(&["import", file.to_str().unwrap()]);
    let micros = amount(9_000_000_000_000_000_000);
    let huge = event(2, "payment_captured", "2026-03-01T10:00:00Z", micros);
    let file = world.path("huge.ndjson");
    fs::write(&file, huge.to_string()).unwrap();
    world.run(&["import", file.to_str().unwrap()]);
    let refused = world.ok(&["rejected"]);
    assert!(refused.contains("ambiguous_column: amount_micros"), "{refused}");
    assert!(refused.contains("implausible_amount: 9000000000000000000"), "{refused}");
}

#[test]
fn answers_change_their_tag_and_end_with_the_calendar() {
    let world = World::with_kpis(&["registrations"]);
    let days = ["2026-03-28", "2026-03-29", "2026-10-29"].map(|day| format!("{day}T10:00:00Z"));
    let rows: Vec<_> =
        (1..).zip(&days).map(|(n, at)| event(n, "registration_completed", at, json!({}))).collect();
    world.import("a.ndjson", &rows);
    world.compute();
    let path = "/v1/kpis/registrations?date=2026-03-29&time_zone=Europe/Berlin";
    let tag = |words: &[&str]| {
        let server = world.serve(words);
        let (status, headers, _) = server.request("GET", path, "");
        let tag = headers.lines().find(|line| line.to_lowercase().starts_with("etag")).unwrap();
        let tag = tag.split_once(": ").unwrap().1.trim().to_owned();
        assert_eq!(status, 200);
        for (known, status) in [(&*tag, 304), ("*", 304), ("\"a\", \"b\"", 200)] {
            let header = format!("If-None-Match: {known}\r\n");
            assert_eq!(server.request("GET", path, &header).0, status, "{known}");
        }
        for span in ["from=9999-12-30&to=9999-12-31", "from=-009999-01-01&to=-009999-01-03"] {
            let (status, problem) = server.get(&format!("/v1/kpis/registrations?{span}"));
            assert_eq!(status, 400, "{span}: {problem}");
        }
        tag
    };
    // The days of another time zone are known to one of the two.
    assert_ne!(tag(&["--no-auth"]), tag(&["--no-auth", "--time-zone", "Europe/Berlin"]));
}

/// The export of each day has a name of its own, and no row says where it is from.
#[test]
fn a_gap_of_files_without_a_source_is_noticed() {
    let world = World::with_kpis(&["registrations"]);
    for day in (1..=10).filter(|day| *day != 5) {
        let at = format!("2026-03-{day:02}T10:00:00Z");
        let mut row = event(day, "registration_completed", &at, json!({}));
        row.as_object_mut().unwrap().remove("source_system");
        world.import(&format!("{day}.ndjson"), &[row]);
    }
    world.ok(&["compute", "--final"]);
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/registrations");
    let gap = &values["2026-03-05"];
    assert_eq!(gap["state"], "incomplete", "{gap}");
    let why =
        "2026-03-05: event:registration_completed: an unnamed source system has delivered nothing";
    assert_eq!(gap["reasons"], json!([why]));
    assert_eq!(values["2026-03-06"]["state"], "final");
}

/// A sum of 64 bits overflows: one KPI has no value on one day, and says why.
#[test]
fn a_sum_that_is_too_large_marks_its_own_value_alone() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    // The largest amount of an event; 92 of them have a sum of 64 bits.
    let most = 100_000_000_000_000_000_i64;
    let pay = |number: u32, day: u32, tld: &str| {
        let more = json!({"amount_micros": most, "currency": "EUR", "tld": tld});
        event(number, "payment_captured", &format!("2026-03-0{day}T10:00:00Z"), more)
    };
    let mut rows: Vec<Value> = (0..100).map(|number| pay(number, 1, "com")).collect();
    rows.extend((100..110).map(|number| pay(number, 2, "com")));
    // Each slice has a sum, and both together have none.
    rows.extend((200..260).map(|number| pay(number, 3, "com")));
    rows.extend((260..320).map(|number| pay(number, 3, "net")));
    rows.push(event(400, "registration_completed", "2026-03-01T10:00:00Z", json!({})));
    world.import("a.ndjson", &rows);
    let compute = |words: &[&str]| -> Value {
        let output = world.ok(&[&["compute", "-o", "json"], words].concat());
        serde_json::from_str(&output).unwrap()
    };
    compute(&["--final"]);
    let check = |first: (Value, &str)| {
        let server = world.serve(&["--no-auth"]);
        let values = World::values(&server, "/v1/kpis/revenue");
        let at = |day: u32| values[&format!("2026-03-0{day}/EUR")].clone();
        assert_eq!((at(1)["value"].clone(), at(1)["state"].as_str().unwrap()), first);
        assert_eq!((&at(2)["value"], &at(2)["state"]), (&json!(10 * most), &json!("final")));
        for day in (1..=3).map(at).filter(|value| value["value"].is_null()) {
            assert_eq!(day["state"], "incomplete");
            assert!(day["reasons"].to_string().contains("a sum is too large"), "{day}");
        }
        assert!(at(3)["value"].is_null(), "{}", at(3));
        let slices = World::values(&server, "/v1/kpis/revenue?date=2026-03-03&by=tld");
        assert_eq!(slices.len(), 2, "{slices:?}");
        assert!(slices.values().all(|value| value["value"] == 60 * most), "{slices:?}");
        let month = World::values(&server, "/v1/kpis/revenue?grain=month");
        assert!(month.values().all(|value| value["value"].is_null()), "{month:?}");
        let others = World::values(&server, "/v1/kpis/registrations?date=2026-03-01");
        let other = &others["2026-03-01"];
        assert_eq!((&other["value"], &other["state"]), (&json!(1), &json!("final")));
    };
    check((json!(null), "incomplete"));
    // What is added to another day is computed from what is new.
    world.import("b.ndjson", &[event(500, "expired", "2026-03-02T10:00:00Z", json!({}))]);
    let outcome = compute(&[]);
    assert!(outcome["facts_read"].as_u64() < outcome["facts"].as_u64(), "{outcome}");
    check((json!(null), "incomplete"));
    // Enough is taken away, and too much added again: neither is known from the difference.
    let void = |number: u32| {
        let more =
            json!({"amount_micros": most, "currency": "EUR", "corrects": format!("b{number}")});
        event(600 + number, "payment_voided", "2026-03-02T10:00:00Z", more)
    };
    world.import("c.ndjson", &(0..10).map(void).collect::<Vec<_>>());
    compute(&["--final"]);
    check((json!(90 * most), "final"));
    world.ok(&["compute", "--reopen", "2026-03-01", "--reason", "test"]);
    world.import("d.ndjson", &(700..710).map(|number| pay(number, 1, "com")).collect::<Vec<_>>());
    compute(&["--final"]);
    check((json!(null), "incomplete"));
}

/// Another computation may remove what one goes on from.
#[test]
fn summaries_that_no_computation_goes_on_from_are_removed() {
    let world = World::with_kpis(&["registrations"]);
    let day = "2026-03-01T10:00:00Z";
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..4 {
        let row = event(number, "registration_completed", day, json!({}));
        world.import(&format!("{number}.ndjson"), &[row]);
        world.compute();
        let files = world.files("summary");
        assert_eq!(files.len(), 1, "{files:?}");
        seen.extend(files);
    }
    assert_eq!(seen.len(), 3, "each computation has its own");
    fs::remove_file(world.path("data/summary").join(world.files("summary").first().unwrap()))
        .unwrap();
    world.import("4.ndjson", &[event(4, "registration_completed", day, json!({}))]);
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 4);
    assert_eq!(world.files("summary").len(), 1);
}

/// The authority knows the keys of then, and the store has pseudonyms of them.
#[test]
fn an_export_agrees_after_an_erasure() {
    let world = World::new();
    let mut more = amount(5_000_000);
    more["domain"] = json!("bruno.de");
    let key = "order-bruno.de-1";
    world.import("a.ndjson", &[fact(key, key, "payment_captured", "2026-03-01", more)]);
    let export = world.path("a.ndjson").to_str().unwrap().to_owned();
    world.ok(&["reconcile", "--against", &export]);
    world.ok(&["erase", "--domain", "bruno.de", "--reason", "x"]);
    assert_eq!(world.with_texts(&[key]), [""; 0]);
    world.ok(&["reconcile", "--against", &export]);
}
