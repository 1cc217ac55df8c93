//! Special addresses of the lab that fail in a defined way: sockets inside a host's namespace, and
//! routes that reject packets.

use super::network::{self, CLOSED};
use super::{Host, Lab};
use crate::shell;
use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::thread;

/// The behaviour of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialAddress {
    /// A scripted server answers (`crate::scripted`).
    Scripted,
    /// Second address of the scripted server's host.
    Secondary,
    /// Third address, for a server that stops and restarts.
    Restarted,
    /// The host exists, but the port is closed.
    Closed,
    /// A router answers with ICMP host unreachable.
    HostUnreachable,
    /// A router answers with ICMP network unreachable.
    NetUnreachable,
    /// A router answers with ICMP administratively prohibited.
    Prohibited,
}

impl SpecialAddress {
    const LOCAL: [Self; 3] = [Self::Scripted, Self::Secondary, Self::Restarted];

    const fn number(self) -> u8 {
        match self {
            Self::Scripted => 77,
            Self::Secondary => 78,
            Self::Restarted => 79,
            Self::Closed => CLOSED,
            Self::HostUnreachable => 71,
            Self::NetUnreachable => 72,
            Self::Prohibited => 73,
        }
    }

    const fn is_routed(self) -> bool {
        matches!(self, Self::HostUnreachable | Self::NetUnreachable | Self::Prohibited)
    }
}

impl Lab {
    /// Runs a closure in a host's network namespace, for example to open sockets there.
    pub fn inside<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.namespace_path(host);
        inside(&namespace, work)
    }

    /// File of a host's network namespace.
    #[must_use]
    pub fn namespace_path(&self, host: Host) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(host))
    }

    /// Returns the address with this behaviour, after [`Self::add_special_addresses`].
    #[must_use]
    pub fn special_address(&self, special: SpecialAddress, ipv6: bool) -> IpAddr {
        let number = special.number();
        let digits = u16::from(number / 10 * 16 + number % 10);
        match (special.is_routed(), ipv6) {
            (false, false) => network::ipv4(self.slot, number).into(),
            (false, true) => network::ipv6(self.slot, number).into(),
            (true, false) => Ipv4Addr::new(198, 19, self.slot, number).into(),
            (true, true) => {
                Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(self.slot), 0, 0, 0, digits).into()
            }
        }
    }

    /// Adds the addresses to the server's host and makes it a router that reports why it does not
    /// forward. Other packets routed to it are still dropped silently.
    pub fn add_special_addresses(&self) -> Result<()> {
        for special in SpecialAddress::LOCAL {
            self.ip(
                Host::Server,
                &[
                    "address",
                    "add",
                    &format!("{}/24", self.special_address(special, false)),
                    "dev",
                    "eth0",
                ],
            )?;
            self.ip(
                Host::Server,
                &[
                    "address",
                    "add",
                    &format!("{}/64", self.special_address(special, true)),
                    "dev",
                    "eth0",
                    "nodad",
                ],
            )?;
        }
        let closed = format!("{}/64", self.special_address(SpecialAddress::Closed, true));
        self.ip(Host::Server, &["address", "add", &closed, "dev", "eth0", "nodad"])?;
        let routed = Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(self.slot), 0, 0, 0, 0);
        let (routed, via) = (format!("{routed}/64"), self.address_v6(Host::Server).to_string());
        self.ip(Host::Client, &["route", "add", &routed, "via", &via])?;
        self.ip(
            Host::Server,
            &["route", "add", "blackhole", &format!("198.19.{}.0/24", self.slot)],
        )?;
        for (special, kind) in [
            (SpecialAddress::HostUnreachable, "unreachable"),
            (SpecialAddress::NetUnreachable, "throw"),
            (SpecialAddress::Prohibited, "prohibit"),
        ] {
            for ipv6 in [false, true] {
                self.ip(
                    Host::Server,
                    &["route", "add", kind, &self.special_address(special, ipv6).to_string()],
                )?;
            }
        }
        self.set(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        self.lift_icmp_limits()
    }

    /// Makes the server's host send each ICMP error: by default Linux sends about one a second to each address. (A rate of 0
    /// would use up the tokens of the limit for routing errors, which has no setting.)
    pub fn lift_icmp_limits(&self) -> Result<()> {
        self.set(&[("ipv4/icmp_ratemask", "0"), ("ipv6/icmp/ratelimit", "0")])
    }

    /// Sets parameters of the server's network stack.
    fn set(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.inside(Host::Server, || {
            settings.iter().try_for_each(|(name, value)| {
                std::fs::write(format!("/proc/sys/net/{name}"), value)
                    .with_context(|| format!("cannot set {name}"))
            })
        })?
    }

    fn ip(&self, host: Host, words: &[&str]) -> Result<()> {
        let namespace = self.namespace(host);
        shell::run(&[&["ip", "-n", &namespace], words].concat()).map(drop)
    }
}

/// Runs a closure in a network namespace.
pub fn inside<T: Send>(namespace: &std::path::Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(namespace)
                .with_context(|| format!("no network namespace {}", namespace.display()))?;
            // Only this thread changes its namespace; it ends with the closure.
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter a network namespace")?;
            Ok(work())
        });
        thread.join().map_err(|_| anyhow!("a thread in a namespace has panicked"))?
    })
}
