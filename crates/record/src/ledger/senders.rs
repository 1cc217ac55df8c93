//! Counters of servers that send dnstap.

use super::Counters;
use super::identity::{Sides, Total as _, sides};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counters of one sender of dnstap. Identity 10: `received = decoded + malformed + in_ring + lost_ring_full`; `connections =
/// closed + cut_off + refused + open`. Over all senders, `received` is `kernel.dnstap.seen`, and `lost_ring_full` is
/// `kernel.dnstap.lost_ring_full`. Where nothing but dnstap is captured, `malformed` and `in_ring` are those of `decode` and `ring`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnstapSender {
    /// Identity that its frames have; without one, the path of the socket to which it sends, else the address of its host. Senders
    /// beyond 64 names, and connections without a frame of those that are not named here, are together as `other`.
    pub name: String,
    /// Frames received.
    pub received: u64,
    /// Frames of which the message was decoded.
    pub decoded: u64,
    /// Frames that cannot be read, or whose message cannot be decoded.
    pub malformed: u64,
    /// Frames that wait.
    pub in_ring: u64,
    /// Frames lost because too many waited.
    pub lost_ring_full: u64,
    /// Connections, each counted from its first frame on, or at its end if it had none.
    pub connections: u64,
    /// Connections that ended after a whole frame.
    pub closed: u64,
    /// Connections that ended in the middle of a frame, or by an error of the network.
    pub cut_off: u64,
    /// Connections that were refused: what came is not dnstap, TLS failed, or there were too many.
    pub refused: u64,
    /// Connections that are open and have sent a frame.
    pub open: u64,
}

impl DnstapSender {
    pub(super) fn sides(&self) -> [Sides; 2] {
        [
            sides!(self, received = decoded + malformed + in_ring + lost_ring_full),
            sides!(self, connections = closed + cut_off + refused + open),
        ]
    }
}

/// Identities between all senders together and the other counters.
pub(super) fn sums(senders: &[DnstapSender], counters: &Counters) -> Vec<Sides> {
    let sum = |of: fn(&DnstapSender) -> u64| senders.iter().map(of).sum::<u64>();
    let dnstap = counters.kernel.get("dnstap").cloned().unwrap_or_default();
    let lost = dnstap.lost_ring_full;
    let mut sides = vec![
        ("sum of received = kernel.dnstap.seen", sum(|one| one.received), dnstap.seen),
        (
            "sum of lost_ring_full = kernel.dnstap.lost_ring_full",
            sum(|one| one.lost_ring_full),
            lost,
        ),
    ];
    if counters.kernel.len() == 1 {
        let (malformed, in_ring) = (counters.decode.malformed.total(), counters.ring.in_ring);
        sides.extend([
            ("sum of malformed = decode.malformed", sum(|one| one.malformed), malformed),
            ("sum of in_ring = ring.in_ring", sum(|one| one.in_ring), in_ring),
        ]);
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Kernel, Reasons, Ring};

    /// Counters of two senders of dnstap, and of nothing else.
    fn dnstap() -> Counters {
        let mut counters = Counters::default();
        let kernel = Kernel { seen: 9, submitted: 7, lost_ring_full: 2, ..Kernel::default() };
        counters.kernel.insert("dnstap".into(), kernel);
        counters.ring = Ring { submitted: 7, received: 6, in_ring: 1, sequence_gaps: 2 };
        (counters.decode.received, counters.decode.decoded_packets) = (6, 5);
        counters.decode.malformed = Reasons::from([("dns_header".into(), 1)]);
        (counters.decode.messages, counters.decode.queries) = (5, 5);
        (counters.pairing.queries, counters.pairing.open) = (5, 5);
        let sender = |name: &str, decoded| DnstapSender {
            name: name.into(),
            received: decoded,
            decoded,
            connections: 2,
            cut_off: 1,
            open: 1,
            ..DnstapSender::default()
        };
        let (mut one, other) = (sender("one", 2), sender("other", 3));
        (one.received, one.malformed, one.in_ring, one.lost_ring_full) = (6, 1, 1, 2);
        counters.senders = Some(vec![one, other]);
        counters
    }

    #[test]
    fn every_counter_of_a_sender_belongs_to_an_identity() {
        type Damage = fn(&mut DnstapSender);
        let damages: [(Damage, &[&str]); 10] = [
            (|one| one.received += 1, &["senders.0", "senders"]),
            (|one| one.decoded += 1, &["senders.0"]),
            (|one| one.malformed += 1, &["senders.0", "senders"]),
            (|one| one.in_ring += 1, &["senders.0", "senders"]),
            (|one| one.lost_ring_full += 1, &["senders.0", "senders"]),
            (|one| one.connections += 1, &["senders.0"]),
            (|one| one.closed += 1, &["senders.0"]),
            (|one| one.cut_off += 1, &["senders.0"]),
            (|one| one.refused += 1, &["senders.0"]),
            (|one| one.open += 1, &["senders.0"]),
        ];
        assert_eq!(dnstap().imbalances(), []);
        for (number, (damage, places)) in damages.into_iter().enumerate() {
            let mut counters = dnstap();
            damage(&mut counters.senders.as_mut().unwrap()[0]);
            let found = counters.imbalances();
            let found: Vec<_> = found.iter().map(|one| one.place.as_str()).collect();
            assert_eq!(found, places, "{number}");
        }
        let mut counters = dnstap();
        counters.kernel.insert("cgroup".into(), Kernel::default());
        counters.senders.as_mut().unwrap().pop();
        assert_eq!(counters.imbalances()[0].place, "senders", "beside a hook, too");
        // Older records have none.
        counters.senders = None;
        assert_eq!(counters.imbalances(), []);
    }
}
