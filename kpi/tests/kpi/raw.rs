//! Rows as they came: read again, forgotten after a time, and of persons who are erased.

use crate::hostile::{fact, is, state, value};
use crate::world::World;
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const DAY: &str = "2026-03-01";

impl World {
    /// Contents of all files in a folder of the store, by their paths.
    pub fn contents(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path("data").join(folder);
        if !root.exists() {
            return BTreeMap::new();
        }
        let files = self.files(folder).into_iter();
        files
            .map(|path| (path.to_str().unwrap().to_owned(), fs::read(root.join(path)).unwrap()))
            .collect()
    }

    /// Files of the store that have one of these texts, in their bytes or in their rows.
    pub fn with_texts(&self, texts: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (path, bytes) in self.contents("") {
            let mut all = vec![bytes.clone()];
            if path.ends_with(".parquet") {
                all.extend(cells(bytes));
            }
            let has = |text: &&str| all.iter().any(|bytes| has(bytes, text));
            if texts.iter().any(has) {
                found.push(path);
            }
        }
        found
    }

    fn again(&self, words: &[&str]) -> Value {
        let words = [&["import", "--reason", "test", "-o", "json", "--again"], words].concat();
        serde_json::from_str(&self.ok(&words)).unwrap()
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Values of a Parquet file.
fn cells(file: Vec<u8>) -> Vec<Vec<u8>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file)).unwrap();
    let mut cells = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        for column in batch.columns() {
            if column.data_type() == &DataType::Binary {
                cells.extend(column.as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec));
                continue;
            }
            let text = |row| array_value_to_string(column, row).unwrap().into_bytes();
            cells.extend((0..batch.num_rows()).map(text));
        }
    }
    cells
}

