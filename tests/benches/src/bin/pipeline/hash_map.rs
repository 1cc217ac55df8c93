//! Cost of memory access alone: queries are kept in a plain hash map and removed by their responses.

use crate::cpu::cpu_time;
use crate::load::Packets;
use crate::{Failure, Measurement, real};
use dnscribe_transaction::packet::{Body, Packet};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;

/// Bytes of a packet that are kept, about as many as the agent keeps per pending query.
const KEPT_BYTES: usize = 512;

type Waiting = HashMap<[u8; 14], [u8; KEPT_BYTES], RandomState>;

/// Runs the packets through the map. They must be those of `cargo xtask bench scale`: UDP over IPv4 without
/// options.
pub fn run(packets: &Packets, seconds: Range<f64>) -> Result<Measurement, Failure> {
    let Range { start, end } = packets.times(seconds)?;
    let mut waiting = Waiting::default();
    let mut packets = packets.iter().peekable();
    while let Some(packet) = packets.next_if(|packet| packet.ts < start) {
        observe(&mut waiting, &packet);
    }
    let begin = cpu_time();
    let (mut messages, mut paired) = (0, 0);
    for packet in packets.take_while(|packet| packet.ts < end) {
        messages += 1;
        paired += u64::from(observe(&mut waiting, &packet));
    }
    let cpu = cpu_time().saturating_sub(begin);
    Ok(Measurement { messages, cpu, more: vec![("paired", real(paired))] })
}

/// Inserts a query, or removes the query of a response. Returns whether it removed one.
fn observe(waiting: &mut Waiting, packet: &Packet<'_>) -> bool {
    let Body::Ip { bytes, .. } = packet.body else { return false };
    let (Some(ends), Some([id_high, id_low, flags])) = (bytes.get(12..24), bytes.get(28..31))
    else {
        return false;
    };
    let mut key = [0; 14];
    key[..12].copy_from_slice(ends);
    key[12..].copy_from_slice(&[*id_high, *id_low]);
    if flags & 0x80 != 0 {
        // The key of the query: addresses and ports swapped.
        key[..8].rotate_left(4);
        key[8..12].rotate_left(2);
        return waiting.remove(&key).is_some_and(|query| black_box(query)[12] == ends[4]);
    }
    let mut query = [0; KEPT_BYTES];
    let kept = bytes.len().min(KEPT_BYTES);
    query[..kept].copy_from_slice(&bytes[..kept]);
    waiting.insert(key, query);
    false
}
