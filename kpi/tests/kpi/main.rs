//! The program as its users run it, on a sample registrar whose true numbers another program computes.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod api;
mod conflicts;
mod dimensions;
mod edges;
mod engines;
mod erase;
mod first;
mod hostile;
mod hours;
mod incremental;
mod kafka;
mod oracle;
mod page;
mod pull;
mod raw;
mod sources;
mod storage;
mod undo;
mod world;

use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use world::{World, event, is_near};

#[test]
fn late_events_and_corrections_count_on_their_own_day() {
    let world = World::with_kpis(&["registrations"]);
    let reversal =
        event(3, "registration_reversed", "2026-03-09T10:00:00Z", json!({"corrects": "b1"}));
    world.import("reversal.ndjson", &[reversal]);
    let rows = [
        event(1, "registration_completed", "2026-03-01T10:00:00Z", json!({})),
        event(2, "registration_completed", "2026-03-01T23:30:00-01:00", json!({})),
    ];
    world.import("day.ndjson", &rows);
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 0, "taken away before it came");
    assert_eq!(world.value("registrations", "2026-03-02").0, 1, "a day is a day in UTC");
    world.import(
        "late.ndjson",
        &[event(4, "registration_completed", "2026-03-01T11:00:00Z", json!({}))],
    );
    // Another technical key, but the same fact; and the same content, but another fact.
    let mut copy =
        event(4, "registration_completed", "2026-03-01T12:00:00Z", json!({"event_id": "x"}));
    let repeated =
        event(5, "registration_completed", "2026-03-01T11:00:00Z", json!({"domain": "d4.com"}));
    world.import("copy.ndjson", &[copy.clone(), repeated]);
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01"), (json!(2), "provisional".to_owned()));
    // The reversal is reversed: the fact is back.
    world.import(
        "back.ndjson",
        &[event(6, "registration_reversed", "2026-03-12T10:00:00Z", json!({"corrects": "b3"}))],
    );
    copy["event_id"] = json!("y");
    world.import("copy2.ndjson", &[copy]);
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 3);
}

#[test]
fn final_values_are_frozen_and_later_facts_are_adjustments() {
    let world = World::with_kpis(&["registrations"]);
    world.import(
        "a.ndjson",
        &[event(1, "registration_completed", "2026-03-01T10:00:00Z", json!({}))],
    );
    world.ok(&["compute", "--final"]);
    assert_eq!(world.value("registrations", "2026-03-01"), (json!(1), "final".to_owned()));
    world.import(
        "b.ndjson",
        &[event(2, "registration_completed", "2026-03-01T11:00:00Z", json!({}))],
    );
    world.ok(&["compute", "--date", "2026-03-01", "--final"]);
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/registrations?from=2026-03-01&to=2026-03-01");
    let value = &values["2026-03-01"];
    assert_eq!((&value["value"], &value["state"]), (&json!(1), &json!("final")));
    assert_eq!(value["adjustment"], json!({"value": 2, "difference": 1, "cause": "late"}));
    drop(server);

    // A day that may still change stays provisional.
    let now = jiff::Timestamp::now();
    world.import("c.ndjson", &[event(3, "registration_completed", &now.to_string(), json!({}))]);
    world.ok(&["compute", "--final"]);
    let today = now.to_string()[..10].to_owned();
    assert_eq!(world.value("registrations", &today), (json!(1), "provisional".to_owned()));
}

#[test]
fn refused_rows_have_reason_and_line_and_can_be_corrected() {
    let world = World::with_kpis(&["abuse_reports", "registrations"]);
    let mut rows: Vec<Value> = (0..6)
        .map(|n| {
            event(n, "abuse_reported", "2026-03-01T10:00:00Z", json!({"abuse_category": "spam"}))
        })
        .collect();
    for row in &mut rows {
        // The source has renamed a field.
        let category = row.as_object_mut().unwrap().remove("abuse_category").unwrap();
        row["category"] = category;
    }
    rows.push(event(9, "registration_completed", "2026-03-01T10:00:00Z", json!({})));
    let imported = world.import("abuse.ndjson", &rows);
    assert_eq!(imported["rejected"], json!({"unknown_field": 6}));
    let list = world.ok(&["rejected"]);
    assert!(list.contains("abuse.ndjson, line 1: unknown_field: category"), "{list}");
    world.compute();
    assert_eq!(world.value("abuse_reports", "2026-03-01").1, "incomplete");
    assert_eq!(world.value("registrations", "2026-03-01").1, "provisional");
    for row in rows.iter_mut().take(6) {
        let category = row.as_object_mut().unwrap().remove("category").unwrap();
        row["abuse_category"] = category;
    }
    world.import("corrected.ndjson", &rows);
    world.compute();
    assert_eq!(world.value("abuse_reports", "2026-03-01"), (json!(6), "provisional".to_owned()));
}

