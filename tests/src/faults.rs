//! A laboratory of faults: real servers in the lab's namespaces, each with one thing wrong, and what the
//! probe must say of each.

mod list;
mod loss;
mod peer;
pub mod web;
mod zones;

pub use peer::Peer;

use crate::lab::{Host, Lab};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;

/// Name in the certificates of the web servers.
pub const SHOP: &str = "shop.good.test";
/// Last byte of an address: the server of the root and of `test`.
const PARENT: u8 = 22;
/// Last bytes of addresses: the primary and the secondary of all zones.
const PRIMARY: u8 = 20;
const SECONDARY: u8 = 21;
/// Last bytes of addresses: the resolver that validates, and the one that lies.
const VALIDATING: u8 = 54;
const LYING: u8 = 55;
/// Last byte of an address: the resolver with response policies.
const POLICY: u8 = 56;
/// Last byte of an address: a server whose answers do not arrive at the client.
const FILTERED: u8 = 23;
/// Last byte of an address that no host has.
const NOBODY: u8 = 99;

/// A fault, in a service of its own.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Name of the service.
    pub name: &'static str,
    /// What is wrong, for people.
    pub title: &'static str,
    /// Targets in YAML, one a line.
    pub targets: Vec<String>,
    /// Kinds of targets that must fail, each with stage and reason; none where nothing must.
    pub failures: &'static [(&'static str, &'static str, &'static str)],
    /// Fields that one record of the service must have: path and value.
    pub fields: &'static [(&'static str, &'static str)],
    /// Cause of the verdict; none where nothing is wrong with the service.
    pub cause: Option<&'static str>,
    /// Another program that meets the same fault.
    pub peer: Peer,
}

/// What the probe said of a service.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Records of the service's targets.
    pub probes: Vec<Value>,
    /// Alerts about the service.
    pub alerts: Vec<Value>,
}

/// The running laboratory. Dropping it removes it.
#[derive(Debug)]
pub struct FaultLab {
    /// The network, with the client that the probe runs on.
    pub lab: Lab,
    zones: PathBuf,
    lossy: SocketAddr,
}

impl FaultLab {
    /// Starts all servers. Needs root and the programs of the lab, nginx, openssl, and dnssec-signzone.
    pub fn up() -> Result<Self> {
        let mut lab = Lab::up()?;
        lab.lift_icmp_limits()?;
        web::write_certificates(&lab.folder().join("tls"), lab.address(Host::Server))?;
        let zones = zones::write(&lab)?;
        zones::start(&mut lab, &zones)?;
        web::start(&mut lab)?;
        // Echo requests without privileges: ping_group_range is off in a new namespace.
        let range = "/proc/sys/net/ipv4/ping_group_range";
        lab.inside(Host::Client, || fs::write(range, "0 2147483647"))?.context(range)?;
        let lossy = loss::start(&lab, SocketAddr::new(lab.address_number(VALIDATING), 53))?;
        Ok(Self { lab, zones, lossy })
    }

