//! A DNS world of its own in network namespaces: a client, a resolver (unbound) and an
//! authoritative server (knot) for the root, `com` and `example.com`, on one bridge.
//!
//! Nothing of it touches the host's own network. Each lab has its own namespaces and addresses,
//! so labs run side by side; dropping one removes it. The addresses are those that RFC 2544 and
//! RFC 3849 set aside for benchmarks and documentation.

mod capture;
mod hazards;
pub mod latency;
mod network;
mod stub;
mod stutter;
mod zones;

pub use capture::{Capture, dns_times};
pub use hazards::{Fate, inside};
pub use stub::StubConfig;
pub use stutter::Stutter;

use crate::dnsperf::{Load, Perf};
use crate::shell;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long a server of the lab may take to answer its first query.
const START: Duration = Duration::from_secs(20);

/// A host of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Where dig and dnsperf run.
    Client,
    /// Where unbound runs.
    Resolver,
    /// Where knot runs.
    Server,
}

impl Host {
    const ALL: [Self; 3] = [Self::Client, Self::Resolver, Self::Server];

    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Resolver => "resolver",
            Self::Server => "server",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Client => 10,
            Self::Resolver => 53,
            Self::Server => 2,
        }
    }
}

/// A lab that is up. Dropping it takes it down, unless it was [`Lab::keep`]t.
#[derive(Debug)]
pub struct Lab {
    slot: u8,
    folder: PathBuf,
    servers: Vec<Child>,
    kept: bool,
}

impl Lab {
    /// Builds the network, starts both servers and waits until each answers. Needs root, `ip`,
    /// `unbound`, `knotd` and `dig`.
    pub fn up() -> Result<Self> {
        Self::up_with(&[])
    }

    /// As [`Lab::up`], with lines for the section `server` of unbound's configuration.
    pub fn up_with(options: &[&str]) -> Result<Self> {
        network::clean_orphans();
        let slot = network::claim()?;
        let folder = network::folder(slot);
        let mut lab = Self { slot, folder, servers: Vec::new(), kept: false };
        network::build(slot)?;
        lab.start_server()?;
        lab.start_resolver(options)?;
        Ok(lab)
    }

    /// The lab that [`Lab::keep`] left, if there is one.
    pub fn kept() -> Result<Option<Self>> {
        let Some(slot) = network::kept()? else { return Ok(None) };
        let folder = network::folder(slot);
        Ok(Some(Self { slot, folder, servers: Vec::new(), kept: true }))
    }

    /// Leaves the lab up after this process; `down` in any later process removes it.
    pub fn keep(mut self) -> Result<Self> {
        network::mark_kept(self.slot)?;
        self.kept = true;
        Ok(self)
    }

    /// Takes every lab down that is kept or whose process is gone; returns how many.
    pub fn down_all() -> Result<usize> {
        network::clean(true)
    }

    /// The name of a host's network namespace, for `ip netns exec`.
    #[must_use]
    pub fn namespace(&self, host: Host) -> String {
        network::namespace(self.slot, host.name())
    }

    /// The client's address.
    #[must_use]
    pub fn client_addr(&self) -> IpAddr {
        self.address(Host::Client)
    }

    /// The resolver's address; it answers on port 53.
    #[must_use]
    pub fn resolver_addr(&self) -> IpAddr {
        self.address(Host::Resolver)
    }

    /// The authoritative server's address; it answers on port 53.
    #[must_use]
    pub fn server_addr(&self) -> IpAddr {
        self.address(Host::Server)
    }

