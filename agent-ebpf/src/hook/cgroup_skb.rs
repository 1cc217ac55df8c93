//! Hook `cgroup_skb`: sees every packet of every socket in the cgroup and its descendants, in both directions.

use crate::counters::Counters;
use crate::diagnose;
use crate::flow;
use crate::hook::{connect, translation};
use crate::maps;
use crate::parse::{self, ICMP, ICMP6, Outcome, Skb, TCP, UDP, Verdict, be16};
use crate::ring::{self, Context};
use crate::settings;
use crate::socket::SocketState;
use crate::task;
use aya_ebpf::bindings::{__sk_buff, BPF_TCP_LISTEN};
use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_cgroup_id,
    bpf_skc_to_tcp_sock,
};
use core::mem::MaybeUninit;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::globals::{NETNS_BTF, NETNS_HELPER, Setting};
use dnscribe_common::record::{DIRECTION_EGRESS, DIRECTION_INGRESS};
use dnscribe_common::{ICMP_MARK, PORT_DNS, totals};

/// Direction of the packets that a program sees.
pub trait Direction {
    const EGRESS: bool;
}

/// Towards the network.
pub struct Egress;
/// From the network.
pub struct Ingress;

impl Direction for Egress {
    const EGRESS: bool = true;
}
impl Direction for Ingress {
    const EGRESS: bool = false;
}

/// Classifies a packet and writes a record if it is captured.
#[inline(always)]
pub fn observe<D: Direction>(skb: *mut __sk_buff) {
    if settings::get(Setting::Connects) != 0 {
        if D::EGRESS { connect::observe_datagram(skb) } else { connect::observe_segment(skb) }
    }
    let verdict = match fast_path::<D>(skb) {
        Some(verdict) => verdict,
        None => parse::classify(Skb::whole(skb), !D::EGRESS && is_for_us(skb)),
    };
    if verdict.outcome == Outcome::Skipped
        || (!D::EGRESS && verdict.protocol == UDP && translation::is_for_raw_socket(skb))
    {
        return;
    }
    let Some(max_bytes) = verdict.max_export_bytes(Skb::whole(skb), false) else { return };
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Cgroup, Counter::Seen);
    match verdict.outcome {
        Outcome::Emit => emit::<D>(counters, skb, verdict, max_bytes),
        Outcome::EncryptedFragment => counters.add(Hook::Cgroup, Counter::EncryptedFragment),
        Outcome::TooDeep => counters.add(Hook::Cgroup, Counter::TunnelDepth),
        _ => counters.add(Hook::Cgroup, Counter::TcpNoPayload),
    }
}

/// Classifies nearly all packets by direct access: those without options, extension headers or fragments.
/// `None` leaves the rest to [`parse::classify`].
#[inline(always)]
fn fast_path<D: Direction>(skb: *mut __sk_buff) -> Option<Verdict> {
    // SAFETY: the kernel hands a valid context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if start + 28 > end {
        return None;
    }
    let octet = |at: usize| {
        // SAFETY: only called below for offsets that were compared with `end`.
        unsafe { *((start + at) as *const u8) }
    };
    let first = octet(0);
    let (protocol, upper, claimed) = if first == 0x45 {
        if be16(octet(6), octet(7)) & 0x3fff != 0 {
            return None;
        }
        (octet(9), 20usize, u32::from(be16(octet(2), octet(3))))
    } else if first >> 4 == 6 {
        (octet(6), 40, u32::from(be16(octet(4), octet(5))) + 40)
    } else {
        if first >> 4 != 4 {
            diagnose::unknown_ip_version(first);
        }
        return None;
    };
    if protocol != UDP && protocol != TCP {
        // DNS may follow IPv6 extension headers, and ICMP may report an error to a socket of the agent.
        let long = if protocol == ICMP || protocol == ICMP6 {
            !D::EGRESS && is_for_us(skb)
        } else {
            upper == 40
        };
        return if long { None } else { Some(Verdict::SKIPPED) };
    }
    if upper == 20 {
        classify_upper::<D, 20>(skb, (start, end), protocol, claimed)
    } else {
        classify_upper::<D, 40>(skb, (start, end), protocol, claimed)
    }
}