#[test]
fn missing_days_are_marked() {
    let world = World::with_kpis(&["dns_query_error_ratio", "registrations"]);
    let window = |day: u32, hour: u32| {
        json!({"schema": "dns.fleet/1", "ts": format!("2026-03-{day:02}T{hour:02}:00:00Z"), "window_seconds": 3600,
            "step_seconds": 3600, "grouping": "all", "vantage": "client", "revision": 0, "queries": 100,
            "successes": 98, "retries": 0, "rcodes": [{"rcode": "SERVFAIL", "count": 1}],
            "statuses": {"answered": 99, "timeout": 1}})
    };
    let mut rows: Vec<Value> = (0..24).map(|hour| window(1, hour)).collect();
    rows.extend((0..24).map(|hour| window(3, hour)));
    // A later revision of one window, which came first.
    let mut revised = window(1, 0);
    revised["revision"] = json!(1);
    revised["queries"] = json!(200);
    rows.insert(0, revised);
    // A registrar system that delivers every day but one.
    for day in (1..=9).filter(|day| *day != 4) {
        rows.push(event(
            day,
            "registration_completed",
            &format!("2026-03-{day:02}T10:00:00Z"),
            json!({}),
        ));
    }
    world.import("fleet.ndjson", &rows);
    world.ok(&["compute", "--final"]);
    let (value, state) = world.value("dns_query_error_ratio", "2026-03-01");
    assert!(is_near(&value, &json!(48.0 / 2500.0)), "{value}");
    assert_eq!(state, "final");
    assert_eq!(
        world.value("dns_query_error_ratio", "2026-03-02"),
        (Value::Null, "incomplete".to_owned())
    );
    assert_eq!(world.value("registrations", "2026-03-04"), (Value::Null, "incomplete".to_owned()));
    assert_eq!(world.value("registrations", "2026-03-05"), (json!(1), "final".to_owned()));
}