fn policy(world: &World, name: &str, fields: &str) -> String {
    fs::write(world.path("key"), "0123456789abcdef").unwrap();
    let key = world.path("key").display().to_string();
    let text = format!("version: 1\nfields: {fields}\nkey_id: {name}\nkey_file: {key}\n");
    let path = world.path(&format!("{name}.yaml"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn rows_that_are_read_again_give_the_same_facts() {
    let world = World::with_kpis(&["registrations"]);
    let sample = world.sample(4, 8, &["--hostile"]);
    world.ok(&["import", &sample]);
    // Quotes, line breaks within a field, empty lines, another delimiter, and a row that cannot be read.
    let csv = "\u{feff}event_id;business_key;event_type;event_ts;domain;status\r\n\
        1;k1;registration_completed;2026-03-01T10:00:00Z;a.com;\"two\r\nlines; \"\"quoted\"\"\"\r\n\r\n\
        2;k2;expired;2026-03-01T10:00:00Z;b.com;\r\n3;k3;expired\r\n4;k4;expired;2026-03-02T10:00:00Z;Ärger.de;x";
    world.import_text("odd.csv", csv);
    world.table("account", "accounts.csv", "account_id,segment\na,small\n", &[]);
    world.compute();
    let (facts, log) = (world.contents("facts"), world.files("log"));
    for (name, read, rejected) in
        [("odd.csv", 4, json!({"unreadable": 1})), ("accounts.csv", 1, json!({}))]
    {
        let again = world.again(&[name]);
        assert_eq!((&again["changed"], &again["kept"]), (&json!(false), &json!(0)), "{again}");
        assert_eq!((&again["read"], &again["rejected"]), (&json!(read), &rejected), "{again}");
    }
    let again = world.again(&["sample.ndjson"]);
    assert_eq!((&again["changed"], &again["kept"]), (&json!(false), &json!(0)), "{again}");
    assert!(again["read"].as_u64().unwrap() > 100 && again["rejected"] != json!({}), "{again}");
    assert_eq!((world.contents("facts"), world.files("log")), (facts, log));
}

#[test]
fn another_map_counts_in_place_of_the_first() {
    let world = World::with_kpis(&["registrations", "renewals"]);
    let (orders, map) = (world.path("orders.csv"), world.path("map.yaml"));
    let rows = "Order,Kind,When,Domain,Mail\n1,NEW,2026-03-01T10:00:00Z,a.com,x@a.com\n2,OLD,2026-03-01T11:00:00Z,b.com,y@b.com\n";
    fs::write(&orders, rows).unwrap();
    let text = |old: &str| {
        format!(
            "version: 1\ncolumns: {{ business_key: Order, event_type: Kind, event_ts: When, domain: Domain }}\n\
             values: {{ event_type: {{ NEW: registration_completed, OLD: {old} }} }}\n"
        )
    };
    fs::write(&map, text("registration_completed")).unwrap();
    let (orders, map) = (orders.to_str().unwrap(), map.to_str().unwrap());
    world.ok(&["import", orders, "--source", "shop", "--map", map]);
    world.ok(&["compute", "--final"]);
    assert_eq!(state(&world, "registrations", DAY), is(2, "final"));
    fs::write(map, text("renewal_completed")).unwrap();
    assert_eq!(
        world.run(&["import", "--again", "orders.csv", "--map", map]).status.code(),
        Some(2)
    );
    let again = world.again(&["orders.csv", "--map", map]);
    assert_eq!((&again["changed"], &again["accepted"]), (&json!(true), &json!(2)), "{again}");
    world.compute();
    assert_eq!(state(&world, "registrations", DAY), is(1, "provisional"));
    assert_eq!(state(&world, "renewals", DAY).0, 1);
    // The same import, with its new map: once more without it, and as a file.
    let again = world.again(&["orders.csv"]);
    assert_eq!(again["changed"], false, "{again}");
    assert!(world.ok(&["import", orders, "--source", "shop", "--map", map]).contains("before"));
    // Of a map that refuses rows, a better one accepts them.
    fs::write(map, text("renewal_completed").replace("OLD: renewal_completed", "X: expired"))
        .unwrap();
    assert_eq!(
        world.again(&["orders.csv", "--map", map])["rejected"],
        json!({"unmapped_value": 1})
    );
    fs::write(map, text("expired")).unwrap();
    assert_eq!(world.again(&["orders.csv", "--map", map])["rejected"], json!({}));
    world.compute();
    assert_eq!(state(&world, "registrations", DAY), is(1, "provisional"));
}

#[test]
fn a_policy_holds_for_rows_as_they_came() {
    let world = World::new();
    let row = |number: u32| {
        fact(
            &format!("e{number}"),
            &format!("order-{number}-anna-home.de"),
            "registration_completed",
            DAY,
            json!({"domain": "anna-home.de", "account_id": "acct-anna", "country": "DE"}),
        )
    };
    let file = world.path("a.ndjson");
    fs::write(&file, format!("{}\n{}\nno row about acct-anna\n", row(1), row(2))).unwrap();
    let fields = "{ account_id: tokenise, domain: tokenise, business_key: tokenise }";
    let kept = policy(&world, "k1", fields);
    world.ok(&["import", file.to_str().unwrap(), "--policy", &kept]);
    assert!(!world.contents("raw").is_empty());
    assert_eq!(world.with_texts(&["anna"]), [""; 0]);
    let output = world.run(&["import", "--again", "a.ndjson", "--reason", "x"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("give --policy"), "{said}");
    let again = world.again(&["a.ndjson", "--policy", &kept]);
    assert_eq!((&again["changed"], &again["read"]), (&json!(false), &json!(3)), "{again}");

    // What a policy refuses is in no row that is kept.
    let other = World::new();
    let refusing = policy(&other, "k2", "{ country: refuse }");
    let mut without = row(3);
    without.as_object_mut().unwrap().remove("country");
    let file = other.path("b.ndjson");
    fs::write(&file, format!("{}\n{without}\n", row(4))).unwrap();
    other.ok(&["import", file.to_str().unwrap(), "--policy", &refusing]);
    let again = other.again(&["b.ndjson", "--policy", &refusing]);
    let expected = json!({"personal_data": 1});
    assert_eq!((&again["changed"], &again["rejected"]), (&json!(false), &expected), "{again}");
    assert_eq!((&again["read"], &again["kept"]), (&json!(1), &json!(1)), "{again}");
}

#[test]
fn rows_are_forgotten_after_their_time() {
    let world = World::with_kpis(&["registrations"]);
    world.import("a.ndjson", &[fact("1", "k1", "registration_completed", DAY, json!({}))]);
    world.import("b.ndjson", &[fact("2", "k2", "registration_completed", DAY, json!({}))]);
    let made_older = |number: u32, days: i64| {
        let path = world.path(&format!("data/log/{number:020}.json"));
        let mut commit: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let at = jiff::Timestamp::now().as_microsecond() - days * 86_400_000_000;
        commit["import"]["raw"]["imported_us"] = json!(at);
        fs::write(path, commit.to_string()).unwrap();
    };
    made_older(1, 101);
    made_older(2, 99);
    let kept = |folder| world.contents(folder).len();
    assert_eq!((kept("raw"), kept("raw-keys")), (2, 2));
    world.compute();
    assert_eq!((kept("raw"), kept("raw-keys"), kept("removing")), (1, 1, 0));
    assert_eq!(state(&world, "registrations", DAY).0, 2);
    let output = world.run(&["import", "--again", "a.ndjson", "--reason", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(world.again(&["b.ndjson"])["read"], 1);
    // Of an import that is taken back nothing is kept.
    world.import("c.ndjson", &[fact("3", "k3", "registration_completed", DAY, json!({}))]);
    world.ok(&["import", "--undo", world.path("c.ndjson").to_str().unwrap(), "--reason", "x"]);
    assert_eq!(kept("raw"), 2);
    world.compute();
    assert_eq!(kept("raw"), 1);
    // A configuration without sources says how long.
    let config = world.path("config.yaml");
    fs::write(&config, "version: 1\nraw: { keep_days: 0 }\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    world.ok(&[&["compute"], &config[..]].concat());
    assert_eq!((kept("raw"), kept("raw-keys")), (0, 0));
    let file = world.path("d.ndjson");
    fs::write(&file, fact("4", "k4", "registration_completed", DAY, json!({})).to_string())
        .unwrap();
    world.ok(&[&["import", file.to_str().unwrap()], &config[..]].concat());
    assert_eq!(kept("raw"), 0);
    world.compute();
    assert_eq!(state(&world, "registrations", DAY), is(3, "provisional"));
}

/// Anna's account, and a domain that was hers alone; another one was of two accounts.
const NAMES: [&str; 3] = ["acct-anna", "anna-home.de", "Anna-Home"];

/// A registrar with some KPIs, and with a customer who is to be erased.
fn registrar(kpis: &[&str]) -> World {
    let world = World::with_kpis(kpis);
    let of = |id: u32, kind: &str, at: &str, more: Value| {
        let mut row = fact(&format!("id-{id}"), &format!("key-{id}"), kind, DAY, more);
        row["event_ts"] = json!(format!("2026-03-{at}:00Z"));
        row
    };
    let anna = json!({"account_id": "acct-anna", "domain": "anna-home.de"});
    let mut rows = vec![
        of(1, "registration_completed", "01T10:00", anna.clone()),
        of(2, "transfer_in_requested", "01T10:00", json!({"domain": "anna-home.de"})),
        of(
            3,
            "transfer_in_completed",
            "02T10:00",
            json!({"domain": "Anna-Home.de.", "account_id": "acct-anna"}),
        ),
        of(
            4,
            "renewal_completed",
            "02T10:00",
            json!({"account_id": "acct-anna", "domain": "shared.com"}),
        ),
        of(
            5,
            "registration_completed",
            "01T10:00",
            json!({"account_id": "acct-bert", "domain": "shared.com"}),
        ),
        of(
            6,
            "abuse_reported",
            "02T10:00",
            json!({"domain": "anna-home.de", "request_id": "case-anna-home.de"}),
        ),
        of(7, "abuse_first_response", "02T12:00", json!({"request_id": "case-anna-home.de"})),
        of(
            8,
            "registration_completed",
            "02T10:00",
            json!({"account_id": "acct-an", "domain": "home.de"}),
        ),
    ];
    // A fact that a correction with Anna's name in its key takes away, and a repetition.
    let mut taken = of(
        9,
        "payment_captured",
        "02T10:00",
        json!({"amount_micros": 7, "currency": "EUR", "account_id": "acct-anna"}),
    );
    taken["business_key"] = json!("pay-acct-anna-1");
    let mut correction =
        of(10, "payment_voided", "02T11:00", json!({"corrects": "pay-acct-anna-1"}));
    correction["business_key"] = json!("void-acct-anna-1");
    let mut repeated = taken.clone();
    repeated["event_id"] = json!("id-9-again");
    let mut other = taken.clone();
    (other["event_id"], other["business_key"]) = (json!("id-11"), json!("pay-acct-anna-2"));
    rows.extend([taken, correction, repeated, other]);
    let mut refused = of(12, "registration_completed", "01T10:00", anna);
    refused["colour"] = json!("of acct-anna");
    rows.push(refused);
    world.import("registrar.ndjson", &rows);
    let csv = "event_id,business_key,event_type,event_ts,domain\n20,k20,expired,2026-03-02T10:00:00Z,anna-home.de\n\
        21,k21,expired,2026-03-02T10:00:00Z,c.com\n22,k22 of acct-anna,expired\n";
    world.import_text("registry.csv", csv);
    world.table(
        "account",
        "accounts.csv",
        "account_id,segment\nacct-anna,vip\nacct-bert,small\n",
        &[],
    );
    world.table("domain", "domains.csv", "domain,owner\nanna-home.de,ida\nc.com,ida\n", &[]);
    world.compute();
    world
}

fn erase(world: &World) -> Value {
    let words = ["erase", "--account", "acct-anna", "--reason", "ticket 7", "-o", "json"];
    serde_json::from_str(&world.ok(&words)).unwrap()
}

#[test]
fn nothing_has_the_names_of_who_is_erased_and_numbers_stay() {
    // One at least of each model that counts one of the registrar's events.
    let world = registrar(&[
        "abuse_first_response_hours_p50",
        "abuse_reports",
        "abuse_response_sla_ratio",
        "cohort_lifetime_value",
        "cohort_renewal_ratio",
        "corrections",
        "duplicate_ratio",
        "portfolio",
        "registrations",
        "rejected_ratio",
        "renewals",
        "revenue",
        "revenue_per_domain",
        "transfer_completion_ratio",
        "transfer_sla_ratio",
    ]);
    // An import that was taken back left its facts.
    let row = fact("90", "k90", "expired", DAY, json!({"domain": "anna-home.de"}));
    world.import("wrong.ndjson", &[row]);
    world.ok(&["import", "--undo", world.path("wrong.ndjson").to_str().unwrap(), "--reason", "x"]);
    world.compute();
    assert!(world.with_texts(&NAMES).len() > 4, "{:?}", world.with_texts(&NAMES));
    let values = world.contents("values");
    assert!(values.len() > 1);
    assert!(!world.files("keys").is_empty());
    let erased = erase(&world);
    // The index has hashes of names, which whoever guesses a name can test.
    assert!(world.files("keys").is_empty());
    // Her account, and anna-home.de; not shared.com.
    assert_eq!((&erased["subjects"], &erased["unsettled"]), (&json!(2), &json!(0)), "{erased}");
    assert!(
        erased["facts"].as_u64() > Some(10) && erased["raw_rows"].as_u64() > Some(10),
        "{erased}"
    );
    assert_eq!(world.with_texts(&NAMES), [""; 0]);
    assert!(
        world.with_texts(&["acct-bert"]).len() == 2
            && !world.with_texts(&["shared.com"]).is_empty()
    );
    let computed = world.ok(&["compute", "--all"]);
    assert!(computed.contains(", 0 changed"), "{computed}");
    assert_eq!(world.contents("values"), values);
    // What can be read again is, what cannot stays: nothing changes, and no name comes back.
    for name in ["registrar.ndjson", "registry.csv", "accounts.csv", "domains.csv"] {
        let again = world.again(&[name]);
        assert_eq!(again["changed"], false, "{again}");
        assert!(again["kept"].as_u64() > Some(0) && again["read"].as_u64() > Some(0), "{again}");
    }
    assert_eq!(world.with_texts(&NAMES), [""; 0]);
    let list = world.ok(&["erase", "--list"]);
    assert!(list.contains("ticket 7") && !NAMES.iter().any(|name| list.contains(name)), "{list}");
    // Later facts are compared with pseudonyms as with tokens of another key.
    let file = world.path("registrar.ndjson");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.lines().take(1).collect::<String>()).unwrap();
    world.ok(&["import", file.to_str().unwrap()]);
    world.compute();
    let value = value(&world, "registrations", DAY);
    assert!(!value["reasons"].to_string().contains("repeat"), "{value}");
}

/// Copies a folder over another one.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else if !to.exists() {
            fs::copy(path, to).unwrap();
        }
    }
}

#[test]
fn an_erasure_that_was_interrupted_is_ended_by_the_next_command() {
    let world = registrar(&["registrations", "renewals"]);
    copy(&world.path("data"), &world.path("before"));
    erase(&world);
    assert_eq!(world.with_texts(&NAMES), [""; 0]);
    let last = world.contents("log").into_values().next_back().unwrap();
    let commit: Value = serde_json::from_slice(&last).unwrap();
    let commit = &commit["erase"];
    // As a crash behind the commit leaves the store: the old files are there, and the announcement of their removal.
    copy(&world.path("before"), &world.path("data"));
    let mut files: Vec<&str> =
        commit["replaced"].as_object().unwrap().keys().map(String::as_str).collect();
    files.extend(commit["removed"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()));
    let name = commit["removal"].as_str().unwrap();
    let announce = |name: &str, files: &[&str]| {
        let removing = world.path("data").join("removing");
        fs::create_dir_all(&removing).unwrap();
        let text = json!({"name": name, "files": files}).to_string();
        fs::write(removing.join(format!("{name}.json")), text).unwrap();
    };
    announce(name, &files);
    assert!(!world.with_texts(&NAMES).is_empty());
    let output = world.run(&["compute"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("interrupted"), "{said}");
    assert_eq!(world.with_texts(&NAMES), [""; 0]);
    assert!(world.contents("removing").is_empty());

    // Before the commit nothing is decided, and nothing goes.
    let needed: Vec<String> =
        world.contents("facts").into_keys().map(|path| format!("facts/{path}")).collect();
    announce("0", &needed.iter().map(String::as_str).collect::<Vec<_>>());
    let output = world.run(&["compute", "--all"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("has failed"), "{said}");
    assert_eq!(world.contents("facts").len(), needed.len());
    assert_eq!(state(&world, "renewals", "2026-03-02").0, 1);
}

#[test]
fn tokens_of_who_is_erased_go_as_well() {
    let world = World::with_kpis(&["registrations"]);
    let kept = policy(&world, "k1", "{ account_id: tokenise, domain: tokenise }");
    let rows = [("1", "acct-anna", "anna-home.de"), ("2", "acct-bert", "bert.de")];
    let rows = rows.map(|(key, account, domain)| {
        fact(
            key,
            key,
            "registration_completed",
            DAY,
            json!({"account_id": account, "domain": domain}),
        )
        .to_string()
    });
    let file = world.path("a.ndjson");
    fs::write(&file, rows.join("\n")).unwrap();
    world.ok(&["import", file.to_str().unwrap(), "--policy", &kept]);
    world.compute();
    let tokens = |world: &World| {
        let facts = world.contents("facts").into_values().flat_map(cells);
        facts.filter(|cell| cell.starts_with(b"k1:")).count()
    };
    assert_eq!(tokens(&world), 4);
    // Without the policy nobody knows the tokens, nor can open the keys.
    let words = [
        "erase",
        "--account",
        "acct-anna",
        "--domain",
        "ANNA-home.de",
        "--reason",
        "x",
        "-o",
        "json",
    ];
    assert_eq!(world.run(&words).status.code(), Some(2));
    assert_eq!(tokens(&world), 4);
    let erased: Value =
        serde_json::from_str(&world.ok(&[&words[..], &["--policy", &kept]].concat())).unwrap();
    assert_eq!((&erased["facts"], &erased["raw_rows"]), (&json!(1), &json!(1)), "{erased}");
    assert_eq!(tokens(&world), 2);
    let again = world.again(&["a.ndjson", "--policy", &kept]);
    assert_eq!((&again["changed"], &again["kept"]), (&json!(false), &json!(1)), "{again}");
    world.compute();
    assert_eq!(state(&world, "registrations", DAY), is(2, "provisional"));
}
