//! Values beside those of an independent program and of a second engine, and what other programs read of the dictionary.

use crate::world::{World, event, is_near};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

fn python(script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output = Command::new("python3").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Compares values with the truth; slices that the truth does not have must be zero, or stand for a day whose data are missing.
fn compare(name: &str, ours: &BTreeMap<String, Value>, theirs: &Value) {
    let theirs = theirs.as_object().unwrap();
    assert!(!theirs.is_empty(), "{name}: no truth");
    for (key, expected) in theirs {
        let key = if key.len() == 7 { format!("{key}-01") } else { key.clone() };
        let value = ours.get(&key).map_or(&Value::Null, |value| &value["value"]);
        assert!(is_near(value, expected), "{name} {key}: {value}, expected {expected}");
    }
    for (key, value) in ours.iter().filter(|(key, _)| key.len() > 10 && !theirs.contains_key(*key))
    {
        let is_missing = value["value"].is_null() && value["state"] == "incomplete";
        assert!(is_missing || value["value"] == 0, "{name} {key}: {value}");
    }
}

#[test]
fn values_equal_the_truth() {
    let world = World::new();
    let sample = world.sample(60, 40, &["--hostile"]);
    let truth: Value = serde_json::from_str(&python("truth.py", &[Path::new(&sample)])).unwrap();

    // In three parts, the last first, and one of them twice: the order of imports changes nothing.
    let text = fs::read_to_string(&sample).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let parts: Vec<&[&str]> = lines.chunks(lines.len().div_ceil(3)).collect();
    for (index, part) in parts.iter().enumerate().rev() {
        world.import_text(&format!("part-{index}.ndjson"), &(part.join("\n") + "\n"));
    }
    let again = world.import_text("again.ndjson", &(parts[0].join("\n") + "\n"));
    assert_eq!(again["new"], false);
    world.compute();

    let server = world.serve(&["--no-auth"]);
    let truth = truth.as_object().unwrap();
    let known = server.get("/v1/kpis").1;
    for kpi in known["kpis"].as_array().unwrap() {
        let name = kpi["name"].as_str().unwrap();
        // The oracle's scenes have it.
        if name == "cohort_lifetime_value" {
            continue;
        }
        compare(name, &World::values(&server, &format!("/v1/kpis/{name}")), &truth[name]);
        assert_eq!(server.get(&format!("/v1/kpis/{name}?grain=month")).0, 200, "{name}");
    }
    let by_tld = World::values(&server, "/v1/kpis/registrations?by=tld");
    compare("by tld", &by_tld, &truth["registrations by tld"]);
    for kpi in ["registration_success_ratio", "abuse_first_response_hours_p50"] {
        let months = World::values(&server, &format!("/v1/kpis/{kpi}?grain=month"));
        compare(kpi, &months, &truth[&format!("{kpi} month")]);
    }
    drop(server);

    let before = world.files("log").len();
    world.compute();
    assert_eq!(world.files("log").len(), before, "nothing has changed");
}

#[test]
fn other_tools_read_what_is_exported() {
    let python = std::env::var("DNSCRIBE_VALIDATORS_PYTHON").expect(
        "DNSCRIBE_VALIDATORS_PYTHON names a Python with the validators: run `cargo xtask test kpi`",
    );
    let world = World::new();
    let semantics = world.path("dbt.yaml");
    world.ok(&["export", "--file", semantics.to_str().unwrap()]);
    let ossie = world.path("ossie.yaml");
    world.ok(&["export", "--format", "ossie", "--file", ossie.to_str().unwrap()]);
    let document = world.path("openapi.json");
    fs::write(&document, world.serve(&["--no-auth"]).get("/openapi.json").1.to_string()).unwrap();
    let scripts = ["dbt.py", "ossie.py"];
    let [dbt_reader, ossie_reader] =
        scripts.map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name));
    for words in [
        vec![dbt_reader.as_path(), semantics.as_path()],
        vec![ossie_reader.as_path(), ossie.as_path()],
        vec![Path::new("-m"), Path::new("openapi_spec_validator"), document.as_path()],
    ] {
        let output = Command::new(&python).args(&words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{words:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Rows of values that `ClickHouse` computes, as the embedded engine writes them: texts of all columns.
fn second_engine(world: &World) -> Vec<String> {
    // A Python with chdb, which `cargo xtask test kpi` installs.
    let python = std::env::var("DNSCRIBE_CHDB_PYTHON").unwrap();
    let sql = world.path("values.sql");
    world.ok(&["export", "--format", "clickhouse", "--file", sql.to_str().unwrap()]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clickhouse.py");
    let output = Command::new(python).arg(script).arg(&sql).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What the sample does not have: a chain of corrections, corrections by type and by technical key, windows of several
/// lengths on a day, a transferred domain that is renewed, and a sum that is too large.
fn rare() -> Vec<Value> {
    let at = "2025-01-05T10:00:00Z";
    let mut rows = vec![event(1, "registration_completed", at, json!({}))];
    rows.extend((2..11).map(|n| {
        let corrects = json!({"corrects": format!("b{}", n - 1)});
        event(n, "registration_reversed", at, corrects)
    }));
    rows.push(event(20, "transfer_in_completed", at, json!({"business_key": "t"})));
    rows.push(event(21, "transfer_out_completed", at, json!({"business_key": "t"})));
    let of_type = json!({"corrects": "t", "corrects_type": "transfer_out_completed"});
    rows.push(event(22, "transfer_reversed", at, of_type));
    rows.push(event(23, "deleted", at, json!({})));
    rows.push(event(24, "deleted_reversed", at, json!({"corrects_event_id": "e23"})));
    rows.push(event(25, "renewal_completed", "2025-01-09T10:00:00Z", json!({"domain": "d20.com"})));
    // Their sum is too large for a number of 64 bits.
    let most = json!({"amount_micros": 100_000_000_000_000_000_i64, "currency": "EUR"});
    let pay = |n: u32| event(n, "payment_captured", "2025-02-01T10:00:00Z", most.clone());
    rows.extend((100..200).map(pay));
    for (hour, minutes) in [(0, 60), (1, 60), (1, 30), (2, 30), (3, 15)] {
        let seconds = minutes * 60;
        rows.push(json!({"schema": "dns.fleet/1", "ts": format!("2025-02-01T{hour:02}:00:00Z"), "grouping": "all",
            "window_seconds": seconds, "step_seconds": seconds, "vantage": "client", "queries": minutes,
            "successes": minutes, "rcodes": [], "statuses": {"answered": minutes, "timeout": 0}}));
    }
    rows
}

#[test]
fn two_engines_give_the_same_values() {
    let world = World::new();
    let sample = world.sample(20, 20, &["--hostile"]);
    world.ok(&["import", &sample]);
    world.import("rare.ndjson", &rare());
    let accounts = (0..300).flat_map(|account| {
        let from = format!("2025-01-{:02}", 2 + account % 17);
        [format!("a-{account},,small,anna,"), format!("a-{account},{from},large,,high")]
    });
    let accounts: Vec<String> = accounts.collect();
    let accounts = format!("account_id,valid_from,segment,owner,risk\n{}\n", accounts.join("\n"));
    world.table("account", "accounts.csv", &accounts, &[]);
    world.table("tld", "tlds.csv", "tld,product,owner\ncom,generic,carl\nde,country,dora\n", &[]);
    world.compute();
    let mut theirs = second_engine(&world);
    let mut ours = Vec::new();
    for file in world.files("values") {
        let file = fs::File::open(world.path("data/values").join(file)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file);
        for batch in reader.unwrap().build().unwrap() {
            ours.extend(lines(&batch.unwrap()));
        }
    }
    ours.sort();
    for row in &mut theirs {
        *row = row.split('\t').map(number).collect::<Vec<_>>().join("\t");
    }
    theirs.sort();
    assert!(ours.len() > 3_000, "{}", ours.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Rows as text, with tabs between their columns.
fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("\\N");
    let columns = batch.columns().iter();
    let columns: Vec<_> =
        columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let text = |row: usize| {
        let texts = columns.iter().map(|column| number(&column.value(row).to_string()));
        texts.collect::<Vec<_>>().join("\t")
    };
    (0..batch.num_rows()).map(text).collect()
}

/// Writes numbers with a fraction in one way.
fn number(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) if text.contains(['.', 'e']) => format!("{number}"),
        _ => text.to_owned(),
    }
}
