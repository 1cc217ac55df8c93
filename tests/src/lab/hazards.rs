//! Addresses of the lab with a fate, and how a test gets there: sockets inside a host, routes that
//! lead nowhere.

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

/// What awaits a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A script answers (`crate::scripted`).
    Scripted,
    /// Another address of the same host.
    Aside,
    /// A third one, for a server that goes and comes.
    Restarted,
    /// The host is there, and the port is closed.
    Closed,
    /// A router has no way to the host.
    HostUnreachable,
    /// A router has no way to the network.
    NetUnreachable,
    /// A router may not forward it.
    Prohibited,
}

impl Fate {
    const LOCAL: [Self; 3] = [Self::Scripted, Self::Aside, Self::Restarted];

    const fn number(self) -> u8 {
        match self {
            Self::Scripted => 77,
            Self::Aside => 78,
            Self::Restarted => 79,
            Self::Closed => CLOSED,
            Self::HostUnreachable => 71,
            Self::NetUnreachable => 72,
            Self::Prohibited => 73,
        }
    }

    const fn is_beyond(self) -> bool {
        matches!(self, Self::HostUnreachable | Self::NetUnreachable | Self::Prohibited)
    }
}

impl Lab {
    /// Does something in a host's network namespace, such as opening sockets, which stay there.
    pub fn inside<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.namespace_path(host);
        inside(&namespace, work)
    }

    /// The file that stands for a host's network namespace.
    #[must_use]
    pub fn namespace_path(&self, host: Host) -> PathBuf {
        PathBuf::from("/run/netns").join(self.namespace(host))
    }

    /// An address with this fate, once [`Self::add_hazards`] has been called.
    #[must_use]
    pub fn hazard(&self, fate: Fate, ipv6: bool) -> IpAddr {
        let number = fate.number();
        let digits = u16::from(number / 10 * 16 + number % 10);
        match (fate.is_beyond(), ipv6) {
            (false, false) => network::ipv4(self.slot, number).into(),
            (false, true) => network::ipv6(self.slot, number).into(),
            (true, false) => Ipv4Addr::new(198, 19, self.slot, number).into(),
            (true, true) => {
                Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(self.slot), 0, 0, 0, digits).into()
            }
        }
    }

    /// Gives the server's host the addresses, and makes it a router that says why it does not
    /// forward. What is routed to it for others still vanishes silently, unless it has a fate.
    pub fn add_hazards(&self) -> Result<()> {
        for fate in Fate::LOCAL {
            self.ip(
                Host::Server,
                &["address", "add", &format!("{}/24", self.hazard(fate, false)), "dev", "eth0"],
            )?;
            self.ip(
                Host::Server,
                &[
                    "address",
                    "add",
                    &format!("{}/64", self.hazard(fate, true)),
                    "dev",
                    "eth0",
                    "nodad",
                ],
            )?;
        }
        let closed = format!("{}/64", self.hazard(Fate::Closed, true));
        self.ip(Host::Server, &["address", "add", &closed, "dev", "eth0", "nodad"])?;
        let beyond = Ipv6Addr::new(0x2001, 0xdb8, 1, u16::from(self.slot), 0, 0, 0, 0);
        let (beyond, via) = (format!("{beyond}/64"), self.address_v6(Host::Server).to_string());
        self.ip(Host::Client, &["route", "add", &beyond, "via", &via])?;
        self.ip(
            Host::Server,
            &["route", "add", "blackhole", &format!("198.19.{}.0/24", self.slot)],
        )?;
        for (fate, kind) in [
            (Fate::HostUnreachable, "unreachable"),
            (Fate::NetUnreachable, "throw"),
            (Fate::Prohibited, "prohibit"),
        ] {
            for ipv6 in [false, true] {
                self.ip(
                    Host::Server,
                    &["route", "add", kind, &self.hazard(fate, ipv6).to_string()],
                )?;
            }
        }
        self.inside(Host::Server, || {
            // No limit to ICMP errors: each is expected by some test. (A rate of 0 would use up
            // what the limit of routing errors counts with, and that has none to set.)
            let settings = [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/icmp_ratemask", "0"),
                ("ipv6/icmp/ratelimit", "0"),
            ];
            settings.into_iter().try_for_each(|(name, value)| {
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

/// Does something in a network namespace.
pub fn inside<T: Send>(namespace: &std::path::Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(namespace)
                .with_context(|| format!("no network namespace {}", namespace.display()))?;
            // Of this thread alone, which ends with the work.
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter a network namespace")?;
            Ok(work())
        });
        thread.join().map_err(|_| anyhow!("a thread in a namespace has panicked"))?
    })
}
