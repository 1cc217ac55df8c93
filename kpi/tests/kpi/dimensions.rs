//! Dimension tables: what accounts and others are, as of the time of an event.

use crate::world::{World, event};
use datafusion::arrow::array::{
    ArrayRef, Date64Array, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;

impl World {
    /// Imports a dimension table; returns what the command says, as JSON.
    pub fn table(&self, kind: &str, name: &str, text: &str, words: &[&str]) -> Value {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        let all = [&["import", path.to_str().unwrap(), "--dimension", kind, "-o", "json"], words]
            .concat();
        let output = self.run(&all);
        let imported: Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_whole = imported["rejected"] == json!({});
        assert_eq!(output.status.code(), Some(i32::from(!is_whole)), "{imported}");
        imported
    }

    /// Registrations by the values of a dimension, over all days.
    fn registrations_by(&self, dimension: &str) -> BTreeMap<String, i64> {
        let server = self.serve(&["--no-auth"]);
        let path = format!("/v1/kpis/registrations?grain=all&by={dimension}");
        let values = Self::values(&server, &path).into_values();
        let slice = |value: &Value| value["by"][dimension].as_str().unwrap_or("none").to_owned();
        values.map(|value| (slice(&value), value["value"].as_i64().unwrap())).collect()
    }
}

fn counts<const N: usize>(counts: [(&str, i64); N]) -> BTreeMap<String, i64> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

const ACCOUNTS: &str = "account_id,valid_from,segment,owner,tier\n\
    a,,small,,gold\n\
    a,2026-03-02,large,anna,\n\
    a,2026-03-03T12:00:00+01:00,huge,anna,\n\
    b,,small,bert,\n";

fn registration(number: u32, account: &str, at: &str) -> Value {
    let at = format!("2026-03-{at}Z");
    event(number, "registration_completed", &at, json!({ "account_id": account }))
}

#[test]
fn events_have_what_was_true_at_their_time() {
    let world = World::with_kpis(&["registrations"]);
    let mut without_tier = registration(6, "a", "01T12:00:00");
    without_tier.as_object_mut().unwrap().remove("tier");
    world.import(
        "a.ndjson",
        &[
            registration(1, "a", "01T23:59:59.999999"),
            registration(2, "a", "02T00:00:00"),
            registration(3, "a", "03T11:00:00"),
            registration(4, "b", "03T11:00:00"),
            registration(5, "unknown", "03T11:00:00"),
            without_tier,
        ],
    );
    let imported = world.table("account", "accounts.csv", ACCOUNTS, &[]);
    assert_eq!((&imported["accepted"], &imported["rejected"]), (&json!(4), &json!({})));
    world.compute();
    let segments = [("small", 3), ("large", 1), ("huge", 1), ("none", 1)];
    assert_eq!(world.registrations_by("segment"), counts(segments));
    assert_eq!(world.registrations_by("owner"), counts([("anna", 2), ("bert", 1), ("none", 3)]));
    // What an event says itself comes first.
    assert_eq!(world.registrations_by("tier"), counts([("basic", 5), ("gold", 1)]));

    // A later import of the same row counts; another table says what this one does not.
    let correction = world.table(
        "account",
        "b.csv",
        "account_id,valid_from,segment\na,2026-03-02,medium\n",
        &[],
    );
    world.table("tld", "tlds.csv", "tld,product,owner\n.COM,generic,carl\n", &[]);
    world.table("domain", "d.ndjson", "{\"domain\": \"D5.com.\", \"segment\": \"vip\"}\n", &[]);
    world.compute();
    let segments = [("small", 3), ("medium", 1), ("huge", 1), ("vip", 1)];
    assert_eq!(world.registrations_by("segment"), counts(segments));
    assert_eq!(world.registrations_by("product"), counts([("generic", 6)]));
    assert_eq!(world.registrations_by("owner"), counts([("anna", 1), ("bert", 1), ("carl", 4)]));
    world.ok(&[
        "import",
        "--undo",
        correction["sha256"].as_str().unwrap(),
        "--reason",
        "wrong file",
    ]);
    world.compute();
    assert_eq!(world.registrations_by("segment")["large"], 1);
}

#[test]
fn wrong_rows_of_a_table_are_refused() {
    let world = World::new();
    let text = "account_id,valid_from,segment\na,yesterday,small\n,,small\nb,,small\n";
    let imported = world.table("account", "a.csv", text, &[]);
    assert_eq!(imported["rejected"], json!({"bad_timestamp": 1, "missing_field": 1}));
    let imported = world.table("account", "b.csv", "account,segment\na,small\n", &[]);
    assert_eq!(imported["rejected"], json!({"unknown_field": 1}));
    let rejected = world.ok(&["rejected"]);
    assert!(
        rejected.contains("account: a table has account_id, valid_from, segment"),
        "{rejected}"
    );
}

#[test]
fn refused_rows_of_a_table_leave_days_complete() {
    let world = World::with_kpis(&["registrations"]);
    world.import("a.ndjson", &[registration(1, "a", "01T10:00:00")]);
    let text = "account_id,valid_from,segment\na,yesterday,small\nb,01.03.2026,small\n";
    // Whether something was accepted, and whether rows are kept as they came.
    let config = world.path("config.yaml");
    fs::write(&config, "version: 1\nraw: { keep_days: 0 }\n").unwrap();
    let config = ["--config", config.to_str().unwrap()];
    world.table("account", "none.csv", text, &[]);
    world.table("account", "some.csv", &format!("{text}c,,small\n"), &[]);
    world.table("account", "not-kept.csv", &format!("{text}{text}"), &config);
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01"), (json!(1), "provisional".to_owned()));
}

#[test]
fn columns_of_one_name_are_refused_however_often_they_are_read() {
    let world = World::new();
    let text = "account_id,segment,segment\na,small,large\n";
    let imported = world.table("account", "a.csv", text, &[]);
    assert_eq!(imported["rejected"], json!({"ambiguous_column": 1}));
    let imported = world.table("account", "b.csv", "account_id,segment,\na,small,\n", &[]);
    assert_eq!(imported["rejected"], json!({"unknown_field": 1}));
    let rejected = world.ok(&["rejected"]);
    assert!(rejected.contains("unknown_field: a column has no name"), "{rejected}");
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let columns = vec![("account_id", text("a")), ("segment", text("b")), ("segment", text("c"))];
    let file = write_parquet(&world, "c.parquet", columns);
    let import = ["import", &*file, "--dimension", "account", "-o", "json"];
    let imported: Value = serde_json::from_slice(&world.run(&import).stdout).unwrap();
    assert_eq!(imported["rejected"], json!({"ambiguous_column": 1}));
    let again = world.run(&["import", "--again", "c.parquet", "--reason", "x", "-o", "json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&again["accepted"], &again["rejected"]), (&json!(0), &json!({"bad_json": 1})));
}

#[test]
fn keys_that_are_tokenised_still_meet() {
    let world = World::with_kpis(&["registrations"]);
    let (key, policy) = (world.path("key"), world.path("policy.yaml"));
    fs::write(&key, "0123456789abcdef").unwrap();
    let text = format!(
        "version: 1\nfields: {{ account_id: tokenise }}\nkey_id: k1\nkey_file: {}\n",
        key.display()
    );
    fs::write(&policy, text).unwrap();
    let policy = ["--policy", policy.to_str().unwrap()];
    let file = world.path("a.ndjson");
    fs::write(&file, registration(1, "a", "01T10:00:00").to_string()).unwrap();
    world.ok(&[&["import", file.to_str().unwrap()], &policy[..]].concat());
    world.table("account", "accounts.csv", ACCOUNTS, &policy);
    world.compute();
    assert_eq!(world.registrations_by("segment"), counts([("small", 1)]));
}

/// Writes a Parquet file, compressed as most programs do.
fn write_parquet(world: &World, name: &str, columns: Vec<(&str, ArrayRef)>) -> String {
    let path = world.path(name);
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn tables_may_be_parquet() {
    let world = World::with_kpis(&["registrations"]);
    world.import(
        "a.ndjson",
        &[
            registration(1, "17", "01T23:59:59"),
            registration(2, "17", "02T00:00:00"),
            registration(3, "18", "02T10:00:00"),
        ],
    );
    let day = 1_772_409_600_000_000; // 2026-03-02T00:00:00Z
    let from = TimestampMicrosecondArray::from(vec![None, Some(day), None]);
    let accounts = || Arc::new(Int32Array::from(vec![17, 17, 18])) as ArrayRef;
    let columns = vec![
        ("account_id", accounts()),
        ("valid_from", Arc::new(from.clone().with_timezone("UTC")) as ArrayRef),
        ("segment", Arc::new(StringArray::from(vec![Some("small"), Some("large"), None]))),
        // Integers of which some are missing.
        ("risk", Arc::new(Float64Array::from(vec![None, Some(3.0), Some(2.5)]))),
    ];
    let file = write_parquet(&world, "accounts.parquet", columns);
    let said = world.ok(&["import", &file, "--dimension", "account"]);
    assert!(said.contains("(Parquet): 3 rows, 3 accepted, 0 rejected"), "{said}");
    world.compute();
    assert_eq!(
        world.registrations_by("segment"),
        counts([("small", 1), ("large", 1), ("none", 1)])
    );
    assert_eq!(world.registrations_by("risk"), counts([("none", 1), ("3", 1), ("2.5", 1)]));
    let again = world.ok(&["import", "--again", "accounts.parquet", "--reason", "x"]);
    assert!(again.contains("3 rows read again: nothing changed"), "{again}");

    // A time without a zone says no day; a table is no file of events, and needs its key.
    let columns = vec![("account_id", accounts()), ("valid_from", Arc::new(from) as ArrayRef)];
    let file = write_parquet(&world, "local.parquet", columns);
    let output = world.run(&["import", &file, "--dimension", "account", "-o", "json"]);
    let imported: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(imported["rejected"], json!({"bad_timestamp": 1}));
    // Some programs write days as times.
    let day = Arc::new(Date64Array::from(vec![None, Some(day / 1000), None])) as ArrayRef;
    let columns = vec![("account_id", accounts()), ("valid_from", day)];
    let file = write_parquet(&world, "days.parquet", columns);
    let said = world.ok(&["import", &file, "--dimension", "account"]);
    assert!(said.contains("3 rows, 3 accepted, 0 rejected"), "{said}");
    let file = write_parquet(&world, "other.parquet", vec![("account_id", accounts())]);
    for words in [vec!["import", &*file], vec!["import", &*file, "--dimension", "tld"]] {
        assert_eq!(world.run(&words).status.code(), Some(2), "{words:?}");
    }
    fs::write(world.path("half.parquet"), &fs::read(&file).unwrap()[..200]).unwrap();
    let half = world.path("half.parquet");
    let output = world.run(&["import", half.to_str().unwrap(), "--dimension", "account"]);
    assert_eq!(output.status.code(), Some(2));
}
