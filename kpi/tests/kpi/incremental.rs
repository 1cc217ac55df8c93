//! Values that are computed from what new facts change are those of all facts.

use crate::world::{World, event};
use dnscribe_kpi::sample::Random;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;

fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

/// Picks one of a list, each as often as the others.
fn pick<'a>(random: &mut Random, list: &[&'a str]) -> &'a str {
    list[usize::try_from(random.below(list.len() as u64)).unwrap()]
}

/// A time in nine days.
fn time(random: &mut Random) -> String {
    let start: jiff::Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
    let seconds = i64::try_from(random.below(9 * 86_400)).unwrap();
    (start + jiff::SignedDuration::from_secs(seconds)).to_string()
}

const TYPES: [&str; 24] = [
    "registration_completed",
    "registration_completed",
    "registration_failed",
    "transfer_in_requested",
    "transfer_in_completed",
    "transfer_in_completed",
    "renewal_completed",
    "renewal_declined",
    "expired",
    "payment_captured",
    "payment_captured",
    "payment_refunded",
    "abuse_reported",
    "abuse_first_response",
    "restore_requested",
    "restore_completed",
    "cart_created",
    "trial_started",
    "workflow_started",
    "workflow_completed",
    "api_request",
    "registration_reversed",
    "payment_voided",
    "registration_reversed_reversed",
];

/// An event that shares each of its keys with many others.
fn any_event(random: &mut Random) -> Value {
    let kind = pick(random, &TYPES);
    let number = u32::try_from(random.below(60)).unwrap();
    let mut event = event(number, kind, &time(random), json!({}));
    event["event_id"] = json!(format!("e{}", random.below(400)));
    event["source_system"] = json!(pick(random, &["billing", "crm"]));
    event["account_id"] = json!(format!("a{}", random.below(4)));
    event["tld"] = json!(pick(random, &["com", "net"]));
    if chance(random, 50) {
        event["request_id"] = json!(format!("r{}", random.below(30)));
    }
    if chance(random, 80) {
        event["domain"] = json!(format!("d{}.com", random.below(25)));
    } else {
        event.as_object_mut().unwrap().remove("domain");
    }
    if kind.starts_with("payment") {
        event["amount_micros"] = json!(random.below(4) * 1_000_000);
        event["currency"] = json!(pick(random, &["EUR", "USD"]));
    }
    if kind.starts_with("abuse") && chance(random, 90) {
        event["abuse_category"] = json!(pick(random, &["spam", "phishing"]));
    }
    if kind == "api_request" {
        event["latency_ms"] = json!(random.below(5));
    }
    if kind.ends_with("reversed") || kind.ends_with("voided") || chance(random, 5) {
        if chance(random, 30) {
            event["corrects_event_id"] = json!(format!("e{}", random.below(400)));
        } else {
            event["corrects"] = json!(format!("b{}", random.below(60)));
        }
        if chance(random, 30) {
            event["corrects_type"] = json!(pick(random, &TYPES));
        }
    }
    if chance(random, 5) {
        // Refused, until the same event comes without it.
        event["unknown"] = json!(1);
    }
    event
}

fn any_telemetry(random: &mut Random) -> Value {
    let ts = time(random);
    match random.below(3) {
        0 => {
            json!({"schema": "dns.fleet/1", "ts": ts, "window_seconds": 3600, "step_seconds": 3600,
            "grouping": "all", "vantage": pick(random, &["client", "server"]), "revision": random.below(3),
            "queries": random.below(100) + 10, "successes": 9, "retries": 0,
            "rcodes": [{"rcode": "SERVFAIL", "count": 1}], "statuses": {"answered": 9, "timeout": 1}})
        }
        1 => {
            json!({"schema": "dns.probe/1", "ts": ts, "event_id": format!("p{}", random.below(20)), "kind": "dns",
            "service": "www", "site": "fra", "ok": chance(random, 50), "duration_ms": 5.0})
        }
        _ => {
            json!({"schema": "dns.alert/1", "ts": ts, "started": ts, "alert_id": format!("l{}", random.below(20)),
            "rule": "tunnel", "severity": pick(random, &["warning", "critical"])})
        }
    }
}

