//! The pipeline processes packets over time: fragments, TCP, DNS, pairing, records.
//!
//! The input is a script of steps, so that the fuzzer need not find valid checksums, lengths and
//! sequence numbers first. Each step consists of a byte for its kind, a byte of flags,
//! a number, a length, and the payload.

use crate::harness::{Harness, Limits, PacketMetadata};
use crate::test_packets::{self, Segment, flag};
use dnscribe_transaction::packet::{Body, Direction, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// First sequence number, close to the wrap-around.
const FIRST_SEQ: u32 = 0xffff_ff00;
/// Bytes of a step before its payload.
const STEP_BYTES: usize = 6;

/// Steps between two checks of the identities. A check takes longer than most steps.
const CHECK_EVERY: u32 = 8;

/// A step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptStep<'a> {
    /// The kind of step: see [`ScriptStep::play`].
    pub kind: u8,
    /// Bits 0 and 1: client number; 2: response instead of query; 3: IPv6; 4: another network; 5
    /// and 6: direction; 7: the last quarter was not captured.
    pub flags: u8,
    /// For TCP the sequence number relative to the first byte; for fragments the offset and the
    /// more-fragments bit; else milliseconds, or a length.
    pub number: u16,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> ScriptStep<'a> {
    /// Splits the first step from a script.
    fn read(script: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = script.split_first_chunk::<STEP_BYTES>()?;
        let [kind, flags, ..] = *head;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (payload, rest) = rest.split_at(usize::from(word(4)).min(rest.len()));
        Some((Self { kind, flags, number: word(2), payload }, rest))
    }

    /// Appends the step to a script.
    pub fn write(&self, script: &mut Vec<u8>) {
        let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
        script.extend([self.kind, self.flags]);
        script.extend(self.number.to_be_bytes());
        script.extend(length.to_be_bytes());
        script.extend(self.payload.iter().take(usize::from(length)));
    }

    fn play(&self, harness: &mut Harness) {
        match self.kind % 8 {
            0 => self.send_ip(harness, self.payload),
            1 => {
                let (src, dst) = self.ends();
                self.send_ip(harness, &test_packets::udp(src, dst, self.payload));
            }
            2 => self.segment(harness, flag::ACK),
            3 => self.segment(harness, self.payload.first().copied().unwrap_or(flag::SYN)),
            4 => harness.wait(Duration::from_millis(self.number.into()), false),
            5 => {
                harness.wait(Duration::from_secs(u64::from(self.number) / 64), self.flags & 1 != 0);
            }
            6 => self.fragment(harness),
            _ => self.error(harness),
        }
    }

    /// Returns sender and receiver.
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let client = |port: u8| {
            let port = 1024 + u16::from(port & 3);
            if self.flags & 8 == 0 { ([192, 0, 2, 1], port).into() } else { ([1; 16], port).into() }
        };
        let server =
            if self.flags & 8 == 0 { ([192, 0, 2, 53], 53).into() } else { ([2; 16], 53).into() };
        if self.flags & 4 == 0 {
            (client(self.flags), server)
        } else {
            (server, client(self.flags))
        }
    }

    fn send_ip(&self, harness: &mut Harness, packet: &[u8]) {
        let direction = match self.flags >> 5 & 3 {
            0 => Direction::Passive,
            1 => Direction::Egress,
            2 => Direction::Ingress,
            _ => Direction::Loopback,
        };
        let captured = if self.flags & 0x80 == 0 { packet.len() } else { packet.len() * 3 / 4 };
        // Only UDP packets contain merged datagrams (generic receive offload).
        let datagram_bytes = if self.kind % 8 == 1 { self.number } else { 0 };
        let metadata = PacketMetadata {
            direction,
            scope: u64::from(self.flags >> 4 & 1),
            datagram_bytes,
            ..PacketMetadata::passive(packet)
        };
        harness.send_ip(packet.get(..captured).unwrap_or(packet), metadata);
    }

    fn segment(&self, harness: &mut Harness, flags: u8) {
        let (src, dst) = self.ends();
        let seq = FIRST_SEQ.wrapping_add(self.number.into());
        // The acknowledgement may be anything.
        let ack = FIRST_SEQ.wrapping_add(u32::from(self.number.rotate_left(8)));
        self.send_ip(
            harness,
            &test_packets::tcp(src, dst, Segment { seq, ack, flags }, self.payload),
        );
    }

    fn fragment(&self, harness: &mut Harness) {
        let (src, dst) = self.ends();
        let mut packet = test_packets::udp(src, dst, self.payload);
        if packet.first() == Some(&0x45) {
            // Offset and more-fragments bit; the identification is the client's.
            if let Some(word) = packet.get_mut(6..8) {
                word.copy_from_slice(&(self.number & 0x3fff).to_be_bytes());
            }
        }
        self.send_ip(harness, &packet);
    }

    fn error(&self, harness: &mut Harness) {
        let (local, remote) = self.ends();
        let transport = if self.number & 1 == 0 { Transport::Udp } else { Transport::Tcp };
        let errno = i32::from(self.number >> 1);
        harness.send_body(
            Body::SocketError { transport, local, remote, errno, seen: false },
            PacketMetadata::passive(&[]),
        );
    }
}

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let mut harness = Harness::new(Limits::tight(), true);
    let (mut script, mut steps) = (data, 0);
    while let Some((step, rest)) = ScriptStep::read(script) {
        script = rest;
        step.play(&mut harness);
        harness.check_memory();
        steps += 1;
        // A wrong count stays wrong, so a check of every step is not needed.
        if steps % CHECK_EVERY == 0 {
            harness.check();
        }
    }
    harness.end();
}

/// Scripts with each message over UDP and over TCP, whole and in pieces.
pub fn seeds(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    messages.chunks(4).enumerate().map(|(number, messages)| script(number, messages)).collect()
}

fn script(number: usize, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut script = Vec::new();
    let flags = u8::try_from(number % 256).unwrap_or_default() & 0x7f;
    ScriptStep { kind: 3, flags, number: 0xff, payload: &[] }.write(&mut script);
    let mut at = 0x100;
    for message in messages {
        let response = if message.get(2).is_some_and(|byte| byte & 0x80 != 0) { 4 } else { 0 };
        let flags = flags & !4 | response;
        ScriptStep { kind: 1, flags, number: 0, payload: message }.write(&mut script);
        let stream = test_packets::framed(message);
        let (head, tail) = stream.split_at(stream.len() * (number % 5) / 4);
        for part in [head, tail] {
            ScriptStep { kind: 2, flags, number: at, payload: part }.write(&mut script);
            at = at.wrapping_add(u16::try_from(part.len()).unwrap_or_default());
        }
        ScriptStep { kind: 4, flags, number: 20, payload: &[] }.write(&mut script);
    }
    script
}
