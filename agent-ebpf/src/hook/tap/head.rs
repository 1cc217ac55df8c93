//! Reads the first headers of a packet, which decide nearly all packets: an IP header without options, extension
//! headers and fragments, and the header after it.
//!
//! A socket filter has no direct access to packets, and the helper that copies bytes takes half as long as an
//! empty run. From Linux 6.2 on, two kernel functions give access to the kernel's `sk_buff`, each compiled to one
//! move. Loads through it work as for any kernel object of known type, and give zeros for unmapped addresses. The
//! agent enables this with the setting `SkbTyped`.

use crate::parse::{Skb, be16};
use crate::settings;
use crate::task::load;
use aya_ebpf::bindings::__sk_buff;
use core::arch::asm;
use core::ffi::c_void;
use core::ptr::null;
use dnscribe_common::globals::{CALL_KERNEL_SKB, CALL_TYPED, Setting};
use dnscribe_common::layers::{ByteSource, IP, IPV6};

/// Bytes read of an upper-layer header: up to the flags of TCP.
const UPPER: u32 = 14;

/// Register fields of a call instruction for a kernel function (`BPF_PSEUDO_KFUNC_CALL` as source register).
const KERNEL_FUNCTION: u8 = if cfg!(target_endian = "big") { 0x02 } else { 0x20 };

/// First headers of a packet.
pub struct Head {
    pub protocol: u8,
    /// Offset of the upper-layer header.
    pub at: u32,
    /// Size in bytes of upper-layer header and payload, by the IP header.
    pub upper_bytes: u32,
    pub ports: [u16; 2],
    /// Bytes 12 and 13 of the upper-layer header, if it was copied.
    tcp: [u8; 2],
    /// Address of the upper-layer header, if it was not copied.
    header: *const c_void,
}

impl Head {
    /// Returns the type of an ICMP message.
    #[inline(always)]
    pub fn icmp_type(&self) -> u8 {
        (self.ports[0] >> 8) as u8
    }

    /// Returns the bytes with data offset and flags of a TCP header.
    #[inline(always)]
    pub fn tcp(&self) -> [u8; 2] {
        if is_direct() { [field_at(self.header, 12), field_at(self.header, 13)] } else { self.tcp }
    }
}

/// Reads the first headers; `None` if the packet needs full parsing.
#[inline(always)]
pub fn read(skb: *mut __sk_buff) -> Option<Head> {
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

/// Returns whether packets are read through the kernel's `sk_buff` instead of copied.
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
    let upper_bytes = packet.bytes_after(20, u32::from(be16(head[2], head[3])))?;
    Some(copied(head[9], 20, upper_bytes, head.last_chunk()?))
}

#[inline(always)]
fn copied_6(skb: *mut __sk_buff) -> Option<Head> {
    let packet = Skb::whole(skb);
    let head = packet.load::<54>(0)?;
    if head[0] >> 4 != 6 {
        return None;
    }
    let upper_bytes = packet.bytes_after(40, u32::from(be16(head[4], head[5])) + 40)?;
    Some(copied(head[6], 40, upper_bytes, head.last_chunk()?))
}

#[inline(always)]
fn copied(protocol: u8, at: u32, upper_bytes: u32, upper: &[u8; UPPER as usize]) -> Head {
    Head {
        protocol,
        at,
        upper_bytes,
        ports: [be16(upper[0], upper[1]), be16(upper[2], upper[3])],
        tcp: [upper[12], upper[13]],
        header: null(),
    }
}

#[inline(always)]
fn direct_4(skb: *mut __sk_buff) -> Option<Head> {
    let data = data_address(skb, 20 + UPPER)?;
    let ip = typed(data, Setting::TypeIp4);
    if field_at::<u8>(ip, 0) != 0x45 || u16::from_be(field_at(ip, 6)) & 0x3fff != 0 {
        return None;
    }
    let upper_bytes = Skb::whole(skb).bytes_after(20, u32::from(u16::from_be(field_at(ip, 2))))?;
    Some(direct(field_at(ip, 9), 20, upper_bytes, data))
}

#[inline(always)]
fn direct_6(skb: *mut __sk_buff) -> Option<Head> {
    let data = data_address(skb, 40 + UPPER)?;
    let ip = typed(data, Setting::TypeIp6);
    if field_at::<u8>(ip, 0) >> 4 != 6 {
        return None;
    }
    let upper_bytes =
        Skb::whole(skb).bytes_after(40, u32::from(u16::from_be(field_at(ip, 4))) + 40)?;
    Some(direct(field_at(ip, 6), 40, upper_bytes, data))
}

#[inline(always)]
fn direct(protocol: u8, upper: u32, upper_bytes: u32, data: usize) -> Head {
    // Typed as a TCP header for UDP and ICMP too: the fields read are at the same offsets.
    let header = typed(data + upper as usize, Setting::TypeTcp);
    Head {
        protocol,
        at: upper,
        upper_bytes,
        ports: [u16::from_be(field_at(header, 0)), u16::from_be(field_at(header, 2))],
        tcp: [0; 2],
        header,
    }
}

/// Returns the address of the packet's data, if the first `wanted` bytes are contiguous.
#[inline(always)]
fn data_address(skb: *mut __sk_buff, wanted: u32) -> Option<usize> {
    // SAFETY: takes the context, and returns the packet's `sk_buff`.
    let packet = unsafe { call::<CALL_KERNEL_SKB>(skb as usize, 0) };
    let (all, elsewhere): (u32, u32) =
        (load(packet, Setting::SkbLen), load(packet, Setting::SkbDataLen));
    let here = all.wrapping_sub(elsewhere);
    if elsewhere > all || here < wanted {
        return None;
    }
    Some(load(packet, Setting::SkbData))
}

/// Returns the address as a read-only kernel object of the type that the setting names.
#[inline(always)]
fn typed(address: usize, kind: Setting) -> *const c_void {
    // SAFETY: takes any address, and the BTF id of a type.
    unsafe { call::<CALL_TYPED>(address, settings::get(kind)) }
}

#[inline(always)]
fn field_at<T: Copy>(object: *const c_void, offset: usize) -> T {
    // SAFETY: the verifier accepts the load only if the type has such a field there.
    unsafe { object.cast::<u8>().add(offset).cast::<T>().read_volatile() }
}

/// Calls a kernel function. The agent replaces `FUNCTION` by its BTF id. Encoded as bytes, because the assembler
/// supports calls of helpers only.
///
/// # Minimum kernel version
///
/// Linux 6.2.
///
/// # Safety
/// The arguments must be valid for the function.
#[inline(always)]
unsafe fn call<const FUNCTION: u32>(first: usize, second: u32) -> *const c_void {
    let result: *const c_void;
    // SAFETY: the caller passes valid arguments; the registers are those of a call.
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
