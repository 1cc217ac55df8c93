//! Test harness of the decoder, and properties over all of it.

use super::{
    Connect, Decoded, Decoder, DecoderOptions, Dropped, EncryptedPacket, Envelope, Malformed,
    MessageStep, OwnedMessage, Unreachable,
};
use crate::packet::net::test_packets;
use crate::packet::{Body, Direction, Packet, PacketId, Task};
use dnscribe_record::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

pub(super) const CLIENT: &str = "192.0.2.1:1024";
pub(super) const SERVER: &str = "192.0.2.53:53";

/// An owned copy of a decoder event.
#[derive(Debug)]
pub(super) enum OwnedEvent {
    Message(OwnedMessage),
    Unreachable(Unreachable),
    Sealed(Box<EncryptedPacket>),
    Connect(Connect),
    Dropped(Dropped),
    Step(MessageStep),
    DeadLetter(OwnedDeadLetter),
}

#[derive(Debug)]
pub(super) struct OwnedDeadLetter {
    pub envelope: Envelope,
    pub reason: Malformed,
    pub bytes: Vec<u8>,
}

impl From<Decoded<'_>> for OwnedEvent {
    fn from(decoded: Decoded<'_>) -> Self {
        match decoded {
            Decoded::Message(message) => Self::Message(message.into()),
            Decoded::Unreachable(unreachable) => Self::Unreachable(unreachable),
            Decoded::Encrypted(sealed) => Self::Sealed(sealed),
            Decoded::Connect(connect) => Self::Connect(connect),
            Decoded::Dropped(dropped) => Self::Dropped(dropped),
            Decoded::Step(step) => Self::Step(step),
            Decoded::DeadLetter(letter) => {
                let bytes = letter.bytes.to_vec();
                Self::DeadLetter(OwnedDeadLetter {
                    envelope: letter.envelope,
                    reason: letter.reason,
                    bytes,
                })
            }
        }
    }
}

/// A decoder that checks ledger identity 3 after every call.
pub(super) struct Harness {
    pub decoder: Decoder,
    pub events: Vec<OwnedEvent>,
    pub now: Timestamp,
    pub seq: u64,
    pub datagram_bytes: u16,
}

impl Default for Harness {
    fn default() -> Self {
        Self::new(DecoderOptions::default())
    }
}

impl Harness {
    pub fn new(options: DecoderOptions) -> Self {
        let decoder = Decoder::new(options);
        Self {
            decoder,
            events: Vec::new(),
            now: Timestamp::from_nanos(1),
            seq: 0,
            datagram_bytes: 0,
        }
    }

    /// Passes an IP packet to the decoder.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.receive_clipped(bytes, bytes.len());
    }

    /// Passes the first bytes of an IP packet to the decoder.
    pub fn receive_clipped(&mut self, bytes: &[u8], captured: usize) {
        let captured = captured.min(bytes.len());
        let wire_bytes = u32::try_from(bytes.len()).unwrap();
        self.receive_body(Body::Ip { bytes: &bytes[..captured], wire_bytes }, None);
    }

    pub fn receive_body(&mut self, body: Body<'_>, task: Option<Task>) {
        self.seq += 1;
        let packet = Packet {
            task,
            datagram_bytes: self.datagram_bytes,
            ..Packet::new(self.now, PacketId { cpu: 0, seq: self.seq }, Direction::Passive, body)
        };
        self.decoder.observe(&packet, &mut |decoded| self.events.push(decoded.into()));
        self.check();
    }

    /// Passes a TCP segment from the client.
    pub fn segment(&mut self, seq: u32, flags: u8, payload: &[u8]) {
        self.receive(&test_packets::tcp(CLIENT, SERVER, seq, flags, payload));
    }

    /// Advances the time.
    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.decoder.expire(self.now, &mut |decoded| self.events.push(decoded.into()));
        self.check();
    }

    pub fn finish(&mut self) {
        self.decoder.finish(&mut |decoded| self.events.push(decoded.into()));
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

    /// Returns the bytes of the messages in order.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let message = |events: &OwnedEvent| match events {
            OwnedEvent::Message(message) => Some(message.message().dns.bytes().to_vec()),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    /// Returns frame number and index of each message.
    pub fn places(&self) -> Vec<(u64, u32)> {
        let place = |events: &OwnedEvent| match events {
            OwnedEvent::Message(message) => {
                let id = message.message().envelope.id;
                Some((id.packet.seq, id.index))
            }
            _ => None,
        };
        self.events.iter().filter_map(place).collect()
    }

    pub fn letters(&self) -> Vec<(Malformed, &[u8])> {
        fn letter(events: &OwnedEvent) -> Option<(Malformed, &[u8])> {
            match events {
                OwnedEvent::DeadLetter(letter) => Some((letter.reason, letter.bytes.as_slice())),
                _ => None,
            }
        }
        self.events.iter().filter_map(letter).collect()
    }
}

/// Bytes that are sometimes nearly a packet.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    let tcp = (0u32..200, any::<u8>(), bytes()).prop_map(|(seq, flags, bytes)| {
        test_packets::tcp(CLIENT, SERVER, seq, flags & 0x17, &bytes)
    });
    let dns_over_tcp = (0u32..200, 0u16..4).prop_map(|(seq, id)| {
        test_packets::tcp(
            CLIENT,
            SERVER,
            seq,
            test_packets::ACK,
            &test_packets::framed(&test_packets::query(id, "a")),
        )
    });
    let fragment = (0u16..3, 0u16..6, any::<bool>(), bytes()).prop_map(|(id, at, more, bytes)| {
        let mut packet = test_packets::udp(CLIENT, SERVER, &bytes);
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6..8].copy_from_slice(&(at | if more { 0x2000 } else { 0 }).to_be_bytes());
        packet
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        bytes().prop_map(|bytes| test_packets::udp(CLIENT, SERVER, &bytes)),
        bytes().prop_map(|bytes| test_packets::udp("[::1]:53", "[::1]:9", &bytes)),
        tcp,
        dns_over_tcp,
        fragment,
    ]
}

proptest! {
    #[test]
    fn counts_every_packet_once(
        packets in prop::collection::vec((soup(), 0u64..4, 0usize..120), 0..60),
    ) {
        let mut harness = Harness::default();
        for (packet, seconds, captured) in packets {
            harness.receive_clipped(&packet, captured);
            harness.wait(seconds);
        }
        harness.finish();
        harness.wait(1000);
        prop_assert_eq!(harness.held(), 0, "nothing waits for ever");
    }

    #[test]
    fn counts_every_packet_with_little_memory(
        packets in prop::collection::vec((soup(), 1u16..5), 0..80),
    ) {
        let mut harness = Harness::new(DecoderOptions {
            tcp_memory_bytes: 1000,
            tcp_streams: 2,
            fragment_memory_bytes: 200,
            fragment_datagrams: 2,
            ..DecoderOptions::default()
        });
        for (mut packet, port) in packets {
            // Each stream has its own source port.
            if packet.len() > 22 {
                packet[20..22].copy_from_slice(&port.to_be_bytes());
            }
            harness.receive(&packet);
            prop_assert!(harness.decoder.memory_bytes() <= 1000 + 200);
        }
        harness.wait(1000);
        prop_assert_eq!((harness.held(), harness.decoder.memory_bytes()), (0, 0));
    }
}
