//! Hooks `cgroup/recvmsg4` and `recvmsg6`: a process reads a datagram and asks who sent it, as servers and most resolvers of
//! programs do. Only where the path of packets is captured.
//!
//! Under overload nothing is reported, as the messages themselves are then left out.
//!
//! # Minimum kernel version
//!
//! Linux 5.8, for the cookie of the network namespace.

use crate::counters::Counters;
use crate::hook::connect::peer;
use crate::hook::translation::word;
use crate::maps;
use crate::ring::{self, Context};
use crate::sample;
use crate::socket::{SocketState, canonical, pair};
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::flow;
use dnscribe_common::record::{DIRECTION_INGRESS, SocketRead};

/// Writes a record if the datagram came from or to a port of plain DNS.
#[inline(always)]
pub fn observe<const VERSION: u8>(address: *mut bpf_sock_addr) {
    let peer = peer::<VERSION>(address);
    // SAFETY: the kernel hands a valid context with a socket.
    let (socket, local_port) = unsafe {
        let socket = (*address).__bindgen_anon_1.sk;
        (socket, (*socket).src_port as u16)
    };
    let remote_port = peer.port as u16;
    if maps::port_class(local_port) != PORT_DNS && maps::port_class(remote_port) != PORT_DNS {
        return;
    }
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Read, Counter::Seen);
    if sample::cuts().is_some() {
        return counters.add(Hook::Read, Counter::SampledOut);
    }
    let flow = if remote_port > local_port {
        let address = flow::address(peer.version, peer.octets());
        flow::hash(address, [0; 2], remote_port, local_port)
    } else {
        // The client's own address, which is not known here, was that of its query.
        SocketState::find(socket.cast()).map_or(0, |state| state.flow as u32)
    };
    let context = Context {
        // SAFETY: a helper that is allowed for this context.
        netns_cookie: unsafe { bpf_get_netns_cookie(address.cast()) },
        flow,
        ..Context::of_report(Hook::Read, DIRECTION_INGRESS)
    };
    let read = SocketRead {
        local: local::<VERSION>(socket),
        remote: peer.octets(),
        remote_port,
        local_port,
        version: peer.version as u8,
        pad: [0; 3],
    };
    ring::write_socket_read(counters, read, &context);
}

/// Returns the address to which a socket is bound; IPv4, also IPv4-mapped, in the first four bytes. Zeros for any address.
#[inline(always)]
fn local<const VERSION: u8>(socket: *mut bpf_sock) -> [u8; 16] {
    let halves = if VERSION == 4 {
        [pair([word!(socket, src_ip4), 0]), 0]
    } else {
        let words = [
            word!(socket, src_ip6[0]),
            word!(socket, src_ip6[1]),
            word!(socket, src_ip6[2]),
            word!(socket, src_ip6[3]),
        ];
        canonical(words).1
    };
    // SAFETY: any bytes are valid.
    unsafe { core::mem::transmute(halves) }
}
