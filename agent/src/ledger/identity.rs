//! The identities that every ledger record fulfils.

use super::{Connections, Counters, Decode, Delivery, Kernel, Pairing, Reasons, Ring};
use std::fmt;

/// An identity that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Which: `kernel.cgroup`, `ring`, `delivery.kafka.transactions`, ...
    pub place: String,
    /// The identity, in the counters' names.
    pub identity: &'static str,
    /// What its left side comes to.
    pub left: u64,
    /// What its right side comes to.
    pub right: u64,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, identity, left, right } = self;
        write!(f, "{place}: {identity} does not hold: {left} against {right}")
    }
}

/// An identity with its two sides: name, left, right.
type Sides = (&'static str, u64, u64);

impl Counters {
    /// Whether every identity holds.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.imbalances().is_empty()
    }

    /// The identities that do not hold.
    #[must_use]
    pub fn imbalances(&self) -> Vec<Imbalance> {
        let mut found = Vec::new();
        for (hook, kernel) in &self.kernel {
            collect(&mut found, &format!("kernel.{hook}"), &[kernel.sides()]);
        }
        collect(&mut found, "ring", &self.ring_sides());
        collect(&mut found, "decode", &self.decode.sides(&self.ring));
        collect(&mut found, "pairing", &self.pairing.sides(&self.decode));
        if let Some(connections) = &self.connections {
            collect(&mut found, "connections", &[connections.sides()]);
        }
        for (sink, streams) in &self.delivery {
            for (stream, delivery) in streams {
                let place = format!("delivery.{sink}.{stream}");
                collect(&mut found, &place, &[delivery.sides()]);
            }
        }
        found
    }

    fn ring_sides(&self) -> [Sides; 3] {
        let submitted = self.kernel.values().map(|kernel| kernel.submitted).sum();
        let lost = self.kernel.values().map(|kernel| kernel.lost_ring_full).sum();
        let Ring { submitted: ring, received, in_ring, sequence_gaps } = self.ring;
        [
            ("submitted = received + in_ring", ring, received + in_ring),
            ("submitted = sum of kernel.submitted", ring, submitted),
            ("sequence_gaps = sum of kernel.lost_ring_full", sequence_gaps, lost),
        ]
    }
}

fn collect(found: &mut Vec<Imbalance>, place: &str, sides: &[Sides]) {
    for &(identity, left, right) in sides.iter().filter(|(_, left, right)| left != right) {
        found.push(Imbalance { place: place.to_owned(), identity, left, right });
    }
}

fn sum(reasons: &Reasons) -> u64 {
    reasons.values().sum()
}

impl Kernel {
    fn sides(&self) -> Sides {
        let right = self.submitted + self.lost_ring_full + self.sampled_out + sum(&self.skipped);
        ("seen = submitted + lost_ring_full + sampled_out + skipped", self.seen, right)
    }
}

impl Decode {
    fn sides(&self, ring: &Ring) -> [Sides; 3] {
        let packets = self.decoded_packets + sum(&self.malformed) + self.held;
        [
            ("received = ring.received", self.received, ring.received),
            ("received = decoded_packets + malformed + held", self.received, packets),
            ("messages = queries + responses", self.messages, self.queries + self.responses),
        ]
    }
}

impl Pairing {
    fn sides(&self, decode: &Decode) -> [Sides; 4] {
        let queries = self.answered
            + self.timeout
            + self.icmp_error
            + self.evicted
            + self.open
            + self.retransmitted;
        let responses = self.answered + self.late + self.duplicate + self.orphan;
        [
            ("queries + one_way = decode.queries", self.queries + self.one_way, decode.queries),
            (
                "responses + continued = decode.responses + shared",
                self.responses + self.continued,
                decode.responses + self.shared,
            ),
            (
                "queries = answered + timeout + icmp_error + evicted + open + retransmitted",
                self.queries,
                queries,
            ),
            ("responses = answered + late + duplicate + orphan", self.responses, responses),
        ]
    }
}

impl Connections {
    fn sides(&self) -> Sides {
        let right = self.closed
            + self.reset
            + self.refused
            + self.timeout
            + self.handshake_failed
            + self.idle
            + self.evicted
            + self.open;
        (
            "connections = closed + reset + refused + timeout + handshake_failed + idle + evicted \
             + open",
            self.connections,
            right,
        )
    }
}

impl Delivery {
    fn sides(&self) -> Sides {
        let right =
            self.delivered + self.spooled + self.in_flight + self.filtered + sum(&self.dropped);
        ("records = delivered + spooled + in_flight + filtered + dropped", self.records, right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> Counters {
        let mut counters = Counters::default();
        counters.kernel.insert(
            "cgroup".into(),
            Kernel {
                seen: 10,
                submitted: 7,
                lost_ring_full: 2,
                skipped: Reasons::from([("tcp_no_payload".into(), 1)]),
                ..Kernel::default()
            },
        );
        counters.ring = Ring { submitted: 7, received: 6, in_ring: 1, sequence_gaps: 2 };
        counters.decode = Decode {
            received: 6,
            decoded_packets: 4,
            malformed: Reasons::from([("dns_header".into(), 1)]),
            held: 1,
            messages: 4,
            queries: 2,
            responses: 2,
            ..Decode::default()
        };
        counters.pairing = Pairing {
            queries: 2,
            responses: 2,
            answered: 1,
            open: 1,
            orphan: 1,
            ..Pairing::default()
        };
        let delivery = Delivery { records: 2, delivered: 1, in_flight: 1, ..Delivery::default() };
        counters.delivery.entry("stdout".into()).or_default().insert("dlq".into(), delivery);
        counters
    }

    #[test]
    fn a_balanced_ledger_has_no_imbalance() {
        assert_eq!(balanced().imbalances(), []);
    }

    #[test]
    fn every_missing_unit_is_found() {
        type Damage = fn(&mut Counters);
        let damages: [(&str, Damage); 7] = [
            ("kernel.cgroup", |c| c.kernel.get_mut("cgroup").unwrap().seen += 1),
            ("ring", |c| c.ring.in_ring += 1),
            ("ring", |c| c.ring.sequence_gaps += 1),
            ("decode", |c| c.decode.held += 1),
            ("decode", |c| c.decode.messages += 1),
            ("pairing", |c| c.pairing.late += 1),
            ("delivery.stdout.dlq", |c| {
                c.delivery.get_mut("stdout").unwrap().get_mut("dlq").unwrap().records += 1;
            }),
        ];
        for (place, damage) in damages {
            let mut counters = balanced();
            damage(&mut counters);
            let found = counters.imbalances();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].place, place);
        }
    }
}
