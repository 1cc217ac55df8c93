//! Other parsers on the same messages.

use crate::cpu::cpu_time;
use crate::load::Packets;
use crate::{Measurement, allocations, real};
use dnscribe_transaction::decode::{Decoded, Decoder, DecoderOptions};
use hickory_proto::op::Message;
use std::hint::black_box;

/// Measures hickory's full parse of each message.
pub fn hickory(packets: &Packets) -> Measurement {
    measure(packets, |wire| black_box(Message::from_vec(black_box(wire))).is_ok())
}

/// Measures a walk over each message and its records with `domain`, without parsing record data.
pub fn domain(packets: &Packets) -> Measurement {
    measure(packets, |wire| black_box(walk(black_box(wire))).is_ok())
}

fn walk(wire: &[u8]) -> Result<u64, domain::base::wire::ParseError> {
    let message = domain::base::Message::from_octets(wire)
        .map_err(|_| domain::base::wire::ParseError::ShortInput)?;
    let mut sum = 0;
    for question in message.question() {
        sum += u64::from(question?.qtype().to_int());
    }
    for record in &message {
        let (record, _) = record?;
        sum += u64::from(record.ttl().as_secs()) + u64::from(record.rtype().to_int());
    }
    Ok(sum)
}

fn measure(packets: &Packets, mut read: impl FnMut(&[u8]) -> bool) -> Measurement {
    let messages = messages(packets);
    allocations::reset();
    let begin = cpu_time();
    let refused = messages.iter().filter(|message| !read(message)).count();
    let cpu = cpu_time().saturating_sub(begin);
    allocations::stop();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let more = vec![("refused", real(count(refused)))];
    Measurement { messages: count(messages.len()), cpu, more }
}

/// Returns the messages that the agent's decoder finds in datagrams and connections.
fn messages(packets: &Packets) -> Vec<Box<[u8]>> {
    let mut decoder = Decoder::new(DecoderOptions::default());
    let mut messages = Vec::new();
    for packet in packets.iter() {
        decoder.observe(&packet, &mut |decoded| {
            if let Decoded::Message(message) = decoded {
                messages.push(message.dns.bytes().into());
            }
        });
    }
    messages
}
