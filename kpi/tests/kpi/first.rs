//! First steps of somebody new: the sample as CSV, the demo, and what the packages run every hour.

use crate::world::{Server, World};
use serde_json::json;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn sample_has_the_same_events_as_csv() {
    let kpis = ["raw_events", "registrations", "revenue", "transfer_hours_p50"];
    let world = World::with_kpis(&kpis);
    let ndjson = world.sample(12, 20, &["--hostile"]);
    world.ok(&["import", &ndjson]);
    world.compute();
    let other = World::with_kpis(&kpis);
    let csv = other.sample(12, 20, &["--hostile", "--format", "csv"]);
    let text = fs::read_to_string(&csv).unwrap();
    assert!(text.starts_with("schema,event_id,business_key,event_type,event_ts,"), "{text:.90}");
    let said = other.ok(&["import", &csv]);
    assert!(said.contains("(CSV)") && said.contains("unreadable"), "{said}");
    other.compute();
    let (ours, theirs) = (world.serve(&["--no-auth"]), other.serve(&["--no-auth"]));
    for path in
        ["registrations?by=tld,tier", "revenue?by=country", "transfer_hours_p50", "raw_events"]
    {
        let path = format!("/v1/kpis/{path}");
        let values = World::values(&ours, &path);
        assert!(values.len() > 9, "{path}");
        let others = World::values(&theirs, &path);
        let value =
            |(key, value): (&String, &serde_json::Value)| (key.clone(), value["value"].clone());
        assert!(values.iter().map(value).eq(others.iter().map(value)), "{path}");
    }
}

