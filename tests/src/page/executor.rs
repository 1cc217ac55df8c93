//! Which test executes a command of a page.

use super::{Command, all};
use anyhow::{Context as _, Result};

use Executor::{Chart, Cluster, Examples, Host, Kafka, Kpi, Machine, Nowhere, Other, Xtask};

/// What executes a command of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// `conformance`, which also compares the output with the page.
    Examples,
    /// `e2e`: a shell on a host of a laboratory, with traffic.
    Host,
    /// `kafka`: a shell with a broker.
    Kafka,
    /// `kpi`: a shell with `dnscribe-kpi`.
    Kpi,
    /// `e2e`: Helm renders what the command installs, and the result is validated.
    Chart,
    /// `cluster`, not part of CI: a control plane of Kubernetes.
    Cluster,
    /// Unit test of `xtask`: its own parser. What follows `cargo xtask run` is executed, too.
    Xtask,
    /// `cargo xtask install-test`, in a machine of its own; not part of CI.
    Machine,
    /// A test that does what the command does, but does not read the page.
    Other(&'static str),
    /// No test, for this reason.
    Nowhere(&'static str),
}

/// A rule: commands of a page (of all pages, if it is empty) with this text have this executor.
#[derive(Debug)]
pub struct Row(&'static str, &'static str, Executor);

const ENGINE: Executor = Nowhere("a container engine");
const FLINK: Executor = Nowhere("the scripts of Flink's distribution, which no registry has");

/// The first rule that fits a command is its own.
static ROWS: &[Row] = &[
    Row("docs/development", "cargo xtask run -- --sink kafka", Kafka),
    Row("", "cargo xtask run", Host),
    Row("", "cargo xtask", Xtask),
    Row("examples/README", "", Examples),
    Row("docs/pods", "port-forward", Nowhere("a kubelet")),
    Row("docs/pods", "helm ", Cluster),
    Row("", "helm ", Chart),
    Row("docs/kubernetes", "rollout status", Other("cluster: that of docs/pods")),
    Row("docs/kubernetes", "kubectl -n dnscribe exec", Nowhere("a kubelet")),
    Row("", "kubectl ", Cluster),
    Row("", "docker ", ENGINE),
    Row("", "podman ", ENGINE),
    Row("", "skopeo ", ENGINE),
    Row("docs/archive", "aws ", Nowhere("Amazon's program and service")),
    Row("docs/archive", "$FLINK_HOME", FLINK),
    Row("docs/archive", "find ", Host),
    Row("docs/busy-resolver", "", Kafka),
    Row("docs/clickhouse-without-flink", "", Other("stream clickhouse_without_flink")),
    Row("docs/dashboards", "dnscribe annotate", Kafka),
    Row("docs/development", "qemu-", Other("install-test runs the images of both architectures")),
    Row("docs/development", "cargo test", Other("tiers unit and fuzz, with fewer packets")),
    Row("docs/first-incident", "", Other("dashboards: writes target/day.html so")),
    Row("docs/influxdb", "influx ", Nowhere("InfluxDB's client, which no registry has")),
    Row("docs/install", "", Machine),
    Row("docs/probe", "apt install", Machine),
    Row("docs/probe", "editor", Machine),
    Row("docs/probe", "systemctl", Machine),
    Row("docs/kpi", "apt install", Machine),
    Row("docs/kpi", "/var/spool/dnscribe-kpi", Machine),
    Row("docs/kpi", "/etc/dnscribe-kpi", Machine),
    Row("docs/kpi", "systemctl", Machine),
    Row("docs/kpi", "", Kpi),
    Row("docs/start", "dnscribe-kpi", Kpi),
    Row("docs/indicators", "", Other("e2e indicators")),
    Row("docs/ledger", "--store", Other("stream accounts")),
    Row("docs/pcapng", "wireshark", Nowhere("a screen; e2e pcapng reads live packets")),
    Row("docs/pcapng", "tshark ", Host),
    Row("docs/policy", "clickhouse-client", Other("stream clickhouse_without_flink")),
    Row("docs/scale", "kafka-log-dirs.sh", Nowhere("it leaves a part open")),
    Row("docs/release", "minisign", Other("unit: release::signature signs and verifies so")),
    Row("docs/release", "sha256sum", Other("unit: release::signature signs and verifies so")),
    Row("docs/security", "", Other("e2e privileges")),
    Row("docs/stream", "mvn ", Other("stack up and the tier stream build the jar so")),
    Row("docs/stream", "ls ", Other("stack up and the tier stream build the jar so")),
    Row("docs/stream", "dnscribe-stream.jar", Other("stack up and the tier stream start the jobs")),
    Row("docs/stream", "dns.fleet", Other("stream fleet")),
    Row("docs/stream", "curl ", Other("stream rows")),
    Row("docs/stream", "dnscribe replay", Kafka),
    Row("docs/stream-operation", "flink ", FLINK),
    Row("docs/timescaledb", "flink ", FLINK),
    Row(
        "docs/timescaledb",
        "",
        Nowhere("a backup of the Apache-licensed edition is an ordinary one"),
    ),
    Row("", "kafka-1", Kafka),
    Row("", "dnscribe", Host),
    Row("", "localhost:9353", Host),
    Row("docs/lookups", "jq ", Host),
    Row("docs/trace", "jq ", Host),
    Row("docs/probe", "echo $?", Host),
];

/// Returns the commands of README and of all pages but the runbooks, each with its executor.
///
/// # Errors
/// If no rule fits a command.
pub fn executors() -> Result<Vec<(Command, Executor)>> {
    let of = |command: Command| {
        let row = row(&command).with_context(|| {
            format!(
                "{}: no test executes `{}`: add a row to tests/src/page/executor.rs",
                command.page, command.text
            )
        })?;
        Ok((command, row.2))
    };
    all()?.into_iter().map(of).collect()
}

impl Executor {
    /// Returns the commands that it executes.
    pub fn commands(self) -> Result<Vec<Command>> {
        let own = executors()?.into_iter().filter(|(_, executor)| *executor == self);
        Ok(own.map(|(command, _)| command).collect())
    }
}

fn row(command: &Command) -> Option<&'static Row> {
    let fits = |Row(page, text, _): &&Row| {
        (page.is_empty() || *page == command.page) && command.plain().contains(text)
    };
    ROWS.iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn every_command_of_a_page_has_an_executor_and_every_rule_a_command() {
        let commands = executors().unwrap();
        assert!(commands.len() > 150, "{}", commands.len());
        let used: Vec<&Row> = commands.iter().filter_map(|(command, _)| row(command)).collect();
        for row in ROWS {
            assert!(used.iter().any(|used| ptr::eq(*used, row)), "no command for {row:?}");
        }
        let executed =
            commands.iter().filter(|(_, executor)| !matches!(executor, Other(_) | Nowhere(_)));
        assert!(
            executed.count() * 10 > commands.len() * 7,
            "three of ten commands are executed by no test"
        );
    }
}
