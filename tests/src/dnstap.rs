//! DNS servers that send dnstap, each with one zone, on a port of this host; and a program that reads what they write.

use crate::dnsperf::{DnsperfReport, Load};
use crate::{agent, cache, go, http, shell};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod config;

/// Version of `CoreDNS`.
const COREDNS: &str = "v1.14.7";
/// Version of `golang-dnstap`.
const READER: &str = "v0.4.0";
/// Time for a server to start, or to answer about its statistics.
const LIMIT: Duration = Duration::from_mins(1);

/// Returns the program `coredns`, with the few plugins that are needed here; builds it if it is missing, which takes a minute.
///
/// # Errors
/// There is no Go, or a module cannot be downloaded.
pub fn coredns() -> Result<PathBuf> {
    const PLUGINS: &str = "prometheus:metrics\nerrors:errors\ndnstap:dnstap\nfile:file\n";
    let module = "github.com/coredns/coredns";
    build("coredns", module, COREDNS, ".", |sources| {
        fs::write(sources.join("plugin.cfg"), PLUGINS)?;
        go::run(sources, &[&["run"], &go::FAST[..], &["directives_generate.go"]].concat()).map(drop)
    })
}

/// Returns `dnstap`, the reader of dnstap's authors; builds it if it is missing.
///
/// # Errors
/// As [`coredns`].
pub fn reader() -> Result<PathBuf> {
    build("dnstap", "github.com/dnstap/golang-dnstap", READER, "./dnstap", |_| Ok(()))
}

/// Builds a program of a module from the Go module proxy, once, in a copy that `change` may change.
fn build(
    name: &str,
    module: &str,
    version: &str,
    package: &str,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = cache::folder(name, version, |scratch| {
        let sources = go::copy(scratch, module, version)?;
        change(&sources)?;
        go::build(scratch, &sources, &go::FAST, package, name)
    })?;
    Ok(folder.join(name))
}

/// A DNS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// unbound, with local data.
    Unbound,
    /// BIND.
    Bind,
    /// Knot DNS.
    Knot,
    /// `CoreDNS`.
    CoreDns,
}

impl ServerKind {
    /// All servers.
    pub const ALL: [Self; 4] = [Self::Unbound, Self::Bind, Self::Knot, Self::CoreDns];

    /// Name, and the identity that it sends.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::Bind => "bind",
            Self::Knot => "knot",
            Self::CoreDns => "coredns",
        }
    }
}

/// A server that answers every name in `wild.example.com`, by UDP and TCP. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    kind: ServerKind,
    folder: PathBuf,
    address: SocketAddr,
    /// Where it tells its statistics, if not by a socket in `folder`.
    statistics: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a server, with its files in `folder`, that sends dnstap to `socket`. Returns it once it accepts connections; it has got
    /// no query then.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start(kind: ServerKind, folder: &Path, socket: Option<&Path>) -> Result<Self> {
        let folder = folder.join(kind.name());
        fs::create_dir_all(&folder)?;
        let (address, statistics) = (agent::free_address()?, agent::free_address()?);
        let command = config::write(kind, &folder, (address, statistics), socket)?;
        let mut command = shell::started_by(&["setpriv", "--pdeathsig", "KILL"], &command);
        let log = fs::File::create(folder.join("log"))?;
        let started = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child =
            started.with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
        let mut server = Self { kind, folder, address, statistics, child };
        let ready = || {
            if let Some(status) = server.child.try_wait()? {
                let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
                anyhow::bail!("{} has ended ({status}): {log}", kind.name());
            }
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        };
        shell::wait_for(kind.name(), LIMIT, ready)?;
        Ok(server)
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends load from this host and waits for its end.
    ///
    /// # Errors
    /// dnsperf fails.
    pub fn dnsperf(&self, load: &Load) -> Result<DnsperfReport> {
        let load = Load { port: self.address.port(), ..load.clone() };
        let data = self.folder.join("questions");
        fs::write(&data, load.data())?;
        let words = load.command(IpAddr::V4(Ipv4Addr::LOCALHOST), &data);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        DnsperfReport::wait(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
    }

    /// Number of queries since its start, as it counts them itself.
    ///
    /// # Errors
    /// It does not answer, or in other words.
    pub fn queries(&self) -> Result<u64> {
        let in_folder = |name: &str| self.folder.join(name).display().to_string();
        let page = |path| http::get(self.statistics, None, path).map(|(_, body)| body);
        match self.kind {
            ServerKind::Unbound => {
                let config = in_folder("unbound.conf");
                let words = ["unbound-control", "-c", &config, "stats_noreset"];
                sum(&text(&words)?, "total.num.queries=")
            }
            ServerKind::Bind => {
                let page: Value = serde_json::from_str(&page("/json/v1/server")?)?;
                page["opcodes"]["QUERY"].as_u64().context("no count of queries")
            }
            ServerKind::Knot => {
                let control = in_folder("knot.sock");
                let words = ["knotc", "-s", &control, "stats", "mod-stats.server-operation"];
                sum(&text(&words)?, "mod-stats.server-operation[query] = ")
            }
            ServerKind::CoreDns => sum(&page("/metrics")?, "coredns_dns_requests_total{"),
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// It has been killed before.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}

fn text(words: &[&str]) -> Result<String> {
    Ok(String::from_utf8(shell::run(words)?.stdout)?)
}

/// Returns the sum of the numbers at the ends of the lines that begin so.
fn sum(text: &str, start: &str) -> Result<u64> {
    let lines = text.lines().filter(|line| line.starts_with(start));
    let number = |line: &str| {
        let end = line.rsplit(['=', ' ']).next().unwrap_or_default();
        end.parse::<u64>().with_context(|| format!("no number: {line}"))
    };
    lines.map(number).sum()
}