/// Random imports. In between, segments of the index are lost, and an import replaces what another one had refused.
fn values_of_random_imports(seed: u64) {
    let world = World::new();
    let mut random = Random(seed);
    let compute = |words: &[&str]| -> Value {
        let output = world.ok(&[&["compute", "--final", "-o", "json"], words].concat());
        serde_json::from_str(&output).unwrap()
    };
    let mut last = json!(null);
    let mut first_import = String::new();
    for (round, number) in [400_u32, 3, 25, 1, 9, 40, 2].into_iter().enumerate() {
        let events: Vec<Value> = (0..number).map(|_| any_event(&mut random)).collect();
        let others: Vec<Value> =
            (0..number.div_ceil(4)).map(|_| any_telemetry(&mut random)).collect();
        let rows = [events, others].concat();
        let name = format!("{round}.ndjson");
        match round {
            0 => {
                let import = world.import(&name, &rows);
                import["sha256"].as_str().unwrap().clone_into(&mut first_import);
            }
            3 => {
                let segment = world.files("keys").pop_last().unwrap();
                fs::remove_file(world.path("data/keys").join(segment)).unwrap();
                world.import(&name, &rows);
            }
            4 => {
                fs::remove_dir_all(world.path("data/keys")).unwrap();
                world.import(&name, &rows);
            }
            5 => {
                let text: Vec<String> = rows.iter().map(Value::to_string).collect();
                let path = world.path(&name);
                fs::write(&path, text.join("\n")).unwrap();
                world.ok(&["import", path.to_str().unwrap(), "--replaces", &first_import]);
            }
            _ => drop(world.import(&name, &rows)),
        }
        last = compute(&[]);
        let (read, facts) = (last["facts_read"].as_u64(), last["facts"].as_u64());
        assert_eq!(read < facts, round > 0, "seed {seed}, round {round}: {read:?} of {facts:?}");
    }
    // Nothing is left to commit: values, what is missing, and what the next computation goes on from are the same.
    let commits = world.files("log");
    let all = compute(&["--all"]);
    assert_eq!((&all["facts_read"], &all["changed"]), (&all["facts"], &json!(0)), "seed {seed}");
    assert_eq!(all["incomplete"], last["incomplete"], "seed {seed}");
    assert_eq!(world.files("log"), commits, "seed {seed}");
}

#[test]
fn values_of_what_is_new_are_those_of_all_facts() {
    values_of_random_imports(1);
}

/// Two computations at once, again and again: segments that one of them merges are those that the other reads.
#[test]
fn computations_at_once_lose_nothing() {
    let world = World::with_kpis(&["duplicate_ratio", "registrations", "revenue_per_domain"]);
    let mut random = Random(4);
    for round in 0..4 {
        let events: Vec<Value> = (0..60).map(|_| any_event(&mut random)).collect();
        world.import(&format!("{round}.ndjson"), &events);
        let both = [0, 1].map(|_| world.command(&["compute"]).spawn().unwrap());
        for mut process in both {
            assert!(process.wait().unwrap().success(), "round {round}");
        }
        let named = world.files("keys");
        assert!(!named.is_empty() && named.len() < 4, "round {round}: {named:?}");
    }
    let commits = world.files("log");
    let all: Value = serde_json::from_str(&world.ok(&["compute", "--all", "-o", "json"])).unwrap();
    assert_eq!(all["changed"], 0);
    assert_eq!(world.files("log"), commits);
}

/// Computes; returns the facts that were read, and all facts, in rows.
fn facts_read(world: &World, words: &[&str]) -> (u64, u64) {
    let output = world.ok(&[&["compute", "-o", "json"], words].concat());
    let outcome: Value = serde_json::from_str(&output).unwrap();
    let count = |name: &str| outcome[name].as_u64().unwrap();
    (count("facts_read"), count("facts"))
}

