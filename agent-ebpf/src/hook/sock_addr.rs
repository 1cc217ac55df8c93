//! `cgroup/connect4`, `connect6`, `sendmsg4`, `sendmsg6`: owners of sockets that turn to a captured port.

use crate::maps;
use crate::socket::Socket;
use crate::task;
use aya_ebpf::bindings::bpf_sock_addr;
use core::mem::MaybeUninit;
use dnscribe_common::globals::Setting;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED};

/// Records the owner of a socket that is connected, or sends, to a captured port.
#[inline(always)]
pub fn towards(address: *mut bpf_sock_addr) {
    // SAFETY: the kernel hands a valid context.
    let port = u16::from_be(unsafe { (*address).user_port } as u16);
    // For HTTPS the first packet is enough, which comes from the same task: few of these sockets carry DNS.
    if !matches!(maps::port_class(port), PORT_DNS | PORT_ENCRYPTED) {
        return;
    }
    let Some(owner) = task::current(Setting::HookTask) else { return };
    // SAFETY: as above.
    let socket = unsafe { (*address).__bindgen_anon_1.sk };
    Socket::of(socket.cast(), &mut MaybeUninit::uninit()).belongs_to(&owner);
}
