//! The broker's ports and properties.

use super::security::SecureListener;
use crate::stack::service::reserve;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Number of port blocks that this process has requested.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// Ports per block: clients, the controller, and each [`SecureListener`].
const BLOCK: u16 = 8;

/// Loopback ports: one for clients, one for the controller, others for secured listeners.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ports {
    first: u16,
}

impl Ports {
    /// Finds ports that are free, below the kernel's range for clients, so that they are still free
    /// when the broker starts again.
    pub fn free() -> Result<Self> {
        const BLOCKS: u32 = 10_000 / BLOCK as u32;
        // Threads and processes seldom try equal ports first. Where they do, one of them reserves what both find free.
        let start = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        (0..BLOCKS)
            .map(|step| 20_000 + (start + step) % BLOCKS * u32::from(BLOCK))
            .filter_map(|port| u16::try_from(port).ok())
            .map(|first| Self { first })
            .find(|ports| {
                (0..BLOCK).all(|step| is_free(ports.first + step)) && reserve(ports.first)
            })
            .context("no free ports between 20000 and 30000")
    }

    /// The address that clients connect to.
    pub fn bootstrap(self) -> String {
        format!("127.0.0.1:{}", self.first)
    }

    /// Port of the listener behind a proxy.
    pub const fn proxied(self) -> u16 {
        self.first + 2
    }

    /// Port of that proxy.
    pub const fn proxy(self) -> u16 {
        self.first + 3
    }

    /// Port of a secured listener.
    pub const fn secure_port(self, listener: SecureListener) -> u16 {
        self.first + 2 + listener as u16
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A listener of the broker.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Name.
    pub name: &'static str,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: &'static str,
    /// Port on 127.0.0.1.
    pub port: u16,
}

/// Properties of the broker's listeners: the plain one, the controller's, and `more`.
pub fn listeners(ports: Ports, more: &[Listener]) -> Vec<(String, String)> {
    let open = |name, port| Listener { name, protocol: "PLAINTEXT", port };
    let controller = open("CONTROLLER", ports.first + 1);
    let clients = [&[open("PLAINTEXT", ports.first)], more].concat();
    let all = [&clients[..], &[controller]].concat();
    let addresses = |listeners: &[Listener]| {
        let addresses =
            listeners.iter().map(|one| format!("{}://127.0.0.1:{}", one.name, one.port));
        addresses.collect::<Vec<_>>().join(",")
    };
    let protocols = all.iter().map(|one| format!("{}:{}", one.name, one.protocol));
    [
        ("controller.quorum.voters", format!("1@127.0.0.1:{}", controller.port)),
        ("listeners", addresses(&all)),
        ("advertised.listeners", addresses(&clients)),
        ("listener.security.protocol.map", protocols.collect::<Vec<_>>().join(",")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// Properties of a broker's listeners, of which one is reached through a proxy.
pub fn proxied_listeners(ports: Ports) -> Vec<(String, String)> {
    let proxied = Listener { name: "PROXIED", protocol: "PLAINTEXT", port: ports.proxied() };
    let mut properties = listeners(ports, &[proxied]);
    let (port, proxy) = (ports.proxied().to_string(), ports.proxy().to_string());
    for (key, value) in &mut properties {
        if key == "advertised.listeners" {
            *value = value.replace(&port, &proxy);
        }
    }
    properties
}

/// Properties of the broker without listeners and data folder: a single node with small internal
/// topics.
pub fn properties() -> Vec<(String, String)> {
    let fixed = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "1"),
        // By default it looks for transactions that have taken too long each ten seconds.
        ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        // A killed broker can return only after its previous session has ended.
        ("broker.session.timeout.ms", "2000"),
        ("broker.heartbeat.interval.ms", "500"),
        ("num.partitions", "3"),
        ("auto.create.topics.enable", "true"),
    ];
    fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// Formats the properties as the file that the broker reads.
pub fn file(properties: &[(String, String)], folder: &Path) -> String {
    let data = format!("log.dirs={}\n", folder.join("data").display());
    properties.iter().fold(data, |file, (key, value)| {
        // Values in Java properties may have escaped line breaks, which PEM needs.
        file + key + "=" + &value.replace('\\', "\\\\").replace('\n', "\\n") + "\n"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_once_although_nobody_listens_yet() {
        let first = Ports::free().unwrap();
        // As in the process with the number before this one's, which asks once more.
        NEXT.fetch_sub(1, Ordering::Relaxed);
        assert_ne!(Ports::free().unwrap().first, first.first);
    }
}
