//! From the IP header to the verdict, reading octets with the `load_bytes` helper: for whatever
//! the short way in `hook/cgroup_skb.rs` does not take.

mod icmp;
mod ip;
mod transport;
pub mod tunnel;

pub use icmp::ICMP;
pub use ip::classify;
pub use transport::{TCP, UDP, tcp_may_carry};

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use dnscribe_common::layers::Octets;

/// What to do about a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not on our ports, or not to be told.
    NotOurs,
    /// Ours, with its IP protocol number.
    Emit(u8),
    /// Ours, but a TCP segment that carries nothing.
    TcpNoPayload,
    /// Perhaps ours: more headers one in the other than are looked through.
    TooDeep,
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
}

impl Octets for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at + N as u32 > self.end {
            return None;
        }
        let mut octets = [0u8; N];
        // SAFETY: the buffer has room for `N` octets.
        let failed =
            unsafe { bpf_skb_load_bytes(self.skb.cast(), at, (&raw mut octets).cast(), N as u32) };
        (failed == 0).then_some(octets)
    }
}

/// Two octets in network order.
#[inline(always)]
pub fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
