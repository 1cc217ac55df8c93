//! Values of parts of days, and of days in other time zones than UTC.

use crate::world::{Server, World, event};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use dnscribe_kpi::input::hex;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::sync::Arc;

/// Registrations around the day on which clocks go forward in Berlin, and a payment beside each of them.
fn around_a_change_of_clocks(world: &World) {
    let times = [
        // 23:30, 00:30, 23:59 and 00:00 in Berlin.
        "2026-03-28T22:30:00Z",
        "2026-03-28T23:30:00Z",
        "2026-03-29T21:59:00Z",
        "2026-03-29T22:00:00Z",
    ];
    let rows = times.into_iter().zip(0..).flat_map(|(at, number)| {
        let money = json!({"amount_micros": 1_000_000, "currency": "EUR"});
        [
            event(number, "registration_completed", at, json!({})),
            event(100 + number, "payment_captured", at, money),
        ]
    });
    world.import("a.ndjson", &rows.collect::<Vec<_>>());
    world.compute();
}

/// Values in their order.
fn values(server: &Server, path: &str) -> Vec<Value> {
    let (status, answer) = server.get(&format!("/v1/kpis/{path}"));
    assert_eq!(status, 200, "{path}: {answer}");
    answer["values"].as_array().unwrap().clone()
}

fn numbers(values: &[Value]) -> Vec<i64> {
    values.iter().map(|value| value["value"].as_i64().unwrap()).collect()
}

const BERLIN: &str = "time_zone=Europe/Berlin&from=2026-03-28&to=2026-03-30";

