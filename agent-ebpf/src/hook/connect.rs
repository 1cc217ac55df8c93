//! Connections that sockets of this host open: hooks `cgroup/connect4` and `connect6`, the first datagram of a
//! connected UDP socket, `sock_ops` for what becomes of TCP connections, and their first data. Only where connections are
//! captured. [`super::unconnected`] has UDP sockets without a connection, [`super::datagram_drop`] datagrams that are discarded.
//!
//! # Minimum kernel version
//!
//! Linux 5.8, for the cookie of the network namespace.

use crate::counters::Counters;
use crate::hook::datagram_drop;
use crate::maps;
use crate::parse::{TCP, UDP};
use crate::ring::{self, Context};
use crate::settings;
use crate::socket::{Peer, SocketState, canonical, pair};
use crate::task;
use aya_ebpf::bindings::{
    __sk_buff, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
    BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, BPF_TCP_ESTABLISHED,
    BPF_TCP_SYN_SENT, bpf_sock_addr, bpf_sock_ops,
};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_skc_to_tcp_sock,
    bpf_sock_ops_cb_flags_set,
};
use core::mem::MaybeUninit;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::globals::Setting;
use dnscribe_common::record::{
    Connect, DIRECTION_EGRESS, STEP_BEGUN, STEP_ESTABLISHED, STEP_FAILED, STEP_FIRST_BYTE,
    STEP_RESET, STEP_UNREACHABLE,
};

const ECONNRESET: i32 = 104;
const ECONNREFUSED: i32 = 111;

/// Records a TCP connection that begins. Of a UDP socket, remembers the peer until it sends: many sockets are
/// connected only to learn which source address the kernel would choose (`getaddrinfo` of glibc).
#[inline(always)]
pub fn begin<const VERSION: u8>(address: *mut bpf_sock_addr) {
    // SAFETY: the kernel hands a valid context.
    let (protocol, socket) =
        unsafe { ((*address).protocol, (*address).__bindgen_anon_1.sk.cast()) };
    let is_tcp = protocol == u32::from(TCP);
    if !is_tcp && protocol != u32::from(UDP) {
        return;
    }
    let mut spare = MaybeUninit::uninit();
    let state =
        if is_tcp { SocketState::empty(&mut spare) } else { SocketState::get(socket, &mut spare) };
    if let Some(owner) = task::current(Setting::HookTask) {
        state.set_owner(&owner);
    }
    let peer = peer::<VERSION>(address);
    if !is_tcp {
        state.peer = peer;
        if settings::get(Setting::SockCookie) != 0 {
            // Lets the kernel give it one, for the program that cannot.
            // SAFETY: a helper that is allowed for this context.
            unsafe { bpf_get_socket_cookie(address.cast()) };
        }
        return;
    }
    write_begun(address, TCP, &peer, state);
}

/// Writes that a socket begins a connection. `state` has its owner, the current task.
#[inline(always)]
pub fn write_begun(
    address: *mut bpf_sock_addr,
    protocol: u8,
    peer: &Peer,
    state: &mut SocketState,
) {
    // SAFETY: helpers that are allowed for this context.
    unsafe {
        state.netns_cookie = bpf_get_netns_cookie(address.cast());
        state.cgroup_id = bpf_get_current_cgroup_id();
        let cookie = bpf_get_socket_cookie(address.cast());
        write(Hook::Connect, Step::new(protocol, STEP_BEGUN, cookie), peer, state);
    }
}

/// Returns the peer's address, as the program gave it, in its [canonical] form.
#[inline(always)]
pub fn peer<const VERSION: u8>(address: *mut bpf_sock_addr) -> Peer {
    // Volatile, because the verifier refuses loads of several words, and of computed addresses.
    // SAFETY: the kernel hands a valid context.
    let (version, [front, back]) = unsafe {
        if VERSION == 4 {
            (4, [pair([(&raw const (*address).user_ip4).read_volatile(), 0]), 0])
        } else {
            canonical([
                (&raw const (*address).user_ip6[0]).read_volatile(),
                (&raw const (*address).user_ip6[1]).read_volatile(),
                (&raw const (*address).user_ip6[2]).read_volatile(),
                (&raw const (*address).user_ip6[3]).read_volatile(),
            ])
        }
    };
    // SAFETY: the kernel hands a valid context.
    let port = u16::from_be(unsafe { (*address).user_port } as u16);
    Peer { front, back, port: u32::from(port), version }
}

