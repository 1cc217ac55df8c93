//! The reader of one ring: converts records to packets. Each reader may run in its own thread; they share no
//! locks.

use super::clock::Clock;
use super::drops::DropNames;
use super::ring::Ring;
use super::{icmp, tap};
use crate::capture::Received;
use dnscribe_common::record::{self, Connect, FLAG_TASK, FLAG_TUNNEL, Header, Record, SocketError};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{
    Body, ConnectStep, Direction, Loss, Packet, PacketId, Task, Transport,
};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// The reader of one ring.
pub struct Reader {
    pub(super) ring: Ring,
    /// Records received, by the CPU that wrote them.
    pub received: Vec<Received>,
    pub(super) clock: Arc<Clock>,
    /// This host's addresses, at hook `socket`.
    pub(super) locals: Option<tap::LocalAddresses>,
    /// The listeners for ICMP errors, to which new network namespaces are reported.
    pub(super) coverage: Option<icmp::IcmpCoverage>,
    /// Names for discarded packets, if these are captured.
    pub(super) drops: Option<DropNames>,
}

impl Reader {
    /// Returns the current time by the clock of the packets.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns whether the ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.gauge.used() == 0
    }

    /// Waits until the ring may hold records, `bell` can be read, or `limit` is over. Returns whether `bell`
    /// can be read. At high rates the programs send no wakeups, and this sleeps for a few milliseconds without
    /// checking `bell`.
    ///
    /// # Errors
    /// Returns an error if `poll(2)` fails.
    pub fn wait(&mut self, limit: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.ring.wait(limit, bell)
    }

    /// Calls `each` with up to `max` packets, borrowed from the ring, and returns their number. Fewer than
    /// `max` means that the ring is empty.
    pub fn drain(&mut self, max: usize, each: &mut dyn FnMut(&Packet<'_>)) -> usize {
        let Self { ring, received, clock, locals, coverage, drops } = self;
        if let Some(coverage) = coverage {
            coverage.read_results();
        }
        ring.drain(max, |bytes| match Record::try_from(bytes) {
            Ok(record) => {
                let cpu = usize::try_from(record.header.cpu).unwrap_or(0);
                if received.len() <= cpu {
                    received.resize(cpu + 1, Received::default());
                }
                if let Some(received) = received.get_mut(cpu) {
                    received.note(record.header.seq);
                }
                if let Some(coverage) = coverage {
                    coverage.note(record.header.netns_cookie);
                }
                let loss = match (&record.body, drops.as_mut()) {
                    (record::Body::PacketDrop(drop, _), Some(names)) => names.loss(drop),
                    _ => None,
                };
                let (locals, coverage) = (locals.as_mut(), coverage.as_ref());
                each(&packet(&record, clock, locals, coverage, loss.as_ref()));
            }
            // Cannot happen, since programs and agent come from one build. The record would count as
            // received on no CPU, and the ledger would show the imbalance.
            Err(error) => tracing::error!(%error, "unreadable record"),
        })
    }
}

/// Returns the packet of a record.
fn packet<'a>(
    record: &Record<'a>,
    clock: &Clock,
    locals: Option<&mut tap::LocalAddresses>,
    coverage: Option<&icmp::IcmpCoverage>,
    loss: Option<&'a (Arc<Loss>, bool)>,
) -> Packet<'a> {
    let header = &record.header;
    let body = match record.body {
        record::Body::Packet(bytes) => Body::Ip { bytes, wire_bytes: header.wire_bytes },
        record::Body::SocketError(error) => {
            let was_captured = |coverage: &icmp::IcmpCoverage| {
                coverage.was_captured(header.netns_cookie, header.ktime_ns)
            };
            socket_error(&error, coverage.is_some_and(was_captured))
        }
        record::Body::Connect(connect) => connect_body(&connect),
        record::Body::PacketDrop(_, bytes) => Body::Dropped {
            bytes,
            wire_bytes: header.wire_bytes,
            loss: loss.map(|(loss, _)| loss),
            is_unseen: loss.is_some_and(|(_, is_unseen)| *is_unseen),
        },
        record::Body::PacketSent(bytes) => {
            Body::Sent { bytes, wire_bytes: header.wire_bytes, device: header.ifindex }
        }
        record::Body::SocketRead(read) => Body::Read {
            local: SocketAddr::new(address(read.version, read.local), read.local_port),
            remote: SocketAddr::new(address(read.version, read.remote), read.remote_port),
        },
    };
    let direction = direction_of(header, &body, locals);
    let ts = clock.at(header.ktime_ns);
    let arrived = Some(header.arrived_ns).filter(|ns| *ns != 0).and_then(|ns| clock.before(ts, ns));
    Packet {
        ts,
        arrived,
        id: PacketId { cpu: header.cpu, seq: header.seq },
        scope: match direction {
            Direction::Passive => u64::from(header.ifindex),
            _ => header.netns_cookie,
        },
        direction,
        task: (header.flags & FLAG_TASK != 0).then_some(Task {
            pid: header.pid,
            uid: header.uid,
            start_ns: header.start_ns,
            comm: header.comm,
            parent_pid: header.parent_pid,
        }),
        datagram_bytes: header.datagram_bytes,
        cgroup_id: header.cgroup_id,
        body,
    }
}

