//! From the IP header to the verdict, reading octets with the `load_bytes` helper: for whatever
//! the short way in `hook/cgroup_skb.rs` does not take.

mod glance;
mod icmp;
mod ip;
mod transport;
pub mod tunnel;

pub use glance::Glance;
pub use icmp::{ICMP, ICMP6, is_unreachable};
pub use ip::classify;
pub use transport::{TCP, UDP, mapped, tcp_may_carry};

use crate::flow::Flow;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use core::mem::MaybeUninit;
use dnscribe_common::layers::Octets;
use dnscribe_common::record::{HANDSHAKE_ROOM, HEADERS_ROOM, TUNNELLED_HEADERS_ROOM};

/// What to do about a packet. Not an enum with fields: where a variant has none, the compiler would
/// leave registers unwritten that the verifier then sees read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub fate: Fate,
    /// The IP protocol number of a packet that is ours.
    pub protocol: u8,
    /// Whether it is encrypted DNS, or to become it with what is asked.
    pub is_encrypted: bool,
    /// Where its payload begins then. Never compared: the verifier would tell ways through the headers
    /// apart by it.
    pub payload: u32,
    /// Whether something is still to be asked of the addresses: see [`transport::Watched`].
    pub asks: bool,
    /// What. Never compared either.
    pub ask: u32,
    pub flow: Flow,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Not on our ports, or not to be told.
    NotOurs,
    /// Ours.
    Emit,
    /// Ours, but a TCP segment that carries nothing.
    TcpNoPayload,
    /// Perhaps ours: more headers one in the other than are looked through.
    TooDeep,
    /// Encrypted DNS in fragments.
    EncryptedFragment,
}

impl Verdict {
    pub const NOT_OURS: Self = Self::of(Fate::NotOurs);
    pub const TCP_NO_PAYLOAD: Self = Self::of(Fate::TcpNoPayload);
    pub const TOO_DEEP: Self = Self::of(Fate::TooDeep);

    const fn of(fate: Fate) -> Self {
        let flow = Flow::UNKNOWN;
        Self { fate, protocol: 0, is_encrypted: false, payload: 0, asks: false, ask: 0, flow }
    }

    #[inline(always)]
    pub const fn emit(protocol: u8, flow: Flow) -> Self {
        Self { fate: Fate::Emit, protocol, flow, ..Self::NOT_OURS }
    }

    /// How many octets of a packet of ours are of use; nothing where its addresses say that it is none.
    /// Asked once, at the end, and answered in sizes of records: on each way through the headers, and
    /// for each place of a payload, it would be too much for the verifier.
    #[inline(always)]
    pub fn of_use(&self, packet: Skb, tunnelled: bool) -> Option<u32> {
        if self.asks && !transport::is_resolver(packet, self.ask) {
            return None;
        }
        Some(if !self.is_encrypted {
            u32::MAX
        } else if transport::may_be_readable(packet, self.protocol, self.payload) {
            HANDSHAKE_ROOM
        } else if tunnelled {
            TUNNELLED_HEADERS_ROOM
        } else {
            HEADERS_ROOM
        })
    }
}

/// A packet, or one within it.
#[derive(Clone, Copy)]
pub struct Skb {
    skb: *mut __sk_buff,
    /// Where it ends: what follows is padding, or belongs to the packet around it.
    end: u32,
}

impl Skb {
    /// The packet as it is.
    #[inline(always)]
    pub fn whole(skb: *mut __sk_buff) -> Self {
        // SAFETY: the kernel hands a valid context.
        Self { skb, end: unsafe { (*skb).len } }
    }

    /// A packet within it.
    #[inline(always)]
    pub fn until(self, end: u32) -> Self {
        Self { end, ..self }
    }

    /// What lies behind the first `header` octets of a packet that claims a length; nothing where that
    /// is no room for a header of UDP or TCP, or is not claimed (jumbograms, offloaded super-packets).
    #[inline(always)]
    pub fn room(self, header: u32, claimed: u32) -> Option<u32> {
        if claimed <= header {
            return None;
        }
        let end = if claimed < self.end { claimed } else { self.end };
        if end < header + 14 { None } else { Some(end - header) }
    }
}

impl Octets for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at + N as u32 > self.end {
            return None;
        }
        // Not zeroed first: for that the compiler calls a function that goes octet by octet.
        let mut octets = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the buffer has room for `N` octets, and the helper writes all of them, zeros where
        // it fails.
        unsafe {
            let place = octets.as_mut_ptr().cast();
            let failed = bpf_skb_load_bytes(self.skb.cast(), at, place, N as u32);
            if failed == 0 { Some(octets.assume_init()) } else { None }
        }
    }
}

/// Two octets in network order.
#[inline(always)]
pub fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