#[test]
fn what_new_facts_do_not_show_is_computed_from_all() {
    let world = World::with_kpis(&["cohort_renewal_ratio", "registrations"]);
    let day = "2026-03-01T10:00:00Z";
    let rows: Vec<Value> =
        (0..20).map(|number| event(number, "registration_completed", day, json!({}))).collect();
    world.import("a.ndjson", &rows);
    let read = |words: &[&str]| facts_read(&world, words);
    assert_eq!(read(&[]), (20, 20), "the first time");
    assert_eq!(read(&[]), (0, 20), "nothing is new");
    let one = event(50, "registration_completed", day, json!({}));
    let import = world.import("b.ndjson", &[one]);
    assert_eq!(read(&[]), (1, 21));
    // Another dictionary: one model says nothing of its keys.
    let text = fs::read_to_string(world.path("metrics.yaml")).unwrap();
    let path = world.path("own.yaml").to_str().unwrap().to_owned();
    let changed = text.replacen(r#""keys":["domain"],"#, "", 1);
    assert_ne!(text, changed);
    fs::write(&path, changed).unwrap();
    for number in [51, 52] {
        let rows = [event(number, "registration_completed", day, json!({}))];
        world.import(&format!("{number}.ndjson"), &rows);
        let (read, all) = read(&["--dictionary", &path]);
        assert_eq!(read, all);
    }
    assert_eq!(read(&[]), (23, 23), "the former dictionary again");
    world.ok(&["import", "--undo", import["sha256"].as_str().unwrap(), "--reason", "test"]);
    assert_eq!(read(&[]), (22, 22), "an import was taken back");
    let later = "2026-03-02T10:00:00Z";
    world.import("c.ndjson", &[event(53, "registration_completed", later, json!({}))]);
    assert_eq!(read(&["--date", "2026-03-01"]), (1, 23));
    assert_eq!(read(&[]), (0, 23), "the other day was not forgotten");
    world.import("d.ndjson", &[event(54, "registration_completed", day, json!({}))]);
    assert_eq!(read(&["--date", "2026-03-01", "--all"]), (24, 24));
    assert_eq!(read(&[]), (24, 24), "the days are not of one computation");
    assert_eq!(world.value("registrations", "2026-03-01").0, 23);
}

/// Flips a bit of a file.
fn damage(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_files_change_no_number() {
    let world = World::with_kpis(&["registrations"]);
    let registered =
        |number: u32| event(number, "registration_completed", "2026-03-01T10:00:00Z", json!({}));
    world.import("a.ndjson", &(0..20).map(registered).collect::<Vec<_>>());
    assert_eq!(facts_read(&world, &[]), (20, 20));
    let paths = |folder: &str| {
        let root = world.path("data").join(folder);
        world.files(folder).into_iter().map(move |file| root.join(file)).collect::<Vec<_>>()
    };
    // The last business key has another hash in the index, and its repetition is not found.
    let segment = &paths("keys")[0];
    let reader = SerializedFileReader::new(File::open(segment).unwrap()).unwrap();
    let (start, length) = reader.metadata().row_group(0).column(1).byte_range();
    damage(segment, usize::try_from(start + length).unwrap() - 1);
    let mut repeated = registered(19);
    repeated["event_id"] = json!("another");
    world.import("b.ndjson", &[repeated]);
    assert_eq!(facts_read(&world, &[]), (21, 21));
    assert_eq!(world.value("registrations", "2026-03-01").0, 20);
    world.import("c.ndjson", &[registered(20)]);
    assert_eq!(facts_read(&world, &[]), (1, 22), "the index was made anew");

    damage(&paths("summary")[0], 40);
    world.import("d.ndjson", &[registered(21)]);
    assert_eq!(facts_read(&world, &[]), (23, 23));
    world.import("e.ndjson", &[registered(22)]);
    assert_eq!(facts_read(&world, &[]), (1, 24));

    for path in paths("values") {
        damage(&path, 40);
    }
    let output = world.run(&["report"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("is damaged"), "{said}");
    world.import("f.ndjson", &[registered(23)]);
    assert_eq!(facts_read(&world, &[]), (25, 25), "nothing is added to damaged values");
    assert_eq!(world.value("registrations", "2026-03-01").0, 24);
    // The same values are written once more.
    for path in paths("values") {
        damage(&path, 50);
    }
    world.ok(&["compute", "--all"]);
    assert_eq!(world.value("registrations", "2026-03-01").0, 24);
}

/// A dimension table says something of events that are not new.
#[test]
fn values_after_an_import_of_a_dimension_table_are_those_of_all_facts() {
    let world = World::with_kpis(&["registrations"]);
    let rows: Vec<Value> = (0..20)
        .map(|number| {
            let account = json!({"account_id": format!("a{}", number % 2)});
            event(number, "registration_completed", "2026-03-01T10:00:00Z", account)
        })
        .collect();
    world.import("a.ndjson", &rows);
    facts_read(&world, &[]);
    let table = world.path("accounts.csv");
    fs::write(&table, "account_id,valid_from,segment\na0,,large\n").unwrap();
    world.ok(&["import", table.to_str().unwrap(), "--dimension", "account"]);
    assert_eq!(facts_read(&world, &[]), (21, 21));
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/registrations?by=segment");
    assert_eq!(values["2026-03-01/large"]["value"], 10, "{values:?}");
}

/// One domain has more events than `--memory` holds.
#[test]
fn values_of_too_many_related_facts_are_those_of_all_facts() {
    let world = World::with_kpis(&["revenue", "revenue_per_domain"]);
    let pay = |number: u32, domain: &str| {
        let more = json!({"amount_micros": 1, "currency": "EUR", "domain": domain});
        event(number, "payment_captured", "2026-03-01T10:00:00Z", more)
    };
    // 64 MiB hold 16,384 rows.
    let related = (0..17_000).map(|number| pay(number, "busy.com"));
    let others = (17_000..17_100).map(|number| pay(number, "quiet.com"));
    world.import("a.ndjson", &related.chain(others).collect::<Vec<_>>());
    let memory = ["--memory", "64MiB"];
    facts_read(&world, &memory);
    world.import("b.ndjson", &[pay(17_100, "quiet.com")]);
    assert_eq!(facts_read(&world, &memory), (101, 17_101));
    world.import("c.ndjson", &[pay(17_101, "busy.com")]);
    assert_eq!(facts_read(&world, &memory), (17_102, 17_102));
    assert_eq!(world.value("revenue", "2026-03-01").0, 17_102);
}
