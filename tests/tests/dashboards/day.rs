//! Every query of every panel shows the scripted day: captures of three nodes with incidents, through the agent, Kafka and
//! the jobs, in real stores.

use dnscribe_record::time::Timestamp;
use dnscribe_tests::prometheus::Program;
use dnscribe_tests::stack::{Component, Stack, jobs};
use dnscribe_tests::{environment, grafana, http, shell};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Components whose data the boards show.
const COMPONENTS: [Component; 5] = [
    Component::Kafka,
    Component::Flink,
    Component::TimescaleDb,
    Component::InfluxDb,
    Component::ClickHouse,
];
/// Length of the day in seconds, as in `grafana/src/proof/day.ts`.
const DAY_SECONDS: u64 = 8 * 3600;

/// A stack that ends with its value.
struct Running(Option<Stack>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stack) = self.0.take() {
            // A failing test says more than a failing end.
            let _ = stack.down();
        }
    }
}

/// Runs a program of `grafana/src/proof`, its output on standard error.
fn proof(name: &str, arguments: &[&str]) {
    let mut program = grafana::program(&format!("proof/{name}"));
    program.args(arguments).env("DNSCRIBE_BIN", environment::binary().unwrap());
    shell::pass_through(&mut program).unwrap();
}

#[test]
fn every_panel_shows_the_scripted_day() {
    if !environment::privileged() {
        return;
    }
    grafana::compile().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut running = Running(Some(Stack::for_test(&scratch.path().join("stack")).unwrap()));
    let stack = running.0.as_mut().unwrap();
    stack.start_all(&COMPONENTS).unwrap();
    // Windows are final, and hours written, soon after they came.
    let fleet = json!({ "allowed_lateness": "20s", "rollup_interval": "10s" });
    jobs::submit(stack, &json!({ "checkpoints": { "interval": "2s" }, "fleet": fleet })).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let start = ((now - DAY_SECONDS) / 60 * 60_000).to_string();
    // An incident's signal is left out to see that the boards' proof fails without it.
    let without = std::env::var("DNSCRIBE_WITHOUT_INCIDENT").unwrap_or_default();
    let addresses = scratch.path().join("stack.json");
    fs::write(&addresses, stack.addresses().to_string()).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (addresses, folder) = (text(&addresses), text(scratch.path()));
    proof("play", &[&addresses, &folder, &start, &without]);

    let metrics = text(&scratch.path().join("metrics.txt"));
    proof("metrics", &[&start, &metrics, &without]);
    let data = stack.folder(Component::Prometheus).join("data");
    fs::create_dir_all(&data).unwrap();
    let mut promtool = Command::new(Program::Promtool.file().unwrap());
    promtool.args(["tsdb", "create-blocks-from", "openmetrics", &metrics]).arg(data);
    shell::output(&mut promtool).unwrap();
    stack.start(Component::Prometheus).unwrap();
    fs::write(&addresses, stack.addresses().to_string()).unwrap();
    wait_for_scrapes(stack);
    proof("prove", &["dashboards", &addresses, &start]);
    proof("draw", &["dashboards", &addresses, &start, &text(&pictures())]);
    tells_every_incident(stack, now - DAY_SECONDS);

    // The proof fails once a unit, a column or an incident's signal is missing.
    let boards = scratch.path().join("dashboards");
    fs::create_dir(&boards).unwrap();
    for entry in fs::read_dir(grafana::folder().join("dashboards")).unwrap() {
        let file = entry.unwrap();
        let board = fs::read_to_string(file.path()).unwrap();
        fs::write(
            boards.join(file.file_name()),
            board.replace("\"unit\": \"reqps\"", "\"min\": 0"),
        )
        .unwrap();
    }
    refused(&text(&boards), &addresses, &start, "noc", "Queries by resolver: no unit");
    stack.timescaledb("DELETE FROM dns_alerts WHERE rule = 'tunnel'").unwrap();
    refused("dashboards", &addresses, &start, "security", "Evidence: ");
    stack.timescaledb("ALTER TABLE dns_probes RENAME COLUMN loss_ratio TO loss").unwrap();
    refused("dashboards", &addresses, &start, "probes", "Packet loss: error: column");
}

/// Waits until Prometheus has two values of the jobs from each of their managers, for rates, and they are not stale: a page that comes too
/// late has none.
fn wait_for_scrapes(stack: &Stack) {
    let address = stack.service(Component::Prometheus).unwrap().address;
    let conditions =
        ["flink_jobmanager_job_uptime", "flink_taskmanager_job_task_operator_pendingRecords"].map(
            |name| {
                let values = format!("max by (instance) (count_over_time({name}[5m]))");
                format!("count({name}) and min({values}) >= 2")
            },
        );
    let mut path = format!("/api/v1/query?query={}", conditions.join(" and "));
    for (character, code) in [(" ", "%20"), ("[", "%5B"), ("]", "%5D"), (">=", "%3E%3D")] {
        path = path.replace(character, code);
    }
    shell::wait_for("two scrapes of the jobs", Duration::from_mins(3), || {
        let (_, answer) = http::get(address, None, &path)?;
        Ok(answer.contains("\"value\"").then_some(()))
    })
    .unwrap();
}

/// Folder for pictures of the boards: that of the documentation with `cargo xtask bless`'s variable.
fn pictures() -> PathBuf {
    match std::env::var_os("DNSCRIBE_BLESS") {
        Some(_) => environment::workspace().join("docs/dashboards"),
        None => environment::target().join("boards"),
    }
}

/// Writes the report of the day, which begins at `start` in seconds since the epoch, and checks that it names each incident.
fn tells_every_incident(stack: &mut Stack, start: u64) {
    let from = Timestamp::from_nanos(start * 1_000_000_000).to_string();
    let mut report = Command::new(environment::binary().unwrap());
    report.args(["report", "--title", "The scripted day", "--from", &from, "--output-file"]);
    // It stays there to be looked at.
    let file = environment::target().join("day.html");
    report.arg(&file);
    for store in [Component::ClickHouse, Component::TimescaleDb] {
        report.args(["--store", stack.address(store).unwrap().as_str().unwrap()]);
    }
    shell::output(&mut report).unwrap();
    let page = fs::read_to_string(file).unwrap();
    let (summary, _) = page.split_once("id=\"timeline\"").unwrap();
    for sentence in [
        "resolver-2 is down",
        "resolver_down of 3 nodes",
        "Zone shop-corp.com: 4",
        "cart 2.0",
        "The certificate of 192.0.2.10:443 (CN=www.shop-corp.com) expires",
        "client 10.3.1.66 carries data in names of evil-data.net",
        "contradict an earlier one",
        "echo requests from us are lost",
    ] {
        assert!(summary.contains(sentence), "no {sentence} in target/day.html");
    }
}

/// Proves a board of those in `folder`, which must fail with this problem.
fn refused(folder: &str, addresses: &str, start: &str, board: &str, problem: &str) {
    let mut proof = grafana::program("proof/prove");
    let output = proof.args([folder, addresses, start, board]).output().unwrap();
    let problems = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{problems}");
    assert!(problems.contains(&format!("{board}: {problem}")), "{problem}: {problems}");
}