    /// An address from which nothing ever comes back: queries to it time out.
    #[must_use]
    pub fn blackhole_addr(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 19, self.slot, 66))
    }

    /// An address where nothing listens: queries to it are answered by ICMP port unreachable.
    #[must_use]
    pub fn closed_addr(&self) -> IpAddr {
        IpAddr::V4(network::ipv4(self.slot, network::CLOSED))
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: Host) -> IpAddr {
        IpAddr::V4(network::ipv4(self.slot, host.number()))
    }

    /// The IPv6 address of a host.
    #[must_use]
    pub fn address_v6(&self, host: Host) -> Ipv6Addr {
        network::ipv6(self.slot, host.number())
    }

    /// A command that will run on a host of the lab, in the process that starts it: its pid is
    /// the program's.
    #[must_use]
    pub fn command(&self, host: Host, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).args(words);
        command
    }

    /// Runs a program on a host to its end; its exit status is the caller's to judge.
    pub fn exec(&self, host: Host, words: &[&str]) -> Result<Output> {
        let mut command = self.command(host, words);
        command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start `{}`", shell::shown(&command)))
    }

    /// Starts a program on a host, with pipes for what it reads and writes.
    pub fn spawn(&self, host: Host, words: &[&str]) -> Result<Child> {
        let mut command = self.command(host, words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::shown(&command)))
    }

    /// Asks the resolver with dig: `lab.dig(&["www.example.com", "AAAA"])`.
    pub fn dig(&self, question: &[&str]) -> Result<String> {
        let at = format!("@{}", self.resolver_addr());
        let words = [&["dig", "+tries=1", "+time=3", at.as_str()], question].concat();
        Ok(String::from_utf8_lossy(&self.exec(Host::Client, &words)?.stdout).into_owned())
    }

    /// Sends load from the client to the resolver and waits for its end.
    pub fn dnsperf(&self, load: &Load) -> Result<Perf> {
        self.dnsperf_to(self.resolver_addr(), load)
    }

    /// Sends load from the client to any address of the lab and waits for its end.
    pub fn dnsperf_to(&self, server: IpAddr, load: &Load) -> Result<Perf> {
        self.dnsperf_from(Host::Client, server, load)
    }

    /// Sends load between any two hosts of the lab and waits for its end.
    pub fn dnsperf_from(&self, host: Host, server: IpAddr, load: &Load) -> Result<Perf> {
        Perf::of(self.start_dnsperf(host, server, load)?)
    }

    /// Starts load and returns at once; [`Perf::of`] waits for its end.
    pub fn start_dnsperf(&self, host: Host, server: IpAddr, load: &Load) -> Result<Child> {
        let mut data = tempfile::Builder::new().prefix("dnsperf-").tempfile_in(&self.folder)?;
        std::io::Write::write_all(&mut data, load.data().as_bytes())?;
        // The lab's folder goes with the lab, and this file with it.
        let (_, file) = data.keep().context("cannot keep dnsperf's data")?;
        let words = load.command(server, &file);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.spawn(host, &words)
    }

    fn start_server(&mut self) -> Result<()> {
        let folder = self.folder.join("knot");
        zones::write(&folder, self.slot)?;
        let config = folder.join("knot.conf");
        self.start(Host::Server, &["knotd", "-c", &config.display().to_string()])?;
        self.await_answer("knot", self.server_addr(), "com")
    }

    fn start_resolver(&mut self, options: &[&str]) -> Result<()> {
        let folder = self.folder.join("unbound");
        zones::write_resolver(&folder, self.slot, options)?;
        let config = folder.join("unbound.conf");
        self.start(Host::Resolver, &["unbound", "-d", "-p", "-c", &config.display().to_string()])?;
        self.await_answer("unbound", self.resolver_addr(), "www.example.com")
    }

    /// A figure of unbound's own statistics, such as `total.num.cachehits`, since its start.
    pub fn unbound_statistic(&self, name: &str) -> Result<u64> {
        let config = self.folder.join("unbound/unbound.conf").display().to_string();
        let mut command =
            self.command(Host::Resolver, &["unbound-control", "-c", &config, "stats_noreset"]);
        let output = shell::output(&mut command)?;
        let text = String::from_utf8(output.stdout)?;
        let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let figure = figure.with_context(|| format!("no {name} in unbound's statistics"))?;
        figure.parse().with_context(|| format!("unbound's {name} is {figure}"))
    }

    /// What a server of the lab has logged.
    pub fn log(&self, host: Host) -> Result<String> {
        let path = self.folder.join(format!("{}.log", host.name()));
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn start(&mut self, host: Host, words: &[&str]) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{}.log", host.name())))?;
        let mut command = self.command(host, words);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
        self.servers.push(child);
        Ok(())
    }

    fn await_answer(&mut self, what: &str, server: IpAddr, name: &str) -> Result<()> {
        let at = format!("@{server}");
        let ask = ["dig", "+tries=1", "+time=1", "+short", &at, name, "ANY"];
        let answered = shell::wait_for(&format!("an answer from {what}"), START, || {
            if let Some(server) = self.servers.last_mut()
                && let Some(status) = server.try_wait()?
            {
                anyhow::bail!("{what} ended at its start ({status})");
            }
            let output = self.exec(Host::Client, &ask)?;
            Ok((output.status.success() && !output.stdout.is_empty()).then_some(()))
        });
        answered.with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        Host::ALL
            .iter()
            .filter_map(|host| {
                fs::read_to_string(self.folder.join(format!("{}.log", host.name()))).ok()
            })
            .collect()
    }

    /// Where the lab keeps its configuration and logs; test data may go there too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for server in &mut self.servers {
            // Fails only where it has ended by itself.
            let _ = shell::signal(server, Signal::TERM);
            let _ = shell::wait(server, Duration::from_secs(5));
        }
        network::remove(self.slot);
    }
}
