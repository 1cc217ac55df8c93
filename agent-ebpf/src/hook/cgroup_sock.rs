//! Hooks `cgroup/post_bind4` and `cgroup/post_bind6`: owners of bound sockets, such as servers before their first
//! query. Accepted sockets inherit the owner of their listening socket (see [`SocketState`]).

use crate::maps;
use crate::parse::UDP;
use crate::socket::SocketState;
use crate::task;
use aya_ebpf::bindings::bpf_sock;
use core::mem::MaybeUninit;
use dnscribe_common::globals::Setting;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED};

/// Records the owner of a socket that is bound to a captured port, or may receive a stray response.
#[inline(always)]
pub fn record_owner(socket: *mut bpf_sock) {
    // SAFETY: the kernel hands a valid context.
    let (port, protocol) = unsafe { ((*socket).src_port as u16, (*socket).protocol) };
    if protocol != u32::from(UDP) && !matches!(maps::port_class(port), PORT_DNS | PORT_ENCRYPTED) {
        return;
    }
    if let Some(owner) = task::current(Setting::HookTask) {
        SocketState::get(socket.cast(), &mut MaybeUninit::uninit()).set_owner(&owner);
    }
}
