//! Measurements of probes and their alerts: from the probe to the rows and points of the stores.

use crate::accounts;
use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::{environment, shell};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

#[test]
fn measurements_and_verdicts_are_rows() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tcp = |address: SocketAddr| json!({ "tcp": { "address": address.to_string() } });
    let config = json!({
        "version": 1,
        "node": "probe",
        "site": "lab",
        "sinks": ["kafka"],
        "kafka": { "brokers": [running.brokers()] },
        "services": [
            { "name": "open", "targets": [tcp(open.local_addr().unwrap())] },
            { "name": "closed", "targets": [tcp(closed)] },
        ],
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probes.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut probe = Command::new(environment::probe_binary().unwrap());
    probe.args(["run", "--once", "--config"]).arg(file);
    probe.env("STATE_DIRECTORY", folder.path());
    let output = probe.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "one service is down: {errors}");

    let rows =
        "SELECT service, target, ok, error_stage, error_reason FROM dns_probes ORDER BY service";
    let rows = shell::wait_for("rows of measurements", CAUGHT_UP, || {
        let rows = running.stack().timescaledb(rows)?;
        Ok((rows.lines().count() == 2).then_some(rows))
    });
    let expected =
        format!("closed|{closed}|f|connect|refused\nopen|{}|t||", open.local_addr().unwrap());
    assert_eq!(rows.unwrap().trim(), expected);
    let alerts = "SELECT rule, entity, state FROM dns_alerts WHERE scope = 'probe'";
    let alerts = shell::wait_for("rows of alerts", CAUGHT_UP, || {
        let rows = running.stack().timescaledb(alerts)?;
        Ok((!rows.trim().is_empty()).then_some(rows))
    });
    assert_eq!(alerts.unwrap().trim(), "verdict_hosting|service=closed|firing");
    shell::wait_for("points of measurements", CAUGHT_UP, || {
        Ok((points(&running) == 2).then_some(()))
    })
    .unwrap();
    accounts::check_balance(&running);
}

/// Number of points of `dns_probe`.
fn points(running: &Running) -> usize {
    let answer = running.influxdb(
        "from(bucket: \"dns\") |> range(start: -1h) |> filter(fn: (r) => r._measurement == \"dns_probe\" and \
         r._field == \"ok\") |> group() |> keep(columns: [\"_value\"])",
    );
    answer.lines().filter(|line| line.starts_with(",_result,")).count()
}
