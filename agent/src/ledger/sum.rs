//! Counters of several shards of one stage, or of sinks that had one name, added up. Every field is named, so that none is forgotten.

use super::{Connections, Decode, Delivery, Pairing};
use std::ops::AddAssign;

impl AddAssign<&Decode> for Decode {
    fn add_assign(&mut self, other: &Decode) {
        let Decode {
            received,
            decoded_packets,
            malformed,
            held,
            messages,
            queries,
            responses,
            evicted_streams,
            icmp_about_queries,
            icmp_about_responses,
        } = other;
        self.received += received;
        self.decoded_packets += decoded_packets;
        for (reason, count) in malformed {
            *self.malformed.entry(reason.clone()).or_default() += count;
        }
        self.held += held;
        self.messages += messages;
        self.queries += queries;
        self.responses += responses;
        self.evicted_streams += evicted_streams;
        self.icmp_about_queries += icmp_about_queries;
        self.icmp_about_responses += icmp_about_responses;
    }
}

impl AddAssign<&Pairing> for Pairing {
    fn add_assign(&mut self, other: &Pairing) {
        let Pairing {
            queries,
            responses,
            answered,
            timeout,
            icmp_error,
            evicted,
            open,
            retransmitted,
            late,
            duplicate,
            orphan,
            continued,
            shared,
            one_way,
        } = other;
        self.queries += queries;
        self.responses += responses;
        self.answered += answered;
        self.timeout += timeout;
        self.icmp_error += icmp_error;
        self.evicted += evicted;
        self.open += open;
        self.retransmitted += retransmitted;
        self.late += late;
        self.duplicate += duplicate;
        self.orphan += orphan;
        self.continued += continued;
        self.shared += shared;
        self.one_way += one_way;
    }
}

impl AddAssign<&Connections> for Connections {
    fn add_assign(&mut self, other: &Connections) {
        let Connections {
            packets,
            stray,
            connections,
            closed,
            reset,
            refused,
            timeout,
            handshake_failed,
            idle,
            evicted,
            open,
            interim,
        } = other;
        self.packets += packets;
        self.stray += stray;
        self.connections += connections;
        self.closed += closed;
        self.reset += reset;
        self.refused += refused;
        self.timeout += timeout;
        self.handshake_failed += handshake_failed;
        self.idle += idle;
        self.evicted += evicted;
        self.open += open;
        self.interim += interim;
    }
}

impl AddAssign<&Delivery> for Delivery {
    fn add_assign(&mut self, other: &Delivery) {
        let Delivery { records, delivered, spooled, in_flight, filtered, dropped } = other;
        self.records += records;
        self.delivered += delivered;
        self.spooled += spooled;
        self.in_flight += in_flight;
        self.filtered += filtered;
        for (reason, count) in dropped {
            *self.dropped.entry(reason.clone()).or_default() += count;
        }
    }
}
