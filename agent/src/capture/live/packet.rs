//! Converts a record of the ring to a packet.

use super::clock::Clock;
use super::{icmp, tap};
use crate::capture::{Body, Direction, Packet, PacketId, Task, Transport};
use dnscribe_common::record::{self, FLAG_TASK, FLAG_TUNNEL, Header, Record, SocketError};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Returns the packet of a record.
pub(super) fn packet<'a>(
    record: &Record<'a>,
    clock: &Clock,
    locals: Option<&mut tap::LocalAddresses>,
    coverage: Option<&icmp::IcmpCoverage>,
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
    };
    let sight = direction(header, &body, locals);
    Packet {
        ts: clock.wall(header.ktime_ns),
        id: PacketId { cpu: header.cpu, seq: header.seq },
        scope: match sight {
            Direction::Passive => u64::from(header.ifindex),
            _ => header.netns_cookie,
        },
        direction: sight,
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

fn direction(
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
    let address = |bytes: [u8; 16]| match (error.version, bytes) {
        (4, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
        // A dual-stack socket has IPv4-mapped addresses of IPv4 peers (RFC 4291, 2.5.5.2).
        _ => Ipv6Addr::from(bytes).to_canonical(),
    };
    Body::SocketError {
        transport: if error.protocol == 6 { Transport::Tcp } else { Transport::Udp },
        local: SocketAddr::new(address(error.local), error.local_port),
        remote: SocketAddr::new(address(error.remote), error.remote_port),
        errno: error.errno,
        seen,
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
