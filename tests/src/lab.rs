//! An isolated DNS setup in network namespaces: a client, a resolver (unbound) and an authoritative
//! server (knot) for the root, `com` and `example.com`, on one bridge.
//!
//! It does not use the host's own network. Each lab has its own namespaces and addresses, so labs
//! can run side by side; dropping a lab removes it. The addresses are reserved for benchmarks (RFC
//! 2544) and documentation (RFC 3849).

mod capture;
mod firewall;
mod special_addresses;
pub mod latency;
mod network;
mod stub;
mod pauses;
mod zones;

pub use capture::{Capture, dns_times};
pub use firewall::FirewallRule;
pub use pauses::ServerPauses;
pub use special_addresses::{SpecialAddress, inside};
pub use stub::StubConfig;

use crate::dnsperf::{DnsperfReport, Load};
use crate::shell;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Time limit for a server's first answer.
const START: Duration = Duration::from_mins(1);

/// A host of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Runs dig and dnsperf.
    Client,
    /// Runs unbound.
    Resolver,
    /// Runs knot.
    Server,
}

impl Host {
    const ALL: [Self; 3] = [Self::Client, Self::Resolver, Self::Server];

    /// Name of the host.
    #[must_use]
    pub const fn name(self) -> &'static str {
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

/// A running lab. Dropping it removes it, unless it was [`Lab::keep`]t.
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

    /// Like [`Lab::up`], with additional lines for the section `server` of unbound's configuration.
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

    /// Returns the lab that [`Lab::keep`] left running, if there is one.
    pub fn find_kept() -> Result<Option<Self>> {
        let Some(slot) = network::kept()? else { return Ok(None) };
        let folder = network::folder(slot);
        Ok(Some(Self { slot, folder, servers: Vec::new(), kept: true }))
    }

    /// Leaves the lab running after this process; `down` in a later process removes it.
    pub fn keep(mut self) -> Result<Self> {
        network::mark_kept(self.slot)?;
        self.kept = true;
        Ok(self)
    }

    /// Removes all kept labs and those whose process is gone; returns how many.
    pub fn down_all() -> Result<usize> {
        network::clean(true)
    }

    /// The name of a host's network namespace, for `ip netns exec`.
    #[must_use]
    pub fn namespace(&self, host: Host) -> String {
        network::namespace(self.slot, host.name())
    }

    /// Address of the client.
    #[must_use]
    pub fn client_addr(&self) -> IpAddr {
        self.address(Host::Client)
    }

    /// Address of the resolver (port 53).
    #[must_use]
    pub fn resolver_addr(&self) -> IpAddr {
        self.address(Host::Resolver)
    }

    /// Address of the authoritative server (port 53).
    #[must_use]
    pub fn server_addr(&self) -> IpAddr {
        self.address(Host::Server)
    }

