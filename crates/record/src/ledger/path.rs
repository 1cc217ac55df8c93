//! Counters of DNS packets on their way through the host.

use super::Reasons;
use crate::merged_struct;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

merged_struct! {
    /// Counters of DNS packets over UDP on their way through this host, where the path of packets is captured. Identity 9, of
    /// `leaving` and `arriving`: `packets = delivered + Σ dropped + in_flight + unknown`. With an empty ring,
    /// `kernel.drop.seen = Σ leaving.dropped + Σ arriving.dropped + Σ passing + copies + lost + kernel.drop.sampled_out`.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Path {
        /// Packets that sockets of this host sent; `delivered` are those that a device took.
        pub leaving: Followed,
        /// Packets that reached a socket of this host; `delivered` are those that a process read.
        pub arriving: Followed,
        /// Packets discarded elsewhere on this host, by the kernel's reason: before they reached a socket, or behind the
        /// device that took them.
        pub passing: Reasons,
        /// Discarded packets of which nothing was lost: copies for packet sockets, and those without a readable message.
        pub copies: u64,
        /// Reports of discarded packets that did not fit into the ring.
        pub lost: u64,
    }
}

merged_struct! {
    /// What became of packets.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct Followed {
        /// Packets that are followed.
        pub packets: u64,
        /// Packets that reached the end of their way on this host.
        pub delivered: u64,
        /// Packets that the kernel discarded, by its reason.
        pub dropped: Reasons,
        /// Packets on their way, for up to ten seconds.
        pub in_flight: u64,
        /// Packets of which no end was seen: read by a program that does not ask who sent them, or while sampling leaves out
        /// messages; or the report did not fit into the ring.
        pub unknown: u64,
    }
}