#[inline(always)]
fn classify_upper<D: Direction, const UPPER: usize>(
    skb: *mut __sk_buff,
    (start, end): (usize, usize),
    protocol: u8,
    claimed: u32,
) -> Option<Verdict> {
    if start + UPPER + 4 > end {
        return None;
    }
    let octet = |at: usize| {
        // SAFETY: only called for offsets that were compared with `end`.
        unsafe { *((start + UPPER + at) as *const u8) }
    };
    let (src, dst) = (be16(octet(0), octet(1)), be16(octet(2), octet(3)));
    let ports = if D::EGRESS {
        translation::ports(skb, src, dst)
    } else {
        translation::Ports { src, dst, are_translated: false }
    };
    let dst = maps::port_class(ports.dst);
    if dst != PORT_DNS {
        let src = maps::port_class(ports.src);
        if src | dst == 0 {
            return Some(Verdict::SKIPPED);
        }
        if src != PORT_DNS {
            // Possibly encrypted DNS.
            return None;
        }
    }
    if protocol == TCP {
        // A length of 0 belongs to super-packets, which `classify` handles by the buffer's length.
        if start + UPPER + 14 > end || claimed <= UPPER as u32 {
            return None;
        }
        if !parse::tcp_is_relevant(octet(12), octet(13), claimed - UPPER as u32) {
            return Some(Verdict::TCP_NO_PAYLOAD);
        }
    }
    // SAFETY: the bytes of IP header and ports were compared with `end`.
    unsafe {
        if D::EGRESS
            && (ports.are_translated || translation::has_other_addresses::<UPPER>(skb, start))
        {
            let flow = translation::flow::<UPPER>(skb, start, ports);
            return Some(Verdict { is_translated: true, ..Verdict::emit(protocol, flow) });
        }
        Some(Verdict::emit(protocol, flow::read_direct::<UPPER>(start)))
    }
}