    /// Address that never responds: queries to it time out.
    #[must_use]
    pub fn blackhole_addr(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 19, self.slot, 66))
    }

    /// Address with a closed port: queries to it are answered by ICMP port unreachable.
    #[must_use]
    pub fn closed_addr(&self) -> IpAddr {
        IpAddr::V4(network::ipv4(self.slot, network::CLOSED))
    }

    /// An address in the lab's network, by its last byte.
    #[must_use]
    pub fn address_number(&self, number: u8) -> IpAddr {
        IpAddr::V4(network::ipv4(self.slot, number))
    }

    /// Adds an address to a host.
    pub fn add_address(&self, host: Host, number: u8) -> Result<()> {
        let address = format!("{}/24", network::ipv4(self.slot, number));
        let namespace = self.namespace(host);
        shell::run(&["ip", "-n", &namespace, "address", "add", &address, "dev", "eth0"]).map(drop)
    }

    /// Drops, without a word, all that a host sends from one of its addresses to another host.
    ///
    /// # Errors
    /// The host refuses the rule.
    pub fn drop_answers(&self, host: Host, from: IpAddr, to: IpAddr) -> Result<()> {
        let (namespace, from, to) = (self.namespace(host), from.to_string(), to.to_string());
        let rule = ["rule", "add", "from", &from, "to", &to, "blackhole"];
        shell::run(&[&["ip", "-n", &namespace][..], &rule].concat()).map(drop)
    }

    /// IPv6 address that the client has a route to, and where everything is dropped.
    #[must_use]
    pub fn blackhole_ipv6(&self) -> IpAddr {
        network::blackhole_ipv6(self.slot).into()
    }

    /// Number of the lab, which is a byte of its addresses.
    #[must_use]
    pub const fn slot(&self) -> u8 {
        self.slot
    }

    /// IPv4 address of a host.
    #[must_use]
    pub fn address(&self, host: Host) -> IpAddr {
        IpAddr::V4(network::ipv4(self.slot, host.number()))
    }

    /// IPv6 address of a host.
    #[must_use]
    pub fn address_v6(&self, host: Host) -> Ipv6Addr {
        network::ipv6(self.slot, host.number())
    }

    /// Returns a command that runs on a host of the lab without an intermediate process: the pid of
    /// the child is that of the program.
    #[must_use]
    pub fn command(&self, host: Host, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).args(words);
        command
    }

    /// Runs a program on a host and waits for its end; the caller checks the exit status.
    pub fn run(&self, host: Host, words: &[&str]) -> Result<Output> {
        let mut command = self.command(host, words);
        command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))
    }

    /// Starts a program on a host, with pipes for its input and output.
    pub fn spawn(&self, host: Host, words: &[&str]) -> Result<Child> {
        let mut command = self.command(host, words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))
    }

    /// Queries the resolver with dig: `lab.dig(&["www.example.com", "AAAA"])`.
    pub fn dig(&self, question: &[&str]) -> Result<String> {
        let at = format!("@{}", self.resolver_addr());
        let words = [&["dig", "+tries=1", "+time=3", at.as_str()], question].concat();
        Ok(String::from_utf8_lossy(&self.run(Host::Client, &words)?.stdout).into_owned())
    }

    /// Sends load from the client to the resolver and waits for its end.
    pub fn dnsperf(&self, load: &Load) -> Result<DnsperfReport> {
        self.dnsperf_to(self.resolver_addr(), load)
    }

    /// Sends load from the client to any address and waits for its end.
    pub fn dnsperf_to(&self, server: IpAddr, load: &Load) -> Result<DnsperfReport> {
        self.dnsperf_from(Host::Client, server, load)
    }

    /// Sends load from any host to any address and waits for its end.
    pub fn dnsperf_from(&self, host: Host, server: IpAddr, load: &Load) -> Result<DnsperfReport> {
        DnsperfReport::wait(self.start_dnsperf(host, server, load)?)
    }

    /// Starts load and returns at once; [`DnsperfReport::wait`] waits for its end.
    pub fn start_dnsperf(&self, host: Host, server: IpAddr, load: &Load) -> Result<Child> {
        let mut data = tempfile::Builder::new().prefix("dnsperf-").tempfile_in(&self.folder)?;
        std::io::Write::write_all(&mut data, load.data().as_bytes())?;
        // This file is removed together with the lab's folder.
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

    /// Returns a value of unbound's statistics, such as `total.num.cachehits`, since its start.
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

    /// Returns the log of a server.
    pub fn log(&self, host: Host) -> Result<String> {
        let path = self.folder.join(format!("{}.log", host.name()));
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn start(&mut self, host: Host, words: &[&str]) -> Result<()> {
        self.start_server_named(host.name(), host, words)
    }

    /// Starts a server on a host, with its log in `NAME.log`; the lab ends it.
    pub fn start_server_named(&mut self, name: &str, host: Host, words: &[&str]) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        let mut command = self.command(host, words);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
        self.servers.push(child);
        Ok(())
    }

    /// Waits until a DNS server that was started last answers queries for a name.
    pub(crate) fn await_answer(&mut self, what: &str, server: IpAddr, name: &str) -> Result<()> {
        let at = format!("@{server}");
        let ask = ["dig", "+tries=1", "+time=1", "+short", &at, name, "ANY"];
        let answered = shell::wait_for(&format!("an answer from {what}"), START, || {
            if let Some(server) = self.servers.last_mut()
                && let Some(status) = server.try_wait()?
            {
                anyhow::bail!("{what} ended during start ({status})");
            }
            let output = self.run(Host::Client, &ask)?;
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

    /// Folder of the lab's configuration and logs; tests may store data there.
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
            // Fails only if the server has ended by itself.
            let _ = shell::signal(server, Signal::TERM);
            let _ = shell::wait(server, Duration::from_secs(5));
        }
        network::remove(self.slot);
    }
}
