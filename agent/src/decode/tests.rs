//! Support for the tests of the rooms behind the decoder, and properties that span them.

use super::{Decoded, Decoder, DecoderOptions, Envelope, Kept, Malformed, Sealed, Unreachable};
use crate::capture::{Body, Origin, Packet, Sight, Task};
use crate::net::craft;
use crate::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

pub(super) const CLIENT: &str = "192.0.2.1:1024";
pub(super) const SERVER: &str = "192.0.2.53:53";

/// What a decoder gave, with octets of its own.
#[derive(Debug)]
pub(super) enum Given {
    Message(Kept),
    Unreachable(Unreachable),
    Sealed(Box<Sealed>),
    DeadLetter(Letter),
}

#[derive(Debug)]
pub(super) struct Letter {
    pub envelope: Envelope,
    pub reason: Malformed,
    pub bytes: Vec<u8>,
}

impl From<Decoded<'_>> for Given {
    fn from(decoded: Decoded<'_>) -> Self {
        match decoded {
            Decoded::Message(message) => Self::Message(message.into()),
            Decoded::Unreachable(unreachable) => Self::Unreachable(unreachable),
            Decoded::Sealed(sealed) => Self::Sealed(sealed),
            Decoded::DeadLetter(letter) => {
                let bytes = letter.bytes.to_vec();
                Self::DeadLetter(Letter { envelope: letter.envelope, reason: letter.reason, bytes })
            }
        }
    }
}

/// A decoder under test, that checks identity 3 after every call.
pub(super) struct Bench {
    pub decoder: Decoder,
    pub given: Vec<Given>,
    pub now: Timestamp,
    pub seq: u64,
    pub datagram_bytes: u16,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new(DecoderOptions::default())
    }
}

impl Bench {
    pub fn new(options: DecoderOptions) -> Self {
        let decoder = Decoder::new(options);
        Self {
            decoder,
            given: Vec::new(),
            now: Timestamp::from_nanos(1),
            seq: 0,
            datagram_bytes: 0,
        }
    }

    /// Shows an IP packet.
    pub fn see(&mut self, bytes: &[u8]) {
        self.see_clipped(bytes, bytes.len());
    }

    /// Shows the first octets of an IP packet.
    pub fn see_clipped(&mut self, bytes: &[u8], captured: usize) {
        let captured = captured.min(bytes.len());
        let wire_bytes = u32::try_from(bytes.len()).unwrap();
        self.see_body(Body::Ip { bytes: &bytes[..captured], wire_bytes }, None);
    }

    pub fn see_body(&mut self, body: Body<'_>, task: Option<Task>) {
        self.seq += 1;
        let packet = Packet {
            ts: self.now,
            origin: Origin { cpu: 0, seq: self.seq },
            scope: 0,
            sight: Sight::Passive,
            task,
            datagram_bytes: self.datagram_bytes,
            cgroup_id: 0,
            body,
        };
        self.decoder.observe(&packet, &mut |decoded| self.given.push(decoded.into()));
        self.check();
    }

    /// Shows a TCP segment of the client's.
    pub fn segment(&mut self, seq: u32, flags: u8, payload: &[u8]) {
        self.see(&craft::tcp(CLIENT, SERVER, seq, flags, payload));
    }

    /// Lets time pass.
    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.decoder.expire(self.now, &mut |decoded| self.given.push(decoded.into()));
        self.check();
    }

    pub fn finish(&mut self) {
        self.decoder.finish(&mut |decoded| self.given.push(decoded.into()));
        self.check();
    }

    pub fn check(&self) {
        let counters = self.decoder.counters();
        let ended = counters.decoded_packets + counters.malformed.values().sum::<u64>();
        assert_eq!(counters.received, ended + counters.held, "{counters:?}");
        assert_eq!(counters.messages, counters.queries + counters.responses);
    }

    pub fn held(&self) -> u64 {
        self.decoder.counters().held
    }

    pub fn malformed(&self, reason: Malformed) -> u64 {
        self.decoder.counters().malformed[reason.name()]
    }

    /// The messages' octets, in the order in which they came.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let message = |given: &Given| match given {
            Given::Message(message) => Some(message.message().dns.octets().to_vec()),
            _ => None,
        };
        self.given.iter().filter_map(message).collect()
    }

    /// Frame and index of each message.
    pub fn places(&self) -> Vec<(u64, u32)> {
        let place = |given: &Given| match given {
            Given::Message(message) => {
                let id = message.message().envelope.id;
                Some((id.origin.seq, id.index))
            }
            _ => None,
        };
        self.given.iter().filter_map(place).collect()
    }

    pub fn letters(&self) -> Vec<(Malformed, &[u8])> {
        fn letter(given: &Given) -> Option<(Malformed, &[u8])> {
            match given {
                Given::DeadLetter(letter) => Some((letter.reason, letter.bytes.as_slice())),
                _ => None,
            }
        }
        self.given.iter().filter_map(letter).collect()
    }
}

/// Octets that are sometimes nearly a packet.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    let tcp = (0u32..200, any::<u8>(), bytes())
        .prop_map(|(seq, flags, bytes)| craft::tcp(CLIENT, SERVER, seq, flags & 0x17, &bytes));
    let dns_over_tcp = (0u32..200, 0u16..4).prop_map(|(seq, id)| {
        craft::tcp(CLIENT, SERVER, seq, craft::ACK, &craft::framed(&craft::query(id, "a")))
    });
    let fragment = (0u16..3, 0u16..6, any::<bool>(), bytes()).prop_map(|(id, at, more, bytes)| {
        let mut packet = craft::udp(CLIENT, SERVER, &bytes);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6..8].copy_from_slice(&(at | if more { 0x2000 } else { 0 }).to_be_bytes());
        packet
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        bytes().prop_map(|bytes| craft::udp(CLIENT, SERVER, &bytes)),
        bytes().prop_map(|bytes| craft::udp("[::1]:53", "[::1]:9", &bytes)),
        tcp,
        dns_over_tcp,
        fragment,
    ]
}

proptest! {
    #[test]
    fn every_packet_ends_in_one_place(
        packets in prop::collection::vec((soup(), 0u64..4, 0usize..120), 0..60),
    ) {
        let mut bench = Bench::default();
        for (packet, seconds, captured) in packets {
            bench.see_clipped(&packet, captured);
            bench.wait(seconds);
        }
        bench.finish();
        bench.wait(1000);
        prop_assert_eq!(bench.held(), 0, "nothing waits for ever");
    }

    #[test]
    fn a_small_memory_gives_up_but_never_loses_count(
        packets in prop::collection::vec((soup(), 1u16..5), 0..80),
    ) {
        let mut bench = Bench::new(DecoderOptions {
            tcp_memory_bytes: 1000,
            tcp_streams: 2,
            fragment_memory_bytes: 200,
            fragment_datagrams: 2,
            ..DecoderOptions::default()
        });
        for (mut packet, port) in packets {
            // Source ports tell streams apart.
            if packet.len() > 22 {
                packet[20..22].copy_from_slice(&port.to_be_bytes());
            }
            bench.see(&packet);
            prop_assert!(bench.decoder.memory_bytes() <= 1000 + 200);
        }
        bench.wait(1000);
        prop_assert_eq!((bench.held(), bench.decoder.memory_bytes()), (0, 0));
    }
}