#[test]
fn days_are_those_of_a_time_zone() {
    let world = World::with_kpis(&[
        "portfolio",
        "portfolio_growth",
        "registrations",
        "revenue",
        "transfer_completion_ratio",
    ]);
    around_a_change_of_clocks(&world);
    let server = world.serve(&["--no-auth"]);
    assert_eq!(numbers(&values(&server, "registrations?from=2026-03-28&to=2026-03-29")), [2, 2]);
    let days = values(&server, &format!("registrations?{BERLIN}"));
    assert_eq!(numbers(&days), [1, 2, 1]);
    // 23 hours.
    let bounds = (&days[1]["from"], &days[1]["start"], &days[1]["end"]);
    let expected =
        (&json!("2026-03-29"), &json!("2026-03-28T23:00:00Z"), &json!("2026-03-29T22:00:00Z"));
    assert_eq!(bounds, expected);
    assert_eq!(days[1]["state"], "provisional");
    assert_eq!(days[2]["state"], "incomplete", "nothing is known of 30 March in UTC");
    let revenue = values(&server, &format!("revenue?{BERLIN}"));
    assert_eq!(numbers(&revenue), [1_000_000, 2_000_000, 1_000_000]);
    let total = values(&server, &format!("portfolio?{BERLIN}"));
    assert_eq!(numbers(&total), [1, 3, 4]);
    let month = values(&server, &format!("registrations?{BERLIN}&grain=month&by=tld"));
    assert_eq!((numbers(&month), &month[0]["by"]["tld"]), (vec![4], &json!("com")));
    // Without a day, the days that those with facts touch.
    let all = values(&server, "registrations?time_zone=Europe/Berlin");
    assert_eq!(numbers(&all), [1, 2, 1]);
    let all = values(&server, "registrations?time_zone=America/New_York");
    assert_eq!((&all[0]["from"], all.len()), (&json!("2026-03-27"), 3));
    let october =
        values(&server, "registrations?time_zone=Europe/Berlin&grain=hour&date=2026-10-25");
    assert_eq!(october.len(), 25);
    assert!(october.iter().all(|hour| hour["state"] == "incomplete"), "not computed");
    for (path, why) in [
        ("registrations?time_zone=Berlin", "time_zone Berlin"),
        ("transfer_completion_ratio?time_zone=Europe/Berlin", "days in UTC alone"),
        ("revenue?grain=5m&date=2026-03-28", "no values for less than 15m"),
        ("portfolio_growth?grain=5m&date=2026-03-28", "no values for less than 15m"),
        ("registrations?grain=5m&from=2026-01-01&to=2026-03-29", "more than 10080 parts"),
    ] {
        let (status, answer) = server.get(&format!("/v1/kpis/{path}"));
        let detail = answer["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(why), "{path}: {status} {answer}");
    }
}

/// Nothing was paid on a day on which the source has delivered.
#[test]
fn sums_of_slices_are_0_on_quiet_days_of_each_time_zone() {
    let world = World::with_kpis(&["revenue"]);
    let registered = (21..29).map(|day| {
        event(day, "registration_completed", &format!("2026-03-{day}T10:00:00Z"), json!({}))
    });
    let paid = ["22T10:00", "23T10:00", "24T23:30"].into_iter().zip(100..).map(|(at, number)| {
        let money = json!({"amount_micros": 5, "currency": "EUR"});
        event(number, "payment_captured", &format!("2026-03-{at}:00Z"), money)
    });
    world.import("a.ndjson", &registered.chain(paid).collect::<Vec<_>>());
    world.compute();
    let days = "revenue?from=2026-03-23&to=2026-03-26";
    let asked = |words: &[&str], zone: &str| {
        let server = world.serve(&[&["--no-auth"], words].concat());
        let found = values(&server, &format!("{days}&time_zone={zone}"));
        assert!(found.iter().all(|value| value["by"] == json!({"currency": "EUR"})), "{found:?}");
        assert!(found.iter().all(|value| value["state"] == "provisional"), "{found:?}");
        numbers(&found)
    };
    let few = ["--parts", "1", "--time-zone", "Europe/Berlin"];
    for words in [&[][..], &few] {
        assert_eq!(asked(words, "UTC"), [5, 5, 0, 0]);
        assert_eq!(asked(words, "Europe/Berlin"), [5, 0, 5, 0]);
    }
    assert_eq!(asked(&[], "America/New_York"), [5, 5, 0, 0]);
    let server = world.serve(&["--no-auth"]);
    let weeks = values(&server, "revenue?grain=week&to=2026-03-22&time_zone=Europe/Berlin");
    assert_eq!(numbers(&weeks), [5], "no slice was known before");
}

#[test]
fn parts_of_days_have_values_of_their_own() {
    let world = World::with_kpis(&["portfolio", "registration_success_ratio", "registrations"]);
    around_a_change_of_clocks(&world);
    let server = world.serve(&["--no-auth"]);
    let hours = values(&server, "registrations?grain=1h&from=2026-03-28&to=2026-03-29");
    assert_eq!(hours.len(), 48);
    let busy: Vec<&str> = hours.iter().filter(|hour| hour["value"] != 0).map(start).collect();
    let expected = ["2026-03-28T22", "2026-03-28T23", "2026-03-29T21", "2026-03-29T22"];
    assert_eq!(busy, expected.map(|hour| hour.to_owned() + ":00:00Z"));
    let parts = values(&server, "registrations?grain=5m&date=2026-03-29");
    let busy: Vec<&str> = parts.iter().filter(|part| part["value"] != 0).map(start).collect();
    assert_eq!((parts.len(), busy), (288, vec!["2026-03-29T21:55:00Z", "2026-03-29T22:00:00Z"]));
    assert_eq!(parts[0]["end"], "2026-03-29T00:05:00Z");
    let berlin = format!("registrations?grain=hour&{BERLIN}");
    assert_eq!(values(&server, &berlin).len(), 24 + 23 + 24);
    let ratio = values(&server, "registration_success_ratio?grain=hour&date=2026-03-29");
    assert_eq!((&ratio[21]["value"], &ratio[20]["value"]), (&json!(1.0), &Value::Null));
    let total = values(&server, "portfolio?grain=hour&date=2026-03-29");
    assert_eq!(numbers(&total)[20..23], [2, 3, 4]);
}

fn start(value: &Value) -> &str {
    value["start"].as_str().unwrap()
}

#[test]
fn old_days_are_kept_in_the_parts_that_time_zones_need() {
    let world = World::with_kpis(&["portfolio", "registrations"]);
    around_a_change_of_clocks(&world);
    let server = world.serve(&["--no-auth", "--parts", "1", "--time-zone", "Europe/Berlin"]);
    assert_eq!(numbers(&values(&server, &format!("registrations?{BERLIN}"))), [1, 2, 1]);
    assert_eq!(numbers(&values(&server, "registrations?from=2026-03-28&to=2026-03-29")), [2, 2]);
    let hours = values(&server, "registrations?grain=hour&from=2026-03-28&to=2026-03-29");
    assert_eq!(
        (&hours[0]["state"], &hours[24]["state"]),
        (&json!("incomplete"), &json!("provisional"))
    );
    let reason = hours[0]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("kept for the 1 newest days"), "{reason}");
    assert_eq!(hours[0]["value"], Value::Null, "it is no number of the day");
    assert_eq!((numbers(&hours[24..]).iter().sum::<i64>(), hours.len()), (2, 48));
    // A total needs no parts of the days before.
    let total = values(&server, "portfolio?grain=hour&date=2026-03-29");
    assert_eq!((&total[23]["value"], &total[23]["state"]), (&json!(4), &json!("provisional")));
    let tokyo = values(&server, "registrations?time_zone=Asia/Tokyo&date=2026-03-28");
    assert_eq!(tokyo[0]["state"], "incomplete", "{tokyo:?}");
    // Hours need the parts of the day; days of a zone need that zone.
    assert!(reason.ends_with("with --parts DAYS"), "{reason}");
    let reasons = tokyo[0]["reasons"].to_string();
    assert!(reasons.contains("with --parts DAYS, or --time-zone Asia/Tokyo\""), "{reasons}");
}

