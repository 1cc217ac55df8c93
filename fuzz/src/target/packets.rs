//! Packets and time: fragments, TCP, DNS, pairing, records.
//!
//! The input is a script of steps, so that the fuzzer need not find out about checksums, lengths
//! and sequence numbers first. Each step is an octet for what it is, an octet for where it happens,
//! a number, a length, and so many octets.

use crate::craft::{self, Segment, flag};
use crate::rig::{Bounds, Place, Rig};
use dnscribe::capture::{Body, Sight, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// Sequence numbers begin here, so that they wrap around soon.
const FIRST_SEQ: u32 = 0xffff_ff00;
/// Octets of a step before its payload.
const STEP_BYTES: usize = 6;

/// Steps between two looks at the identities: looking takes longer than most steps.
const LOOK_EVERY: u32 = 8;

/// One step of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// What happens: see [`Step::play`].
    pub kind: u8,
    /// Bits 0 and 1: which client; 2: response instead of query; 3: IPv6; 4: another network;
    /// 5 and 6: how it passed the point of capture; 7: the last quarter was not captured.
    pub place: u8,
    /// For TCP the sequence number, counted from before the first octet; for fragments the offset
    /// and the bit for more; else milliseconds, or a length.
    pub number: u16,
    /// What is carried.
    pub payload: &'a [u8],
}

impl<'a> Step<'a> {
    /// The first step of a script, and the rest.
    fn read(script: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = script.split_first_chunk::<STEP_BYTES>()?;
        let [kind, place, ..] = *head;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (payload, rest) = rest.split_at(usize::from(word(4)).min(rest.len()));
        Some((Self { kind, place, number: word(2), payload }, rest))
    }

    /// Appends the step to a script.
    pub fn write(&self, script: &mut Vec<u8>) {
        let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
        script.extend([self.kind, self.place]);
        script.extend(self.number.to_be_bytes());
        script.extend(length.to_be_bytes());
        script.extend(self.payload.iter().take(usize::from(length)));
    }

    fn play(&self, rig: &mut Rig) {
        match self.kind % 8 {
            0 => self.show(rig, self.payload),
            1 => {
                let (src, dst) = self.ends();
                self.show(rig, &craft::udp(src, dst, self.payload));
            }
            2 => self.segment(rig, flag::ACK),
            3 => self.segment(rig, self.payload.first().copied().unwrap_or(flag::SYN)),
            4 => rig.wait(Duration::from_millis(self.number.into()), false),
            5 => rig.wait(Duration::from_secs(u64::from(self.number) / 64), self.place & 1 != 0),
            6 => self.fragment(rig),
            _ => self.error(rig),
        }
    }

    /// Sender and receiver.
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let client = |port: u8| {
            let port = 1024 + u16::from(port & 3);
            if self.place & 8 == 0 { ([192, 0, 2, 1], port).into() } else { ([1; 16], port).into() }
        };
        let server =
            if self.place & 8 == 0 { ([192, 0, 2, 53], 53).into() } else { ([2; 16], 53).into() };
        if self.place & 4 == 0 {
            (client(self.place), server)
        } else {
            (server, client(self.place))
        }
    }

    fn show(&self, rig: &mut Rig, packet: &[u8]) {
        let sight = match self.place >> 5 & 3 {
            0 => Sight::Passive,
            1 => Sight::Egress,
            2 => Sight::Ingress,
            _ => Sight::Loopback,
        };
        let captured = if self.place & 0x80 == 0 { packet.len() } else { packet.len() * 3 / 4 };
        // Several datagrams in one packet (generic receive offload) come with UDP alone.
        let datagram_bytes = if self.kind % 8 == 1 { self.number } else { 0 };
        let place = Place {
            sight,
            scope: u64::from(self.place >> 4 & 1),
            datagram_bytes,
            ..Place::passing(packet)
        };
        rig.show(packet.get(..captured).unwrap_or(packet), place);
    }

    fn segment(&self, rig: &mut Rig, flags: u8) {
        let (src, dst) = self.ends();
        let seq = FIRST_SEQ.wrapping_add(self.number.into());
        // What the other side has had may be anything.
        let ack = FIRST_SEQ.wrapping_add(u32::from(self.number.rotate_left(8)));
        self.show(rig, &craft::tcp(src, dst, Segment { seq, ack, flags }, self.payload));
    }

    fn fragment(&self, rig: &mut Rig) {
        let (src, dst) = self.ends();
        let mut packet = craft::udp(src, dst, self.payload);
        if packet.first() == Some(&0x45) {
            // Offset and the bit for more; the identification is the client's.
            if let Some(word) = packet.get_mut(6..8) {
                word.copy_from_slice(&(self.number & 0x3fff).to_be_bytes());
            }
        }
        self.show(rig, &packet);
    }

    fn error(&self, rig: &mut Rig) {
        let (local, remote) = self.ends();
        let transport = if self.number & 1 == 0 { Transport::Udp } else { Transport::Tcp };
        let errno = i32::from(self.number >> 1);
        rig.show_body(
            Body::SocketError { transport, local, remote, errno, seen: false },
            Place::passing(&[]),
        );
    }
}

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let mut rig = Rig::new(Bounds::tight(), true);
    let (mut script, mut steps) = (data, 0);
    while let Some((step, rest)) = Step::read(script) {
        script = rest;
        step.play(&mut rig);
        rig.check_memory();
        steps += 1;
        // What was miscounted once stays so.
        if steps % LOOK_EVERY == 0 {
            rig.check();
        }
    }
    rig.end();
}

/// Scripts that carry each message once over UDP and once over TCP, whole and in pieces.
pub fn seeds(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    messages.chunks(4).enumerate().map(|(number, messages)| script(number, messages)).collect()
}

fn script(number: usize, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut script = Vec::new();
    let place = u8::try_from(number % 256).unwrap_or_default() & 0x7f;
    Step { kind: 3, place, number: 0xff, payload: &[] }.write(&mut script);
    let mut at = 0x100;
    for message in messages {
        let response = if message.get(2).is_some_and(|flags| flags & 0x80 != 0) { 4 } else { 0 };
        let place = place & !4 | response;
        Step { kind: 1, place, number: 0, payload: message }.write(&mut script);
        let stream = craft::framed(message);
        let (head, tail) = stream.split_at(stream.len() * (number % 5) / 4);
        for part in [head, tail] {
            Step { kind: 2, place, number: at, payload: part }.write(&mut script);
            at = at.wrapping_add(u16::try_from(part.len()).unwrap_or_default());
        }
        Step { kind: 4, place, number: 20, payload: &[] }.write(&mut script);
    }
    script
}
