//! A new agent takes over the capture of a running one: the same programs, maps and rings, and so the same
//! epoch, sequences and event ids. Nothing is detached and nothing is missed: while neither reads, packets
//! wait in the ring.
//!
//! Both talk over a Unix socket that the running agent listens at, in two steps:
//!
//! | the new agent says | the running one says | meanwhile |
//! |---|---|---|
//! | [`Hello`]: who it is, and what the programs and readers depend on | `Refused`, with the reason; or [`Offer`], with the descriptors | the running one reads on; the new one starts |
//! | `Go` | [`State`], then a [`page`] after another of the queries that wait, then `End` | the running one has stopped reading |
//! | `Took` | `Over` | the new one reads from here on |
//!
//! The running agent goes on as if nothing had been where the new one goes away before `Took`; the new one
//! does not read before `Over`. So the two never read one ring at a time.

#![forbid(unsafe_code)]

mod line;
pub mod page;

pub use line::{Kind, Line, MAX_DESCRIPTORS as MAX_PARTS};

use crate::capture::live::{About, PartName, Progress};
use crate::pipeline::{Stand, Standing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of all that is said here.
pub const PROTOCOL: u32 = 1;

/// Who wants to take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// See [`PROTOCOL`].
    pub protocol: u32,
    /// The agent's version, for the log.
    pub version: String,
    /// What must be the same in both: its name, and its value in words.
    pub same: BTreeMap<String, String>,
}

impl Hello {
    /// Why this agent and the one that says hello cannot share a capture, in a sentence.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        if self.protocol != other.protocol {
            return Some(format!(
                "it speaks version {} of the takeover protocol, and this one {}",
                self.protocol, other.protocol
            ));
        }
        let names = self.same.keys().chain(other.same.keys());
        let value = |of: &Self, name: &String| {
            of.same.get(name).cloned().unwrap_or_else(|| "nothing".to_owned())
        };
        let mut differing: Vec<_> = names
            .filter(|name| self.same.get(*name) != other.same.get(*name))
            .map(|name| format!("{name}: {} there, {} here", value(self, name), value(other, name)))
            .collect();
        differing.dedup();
        differing.sort();
        differing.dedup();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

/// What the running agent gives: with it come the descriptors of the parts, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// When the capture began, in nanoseconds since 1970.
    pub epoch: u64,
    /// The process that has it.
    pub pid: u32,
    /// What the parts are of.
    pub about: About,
    /// What each part is.
    pub parts: Vec<PartName>,
}

/// Where the running agent has stopped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// What is known of the capture and does not stand in its maps.
    pub progress: Progress,
    /// Of each ring's rooms.
    pub stands: Vec<Stand>,
    /// Of the rooms behind.
    pub standing: Standing,
    /// When it stopped reading, in nanoseconds since 1970.
    pub stopped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(same: &[(&str, &str)]) -> Hello {
        let same = same.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Hello { protocol: PROTOCOL, version: "1".to_owned(), same: same.collect() }
    }

    #[test]
    fn says_what_differs_and_nothing_else() {
        let running = hello(&[("ports", "53"), ("threads", "1"), ("node", "a")]);
        assert_eq!(running.differs(&running), None);
        let other = Hello { version: "2".to_owned(), ..running.clone() };
        assert_eq!(running.differs(&other), None);
        let other = hello(&[("ports", "53,5353"), ("threads", "1"), ("node", "b")]);
        let why = running.differs(&other).unwrap();
        assert_eq!(why, "node: a there, b here; ports: 53 there, 53,5353 here");
        let other = hello(&[("ports", "53"), ("threads", "1"), ("node", "a"), ("hook", "tap")]);
        assert_eq!(running.differs(&other).unwrap(), "hook: nothing there, tap here");
        let other = Hello { protocol: 2, ..running.clone() };
        assert!(running.differs(&other).unwrap().contains("version 1"));
    }
}