#[test]
fn files_without_parts_of_days_are_read() {
    let world = World::with_kpis(&["registrations"]);
    around_a_change_of_clocks(&world);
    // As a former version has written them.
    for name in world.files("values") {
        let path = world.path("data/values").join(name);
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap());
        let batches: Vec<RecordBatch> = reader
            .unwrap()
            .build()
            .unwrap()
            .map(|batch| without_new_columns(&batch.unwrap()))
            .collect();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batches[0].schema(), None).unwrap();
        for batch in &batches {
            writer.write(batch).unwrap();
        }
        writer.close().unwrap();
        let hash = hex(&Sha256::digest(&bytes)[..8]);
        fs::write(path.with_file_name(format!("{hash}.parquet")), bytes).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        for commit in world.files("log") {
            let commit = world.path("data/log").join(commit);
            let text = fs::read_to_string(&commit).unwrap();
            fs::write(commit, text.replace(name, &hash)).unwrap();
        }
    }
    let server = world.serve(&["--no-auth"]);
    assert_eq!(numbers(&values(&server, "registrations?from=2026-03-28&to=2026-03-29")), [2, 2]);
    let hours = values(&server, "registrations?grain=hour&date=2026-03-28");
    let reason = hours[0]["reasons"][0].as_str().unwrap();
    assert!(reason.contains("compute it again"), "{reason}");
}

fn without_new_columns(batch: &RecordBatch) -> RecordBatch {
    let new = ["slot", "segment", "owner", "product", "risk", "partner", "endpoint"];
    let schema = batch.schema();
    let fields = schema.fields().iter().filter(|field| !new.contains(&field.name().as_str()));
    let kept: Schema = Schema::new(fields.cloned().collect::<Vec<_>>());
    let columns =
        kept.fields().iter().map(|field| batch.column_by_name(field.name()).unwrap().clone());
    RecordBatch::try_new(Arc::new(kept.clone()), columns.collect()).unwrap()
}

