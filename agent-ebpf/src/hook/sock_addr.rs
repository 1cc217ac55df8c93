//! Hooks `cgroup/connect4`, `connect6`, `sendmsg4` and `sendmsg6`: owners of sockets that connect or send to a
//! captured port, and connections to other ports.

use crate::hook::connect;
use crate::maps;
use crate::settings;
use crate::socket::SocketState;
use crate::task;
use aya_ebpf::bindings::bpf_sock_addr;
use core::mem::MaybeUninit;
use dnscribe_common::globals::Setting;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED};

/// Records the owner of a socket that is connected to a captured port, and a connection to a port that is not
/// one of plain DNS. `VERSION` is that of the Internet Protocol.
#[inline(always)]
pub fn record_connect<const VERSION: u8>(address: *mut bpf_sock_addr) {
    record_owner(address);
    if settings::get(Setting::Connects) != 0 && maps::port_class(port_of(address)) != PORT_DNS {
        connect::begin::<VERSION>(address);
    }
}

/// Returns the port of the peer.
#[inline(always)]
pub fn port_of(address: *mut bpf_sock_addr) -> u16 {
    // SAFETY: the kernel hands a valid context.
    u16::from_be(unsafe { (*address).user_port } as u16)
}

/// Records the owner of a socket that is connected, or sends, to a captured port.
#[inline(always)]
pub fn record_owner(address: *mut bpf_sock_addr) {
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
