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

/// A packet whose octets the shared walk reads.
pub struct Skb(pub *mut __sk_buff);

impl Octets for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        load(self.0, at)
    }
}

/// Octets of the packet from `offset` on; `None` where it ends before.
#[inline(always)]
pub fn load<const N: usize>(skb: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    let mut octets = [0u8; N];
    // SAFETY: the buffer has room for `N` octets.
    let failed =
        unsafe { bpf_skb_load_bytes(skb.cast(), offset, (&raw mut octets).cast(), N as u32) };
    (failed == 0).then_some(octets)
}

/// Two octets in network order.
#[inline(always)]
pub fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