/// Notes a datagram with an address that is not the peer's, of a socket that has sent nothing to its peer yet.
#[inline(always)]
pub fn note_destination<const VERSION: u8>(address: *mut bpf_sock_addr) {
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*address).__bindgen_anon_1.sk };
    if let Some(state) = SocketState::find(socket.cast())
        && state.peer.version != 0
        && !state.peer.has_address_of(&peer::<VERSION>(address))
    {
        // SAFETY: a helper that is allowed for this context.
        let cookie = unsafe { bpf_get_socket_cookie(address.cast()) };
        datagram_drop::note_elsewhere(cookie, &state.peer);
    }
}

/// Forgets the peer of a socket that is connected to another one, which is no use.
#[inline(always)]
pub fn forget_peer(address: *mut bpf_sock_addr) {
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*address).__bindgen_anon_1.sk };
    if let Some(state) = SocketState::find(socket.cast()) {
        state.peer.version = 0;
    }
}

/// Records the first datagram of a connected UDP socket to its peer.
#[inline(always)]
pub fn observe_datagram(skb: *mut __sk_buff) {
    // SAFETY: the kernel hands a valid context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if start + 28 > end {
        return;
    }
    // SAFETY: compared with `end`.
    let (first, four, six) = unsafe {
        (*(start as *const u8), *((start + 9) as *const u8), *((start + 6) as *const u8))
    };
    if (if first >> 4 == 4 { four } else { six }) != UDP {
        return;
    }
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    let Some(state) = SocketState::find(socket.cast()) else { return };
    if state.peer.version == 0 {
        return;
    }
    let peer = state.peer;
    // SAFETY: a helper that is allowed for this context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    if datagram_drop::take_elsewhere(cookie, &peer) {
        return;
    }
    state.peer.version = 0;
    state.set_placement(|| super::cgroup_skb::placement(skb));
    datagram_drop::note_begun(cookie, &peer);
    write(Hook::Connect, Step::new(UDP, STEP_BEGUN, cookie), &peer, state);
}

/// Records a segment with data that arrives at a TCP socket which connected, and has received no data before. Until the socket
/// takes it in, further ones are recorded, too.
#[inline(always)]
pub fn observe_segment(skb: *mut __sk_buff) {
    if settings::get(Setting::TcpCallbacks) == 0 || settings::get(Setting::SockTyped) == 0 {
        return;
    }
    // SAFETY: the kernel hands a valid context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if start + 33 > end {
        return;
    }
    // SAFETY: compared with `end`.
    let (first, four, six) = unsafe {
        (*(start as *const u8), *((start + 9) as *const u8), *((start + 6) as *const u8))
    };
    if first == 0x45 {
        if four == TCP {
            observe_tcp::<20>(skb, (start, end));
        }
    } else if first >> 4 == 6 && six == TCP {
        observe_tcp::<40>(skb, (start, end));
    }
}

/// Records the segment, whose header begins at `UPPER`.
#[inline(always)]
fn observe_tcp<const UPPER: usize>(skb: *mut __sk_buff, (start, end): (usize, usize)) {
    if start + UPPER + 13 > end {
        return;
    }
    // SAFETY: compared with `end`, and the kernel hands a valid context; the helper returns a full socket, or null.
    let socket = unsafe {
        let header = UPPER as u32 + u32::from(*((start + UPPER + 12) as *const u8) >> 4) * 4;
        let socket = (*skb).__bindgen_anon_2.sk;
        if (*skb).len <= header || socket.is_null() {
            return;
        }
        bpf_skc_to_tcp_sock(socket.cast())
    };
    if socket.is_null()
        || task::load::<u64, _>(socket, Setting::TcpReceived) != 0
        || u32::from(task::load::<u8, _>(socket, Setting::TcpCallbacks))
            & BPF_SOCK_OPS_STATE_CB_FLAG
            == 0
    {
        return;
    }
    let mut spare = MaybeUninit::uninit();
    // SAFETY: a helper that is allowed for this context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let step = Step::new(TCP, STEP_FIRST_BYTE, cookie);
    write(Hook::SockOps, step, &Peer::NONE, SocketState::empty(&mut spare));
}

/// Records an ICMP error about a TCP connection that is not established, whose socket is at this address. While `connect`
/// holds the socket, the kernel puts the error aside, and the connection goes on; a program that asks for the error gets it,
/// and none is left when it closes the socket.
#[inline(always)]
pub fn observe_icmp_error(socket: u64) {
    let [state] = task::read::<[u8; 1]>(socket, Setting::SockState);
    // An error of the socket itself ends the connection.
    if u32::from(state) != BPF_TCP_SYN_SENT || task::read::<i32>(socket, Setting::SockError) != 0 {
        return;
    }
    let mut spare = MaybeUninit::uninit();
    let cookie = task::read(socket, Setting::SockCookie);
    let step = Step::new(TCP, STEP_UNREACHABLE, cookie);
    write(Hook::SockOps, step, &Peer::NONE, SocketState::empty(&mut spare));
}

