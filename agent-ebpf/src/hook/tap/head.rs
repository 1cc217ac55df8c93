//! The first octets of a packet, which are enough for nearly all: an IP header without options, extension
//! headers and fragments, and what follows it.
//!
//! A filter may not look at a packet where it is, and the helper that copies octets takes as long as half
//! an empty run. Linux 6.2 and later give the kernel's own view of the packet to a program that asks with
//! two functions, which are a move each once verified; what is read through it is loaded like any kernel
//! object whose type is known, zeros where nothing is mapped. The agent says whether to (`SkbTyped`).

use crate::parse::{Skb, be16};
use crate::settings;
use crate::task::load;
use aya_ebpf::bindings::__sk_buff;
use core::arch::asm;
use core::ffi::c_void;
use core::ptr::null;
use dnscribe_common::globals::{CALL_KERNEL_SKB, CALL_TYPED, Setting};
use dnscribe_common::layers::{IP, IPV6, Octets};

/// Octets of an upper header that are looked at: up to TCP's flags.
const UPPER: u32 = 14;

/// Source registers of a call: of a kernel function (`BPF_PSEUDO_KFUNC_CALL`).
const KERNEL_FUNCTION: u8 = if cfg!(target_endian = "big") { 0x02 } else { 0x20 };

/// What the first octets tell.
pub struct Head {
    pub protocol: u8,
    /// Where the upper header begins.
    pub at: u32,
    /// Octets of it and of its payload, by the IP header.
    pub room: u32,
    pub ports: [u16; 2],
    /// Octets 12 and 13 of the upper header, where it was copied.
    tcp: [u8; 2],
    /// The upper header, where it was not.
    header: *const c_void,
}

impl Head {
    /// The type of an ICMP message.
    #[inline(always)]
    pub fn icmp_type(&self) -> u8 {
        (self.ports[0] >> 8) as u8
    }

    /// Data offset and flags of a TCP header.
    #[inline(always)]
    pub fn tcp(&self) -> [u8; 2] {
        if is_direct() { [at(self.header, 12), at(self.header, 13)] } else { self.tcp }
    }
}

/// The head of a packet; `None` where there is more to look at.
#[inline(always)]
pub fn of(skb: *mut __sk_buff) -> Option<Head> {
    // SAFETY: the kernel hands a valid context.
    let ethertype = u16::from_be(unsafe { (*skb).protocol } as u16);
    match ethertype {
        IP if is_direct() => direct_4(skb),
        IPV6 if is_direct() => direct_6(skb),
        IP => copied_4(skb),
        IPV6 => copied_6(skb),
        _ => None,
    }
}

/// Whether packets are looked at where they are.
#[inline(always)]
fn is_direct() -> bool {
    settings::get(Setting::SkbTyped) != 0
}

#[inline(always)]
fn copied_4(skb: *mut __sk_buff) -> Option<Head> {
    let packet = Skb::whole(skb);
    let head = packet.load::<34>(0)?;
    if head[0] != 0x45 || be16(head[6], head[7]) & 0x3fff != 0 {
        return None;
    }
    let room = packet.room(20, u32::from(be16(head[2], head[3])))?;
    Some(copied(head[9], 20, room, head.last_chunk()?))
}

#[inline(always)]
fn copied_6(skb: *mut __sk_buff) -> Option<Head> {
    let packet = Skb::whole(skb);
    let head = packet.load::<54>(0)?;
    if head[0] >> 4 != 6 {
        return None;
    }
    let room = packet.room(40, u32::from(be16(head[4], head[5])) + 40)?;
    Some(copied(head[6], 40, room, head.last_chunk()?))
}

#[inline(always)]
fn copied(protocol: u8, at: u32, room: u32, upper: &[u8; UPPER as usize]) -> Head {
    Head {
        protocol,
        at,
        room,
        ports: [be16(upper[0], upper[1]), be16(upper[2], upper[3])],
        tcp: [upper[12], upper[13]],
        header: null(),
    }
}

#[inline(always)]
fn direct_4(skb: *mut __sk_buff) -> Option<Head> {
    let data = octets(skb, 20 + UPPER)?;
    let ip = typed(data, Setting::TypeIp4);
    if at::<u8>(ip, 0) != 0x45 || u16::from_be(at(ip, 6)) & 0x3fff != 0 {
        return None;
    }
    let room = Skb::whole(skb).room(20, u32::from(u16::from_be(at(ip, 2))))?;
    Some(direct(at(ip, 9), 20, room, data))
}

#[inline(always)]
fn direct_6(skb: *mut __sk_buff) -> Option<Head> {
    let data = octets(skb, 40 + UPPER)?;
    let ip = typed(data, Setting::TypeIp6);
    if at::<u8>(ip, 0) >> 4 != 6 {
        return None;
    }
    let room = Skb::whole(skb).room(40, u32::from(u16::from_be(at(ip, 4))) + 40)?;
    Some(direct(at(ip, 6), 40, room, data))
}

#[inline(always)]
fn direct(protocol: u8, upper: u32, room: u32, data: usize) -> Head {
    // As TCP's whatever it is: all three begin with what is wanted of them.
    let header = typed(data + upper as usize, Setting::TypeTcp);
    Head {
        protocol,
        at: upper,
        room,
        ports: [u16::from_be(at(header, 0)), u16::from_be(at(header, 2))],
        tcp: [0; 2],
        header,
    }
}

/// Where the packet's octets are, if so many of them are in one piece.
#[inline(always)]
fn octets(skb: *mut __sk_buff, wanted: u32) -> Option<usize> {
    // SAFETY: takes the context, and gives the packet itself.
    let packet = unsafe { call::<CALL_KERNEL_SKB>(skb as usize, 0) };
    let (all, elsewhere): (u32, u32) =
        (load(packet, Setting::SkbLen), load(packet, Setting::SkbDataLen));
    let here = all.wrapping_sub(elsewhere);
    if elsewhere > all || here < wanted {
        return None;
    }
    Some(load(packet, Setting::SkbData))
}

/// An address as that of a kernel object of this type, to be read only.
#[inline(always)]
fn typed(address: usize, kind: Setting) -> *const c_void {
    // SAFETY: takes any address, and the number of a type.
    unsafe { call::<CALL_TYPED>(address, settings::get(kind)) }
}

#[inline(always)]
fn at<T: Copy>(object: *const c_void, offset: usize) -> T {
    // SAFETY: the verifier lets a program pass only where the type has such a field there.
    unsafe { object.cast::<u8>().add(offset).cast::<T>().read_volatile() }
}

/// Calls a function of the kernel's, by the number that the agent puts in place of `FUNCTION`. As octets,
/// since the assembler knows helpers only.
///
/// # Safety
/// The arguments must be what it takes.
#[inline(always)]
unsafe fn call<const FUNCTION: u32>(first: usize, second: u32) -> *const c_void {
    let result: *const c_void;
    // SAFETY: the caller's word; the registers are those of a call.
    unsafe {
        asm!(
            ".byte 0x85, {registers}, 0, 0",
            ".long {function}",
            registers = const KERNEL_FUNCTION,
            function = const FUNCTION,
            inout("r1") first => _,
            inout("r2") u64::from(second) => _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            lateout("r0") result,
            options(nostack),
        );
    }
    result
}
