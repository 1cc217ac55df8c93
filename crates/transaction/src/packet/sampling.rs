//! History of sampling: the share of UDP transactions that was left out, by time, and the counts of packets
//! that were not exported. The live capture writes it; pairing, windows and the ledger read it.

use super::{Direction, Transport};
use dnscribe_common::flow;
use dnscribe_common::sample::{self, Cut, PARTS};
use dnscribe_record::time::Timestamp;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long changes are kept: longer than any transaction takes to be exported.
const MEMORY: Duration = Duration::from_mins(3);

/// Largest expected difference between the packets' clock and the clock of the changes.
const SLACK: Duration = Duration::from_secs(1);

/// A change of the share that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Time of the change.
    pub at: Timestamp,
    /// Share left out from then on, in parts of [`PARTS`].
    pub cut: Cut,
}

/// Returns the share of all transactions that is exported while `cut` is left out: 0 to 1.
#[must_use]
pub fn exported_share(cut: Cut) -> f64 {
    f64::from(PARTS - u32::from(cut)) / f64::from(PARTS)
}

/// The recent changes of the share that is left out.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Oldest first. The first one holds for all time before it, too.
    changes: VecDeque<Change>,
}

impl Timeline {
    /// Adds a change, and forgets those that are too old.
    pub fn push(&mut self, change: Change) {
        let is_old = |at: Timestamp| at.plus(MEMORY) < change.at;
        while self.changes.get(1).is_some_and(|second| is_old(second.at)) {
            self.changes.pop_front();
        }
        if self.changes.is_empty() {
            self.changes.push_back(Change { at: Timestamp::default(), cut: 0 });
        }
        self.changes.push_back(change);
    }

    /// Returns the share that was left out at a time.
    #[must_use]
    pub fn cut_at(&self, ts: Timestamp) -> Cut {
        self.changes.iter().rev().find(|change| change.at <= ts).map_or(0, |change| change.cut)
    }

    /// Returns the share of UDP transactions that was exported at a time: 0 to 1.
    #[must_use]
    pub fn exported_share(&self, ts: Timestamp) -> f64 {
        exported_share(self.cut_at(ts))
    }

    /// Returns the largest share that was left out between two times, with some tolerance for clocks.
    #[must_use]
    pub fn max_cut(&self, from: Timestamp, to: Timestamp) -> Cut {
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

    /// Returns whether the query to this response may have been left out, if it passed between the two
    /// times. The kernel decides by the same hash.
    #[must_use]
    pub fn may_have_left_out(
        &self,
        (src, dst): (SocketAddr, SocketAddr),
        id: u16,
        (from, to): (Timestamp, Timestamp),
    ) -> bool {
        // Usually there are no changes.
        !self.changes.is_empty() && part(src, dst, id) < self.max_cut(from, to)
    }
}

/// Returns the part of [`PARTS`] that a UDP message falls into; the kernel compares it with the cut.
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

/// Class of a packet that was not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketClass {
    /// A query over UDP.
    Query,
    /// A response over UDP.
    Response {
        /// The four RCODE bits of the header.
        rcode: u8,
        /// The TC bit.
        truncated: bool,
    },
    /// A TCP segment, with an unknown number of messages.
    Segment {
        /// Whether it was sent to the server.
        to_server: bool,
    },
    /// A fragment, ICMP, encrypted DNS, or too short for a DNS header.
    Other,
}

impl PacketClass {
    /// Returns its transport.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Self::Segment { .. } => Transport::Tcp,
            _ => Transport::Udp,
        }
    }

    /// Returns whether it was sent by a server.
    #[must_use]
    pub const fn is_from_server(self) -> bool {
        matches!(self, Self::Response { .. } | Self::Segment { to_server: false })
    }
}

/// Number of packets of one class that were not exported since the last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExported {
    /// Their class.
    pub class: PacketClass,
    /// Their direction.
    pub direction: Direction,
    /// The server's address; none where the kernel's table of servers was full.
    pub server: Option<IpAddr>,
    /// Packets left out by sampling.
    pub sampled: u64,
    /// Packets lost because the ring was full.
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
    fn finds_the_cut_of_any_time() {
        let mut timeline = Timeline::default();
        assert_eq!((timeline.cut_at(at(5)), timeline.max_cut(at(0), at(9))), (0, 0));
        for (second, cut) in [(10, 100), (20, 400), (30, 0)] {
            timeline.push(Change { at: at(second), cut });
        }
        let cuts = [9, 10, 19, 20, 29, 30, 99].map(|second| timeline.cut_at(at(second)));
        assert_eq!(cuts, [0, 100, 100, 400, 400, 0, 0]);
        assert_eq!(timeline.max_cut(at(12), at(15)), 100);
        assert_eq!(timeline.max_cut(at(5), at(35)), 400);
        assert_eq!(timeline.max_cut(at(33), at(35)), 0);
        assert_eq!(timeline.max_cut(at(2), at(4)), 0);
        assert!((timeline.exported_share(at(25)) - (1.0 - 400.0 / 65_536.0)).abs() < 1e-12);
    }

    #[test]
    fn forgets_old_changes() {
        let mut timeline = Timeline::default();
        for second in 0..10_000 {
            timeline.push(Change { at: at(second), cut: 1 });
        }
        assert!(timeline.changes.len() < 200);
    }

    proptest! {
        /// A higher cut leaves out all that a lower one does, and both directions of a flow alike.
        #[test]
        fn sets_are_nested(
            src: [u8; 4], dst: [u8; 16], ports: (u16, u16), id: u16, first: Cut, second: Cut,
        ) {
            let (src, dst) = (SocketAddr::from((src, ports.0)), SocketAddr::from((dst, ports.1)));
            prop_assert_eq!(part(src, dst, id), part(dst, src, id));
            let (lower, higher) = (first.min(second), first.max(second));
            let leaves_out = |cut| part(src, dst, id) < cut;
            prop_assert!(!leaves_out(lower) || leaves_out(higher));
        }
    }
}
