//! The broker's ports and properties.

use anyhow::{Context as _, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many pairs of ports this process has asked for.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Two loopback ports, one for clients and one for the controller.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    client: u16,
    controller: u16,
}

impl Ports {
    /// Two ports that nobody listens on, below those that the kernel gives to clients, so that
    /// they are still free when the broker starts again.
    pub fn free() -> Result<Self> {
        // Neither two processes nor two threads try the same ones first.
        let first = std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 5000;
        (0..5000_u32)
            .map(|step| 20_000 + (first + step) % 5000 * 2)
            .filter_map(|port| u16::try_from(port).ok())
            .map(|client| Self { client, controller: client + 1 })
            .find(|ports| [ports.client, ports.controller].into_iter().all(is_free))
            .context("no two free ports between 20000 and 30000")
    }

    /// The address that clients connect to.
    pub fn bootstrap(self) -> String {
        format!("127.0.0.1:{}", self.client)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The broker's properties but for its data folder: a single node with small internal topics.
pub fn properties(ports: Ports) -> Vec<(&'static str, String)> {
    let (client, controller) = (ports.client, ports.controller);
    let mut properties = vec![
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        (
            "listeners",
            format!("PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}"),
        ),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{client}")),
    ];
    let fixed = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        // A killed broker comes back only once the session that it had has ended.
        ("broker.session.timeout.ms", "2000"),
        ("broker.heartbeat.interval.ms", "500"),
        ("num.partitions", "3"),
        ("auto.create.topics.enable", "true"),
    ];
    properties.extend(fixed.map(|(key, value)| (key, value.to_owned())));
    properties
}

/// The properties as the file that the broker reads.
pub fn file(ports: Ports, folder: &Path) -> String {
    properties(ports)
        .into_iter()
        .fold(format!("log.dirs={}\n", folder.join("data").display()), |file, (key, value)| {
            file + key + "=" + &value + "\n"
        })
}
