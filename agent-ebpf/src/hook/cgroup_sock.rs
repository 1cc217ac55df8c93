//! `cgroup/post_bind4` and `cgroup/post_bind6`: a socket has an address, as servers' have before the first
//! query comes. Whoever asks sends first, and is known by that; but a response may come to another socket
//! of theirs, which never sent.

use crate::maps;
use crate::parse::UDP;
use crate::socket::Socket;
use crate::task;
use aya_ebpf::bindings::bpf_sock;
use core::mem::MaybeUninit;
use dnscribe_common::globals::Setting;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED};

/// Notes who has bound the socket, if it is to one of our ports, or may be met by a stray response.
#[inline(always)]
pub fn bound(socket: *mut bpf_sock) {
    // SAFETY: the kernel hands a valid context.
    let (port, protocol) = unsafe { ((*socket).src_port as u16, (*socket).protocol) };
    if protocol != u32::from(UDP) && !matches!(maps::port_class(port), PORT_DNS | PORT_ENCRYPTED) {
        return;
    }
    if let Some(owner) = task::current(Setting::HookTask) {
        Socket::of(socket.cast(), &mut MaybeUninit::uninit()).belongs_to(&owner);
    }
}