/// Records what becomes of a TCP connection.
#[inline(always)]
pub fn observe_state(ops: *mut bpf_sock_ops) {
    // SAFETY: the kernel hands a valid context.
    let (operation, port) = unsafe { ((*ops).op, (*ops).remote_port) };
    // In network order, in the upper half of little-endian words.
    let port = if cfg!(target_endian = "big") { port } else { port >> 16 };
    if maps::port_class(u16::from_be(port as u16)) == PORT_DNS {
        return;
    }
    let (step, errno, rtt_us) = match operation {
        BPF_SOCK_OPS_TCP_CONNECT_CB => {
            // Other programs may have set flags for themselves.
            // SAFETY: the kernel hands a valid context.
            unsafe {
                let flags = (*ops).bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG;
                bpf_sock_ops_cb_flags_set(ops, flags as i32);
            }
            return;
        }
        // In eighths of a microsecond.
        // SAFETY: the kernel hands a valid context.
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => (STEP_ESTABLISHED, 0, unsafe { (*ops).srtt_us } >> 3),
        BPF_SOCK_OPS_STATE_CB => {
            // SAFETY: the kernel hands a valid context, with both states as arguments of this operation.
            let (from, to) = unsafe {
                let states = &raw const (*ops).__bindgen_anon_1.args;
                (
                    (&raw const (*states)[0]).read_volatile(),
                    (&raw const (*states)[1]).read_volatile(),
                )
            };
            if to != BPF_TCP_CLOSE {
                return;
            }
            match from {
                BPF_TCP_SYN_SENT => (STEP_FAILED, error_of(ops), 0),
                // A socket that its owner closes has no error.
                BPF_TCP_ESTABLISHED if error_of(ops) == ECONNRESET => (STEP_RESET, 0, 0),
                _ => return,
            }
        }
        _ => return,
    };
    let mut spare = MaybeUninit::uninit();
    // SAFETY: a helper that is allowed for this context.
    let cookie = unsafe { bpf_get_socket_cookie(ops.cast()) };
    let state = SocketState::empty(&mut spare);
    let step = Step { errno, rtt_us, ..Step::new(TCP, step, cookie) };
    write(Hook::SockOps, step, &Peer::NONE, state);
}

/// Returns the error of the socket; 0 if it has none. Without BTF: that the peer refused, if it sent anything.
#[inline(always)]
fn error_of(ops: *mut bpf_sock_ops) -> i32 {
    if settings::get(Setting::SockError) == 0 {
        // SAFETY: the kernel hands a valid context.
        return if unsafe { (*ops).segs_in } == 0 { 0 } else { ECONNREFUSED };
    }
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*ops).__bindgen_anon_2.sk };
    if socket.is_null() { 0 } else { task::read(task::address_of(socket), Setting::SockError) }
}

/// A step of a connection.
pub struct Step {
    pub protocol: u8,
    /// One of the `STEP_` constants.
    pub step: u8,
    pub cookie: u64,
    /// See [`Connect::errno`].
    pub errno: i32,
    /// See [`Connect::rtt_us`].
    pub rtt_us: u32,
}

impl Step {
    /// Creates a step of which nothing else is known.
    #[inline(always)]
    pub const fn new(protocol: u8, step: u8, cookie: u64) -> Self {
        Self { protocol, step, cookie, errno: 0, rtt_us: 0 }
    }
}

#[inline(always)]
fn write(hook: Hook, step: Step, peer: &Peer, state: &SocketState) {
    let context = Context {
        netns_cookie: state.netns_cookie,
        cgroup_id: state.cgroup_id,
        task: if state.has_owner() { Some(state.owner) } else { None },
        parent_pid: state.parent_pid,
        // All steps of a connection come through one ring, in order.
        flow: step.cookie as u32,
        ..Context::of_report(hook, DIRECTION_EGRESS)
    };
    write_step(step, peer, &context);
}

/// Writes a step. The flow in `context` is the socket's cookie, for all steps of a connection.
#[inline(always)]
pub fn write_step(step: Step, peer: &Peer, context: &Context) {
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(context.hook, Counter::Seen);
    let Step { protocol, step, cookie, errno, rtt_us } = step;
    let sees_data =
        settings::get(Setting::TcpCallbacks) != 0 && settings::get(Setting::SockTyped) != 0;
    ring::write_connect(
        counters,
        Connect {
            cookie,
            remote: peer.octets(),
            errno,
            remote_port: peer.port as u16,
            version: peer.version as u8,
            protocol,
            step,
            awaits_byte: u8::from(sees_data && step == STEP_ESTABLISHED),
            pad: [0; 2],
            rtt_us,
        },
        context,
    );
}
