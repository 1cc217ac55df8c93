//! Handover: a new agent continues the capture of a running one, with the same programs, maps and rings, and so
//! with the same epoch, sequence numbers and event ids. Nothing is detached and no packet is lost: while neither
//! agent reads, packets wait in the rings.
//!
//! The running agent listens at a Unix socket ([`HandoverServer`]); the new one connects ([`request`]):
//!
//! | the new agent sends | the running agent sends | meanwhile |
//! |---|---|---|
//! | [`Hello`]: version, and the options that must be equal | `Refused` with the reason, or [`Offer`] with the descriptors | the running agent reads; the new one starts |
//! | `Go` | [`HandoverState`], then [`page`]s with the queries that wait, then `End` | the running agent has stopped reading |
//! | `Took` | `Over` | the new agent reads |
//!
//! If the new agent disconnects before `Took`, the running one continues. The new agent does not read before
//! `Over`. So never do both read from a ring.

#![forbid(unsafe_code)]

mod client;
mod line;
pub mod page;
mod server;

pub use client::{RunningAgent, SharedCapture, request};
pub use line::{FrameKind, FrameSocket, MAX_DESCRIPTORS as MAX_PARTS};
pub use server::HandoverServer;

use crate::capture::Received;
use crate::capture::live::{CaptureInfo, HandleName, ReaderState, object_digest};
use crate::config::Config;
use crate::pipeline::{FlowStage, PipelineState, ShardState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Version of the frames and their contents.
pub const PROTOCOL: u32 = 4;

/// How long the running agent may take to answer the first frame: it may be asleep.
const FIRST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the running agent waits for the rest of a frame, or for space to send one, while it still reads.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// How long either agent may take for any later frame. Packets wait in the ring meanwhile.
const FRAME_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the new agent waits for each of the last frames: longer than the running agent waits for `Took`, which
/// it may just have received.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the new agent may take from the offer until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Reason why a capture is not handed over, as a phrase for the log.
pub type HandoverError = Box<dyn std::error::Error + Send + Sync>;

/// The first frame: the agent that wants to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// See [`PROTOCOL`].
    pub protocol: u32,
    /// Version of the agent, for the log.
    pub version: String,
    /// Options that must be equal in both agents: serialized values by name.
    pub same: BTreeMap<String, String>,
}

impl Hello {
    /// Creates the hello of an agent with this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let capture = &config.capture;
        let cgroup = capture.cgroup.as_deref();
        let options = [
            ("eBPF programs", object_digest()),
            ("node", config.node.clone()),
            ("hook", capture.hook.to_string()),
            ("cgroup", cgroup.map_or_else(|| "root".to_owned(), |path| path.display().to_string())),
            ("interfaces", capture.interfaces.join(", ")),
            ("ports", capture.ports.to_string()),
            ("encrypted DNS", serde_json::to_string(&capture.encrypted).unwrap_or_default()),
            ("threads", capture.rings.to_string()),
            ("ring_bytes", capture.ring_bytes.to_string()),
            ("snap_bytes", capture.snap_bytes.to_string()),
        ];
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            same: options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// Returns why this agent and the one that sent `other` cannot share a capture, as a phrase.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        if self.protocol != other.protocol {
            return Some(format!(
                "it uses version {} of the takeover protocol, and this one {}",
                self.protocol, other.protocol
            ));
        }
        let names: BTreeSet<_> = self.same.keys().chain(other.same.keys()).collect();
        let differing = names.into_iter().filter_map(|name| {
            let (there, here) = (self.same.get(name), other.same.get(name));
            let nothing = "nothing".to_owned();
            let (shown, own) = (there.unwrap_or(&nothing), here.unwrap_or(&nothing));
            (there != here).then(|| format!("{name}: {shown} there, {own} here"))
        });
        let differing: Vec<_> = differing.collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

/// A flow stage that has stopped between two packets.
pub struct PausedShard {
    /// Number of the flow stage.
    pub shard: usize,
    /// State from which another agent continues.
    pub state: ShardState,
    /// Its queries, as [`page`]s.
    pub pages: Vec<Vec<u8>>,
}

impl PausedShard {
    /// Collects the state of a paused flow stage that has read `received` from its ring.
    #[must_use]
    pub fn new(flow: &FlowStage, received: &[Received]) -> Self {
        let (shard, mut pages) = (flow.shard, Vec::new());
        flow.export_queries(&mut |carried| page::push(&mut pages, shard, carried));
        Self { shard, state: flow.state(received), pages }
    }
}

/// What the running agent offers. Its listening socket and the descriptors of the parts come with the frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Start of the capture, in nanoseconds since 1970.
    pub epoch: u64,
    /// Process id of the running agent.
    pub pid: u32,
    /// Description of the capture.
    pub about: CaptureInfo,
    /// Names of the parts, in the order of their descriptors.
    pub parts: Vec<HandleName>,
}

/// State of the running agent after it has stopped reading.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HandoverState {
    /// State of the capture outside of its maps.
    pub progress: ReaderState,
    /// State of the flow stages, one per ring.
    pub shards: Vec<ShardState>,
    /// State of the merge side.
    pub pipeline: PipelineState,
    /// Time at which it stopped reading, in nanoseconds by the clock of the capture.
    pub stopped: u64,
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns whether an agent of user `peer` may talk to one of user `own`.
const fn is_trusted(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusts_root_and_its_own_user() {
        assert!(is_trusted(0, 1000) && is_trusted(1000, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(65_534, 0));
    }

    fn hello(same: &[(&str, &str)]) -> Hello {
        let same = same.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Hello { protocol: PROTOCOL, version: "1".to_owned(), same: same.collect() }
    }

    #[test]
    fn lists_only_what_differs() {
        let running = hello(&[("ports", "53"), ("threads", "1"), ("node", "a")]);
        assert_eq!(running.differs(&running), None);
        let other = Hello { version: "2".to_owned(), ..running.clone() };
        assert_eq!(running.differs(&other), None);
        let other = hello(&[("ports", "53,5353"), ("threads", "1"), ("node", "b")]);
        let why = running.differs(&other).unwrap();
        assert_eq!(why, "node: a there, b here; ports: 53 there, 53,5353 here");
        let other = hello(&[("ports", "53"), ("threads", "1"), ("node", "a"), ("hook", "tap")]);
        assert_eq!(running.differs(&other).unwrap(), "hook: nothing there, tap here");
        let other = Hello { protocol: 1, ..running.clone() };
        assert!(running.differs(&other).unwrap().contains(&format!("version {PROTOCOL}")));
    }
}
