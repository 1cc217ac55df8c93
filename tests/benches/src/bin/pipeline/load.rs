//! Packets of a capture in memory.

use crate::Failure;
use dnscribe_agent::capture::replay::Replay;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::{Body, Packet, PacketId, Task};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::time::Duration;

/// DNS packets of a capture, their bytes in one buffer.
pub struct Packets {
    bytes: Vec<u8>,
    headers: Vec<PacketHeader>,
}

/// Metadata of a packet, and its range in the buffer.
struct PacketHeader {
    ts: Timestamp,
    seq: u64,
    bytes: Range<usize>,
    wire_bytes: u32,
    task: Option<Task>,
}

impl Packets {
    /// Reads a capture. `tasks` is the number of processes to which clients are assigned, if any.
    pub fn load(file: &Path, tasks: Option<u32>) -> Result<Self, Failure> {
        let mut all = Self { bytes: Vec::new(), headers: Vec::new() };
        Replay::new(PortSet::default()).file(file, &mut |packet, _| {
            all.add(packet, tasks);
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    fn add(&mut self, packet: &Packet<'_>, tasks: Option<u32>) {
        let Body::Ip { bytes, wire_bytes } = packet.body else { return };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let task = tasks.and_then(|tasks| Some(task(client_port(bytes)? % tasks.max(1))));
        self.headers.push(PacketHeader {
            ts: packet.ts,
            seq: packet.id.seq,
            bytes: start..self.bytes.len(),
            wire_bytes,
            task,
        });
    }

    /// Time of the first packet.
    pub fn first(&self) -> Result<Timestamp, Failure> {
        Ok(self.headers.first().ok_or("no packet in the capture carries DNS")?.ts)
    }

    /// Converts seconds after the first packet to timestamps.
    pub fn times(&self, seconds: Range<f64>) -> Result<Range<Timestamp>, Failure> {
        let first = self.first()?;
        let at = |seconds| first.plus(Duration::from_secs_f64(seconds));
        Ok(at(seconds.start)..at(seconds.end))
    }

    /// Returns the packets in the capture's order.
    pub fn iter(&self) -> impl Iterator<Item = Packet<'_>> {
        self.headers.iter().map(|header| Packet {
            task: header.task,
            ..Packet::new(
                header.ts,
                PacketId { cpu: 0, seq: header.seq },
                dnscribe_transaction::packet::Direction::Passive,
                Body::Ip {
                    bytes: &self.bytes[header.bytes.clone()],
                    wire_bytes: header.wire_bytes,
                },
            )
        })
    }
}

/// Client port of an IPv4 packet without options, as in the captures of `scale`.
fn client_port(bytes: &[u8]) -> Option<u32> {
    let ports = bytes.get(20..24)?;
    let [from, to] = [[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_be_bytes);
    Some(u32::from(if from == 53 { to } else { from }))
}

/// Returns process `number`.
fn task(number: u32) -> Task {
    let mut comm = [0; 16];
    for (letter, octet) in comm.iter_mut().zip(format!("worker-{number}").bytes()) {
        *letter = octet;
    }
    Task { pid: 1000 + number, uid: 1000, start_ns: u64::from(number), comm, parent_pid: 0 }
}
