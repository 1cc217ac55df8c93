//! Hook on the raw tracepoint `inet_sk_error_report`: ICMP errors that the kernel reports to sockets of DNS, and to sockets
//! that connect, if connections are captured. The raw form has the socket itself as its argument, and with it the network
//! namespace, which the formatted one lacks.
//!
//! # Minimum kernel version
//!
//! Linux 5.14.

use crate::counters::Counters;
use crate::hook::connect;
use crate::maps;
use crate::parse::{TCP, UDP, mapped};
use crate::ring::{self, Context};
use crate::settings;
use crate::task::read;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::flow;
use dnscribe_common::globals::Setting;
use dnscribe_common::record::{DIRECTION_INGRESS, SocketError};
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

// Errors that `icmp_err_convert` and `icmpv6_err_convert` make of the codes of "unreachable":
// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/icmp.c#L137>. `EMSGSIZE` is left out, because it only
// requests smaller packets.
const EACCES: i32 = 13;
const ENONET: i32 = 64;
const ENOPROTOOPT: i32 = 92;
const EOPNOTSUPP: i32 = 95;
const ENETUNREACH: i32 = 101;
const ECONNREFUSED: i32 = 111;
const EHOSTDOWN: i32 = 112;
const EHOSTUNREACH: i32 = 113;

/// Writes a record if the socket uses a captured port and the error means unreachable, and one if a connection of it is
/// recorded.
#[inline(always)]
pub fn observe(socket: *const core::ffi::c_void) {
    let socket = socket as u64;
    let [protocol, _] = read::<[u8; 2]>(socket, Setting::SockProtocol);
    let local_port: u16 = read(socket, Setting::SockLocalPort);
    let remote_port = u16::from_be(read(socket, Setting::SockRemotePort));
    let classes = [maps::port_class(remote_port), maps::port_class(local_port)];
    let is_dns = classes[0] == PORT_DNS || classes[1] == PORT_DNS;
    let has_connects =
        settings::get(Setting::Connects) != 0 && settings::get(Setting::SockCookie) != 0;
    if has_connects && protocol == TCP && classes[0] != PORT_DNS {
        connect::observe_icmp_error(socket);
    }
    // Plain DNS over TCP shows its failures in its segments; a failed encrypted connection does not.
    let is_captured = if is_dns { protocol == UDP } else { protocol == UDP || protocol == TCP };
    if !is_captured || classes == [0, 0] {
        return;
    }
    let errno: i32 = read(socket, Setting::SockError);
    if !matches!(
        errno,
        EACCES
            | ENONET
            | ENOPROTOOPT
            | EOPNOTSUPP
            | ENETUNREACH
            | ECONNREFUSED
            | EHOSTDOWN
            | EHOSTUNREACH
    ) {
        return;
    }
    let (mut local, mut remote) = ([0u8; 16], [0u8; 16]);
    let version = match read::<u16>(socket, Setting::SockFamily) {
        AF_INET => {
            local[..4].copy_from_slice(&read::<[u8; 4]>(socket, Setting::SockLocal4));
            remote[..4].copy_from_slice(&read::<[u8; 4]>(socket, Setting::SockRemote4));
            4
        }
        AF_INET6 => {
            local = read(socket, Setting::SockLocal6);
            remote = read(socket, Setting::SockRemote6);
            6
        }
        _ => return,
    };
    if !is_dns && classes[0] != PORT_ENCRYPTED && classes[1] != PORT_ENCRYPTED {
        let resolver = if classes[0] != 0 { remote } else { local };
        let [a, b, c, d, ..] = resolver;
        let address = if version == 4 { mapped([a, b, c, d]) } else { resolver };
        if !maps::is_resolver(&address) {
            return;
        }
    }
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Icmp, Counter::Seen);
    let net: u64 = read(socket, Setting::SockNet);
    let context = Context {
        netns_cookie: read(net, Setting::NetCookie),
        flow: flow::hash(
            flow::address(version.into(), local),
            flow::address(version.into(), remote),
            local_port,
            remote_port,
        ),
        // The task is known from the query.
        ..Context::of_report(Hook::Icmp, DIRECTION_INGRESS)
    };
    let error = SocketError {
        local,
        remote,
        errno,
        local_port,
        remote_port,
        version,
        protocol,
        pad: [0; 6],
    };
    ring::write_socket_error(counters, error, &context);
}
