//! `cgroup/sock_create` and `cgroup/sock_release`: sockets come and go.

use crate::maps;
use crate::task;
use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use dnscribe_common::globals::Setting;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOCK_DGRAM: u32 = 2;

/// A datagram socket is its creator's until someone else sends through it. TCP sockets are many,
/// few of them DNS, and known from `connect` or from their first segment.
#[inline(always)]
pub fn create(socket: *mut bpf_sock) {
    // SAFETY: the kernel hands a valid context.
    let (family, kind) = unsafe { ((*socket).family, (*socket).type_) };
    if kind != SOCK_DGRAM || (family != AF_INET && family != AF_INET6) {
        return;
    }
    if let Some(owner) = task::current(Setting::HookTask) {
        // SAFETY: as above; the helper is allowed here since Linux 5.12.
        maps::set_owner(unsafe { bpf_get_socket_cookie(socket.cast()) }, &owner);
    }
}

/// Cookies are never used twice: this only makes room.
#[inline(always)]
pub fn release(socket: *mut bpf_sock) {
    // SAFETY: as in `create`.
    maps::forget_owner(unsafe { bpf_get_socket_cookie(socket.cast()) });
}
