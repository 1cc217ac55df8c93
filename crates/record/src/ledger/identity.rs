//! Identities that hold in every ledger record.

use super::{
    Connections, Counters, Decode, Delivery, Followed, Kernel, Pairing, Path, Probing, Reasons,
    Ring, Uses, senders,
};
use std::fmt;

/// An identity that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// Where: `kernel.cgroup`, `ring`, `delivery.kafka.transactions`, ...
    pub place: String,
    /// The identity, in the names of the counters.
    pub identity: &'static str,
    /// Value of its left side.
    pub left: u64,
    /// Value of its right side.
    pub right: u64,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, identity, left, right } = self;
        write!(f, "{place}: {identity} does not hold: {left} is not {right}")
    }
}

/// An identity with its two sides: text, left, right.
pub(super) type Sides = (&'static str, u64, u64);

/// A counter, or the sum of counters by reason.
pub(super) trait Total {
    fn total(&self) -> u64;
}

impl Total for u64 {
    fn total(&self) -> u64 {
        *self
    }
}

impl Total for Reasons {
    fn total(&self) -> u64 {
        self.values().sum()
    }
}

/// Returns the sides of an identity between the counters of one stage.
macro_rules! sides {
    ($counters:expr, $left:ident = $first:ident $(+ $right:ident)*) => {
        (
            concat!(stringify!($left), " = ", stringify!($first) $(, " + ", stringify!($right))*),
            $counters.$left,
            $counters.$first.total() $(+ $counters.$right.total())*,
        )
    };
}

pub(super) use sides;

impl Counters {
    /// Returns whether every identity holds.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.imbalances().is_empty()
    }

    /// Returns the identities that do not hold.
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
        if let Some(uses) = &self.uses {
            collect(&mut found, "uses", &[uses.sides()]);
            if let Some(connect) = self.kernel.get("connect").filter(|_| self.ring.in_ring == 0) {
                let accounted = uses.connects + connect.skipped.total();
                let sides = ("seen = uses.connects + skipped", connect.seen, accounted);
                collect(&mut found, "kernel.connect", &[sides]);
            }
        }
        if let Some(path) = &self.path {
            collect(&mut found, "path.leaving", &[path.leaving.sides()]);
            collect(&mut found, "path.arriving", &[path.arriving.sides()]);
            if let Some(drop) = self.kernel.get("drop").filter(|_| self.ring.in_ring == 0) {
                collect(&mut found, "kernel.drop", &[path.sides(drop)]);
            }
        }
        if let Some(senders) = &self.senders {
            for (index, sender) in senders.iter().enumerate() {
                collect(&mut found, &format!("senders.{index}"), &sender.sides());
            }
            collect(&mut found, "senders", &senders::sums(senders, self));
        }
        if let Some(probing) = &self.probing {
            collect(&mut found, "probing", &[probing.sides()]);
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
        let Ring { submitted: ring, sequence_gaps, .. } = self.ring;
        [
            sides!(self.ring, submitted = received + in_ring),
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

impl Kernel {
    fn sides(&self) -> Sides {
        sides!(self, seen = submitted + lost_ring_full + sampled_out + skipped)
    }
}

impl Probing {
    fn sides(&self) -> Sides {
        sides!(self, rounds = completed + running + skipped)
    }
}

impl Decode {
    fn sides(&self, ring: &Ring) -> [Sides; 3] {
        [
            ("received = ring.received", self.received, ring.received),
            sides!(self, received = decoded_packets + malformed + held),
            sides!(self, messages = queries + responses),
        ]
    }
}

impl Pairing {
    fn sides(&self, decode: &Decode) -> [Sides; 4] {
        [
            ("queries + one_way = decode.queries", self.queries + self.one_way, decode.queries),
            (
                "responses + continued = decode.responses + shared",
                self.responses + self.continued,
                decode.responses + self.shared,
            ),
            sides!(
                self,
                queries = answered + timeout + icmp_error + evicted + open + retransmitted
            ),
            sides!(self, responses = answered + late + duplicate + orphan),
        ]
    }
}

impl Connections {
    fn sides(&self) -> Sides {
        sides!(
            self,
            connections =
                closed + reset + refused + timeout + handshake_failed + idle + evicted + open
        )
    }
}

impl Uses {
    fn sides(&self) -> Sides {
        sides!(self, connects = matched + ambiguous + none + held + lost)
    }
}

impl Followed {
    fn sides(&self) -> Sides {
        sides!(self, packets = delivered + dropped + in_flight + unknown)
    }
}

impl Path {
    fn sides(&self, drop: &Kernel) -> Sides {
        let Self { leaving, arriving, passing, copies, lost } = self;
        let reasons = [&leaving.dropped, &arriving.dropped, passing];
        let known = reasons.into_iter().map(Total::total).sum::<u64>() + copies;
        (
            "seen = path.*.dropped + path.passing + path.copies + path.lost + sampled_out",
            drop.seen,
            known + lost + drop.sampled_out,
        )
    }
}

impl Delivery {
    fn sides(&self) -> Sides {
        sides!(self, records = delivered + spooled + in_flight + filtered + dropped)
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

    /// Counters with an empty ring, three discarded packets and the path of five.
    fn with_path() -> Counters {
        let mut counters = balanced();
        let drop = Kernel {
            seen: 6,
            submitted: 3,
            lost_ring_full: 1,
            sampled_out: 2,
            ..Kernel::default()
        };
        counters.kernel.insert("drop".into(), drop);
        counters.ring = Ring { submitted: 10, received: 10, in_ring: 0, sequence_gaps: 3 };
        (counters.decode.received, counters.decode.decoded_packets) = (10, 8);
        let reasons = |count| Reasons::from([("SOCKET_RCVBUFF".into(), count)]);
        counters.path = Some(Path {
            leaving: Followed {
                packets: 2,
                delivered: 1,
                dropped: reasons(1),
                ..Followed::default()
            },
            arriving: Followed {
                packets: 3,
                in_flight: 1,
                unknown: 1,
                dropped: reasons(1),
                ..Followed::default()
            },
            passing: Reasons::default(),
            copies: 1,
            lost: 1,
        });
        counters
    }

    #[test]
    fn finds_each_packet_without_an_end() {
        type Damage = fn(&mut Path);
        assert_eq!(with_path().imbalances(), []);
        let damages: [(&str, Damage); 5] = [
            ("path.leaving", |path| path.leaving.delivered += 1),
            ("path.arriving", |path| path.arriving.unknown -= 1),
            ("kernel.drop", |path| path.lost -= 1),
            ("kernel.drop", |path| path.copies += 1),
            ("kernel.drop", |path| {
                path.passing.insert("NO_SOCKET".into(), 1);
            }),
        ];
        for (place, damage) in damages {
            let mut counters = with_path();
            damage(counters.path.as_mut().unwrap());
            let found = counters.imbalances();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].place, place);
        }
        let mut counters = with_path();
        // While the ring is not empty, the report may be in it.
        (counters.ring.in_ring, counters.ring.received) = (1, 9);
        (counters.decode.received, counters.decode.decoded_packets) = (9, 7);
        counters.path.as_mut().unwrap().copies = 0;
        assert_eq!(counters.imbalances(), []);
    }

    #[test]
    fn balanced_counters_have_no_imbalance() {
        assert_eq!(balanced().imbalances(), []);
    }

    #[test]
    fn finds_each_missing_unit() {
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
