//! What was left out on purpose: which share since when, and how much of what.

use super::{Sight, Transport};
use crate::time::Timestamp;
use dnscribe_common::flow;
use dnscribe_common::sample::{self, Cut, PARTS};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long changes are remembered: longer than any transaction takes to be told.
const MEMORY: Duration = Duration::from_secs(180);

/// How far clocks may be apart: that of the packets, and that by which changes are noted.
const SLACK: Duration = Duration::from_secs(1);

/// Another share of the transactions is told from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Since when.
    pub at: Timestamp,
    /// What is left out, in parts of [`PARTS`].
    pub cut: Cut,
}

/// The share of all transactions that is told where so much is left out.
#[must_use]
pub fn told(cut: Cut) -> f64 {
    f64::from(PARTS - u32::from(cut)) / f64::from(PARTS)
}

/// What was left out when, of late.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Oldest first; before the first, as after it.
    changes: VecDeque<Change>,
}

impl Timeline {
    /// Takes note of a change.
    pub fn note(&mut self, change: Change) {
        let is_old = |at: Timestamp| at.plus(MEMORY) < change.at;
        while self.changes.get(1).is_some_and(|second| is_old(second.at)) {
            self.changes.pop_front();
        }
        if self.changes.is_empty() {
            self.changes.push_back(Change { at: Timestamp::default(), cut: 0 });
        }
        self.changes.push_back(change);
    }

    /// The changes that are remembered, oldest first.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.changes.iter().copied()
    }

    /// What was left out at a time.
    #[must_use]
    pub fn at(&self, ts: Timestamp) -> Cut {
        self.changes.iter().rev().find(|change| change.at <= ts).map_or(0, |change| change.cut)
    }

    /// The share of UDP transactions that was told at a time.
    #[must_use]
    pub fn told(&self, ts: Timestamp) -> f64 {
        told(self.at(ts))
    }

    /// The most that was left out at any moment between two times, give or take what clocks differ.
    #[must_use]
    pub fn most(&self, from: Timestamp, to: Timestamp) -> Cut {
        let to = to.plus(SLACK);
        let mut most = 0;
        for change in self.changes.iter().rev().filter(|change| change.at <= to) {
            most = most.max(change.cut);
            if change.at.plus(SLACK) <= from {
                break;
            }
        }
        most
    }

    /// Whether a query with this response may have been left out, had it passed between two times:
    /// the kernel decides by the same hash.
    #[must_use]
    pub fn may_have_left_out(
        &self,
        (src, dst): (SocketAddr, SocketAddr),
        id: u16,
        (from, to): (Timestamp, Timestamp),
    ) -> bool {
        // Mostly nothing was.
        !self.changes.is_empty() && part(src, dst, id) < self.most(from, to)
    }
}

/// What of a message over UDP is compared with a cut.
#[must_use]
pub fn part(src: SocketAddr, dst: SocketAddr, id: u16) -> Cut {
    let flow = flow::hash(address(src.ip()), address(dst.ip()), src.port(), dst.port());
    sample::part(sample::hash(flow, id))
}

fn address(address: IpAddr) -> flow::Address {
    match address {
        IpAddr::V4(address) => flow::four(address.octets()),
        IpAddr::V6(address) => flow::six(address.octets()),
    }
}

/// What a message was that was not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheard {
    /// A query over UDP.
    Query,
    /// A response over UDP.
    Response {
        /// Of the header: four bits.
        rcode: u8,
        /// The TC bit.
        truncated: bool,
    },
    /// A segment of TCP: how many messages were in it nobody knows.
    Segment {
        /// Whether it went to the server.
        to_server: bool,
    },
    /// A fragment, ICMP, encrypted DNS, or nothing that has a header.
    Other,
}

impl Unheard {
    /// Over what it went.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Self::Segment { .. } => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// Whether it came from a server.
    #[must_use]
    pub const fn is_from_server(self) -> bool {
        matches!(self, Self::Response { .. } | Self::Segment { to_server: false })
    }
}

/// So many more packets were not told since the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold {
    /// What they were.
    pub what: Unheard,
    /// How they passed.
    pub sight: Sight,
    /// Who was, or will be, asked; none where the kernel had no room for one more server.
    pub server: Option<IpAddr>,
    /// How many were sampled out.
    pub sampled: u64,
    /// For how many the ring had no room.
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn every_moment_has_its_cut() {
        let mut timeline = Timeline::default();
        assert_eq!((timeline.at(at(5)), timeline.most(at(0), at(9))), (0, 0));
        for (second, cut) in [(10, 100), (20, 400), (30, 0)] {
            timeline.note(Change { at: at(second), cut });
        }
        let cuts = [9, 10, 19, 20, 29, 30, 99].map(|second| timeline.at(at(second)));
        assert_eq!(cuts, [0, 100, 100, 400, 400, 0, 0]);
        assert_eq!(timeline.most(at(12), at(15)), 100);
        assert_eq!(timeline.most(at(5), at(35)), 400);
        assert_eq!(timeline.most(at(33), at(35)), 0);
        assert_eq!(timeline.most(at(2), at(4)), 0);
        assert!((timeline.told(at(25)) - (1.0 - 400.0 / 65_536.0)).abs() < 1e-12);
    }

    #[test]
    fn old_changes_are_forgotten() {
        let mut timeline = Timeline::default();
        for second in 0..10_000 {
            timeline.note(Change { at: at(second), cut: 1 });
        }
        assert!(timeline.changes.len() < 200);
    }

    proptest! {
        /// What a lower cut leaves out a higher one does too, and both directions are alike.
        #[test]
        fn sets_are_nested(
            src: [u8; 4], dst: [u8; 16], ports: (u16, u16), id: u16, one: Cut, other: Cut,
        ) {
            let (src, dst) = (SocketAddr::from((src, ports.0)), SocketAddr::from((dst, ports.1)));
            prop_assert_eq!(part(src, dst, id), part(dst, src, id));
            let (lower, higher) = (one.min(other), one.max(other));
            let leaves_out = |cut| part(src, dst, id) < cut;
            prop_assert!(!leaves_out(lower) || leaves_out(higher));
        }
    }
}
