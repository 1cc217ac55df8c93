//! Adds up counters of several shards of one stage, or of several sinks with one name.

use super::{Connections, Decode, Delivery, Pairing, Reasons};
use std::ops::AddAssign;

/// A counter, or counters by reason.
trait Add {
    fn add(&mut self, other: &Self);
}

impl Add for u64 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }
}

impl Add for Reasons {
    fn add(&mut self, other: &Self) {
        for (reason, count) in other {
            *self.entry(reason.clone()).or_default() += count;
        }
    }
}

macro_rules! add_assign {
    ($($counters:ident { $($field:ident),* $(,)? })*) => {$(
        impl AddAssign<&Self> for $counters {
            fn add_assign(&mut self, other: &Self) {
                // Names every field, so that the compiler reports a new one that is missing here.
                let Self { $($field),* } = other;
                $(self.$field.add($field);)*
            }
        }
    )*};
}

add_assign! {
    Decode {
        received, decoded_packets, malformed, held, messages, queries, responses, evicted_streams,
        icmp_about_queries, icmp_about_responses,
    }
    Pairing {
        queries, responses, answered, timeout, icmp_error, evicted, open, retransmitted, late,
        duplicate, orphan, continued, shared, one_way,
    }
    Connections {
        packets, stray, connections, closed, reset, refused, timeout, handshake_failed, idle,
        evicted, open, interim,
    }
    Delivery { records, delivered, spooled, in_flight, filtered, dropped }
}