#[test]
fn reconciliation_names_the_missing_event() {
    let world = World::with_kpis(&["registrations", "revenue"]);
    let rows: Vec<Value> = (0..2000)
        .map(|n| {
            event(
                n,
                "payment_captured",
                "2026-03-01T10:00:00Z",
                json!({"amount_micros": 10, "currency": "EUR"}),
            )
        })
        .collect();
    let ours: Vec<Value> = rows.iter().filter(|row| row["event_id"] != "e777").cloned().collect();
    world.import("ours.ndjson", &ours);
    world.compute();
    let export = world.path("billing.ndjson");
    let write = |rows: &[Value]| {
        let text: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs::write(&export, text.join("\n")).unwrap();
    };
    let reconcile = |more: &[&str]| {
        let words = [&["reconcile", "--against", export.to_str().unwrap()], more].concat();
        let output = world.run(&words);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    write(&ours);
    assert_eq!(reconcile(&[]).0, Some(0));
    write(&rows);
    let (code, text) = reconcile(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("payment_captured b777: lost")
            && text.contains("2000 compared, 1 differences"),
        "{text}"
    );
    assert_eq!(reconcile(&["--tolerance", "1"]).0, Some(0));

    fs::write(
        &export,
        "day,kpi,by,value\n2026-03-01,revenue,currency=EUR,19990\n2026-03-01,registrations,,0\n",
    )
    .unwrap();
    assert_eq!(reconcile(&[]).0, Some(0));
    fs::write(
        &export,
        "day,kpi,by,value\n2026-03-01,revenue,\"{\"\"currency\"\": \"\"EUR\"\"}\",20000\n",
    )
    .unwrap();
    let (code, text) = reconcile(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("revenue currency=EUR") && text.contains("difference -10"), "{text}");
}

#[test]
fn reads_csv_and_compressed_files() {
    let world = World::with_kpis(&["revenue"]);
    let text = "event_id,business_key,event_type,event_ts,domain,amount_micros,currency\n\
                1,k1,payment_captured,2026-03-01T10:00:00Z,a.com,1000000,EUR\n\
                2,k2,payment_captured,2026-03-01T10:00:00Z,a.com,1.5,EUR\n\
                3,k3,payment_captured,2026-03-01T10:00:00Z\n";
    fs::write(world.path("a.csv"), text).unwrap();
    let csv = world.path("a.csv");
    let imported =
        world.ok(&["import", csv.to_str().unwrap(), "--source", "billing", "-o", "json"]);
    let imported: Value = serde_json::from_str(&imported).unwrap();
    assert_eq!(imported["accepted"], 1);
    assert_eq!(imported["rejected"], json!({"bad_amount": 1, "unreadable": 1}));
    let packed = world.path("b.csv.gz");
    let mut gzip = flate2::write::GzEncoder::new(
        fs::File::create(&packed).unwrap(),
        flate2::Compression::fast(),
    );
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap();
    let output = world.ok(&["import", packed.to_str().unwrap()]);
    assert!(output.contains("imported before"), "{output}");
    let packed = world.path("c.csv.zst");
    fs::write(&packed, zstd::encode_all(text.replace("k1", "k9").as_bytes(), 1).unwrap()).unwrap();
    let packed = packed.to_str().unwrap();
    assert!(world.ok(&["import", packed, "--source", "billing"]).contains("1 accepted"));
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/revenue?from=2026-03-01&to=2026-03-01");
    assert_eq!(values["2026-03-01/EUR"]["value"], 1_000_000, "one technical key counts once");
}

/// What docs/kpi.md shows a newcomer, step by step.
#[test]
fn a_foreign_export_becomes_values_by_the_steps_of_the_page() {
    let page = include_str!("../../../docs/kpi.md");
    let block = |name: &str| {
        let (_, rest) = page.split_once(&format!("`{name}`:\n\n```")).unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        rest.split_once("```").unwrap().0
    };
    let world = World::with_kpis(&["registrations", "revenue"]);
    for name in ["orders.csv", "shop.yaml"] {
        fs::write(world.path(name), block(name)).unwrap();
    }
    let (_, commands) = page.split_once("orders.csv --source shop").unwrap();
    assert!(commands.contains("dnscribe-kpi --data kpi compute"), "the page's commands");
    let (orders, map) = (world.path("orders.csv"), world.path("shop.yaml"));
    let words =
        ["import", orders.to_str().unwrap(), "--source", "shop", "--map", map.to_str().unwrap()];
    let text = world.ok(&words);
    assert!(text.contains("orders.csv (CSV): 10 rows, 10 accepted, 0 rejected"), "{text}");
    assert!(world.ok(&words).contains("imported before"));
    // Another map makes other facts of the same file.
    fs::write(&map, block("shop.yaml").replace("SALE: payment_captured, ", "")).unwrap();
    let text = world.ok(&words);
    assert!(text.contains("unmapped_value 4"), "{text}");
    let listed = world.ok(&["rejected"]);
    assert!(listed.contains("event_type: \"SALE\""), "{listed}");
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let values = World::values(&server, "/v1/kpis/revenue?grain=all&by=tld");
    assert_eq!(values["2026-03-01/EUR/com"]["value"], 19_980_000);
    let values = World::values(&server, "/v1/kpis/registrations?date=2026-03-01");
    assert_eq!(values["2026-03-01"]["value"], 2);
}

/// What the pages show, as it is written there.
#[test]
fn commands_of_pages_work() {
    if dnscribe_tests::environment::privileged() {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_dnscribe-kpi"));
        dnscribe_tests::page::run_kpi_commands(program).unwrap();
    }
}

#[test]
fn computations_at_once_and_in_parts_give_the_same_bytes() {
    // A count, a running total, a percentile, a ratio of cohorts, and one of windows.
    let kpis = [
        "cohort_renewal_ratio",
        "dns_success_ratio",
        "portfolio",
        "registrations",
        "transfer_hours_p50",
    ];
    let world = World::with_kpis(&kpis);
    let sample = world.sample(12, 10, &["--hostile"]);
    world.ok(&["import", &sample]);
    let other = World::with_kpis(&kpis);
    other.ok(&["import", &sample]);
    let spans =
        [("2025-01-01", "2025-01-08"), ("2025-01-05", "2025-01-12"), ("2025-01-01", "2025-01-12")];
    let computing: Vec<Child> = spans
        .iter()
        .map(|(from, to)| world.command(&["compute", "--from", from, "--to", to]).spawn().unwrap())
        .collect();
    for mut child in computing {
        assert!(child.wait().unwrap().success());
    }
    other.ok(&["compute", "--from", "2025-01-01", "--to", "2025-01-12", "--memory", "64MiB"]);
    // Their names are hashes of their content.
    let files = [&world, &other].map(|world| world.files("values"));
    assert_eq!(files[0], files[1]);
    let answers = [&world, &other].map(|world| {
        let server = world.serve(&["--no-auth"]);
        World::values(&server, "/v1/kpis/portfolio?by=tld")
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let world = World::with_kpis(&["registrations"]);
    world.import(
        "a.ndjson",
        &[event(1, "registration_completed", "2026-03-01T10:00:00Z", json!({}))],
    );
    world.compute();
    let rows: Vec<String> = (10..20_000)
        .map(|n| event(n, "registration_completed", "2026-03-01T10:00:00Z", json!({})).to_string())
        .collect();
    let file = world.path("large.ndjson");
    fs::write(&file, rows.join("\n")).unwrap();
    // A limit of the size of files stands for a full disk: writing fails in the middle.
    let words = format!(
        "ulimit -f 32; trap '' XFSZ; exec {} --data {} import {}",
        shell::quote(env!("CARGO_BIN_EXE_dnscribe-kpi")),
        shell::quote(world.path("data")),
        shell::quote(&file)
    );
    let output = Command::new("bash").args(["-c", &words]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("nothing was committed") && text.contains("free space"), "{text}");
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 1);
    world.ok(&["import", file.to_str().unwrap()]);
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 19_991);
}

#[test]
fn copies_of_a_killed_computation_go_with_the_next() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap().to_owned();
    let kpis = ["cohort_renewal_ratio", "portfolio", "revenue", "transfer_completion_ratio"];
    let world = World::with_kpis(&kpis).with_environment(vec![("TMPDIR", folder)]);
    let sample = world.sample(12, 40, &[]);
    world.ok(&["import", &sample]);
    let folders = || -> Vec<PathBuf> {
        fs::read_dir(&temporary).unwrap().map(|folder| folder.unwrap().path()).collect()
    };
    let mut computing = world.command(&["compute"]).spawn().unwrap();
    let has_copies = |folder: &PathBuf| folder.join("events.parquet").exists();
    let left = loop {
        if let Some(folder) = folders().into_iter().find(has_copies) {
            break folder;
        }
        assert!(computing.try_wait().unwrap().is_none(), "it has ended without copies");
        std::thread::yield_now();
    };
    computing.kill().unwrap();
    computing.wait().unwrap();
    let mode = fs::metadata(&left).unwrap().permissions().mode();
    assert!(has_copies(&left) && mode.trailing_zeros() >= 6, "{mode:o}");
    world.compute();
    assert_eq!(folders(), [""; 0].map(PathBuf::from));
}

#[test]
fn check_accepts_the_dictionary_and_refuses_unknown_columns() {
    assert!(World::new().ok(&["check"]).contains("registrations"));
    let world = World::with_kpis(&["revenue"]);
    let file = world.path("metrics.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replacen(r#""expr":"amount_micros""#, r#""expr":"amount_cents""#, 1);
    fs::write(&file, text).unwrap();
    let output = world.run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("amount_cents"));
}