#[test]
fn a_change_is_judged_by_what_was_before_and_after() {
    let world =
        World::with_kpis(&["portfolio", "registration_success_ratio", "registrations", "revenue"]);
    let at = |minute: u32| format!("2026-03-05T{:02}:{:02}:30Z", 9 + minute / 60, minute % 60);
    // Two registrations in each quarter of an hour, of which one fails from 10:00 on; 9:00 to 11:59.
    let rows = (0..180).step_by(5).map(|minute| {
        let is_failed = minute >= 60 && minute % 15 == 0;
        let kind = if is_failed { "registration_failed" } else { "registration_completed" };
        event(minute, kind, &at(minute), json!({}))
    });
    world.import("a.ndjson", &rows.collect::<Vec<_>>());
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let change = |path: &str| {
        let (status, answer) = server.get(&format!("/v1/kpis/{path}"));
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    let moment = "at=2026-03-05T10:00:00Z&grain=15m&parts=4";
    let answer = change(&format!("registration_success_ratio/change?{moment}"));
    assert_eq!(answer["grain"], "15m");
    let found = &answer["change"];
    assert_eq!((&found["before"]["value"], &found["before"]["parts"]), (&json!(1.0), &json!(4)));
    assert_eq!(found["before"]["start"], "2026-03-05T09:00:00Z");
    assert_eq!(
        (&found["after"]["start"], &found["after"]["end"]),
        (&json!("2026-03-05T10:00:00Z"), &json!("2026-03-05T11:00:00Z"))
    );
    assert!((found["difference"].as_f64().unwrap() + 1.0 / 3.0).abs() < 1e-9, "{found}");
    let [low, high] = [0, 1].map(|side| found["interval"][side].as_f64().unwrap());
    assert!(low <= -1.0 / 3.0 && high < 0.0, "the change shows: {found}");
    // Within a part: neither side has it.
    let within = change("registrations/change?at=2026-03-05T10:07:00Z&grain=15m&parts=3");
    assert_eq!(within["change"]["before"]["end"], "2026-03-05T10:00:00Z");
    assert_eq!(within["change"]["after"]["start"], "2026-03-05T10:15:00Z");
    // A day of facts has no three days before it.
    let days = change("registrations/change?at=2026-03-05T00:00:00Z&grain=day&parts=3");
    assert_eq!(days["change"]["interval"], Value::Null);
    let sides = ["before", "after"].map(|side| &days["change"][side]["value"]);
    assert_eq!(sides, [&Value::Null, &json!(28.0)], "nothing was computed before");
    assert!(!days["change"]["reasons"].as_array().unwrap().is_empty(), "{days}");
    for (path, problem) in [
        ("registrations/change?parts=4", "at: give the time"),
        ("registrations/change?at=soon", "at soon"),
        ("registrations/change?at=2026-03-05T10:00:00Z&parts=2", "parts: give 3"),
        ("registrations/change?at=2026-03-05T10:00:00Z&by=tld", "neither time_zone nor by"),
        ("registrations/change?at=2026-03-05T10:00:00Z&grain=week", "5m, 15m, hour, day"),
        ("registrations/change?at=2026-03-05T10:00:00Z&grain=month", "5m, 15m, hour, day"),
        ("registrations/change?at=2026-03-05T10:00:00Z&grain=all", "5m, 15m, hour, day"),
        ("revenue/change?at=2026-03-05T10:00:00Z", "choose one currency"),
        ("portfolio/change?at=2026-03-05T10:00:00Z", "running totals"),
    ] {
        let (status, answer) = server.get(&format!("/v1/kpis/{path}"));
        assert_eq!(status, 400, "{path}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(problem), "{path}: {answer}");
    }
}

#[test]
fn a_change_has_no_value_where_its_parts_are_not_kept() {
    let world = World::with_kpis(&["registrations"]);
    let rows = [1, 5].map(|day| {
        let at = format!("2026-03-{day:02}T10:30:00Z");
        event(day, "registration_completed", &at, json!({}))
    });
    world.import("a.ndjson", &rows);
    world.compute();
    let server = world.serve(&["--no-auth", "--parts", "1"]);
    let before = |day: &str| {
        let path =
            format!("/v1/kpis/registrations/change?at=2026-03-{day}T11:00:00Z&grain=hour&parts=4");
        let (status, answer) = server.get(&path);
        assert_eq!(status, 200, "{answer}");
        answer["change"]["before"]["value"].clone()
    };
    assert_eq!(before("05"), json!(0.25));
    assert_eq!(before("01"), Value::Null);
}
