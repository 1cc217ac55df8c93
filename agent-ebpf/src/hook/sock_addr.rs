//! Hooks `cgroup/connect4`, `connect6`, `sendmsg4`, `sendmsg6`, `recvmsg4` and `recvmsg6`: owners of sockets that
//! connect or send to a captured port, and connections to other ports.

use crate::hook::{connect, socket_read, unconnected};
use crate::maps;
use crate::settings;
use crate::socket::SocketState;
use crate::task;
use aya_ebpf::bindings::bpf_sock_addr;
use core::mem::MaybeUninit;
use dnscribe_common::globals::{Setting, TASK_NONE};
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED};

/// Records the owner of a socket that is connected to a captured port, and a connection to a port that is not
/// one of plain DNS. `VERSION` is that of the Internet Protocol.
#[inline(always)]
pub fn record_connect<const VERSION: u8>(address: *mut bpf_sock_addr) {
    record_owner(address);
    if is_use(address) {
        connect::begin::<VERSION>(address);
    } else if settings::get(Setting::Connects) != 0 {
        connect::forget_peer(address);
    }
}

/// Records the owner of an unconnected socket that sends to a captured port, where its packets do not name it, and a
/// datagram to a port that is not one of plain DNS.
#[inline(always)]
pub fn record_send<const VERSION: u8>(address: *mut bpf_sock_addr) {
    if settings::get(Setting::Task) == TASK_NONE {
        record_owner(address);
    }
    if settings::get(Setting::Connects) != 0 {
        connect::note_destination::<VERSION>(address);
    }
    if is_use(address) {
        unconnected::send::<VERSION>(address);
    }
}

/// Records a datagram that a task reads with its sender's address.
#[inline(always)]
pub fn record_receive<const VERSION: u8>(address: *mut bpf_sock_addr) {
    if is_use(address) {
        unconnected::receive::<VERSION>(address);
    }
    if settings::get(Setting::Path) != 0 {
        socket_read::observe::<VERSION>(address);
    }
}

/// Returns whether connections are recorded, and the peer's port is not one of plain DNS.
#[inline(always)]
fn is_use(address: *mut bpf_sock_addr) -> bool {
    settings::get(Setting::Connects) != 0 && maps::port_class(port_of(address)) != PORT_DNS
}

/// Returns the port of the peer.
#[inline(always)]
fn port_of(address: *mut bpf_sock_addr) -> u16 {
    // SAFETY: the kernel hands a valid context.
    u16::from_be(unsafe { (*address).user_port } as u16)
}

/// Records the owner of a socket that is connected, or sends, to a captured port.
#[inline(always)]
fn record_owner(address: *mut bpf_sock_addr) {
    let port = port_of(address);
    // Not for HTTPS: few of these sockets carry DNS, and the first packet, sent by the same task, is enough.
    if !matches!(maps::port_class(port), PORT_DNS | PORT_ENCRYPTED) {
        return;
    }
    let Some(owner) = task::current(Setting::HookTask) else { return };
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*address).__bindgen_anon_1.sk };
    SocketState::get(socket.cast(), &mut MaybeUninit::uninit()).set_owner(&owner);
}
