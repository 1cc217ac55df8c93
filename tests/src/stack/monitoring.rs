//! Prometheus and Alertmanager, which watch the stack and the agent.

use super::demo;
use super::service::{self, Service};
use crate::prometheus::{Program, detached};
use crate::{grafana, http};
use anyhow::Result;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// Port of Prometheus.
pub const PROMETHEUS_PORT: u16 = 9090;
/// Port of Alertmanager.
pub const ALERTMANAGER_PORT: u16 = 9093;

/// Starts Prometheus, at its previous address if it had one. It scrapes the agent and these `targets`, and sends alerts to `alertmanager`
/// if there is one.
pub fn start_prometheus(
    folder: &Path,
    previous: Option<SocketAddr>,
    targets: &[String],
    alertmanager: Option<SocketAddr>,
) -> Result<Service> {
    fs::create_dir_all(folder)?;
    let managers: Vec<String> = alertmanager.iter().map(ToString::to_string).collect();
    let config = json!({
        "global": { "scrape_interval": "5s" },
        "rule_files": [grafana::folder().join("prometheus/rules/*.yaml")],
        "scrape_configs": [
            { "job_name": "dnscribe", "static_configs": [{ "targets": [format!("127.0.0.1:{}", demo::METRICS_PORT)] }] },
            // A task manager that shares its cores takes seconds for a page.
            { "job_name": "flink", "scrape_interval": "15s", "scrape_timeout": "15s", "static_configs": [{ "targets": targets }] },
        ],
        "alerting": { "alertmanagers": [{ "static_configs": [{ "targets": managers }] }] },
    });
    let file = folder.join("prometheus.yml");
    // JSON is YAML.
    fs::write(&file, serde_json::to_string_pretty(&config)?)?;
    let address = service::address(previous, PROMETHEUS_PORT)?;
    let mut command = detached(Program::Prometheus)?;
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    Service::start(&command, address, &folder.join("log"), || is_ready(address))
}

/// Starts Alertmanager, at its previous address if it had one, with one receiver that notifies no
/// one.
pub fn start_alertmanager(folder: &Path, previous: Option<SocketAddr>) -> Result<Service> {
    fs::create_dir_all(folder)?;
    let file = folder.join("alertmanager.yml");
    fs::write(&file, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n")?;
    let address = service::address(previous, ALERTMANAGER_PORT)?;
    let mut command = detached(Program::Alertmanager)?;
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    // No cluster: a single instance.
    command.arg("--cluster.listen-address=");
    Service::start(&command, address, &folder.join("log"), || is_ready(address))
}

fn is_ready(address: SocketAddr) -> bool {
    http::get(address, None, "/-/ready").is_ok_and(|(status, _)| status == 200)
}