#[test]
fn demo_serves_a_registrar() {
    let world = World::new();
    let mut command =
        world.command(&["demo", "--days", "30", "--registrations", "5", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some((_, address)) = line.split_once("serving on http://") {
            break address.to_owned();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    let server = Server::of(child, address);
    let kpis = server.get("/v1/kpis").1;
    let verdicts = kpis["kpis"].as_array().unwrap().iter();
    let judged = verdicts.flat_map(|kpi| kpi["verdicts"].as_array().unwrap());
    assert!(judged.filter(|verdict| verdict["state"] != "muted").count() > 10, "{kpis}");
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let date = &yesterday.to_string()[..10];
    let values = World::values(&server, &format!("/v1/kpis/registrations?date={date}"));
    assert_eq!(values[date]["state"], "provisional", "{values:?}");
}

#[test]
fn a_type_that_no_kpi_counts_is_named() {
    let world = World::new();
    let file = world.path("a.csv");
    let text = "event_id,business_key,event_type,event_ts\n1,1,registration_complete,2026-03-01T10:00:00Z\n";
    fs::write(&file, text).unwrap();
    let said = world.ok(&["import", file.to_str().unwrap()]);
    assert!(
        said.contains("no KPI counts events of these types: registration_complete 1"),
        "{said}"
    );
}

/// An export with a value that its map does not list, and the map corrected.
#[test]
fn a_corrected_map_replaces_what_was_refused() {
    let world = World::with_kpis(&["registrations"]);
    let write = |name: &str, text: &str| {
        let path = world.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let map = |kinds: &str| {
        let columns = "business_key: Order, event_type: Kind, event_ts: When";
        let values = format!("event_type: {{ {kinds} }}");
        write(
            "shop.yaml",
            &format!("version: 1\ncolumns: {{ {columns} }}\nvalues: {{ {values} }}\n"),
        )
    };
    let orders = write(
        "orders.csv",
        "Order,Kind,When\n1,REG,2026-03-01T09:00:00Z\n2,NEXT,2026-03-01T10:00:00Z\n",
    );
    let shop = map("REG: registration_completed");
    let import = |file: &str, words: &[&str]| {
        world.run(&[&["import", file, "--source", "shop", "--map", &shop], words].concat())
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let said = text(&import(&orders, &["-o", "json"]).stdout);
    let first = serde_json::from_str::<serde_json::Value>(&said).unwrap()["sha256"].clone();
    let first = first.as_str().unwrap();
    let refused = world.ok(&["rejected"]);
    assert_eq!(refused, "shop: orders.csv, line 3: unmapped_value: event_type: \"NEXT\"\n");
    let refused = world.ok(&["rejected", "-o", "json"]);
    let refused: serde_json::Value = serde_json::from_str(&refused).unwrap();
    assert_eq!((&refused["file"], &refused["sha256"]), (&json!("orders.csv"), &json!(first)));
    assert!(
        world.ok(&["compute", "--final"]).contains(" values became final; all values of 0 days")
    );
    assert_eq!(world.value("registrations", "2026-03-01"), (json!(1), "incomplete".to_owned()));

    map("REG: registration_completed, NEXT: renewal_completed");
    // The old map made other facts of the file: it is not known by its name.
    let output = import(&orders, &["--replaces", &orders]);
    let problem = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{problem}");
    assert!(problem.contains("--replaces") && problem.contains(first), "{problem}");
    let output = import(&orders, &["--replaces", first]);
    let warned = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{warned}");
    assert!(!warned.contains("no row was accepted"), "{warned}");
    world.ok(&["compute", "--final"]);
    assert_eq!(world.value("registrations", "2026-03-01"), (json!(1), "final".to_owned()));
    let again = import(&orders, &["--replaces", first]);
    assert!(again.status.success() && text(&again.stdout).contains("nothing changed"));

    // A file that is in already would replace nothing.
    let others = write("others.csv", "Order,Kind,When\n9,LOST,2026-03-01T10:00:00Z\n");
    let output = import(&others, &[]);
    assert!(text(&output.stderr).contains("no row was accepted"), "{}", text(&output.stderr));
    let output = import(&orders, &["--replaces", &others]);
    let problem = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{problem}");
    assert!(problem.contains("replaces nothing now"), "{problem}");

    let server = world.serve(&["--no-auth"]);
    let march = "/v1/kpis/registrations?from=2026-03-01&to=2026-03-31&grain=month";
    let values = World::values(&server, march);
    let reasons = values["2026-03-01"]["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 9, "{reasons:?}");
    assert_eq!(reasons[0], "2026-03-02: not computed: `compute --date 2026-03-02` does it");
    assert_eq!(reasons[8], "and 22 more");
}

/// What the timer of the packages runs, on a spool with two sources.
#[test]
fn the_spool_is_imported_by_source() {
    let world = World::with_kpis(&["churn", "registrations", "revenue"]);
    let (spool, maps) = (world.path("spool"), world.path("maps"));
    for folder in [spool.join("shop"), spool.join("registry"), maps.clone()] {
        fs::create_dir_all(folder).unwrap();
    }
    let read = |path: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
    };
    let page = read("docs/kpi.md");
    let shown = |kind: &str| {
        page.split(&format!("```{kind}\n")).nth(1).unwrap().split("```").next().unwrap()
    };
    let (orders, map) = (read("examples/orders.csv"), read("examples/shop.yaml"));
    assert_eq!((shown("csv"), shown("yaml")), (&*orders, &*map), "the page shows the examples");
    fs::write(spool.join("shop/orders.csv"), orders).unwrap();
    fs::write(maps.join("shop.yaml"), map).unwrap();
    fs::write(spool.join("registry/broken.json"), "[{}]").unwrap();
    let event = json!({"event_id": "1", "business_key": "1", "event_type": "deleted", "event_ts": "2026-03-02T10:00:00Z"});
    fs::write(spool.join("registry/z.ndjson"), event.to_string()).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_dnscribe-kpi"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kpi/import.sh");
    let run = || {
        let mut command = Command::new("sh");
        command.arg(&script).args([&spool, &maps]).env("DNSCRIBE_KPI_DATA", world.path("data"));
        command.env("DNSCRIBE_KPI_DICTIONARY", world.path("metrics.yaml"));
        let path = std::env::join_paths([
            program.parent().unwrap(),
            Path::new("/usr/bin"),
            Path::new("/bin"),
        ]);
        let output = command.env("PATH", path.unwrap()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = run();
    assert_eq!(code, Some(1), "a file could not be imported: {said}");
    assert!(said.contains("orders.csv (CSV): 10 rows, 10 accepted"), "{said}");
    fs::remove_file(spool.join("registry/broken.json")).unwrap();
    let (code, said) = run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("orders.csv: imported before"), "{said}");
    assert_eq!(world.value("registrations", "2026-03-01").0, 2);
    assert_eq!(world.value("revenue", "2026-03-03").0, 0, "6.50 in, 6.50 back");
    assert_eq!(world.value("churn", "2026-03-02").0, 1);
}
