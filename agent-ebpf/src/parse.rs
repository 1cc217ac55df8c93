//! From the IP header to the verdict, reading octets with the `load_bytes` helper: for whatever
//! the short way in `hook/cgroup_skb.rs` does not take.

mod icmp;
mod ip;
mod transport;

pub use ip::classify;
pub use transport::{TCP, UDP, mapped, tcp_may_carry};

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;

/// What to do about a packet. Not an enum with fields: where it has none, the compiler would leave
/// registers unwritten that the verifier then sees read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub fate: Fate,
    /// The IP protocol number of a packet that is ours.
    pub protocol: u8,
    /// Where in the buffer ends what may be told of it.
    pub end: u32,
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
    /// Encrypted DNS in fragments.
    EncryptedFragment,
}

impl Verdict {
    pub const NOT_OURS: Self = Self::of(Fate::NotOurs);
    pub const TCP_NO_PAYLOAD: Self = Self::of(Fate::TcpNoPayload);
    pub const ENCRYPTED_FRAGMENT: Self = Self::of(Fate::EncryptedFragment);

    const fn of(fate: Fate) -> Self {
        Self { fate, protocol: 0, end: u32::MAX }
    }

    /// All of a packet may be told.
    #[inline(always)]
    pub const fn emit(protocol: u8) -> Self {
        Self { fate: Fate::Emit, protocol, end: u32::MAX }
    }

    /// Encrypted DNS, of which only what lies before `end` may be told.
    #[inline(always)]
    pub const fn encrypted(protocol: u8, end: u32) -> Self {
        Self { fate: Fate::Emit, protocol, end }
    }

    #[inline(always)]
    pub const fn is_encrypted(&self) -> bool {
        self.end != u32::MAX
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
