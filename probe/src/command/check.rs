//! `dnscribe-probe check`: whether `run` would work on this host.

use crate::cli::CheckArgs;
use crate::config::Config;
use crate::target::{Target, TargetKind};
use dnscribe_cli::check::{Probe, Report, outputs, required};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::ConfigError;
use dnscribe_config::value::Output;
use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use std::process::exit;
use std::sync::Arc;

/// Prints the results, and ends with the exit code that `run` would end with.
pub(super) fn check(args: &CheckArgs) -> Result<(), Exit> {
    let report = probe_all(Config::load(&args.common.sources(None)).as_ref());
    print(&report.render(args.output.unwrap_or(Output::Text)))?;
    match report.exit_code() {
        0 => Ok(()),
        // The report says everything. This host lacks nothing that only other hosts have.
        code => exit(i32::from(code)),
    }
}

/// Probes the configuration, then what its targets need of this host, then the outputs.
fn probe_all(loaded: Result<&Config, &ConfigError>) -> Report {
    match loaded {
        Ok(config) => {
            let targets: usize = config.services.iter().map(|service| service.targets.len()).sum();
            let sinks: Vec<_> = config.sinks.iter().map(ToString::to_string).collect();
            let (node, services, sinks) = (&config.node, config.services.len(), sinks.join(", "));
            let detail =
                format!("node {node}, {services} services with {targets} targets, sinks {sinks}");
            Report {
                config: required("config", Ok(detail)),
                host: modules(config).into_iter().chain(ping(config)).collect(),
                outputs: outputs(&config.sinks, &config.open_with(), config.metrics_listen),
            }
        }
        Err(error) => {
            let remedy = "correct the configuration".to_owned();
            let config = required("config", Err((error.to_string(), remedy)));
            Report { config, host: Vec::new(), outputs: Vec::new() }
        }
    }
}

/// Probes whether all modules of a file of blackbox_exporter can be used, if there is one that cannot.
fn modules(config: &Config) -> Option<Probe> {
    let left_out: Vec<_> =
        config.modules.left_out().map(|(name, why)| format!("{name}: {why}")).collect();
    let remedy = "probe these with blackbox_exporter, or write modules without these keys";
    let found =
        Err((format!("left out of modules_file: {}", left_out.join("; ")), remedy.to_owned()));
    (!left_out.is_empty()).then(|| Probe::from_result("modules", false, found))
}

/// Probes whether this user may send echo requests, if a target needs it. `run` works without, and counts such rounds
/// as `unsupported`.
fn ping(config: &Config) -> Option<Probe> {
    let needs_ping = |target: &Arc<Target>| matches!(target.kind, TargetKind::Ping(_));
    if !config.services.iter().flat_map(|service| &service.targets).any(needs_ping) {
        return None;
    }
    // In the order in which the measurement tries them.
    let open = |kind| socket(AddressFamily::INET, kind, Some(ipproto::ICMP));
    let opened = open(SocketType::DGRAM)
        .map(|_| "unprivileged sockets")
        .or_else(|error| open(SocketType::RAW).map(|_| "raw sockets").map_err(|_| error));
    let found = opened.map(|how| format!("echo requests are sent over {how}")).map_err(|error| {
        let remedy =
            "allow its group: sysctl net.ipv4.ping_group_range=\"0 2147483647\"; or grant CAP_NET_RAW";
        (format!("this user may not send echo requests: {error}"), remedy.to_owned())
    });
    Some(Probe::from_result("ping", false, found))
}
