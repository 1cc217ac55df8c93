//! Measurements on request: `/probe` of `dnscribe-probe`, and of blackbox_exporter with the same file of modules.

use super::{END, Servers};
use crate::bench::case::Figures;
use crate::bench::usage;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::prometheus::Program;
use dnscribe_tests::{agent, http, shell};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// File of modules that both programs read.
const MODULES: &str = r#"
modules:
  http: { prober: http, http: { preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: [ok] } }
  tcp: { prober: tcp, tcp: { preferred_ip_protocol: ip4 } }
  tls: { prober: tcp, tcp: { tls: true, preferred_ip_protocol: ip4, tls_config: { server_name: load.test, insecure_skip_verify: true } } }
  dns: { prober: dns, dns: { query_name: t1.example, query_type: A, preferred_ip_protocol: ip4,
    validate_answer_rrs: { fail_if_not_matches_regexp: ["192.0.2.1"] } } }
  dns_other: { prober: dns, dns: { query_name: t1.example, query_type: A, preferred_ip_protocol: ip4,
    validate_answer_rrs: { fail_if_not_matches_regexp: ["192.0.2.2"] } } }
  banner: { prober: tcp, tcp: { preferred_ip_protocol: ip4, query_response: [{ send: "GET / HTTP/1.0\r\n\r" }, { expect: "^HTTP/1.[01] 200" }] } }
  banner_other: { prober: tcp, tcp: { preferred_ip_protocol: ip4, query_response: [{ send: "GET / HTTP/1.0\r\n\r" }, { expect: "^SSH-2" }] } }
  body_other: { prober: http, http: { preferred_ip_protocol: ip4, fail_if_body_matches_regexp: [ok] } }
"#;

/// A running program that serves `/probe`.
pub(super) struct Exporter {
    process: Child,
    address: SocketAddr,
    /// Its configuration.
    _folder: TempDir,
}

impl Exporter {
    /// Starts `dnscribe-probe`.
    pub(super) fn own(probe: &Path, servers: &Servers) -> Result<Self> {
        Self::start(|folder, address| {
            let config = format!(
                "version: 1\nmodules_file: {}\nmetrics: {{ listen: \"{address}\" }}\nresolvers: {{ local: \"udp://{}\" }}\n\
                 sinks: [\"null\"]\nlog: {{ level: error }}\nservices: [{{ name: one, targets: [{{ dns: {{ name: t1.example, interval: 1h }} }}] }}]\n",
                folder.join("modules.yml").display(),
                servers.dns
            );
            fs::write(folder.join("probes.yaml"), config)?;
            let mut command = Command::new(probe);
            command.args(["run", "--config"]).arg(folder.join("probes.yaml"));
            Ok(command)
        })
    }

    /// Starts blackbox_exporter.
    pub(super) fn peer() -> Result<Self> {
        let program = Program::BlackboxExporter.file()?;
        Self::start(|folder, address| {
            let mut command = Command::new(program);
            command.arg(format!("--config.file={}", folder.join("modules.yml").display()));
            command.arg(format!("--web.listen-address={address}")).arg("--log.level=error");
            Ok(command)
        })
    }

    fn start(command: impl FnOnce(&Path, SocketAddr) -> Result<Command>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("modules.yml"), MODULES)?;
        let address = agent::free_address()?;
        let mut command = command(folder.path(), address)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().context("cannot start the exporter")?;
        let exporter = Self { process, address, _folder: folder };
        shell::wait_for("the exporter", END, || {
            let answer = http::get(address, None, "/metrics");
            Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
        })?;
        Ok(exporter)
    }

    /// Asks for some measurements, one after the other, a quarter of each kind; all must succeed, and those of wrong
    /// expectations must not.
    pub(super) fn measure(&self, servers: &Servers, requests: u32) -> Result<Figures> {
        let [tcp, http, tls] = servers.ports;
        let targets = [
            ("http", format!("http://127.1.0.1:{http}/")),
            ("tcp", format!("127.1.0.2:{tcp}")),
            ("tls", format!("127.1.0.3:{tls}")),
            ("dns", servers.dns.clone()),
        ];
        let refused = [
            ("tcp", "127.1.0.4:1".to_owned()),
            ("dns_other", servers.dns.clone()),
            ("body_other", format!("http://127.1.0.1:{http}/")),
            ("banner_other", format!("127.1.0.1:{http}")),
        ];
        ensure!(self.succeeds("banner", &format!("127.1.0.1:{http}"))?, "banner fails");
        for (module, target) in &refused {
            ensure!(!self.succeeds(module, target)?, "{module} {target} is good");
        }
        let begin = usage::cpu_seconds(self.process.id())?;
        for (module, target) in targets.iter().cycle().take(requests as usize) {
            ensure!(self.succeeds(module, target)?, "{module} {target} fails");
        }
        let cpu = usage::cpu_seconds(self.process.id())? - begin;
        let peak = usage::peak_bytes(self.process.id()).context("the exporter is gone")?;
        Ok(Figures::default()
            .with("cpu_seconds_per_1000_rounds", cpu / f64::from(requests) * 1000.0)
            .with("rss_peak_bytes", usage::figure(peak)?))
    }

    fn succeeds(&self, module: &str, target: &str) -> Result<bool> {
        let path = format!("/probe?module={module}&target={target}");
        let (status, page) = http::get(self.address, None, &path)?;
        ensure!(status == 200, "{path}: {status}: {page}");
        let value = page.lines().find_map(|line| line.strip_prefix("probe_success "));
        Ok(value.context("no probe_success")? == "1")
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        shell::end(&mut self.process);
    }
}