/// Returns whether the socket is one of the agent's raw sockets for ICMP errors. Raw sockets of others would
/// show the same error again.
#[inline(always)]
fn is_for_us(skb: *mut __sk_buff) -> bool {
    // SAFETY: the kernel hands a valid context; the helper returns a socket or null.
    unsafe {
        let socket = (*skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        let socket = bpf_sk_fullsock(socket);
        !socket.is_null() && (*socket).mark == ICMP_MARK
    }
}

#[inline(always)]
fn emit<D: Direction>(counters: Counters, skb: *mut __sk_buff, verdict: Verdict, max_bytes: u32) {
    let protocol = verdict.protocol;
    // SAFETY: the kernel hands a valid context.
    let (wire, ifindex, segment) = unsafe { ((*skb).len, (*skb).ifindex, (*skb).gso_size) };
    let mut spare = MaybeUninit::uninit();
    let socket = socket_state::<D>(skb, protocol, &mut spare);
    let flow = verdict.flow.hash(Skb::whole(skb));
    let has_path = settings::get(Setting::Path) != 0;
    if D::EGRESS && has_path {
        socket.flow = u64::from(flow);
    }
    let context = Context {
        hook: Hook::Cgroup,
        path: if D::EGRESS { totals::PacketPath::Egress } else { totals::PacketPath::Ingress },
        ip: 0,
        direction: if D::EGRESS { DIRECTION_EGRESS } else { DIRECTION_INGRESS },
        packet_type: 0,
        datagram_bytes: if protocol == UDP { segment as u16 } else { 0 },
        max_bytes,
        ifindex,
        netns_cookie: socket.netns_cookie,
        cgroup_id: socket.cgroup_id,
        task: if socket.has_owner() { Some(socket.owner) } else { None },
        parent_pid: socket.parent_pid,
        tunnelled: false,
        direct: true,
        translated: D::EGRESS && verdict.is_translated,
        flow,
        // SAFETY: the kernel hands a valid context.
        arrived_ns: if !D::EGRESS && has_path { unsafe { (*skb).tstamp as u32 } } else { 0 },
    };
    ring::write_packet(counters, skb, 0, wire, &context);
}

/// Returns the state of the packet's socket. A sending task becomes its owner.
#[inline(always)]
fn socket_state<D: Direction>(
    skb: *mut __sk_buff,
    protocol: u8,
    spare: &mut MaybeUninit<SocketState>,
) -> &mut SocketState {
    // SAFETY: the kernel hands a valid context; the helper is allowed for it.
    let (socket, cookie) =
        unsafe { ((*skb).__bindgen_anon_2.sk, || bpf_get_socket_cookie(skb.cast())) };
    let socket = SocketState::get(socket.cast(), spare);
    socket.set_placement(|| placement(skb));
    if D::EGRESS
        && is_sender(skb, protocol, socket, cookie)
        && let Some(task) = task::current(Setting::Task)
    {
        socket.set_owner(&task);
    } else {
        socket.load_owner(cookie);
    }
    socket
}

/// Returns cgroup and network namespace of the packet's socket; 0 where unknown.
#[inline(always)]
pub fn placement(skb: *mut __sk_buff) -> (u64, u64) {
    (cgroup_id(skb), netns(skb))
}

#[inline(always)]
fn cgroup_id(skb: *mut __sk_buff) -> u64 {
    if settings::get(Setting::CgroupId) == 0 {
        return 0;
    }
    // SAFETY: the kernel hands a valid context; the branch is reached only if the kernel offers the helper.
    unsafe { bpf_skb_cgroup_id(skb) }
}

#[inline(always)]
fn netns(skb: *mut __sk_buff) -> u64 {
    match settings::get(Setting::Netns) {
        // SAFETY: the branch is reached only if the kernel offers the helper here.
        NETNS_HELPER => unsafe { bpf_get_netns_cookie(skb.cast()) },
        NETNS_BTF => match socket_address(skb) {
            0 => 0,
            socket => {
                let net: u64 = task::read(socket, Setting::SockNet);
                task::read(net, Setting::NetCookie)
            }
        },
        _ => 0,
    }
}

/// Returns whether the current task sends the packet. UDP leaves in the sender's own context. A TCP segment
/// may also leave from a softirq, which interrupts an unrelated task: a sending task holds the socket lock
/// (`sk_lock.owned`), a softirq does not. Where the kernel does not show the lock, the first segment of a
/// connection names its owner.
///
/// A listening socket sends only the answer to a SYN, always from a softirq. Another task may hold the lock
/// at that moment, in `accept`.
#[inline(always)]
fn is_sender(
    skb: *mut __sk_buff,
    protocol: u8,
    socket: &mut SocketState,
    cookie: impl FnOnce() -> u64,
) -> bool {
    if protocol != TCP {
        return true;
    }
    if is_listening(skb) {
        return false;
    }
    if settings::get(Setting::SockOwned) != 0 {
        return is_locked_by_task(skb);
    }
    socket.load_owner(cookie);
    !socket.has_owner()
}

#[inline(always)]
fn is_listening(skb: *mut __sk_buff) -> bool {
    // SAFETY: the kernel hands a valid context; programs may read the field of any socket.
    unsafe {
        let socket = (*skb).__bindgen_anon_2.sk;
        !socket.is_null() && (*socket).state == BPF_TCP_LISTEN
    }
}

#[inline(always)]
fn is_locked_by_task(skb: *mut __sk_buff) -> bool {
    if settings::get(Setting::SockTyped) != 0 {
        // SAFETY: the kernel hands a valid context; the helper returns a full socket, or null for a
        // request socket, such as that of a SYN being answered.
        let socket = unsafe {
            let socket = (*skb).__bindgen_anon_2.sk;
            if socket.is_null() {
                return false;
            }
            bpf_skc_to_tcp_sock(socket.cast())
        };
        return !socket.is_null() && task::load::<i32, _>(socket, Setting::SockOwned) != 0;
    }
    match socket_address(skb) {
        0 => false,
        socket => task::read::<i32>(socket, Setting::SockOwned) != 0,
    }
}

#[inline(always)]
fn socket_address(skb: *mut __sk_buff) -> u64 {
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() { 0 } else { task::address_of(socket) }
}