fn direction_of(
    header: &Header,
    body: &Body<'_>,
    locals: Option<&mut tap::LocalAddresses>,
) -> Direction {
    match (header.direction, body, locals) {
        (record::DIRECTION_EGRESS, ..) => Direction::Egress,
        // A packet in a tunnel belongs to another host, or was already seen on the tunnel's interface
        // and must not count twice.
        _ if header.flags & FLAG_TUNNEL != 0 => Direction::Passive,
        (record::DIRECTION_TAP, Body::Ip { bytes, .. }, Some(locals)) => {
            locals.direction(header.ifindex, header.packet_type, bytes)
        }
        (record::DIRECTION_TAP, ..) => Direction::Passive,
        _ => Direction::Ingress,
    }
}

fn socket_error(error: &SocketError, seen: bool) -> Body<'static> {
    Body::SocketError {
        transport: transport(error.protocol),
        local: SocketAddr::new(address(error.version, error.local), error.local_port),
        remote: SocketAddr::new(address(error.version, error.remote), error.remote_port),
        errno: error.errno,
        seen,
    }
}

fn connect_body(connect: &Connect) -> Body<'static> {
    let step = match connect.step {
        record::STEP_ESTABLISHED => ConnectStep::Established {
            rtt: Some(connect.rtt_us)
                .filter(|us| *us != 0)
                .map(|us| Duration::from_micros(us.into())),
            awaits_byte: connect.awaits_byte != 0,
        },
        record::STEP_FIRST_BYTE => ConnectStep::FirstByte,
        record::STEP_FAILED => ConnectStep::Failed { errno: connect.errno },
        record::STEP_RESET => ConnectStep::Reset,
        record::STEP_UNREACHABLE => ConnectStep::Unreachable,
        step => ConnectStep::Begun {
            transport: transport(connect.protocol),
            remote: SocketAddr::new(address(connect.version, connect.remote), connect.remote_port),
            is_discarded: step == record::STEP_DISCARDED,
        },
    };
    Body::Connect { cookie: connect.cookie, step }
}

fn transport(protocol: u8) -> Transport {
    if protocol == 6 { Transport::Tcp } else { Transport::Udp }
}

/// Returns an address of a socket.
fn address(version: u8, bytes: [u8; 16]) -> IpAddr {
    match (version, bytes) {
        (4, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
        // A dual-stack socket has IPv4-mapped addresses of IPv4 peers (RFC 4291, 2.5.5.2).
        _ => Ipv6Addr::from(bytes).to_canonical(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_mapped_addresses_to_ipv4() {
        let error = SocketError {
            local: Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]).octets(),
            remote: Ipv6Addr::LOCALHOST.octets(),
            errno: 111,
            local_port: 5,
            remote_port: 53,
            version: 6,
            protocol: 17,
            pad: [0; 6],
        };
        let Body::SocketError { local, remote, .. } = socket_error(&error, false) else { panic!() };
        assert_eq!(local.to_string(), "127.0.0.1:5");
        assert_eq!(remote.to_string(), "[::1]:53");
    }
}