    /// The faults, each once, and the service that has none.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        list::faults(self)
    }

    /// Writes a configuration of the probe with a service for each fault, and returns its path.
    pub fn write_config(&self, faults: &[Fault]) -> Result<PathBuf> {
        let mut text = format!(
            "version: 1\nsite: lab\ntrust: {{ roots: [{ca}], dnssec_anchors: [{anchors}], \
             crls_from_private: true }}\n\
             defaults: {{ timeout: 4s }}\nresolvers:\n  good: \"udp://{good}:53\"\n  \
             lying: \"udp://{lying}:53\"\n  dot: \"tls://{good}:853#dns.good.test\"\n  \
             doh: \"https://{good}/dns-query#dns.good.test\"\n  expired: \"tls://{lying}:853#{SHOP}\"\n  \
             closed: \"udp://{closed}:53\"\n  policy: \"udp://{policy}:53\"\n  blackhole: \"udp://{blackhole}:53\"\n  \
             sorry: \"https://{web}/503#{SHOP}\"\n  primary: \"udp://{primary}:53\"\n  \
             secondary: \"udp://{secondary}:53\"\n  lossy: \"udp://{lossy}\"\nservices:\n",
            ca = self.authority().display(),
            anchors = self.anchors().display(),
            good = self.validating(),
            lying = self.lying(),
            policy = self.policy(),
            closed = self.lab.closed_addr(),
            blackhole = self.lab.blackhole_addr(),
            web = self.web(443),
            primary = self.lab.address_number(PRIMARY),
            secondary = self.lab.address_number(SECONDARY),
            lossy = self.lossy(),
        );
        for fault in faults {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  - name: {}\n    targets:", fault.name);
            for target in &fault.targets {
                let _ = writeln!(text, "      - {target}");
            }
        }
        let path = self.lab.folder().join("probes.yaml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Runs `dnscribe-probe run --once` on the client.
    pub fn run_probe(&self, binary: &Path, config: &Path, options: &[&str]) -> Result<Output> {
        let (binary, config) = (binary.display().to_string(), config.display().to_string());
        let state = self.lab.folder().join("state").display().to_string();
        let state = format!("STATE_DIRECTORY={state}");
        let words = ["env", &state, &binary, "run", "--config", &config, "--once"];
        self.lab.run(Host::Client, &[&words, options].concat())
    }

    /// Certificate of the authority that all good certificates lead to.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.lab.folder().join("tls/ca.pem")
    }

    /// File with the root's DS record.
    #[must_use]
    pub fn anchors(&self) -> PathBuf {
        self.zones.join(zones::ANCHORS)
    }

    /// File with the root's trust anchor for delv.
    #[must_use]
    pub fn delv_anchors(&self) -> PathBuf {
        self.zones.join(zones::DELV_ANCHORS)
    }

    /// Resolver that validates, over UDP, TCP, TLS and HTTPS.
    #[must_use]
    pub fn validating(&self) -> IpAddr {
        self.lab.address_number(VALIDATING)
    }

    /// Resolver that does not validate and has another address for [`SHOP`].
    #[must_use]
    pub fn lying(&self) -> IpAddr {
        self.lab.address_number(LYING)
    }

    /// Resolver whose response policy has another address for [`SHOP`], for clients that ask without DO.
    #[must_use]
    pub fn policy(&self) -> IpAddr {
        self.lab.address_number(POLICY)
    }

    /// A way to the resolver that validates, on which the first datagram of each client is lost.
    #[must_use]
    pub const fn lossy(&self) -> SocketAddr {
        self.lossy
    }

    /// A web server.
    #[must_use]
    pub fn web(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.lab.address(Host::Server), port)
    }

    /// Replaces what differs from run to run: the number of the lab in addresses.
    #[must_use]
    pub fn normalise(&self, text: &str) -> String {
        let slot = self.lab.slot();
        let folder = self.lab.folder().display().to_string();
        text.replace(&format!("198.18.{slot}."), "198.18.0.")
            .replace(&format!("198.19.{slot}."), "198.19.0.")
            .replace(&format!("2001:db8:1:{slot:x}::"), "2001:db8:1::")
            .replace(&format!("{folder}/"), "")
    }
}

impl Fault {
    /// Finds the records of this service and checks them.
    pub fn check(&self, records: &[Value]) -> Result<Finding> {
        let service = Value::from(self.name);
        let entity = Value::from(format!("service={}", self.name));
        let of = |schema: &str, field: &str, value: &Value| -> Vec<Value> {
            let matching = |record: &&Value| record["schema"] == schema && record[field] == *value;
            records.iter().filter(matching).cloned().collect()
        };
        let probes = of("dns.probe/1", "service", &service);
        let alerts = of("dns.alert/1", "entity", &entity);
        ensure!(!probes.is_empty(), "no record");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let failed = probes.iter().filter(|record| record["ok"] == Value::Bool(false));
        let found: BTreeSet<_> = failed
            .map(|record| {
                let error = &record["error"];
                (word(&record["kind"]), word(&error["stage"]), word(&error["reason"]))
            })
            .collect();
        let owned = |(kind, stage, reason): &(&str, &str, &str)| {
            ((*kind).to_owned(), (*stage).to_owned(), (*reason).to_owned())
        };
        let expected: BTreeSet<_> = self.failures.iter().map(owned).collect();
        ensure!(found == expected, "expected {expected:?}, found {found:?}: {}", list(&probes));
        for (path, value) in self.fields {
            let pointer = format!("/{}", path.replace('.', "/"));
            let text =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let has =
                |record: &Value| record.pointer(&pointer).is_some_and(|at| text(at) == *value);
            ensure!(probes.iter().any(has), "no {path} {value}: {}", list(&probes));
        }
        let rules = alerts.iter().filter_map(|alert| alert["rule"].as_str());
        let verdicts: BTreeSet<_> =
            rules.filter_map(|rule| rule.strip_prefix("verdict_")).collect();
        let expected = self.cause.into_iter().collect();
        ensure!(
            verdicts == expected,
            "expected {expected:?}, found {verdicts:?}: {}",
            list(&alerts)
        );
        Ok(Finding { probes, alerts })
    }
}

fn list(records: &[Value]) -> String {
    records.iter().flat_map(|record| ["\n".to_owned(), record.to_string()]).collect()
}

/// Reads the records that the probe wrote.
pub fn read_records(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    let read = |line: &str| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"));
    let records: Vec<Value> = text.lines().map(read).collect::<Result<_>>()?;
    ensure!(!records.is_empty(), "no records: {}", String::from_utf8_lossy(&output.stderr));
    Ok(records)
}

/// Runs a program on the client and returns all that it wrote.
fn output_of(lab: &Lab, words: &[&str]) -> Result<String> {
    let output = lab.run(Host::Client, words)?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
