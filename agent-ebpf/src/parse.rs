//! Classifies packets from the IP header on, reading bytes with the helper `bpf_skb_load_bytes`. Used for
//! every packet that the fast path in `hook/cgroup_skb.rs` does not decide.

mod icmp;
mod ip;
mod summary;
mod transport;
pub mod tunnel;

pub use icmp::{ICMP, ICMP6, is_unreachable};
pub use ip::classify;
pub use summary::PacketSummary;
pub use transport::{TCP, UDP, mapped, tcp_is_relevant};

use crate::flow::Flow;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use core::mem::MaybeUninit;
use dnscribe_common::layers::ByteSource;
use dnscribe_common::record::{
    MAX_HANDSHAKE_BYTES, MAX_HEADERS_BYTES, MAX_TUNNELLED_HEADERS_BYTES,
};

/// Result of classifying a packet. A struct instead of an enum with fields: in variants without fields the
/// compiler leaves registers unwritten, and the verifier then refuses their use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub outcome: Outcome,
    /// IP protocol number of a captured packet.
    pub protocol: u8,
    /// Whether it is encrypted DNS, provided that the resolver check passes.
    pub is_encrypted: bool,
    /// Offset of the payload of encrypted DNS. Never compared, because the verifier would then track every path
    /// through the headers separately.
    pub payload: u32,
    /// Whether an address must still be looked up among the resolvers.
    pub needs_resolver: bool,
    /// Address to look up, see [`transport::PortMatch`]. Never compared, like `payload`.
    pub resolver_ref: u32,
    /// Whether its socket has other addresses or ports.
    pub is_translated: bool,
    pub flow: Flow,
}

/// Outcome for a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not on a captured port, or without content for the agent.
    Skipped,
    /// Captured.
    Emit,
    /// On a captured port, but a TCP segment without payload and without SYN, FIN or RST.
    TcpNoPayload,
    /// Unknown: more nested or IPv6 extension headers than the programs parse.
    TooDeep,
    /// Encrypted DNS in fragments.
    EncryptedFragment,
}

impl Verdict {
    pub const SKIPPED: Self = Self::of(Outcome::Skipped);
    pub const TCP_NO_PAYLOAD: Self = Self::of(Outcome::TcpNoPayload);
    pub const TOO_DEEP: Self = Self::of(Outcome::TooDeep);

    const fn of(outcome: Outcome) -> Self {
        let flow = Flow::UNKNOWN;
        Self {
            outcome,
            protocol: 0,
            is_encrypted: false,
            payload: 0,
            needs_resolver: false,
            resolver_ref: 0,
            is_translated: false,
            flow,
        }
    }

    #[inline(always)]
    pub const fn emit(protocol: u8, flow: Flow) -> Self {
        Self { outcome: Outcome::Emit, protocol, flow, ..Self::SKIPPED }
    }

    /// Returns the largest number of bytes to export, or `None` if the resolver check fails. Called once, at the
    /// end, and returns record sizes: a call on each path through the headers, or a size per payload offset,
    /// would exceed the verifier's limits.
    #[inline(always)]
    pub fn max_export_bytes(&self, packet: Skb, tunnelled: bool) -> Option<u32> {
        if self.needs_resolver && !transport::is_resolver(packet, self.resolver_ref) {
            return None;
        }
        Some(if !self.is_encrypted {
            u32::MAX
        } else if transport::may_be_readable(packet, self.protocol, self.payload) {
            MAX_HANDSHAKE_BYTES
        } else if tunnelled {
            MAX_TUNNELLED_HEADERS_BYTES
        } else {
            MAX_HEADERS_BYTES
        })
    }
}

/// A packet, or a packet nested in it.
#[derive(Clone, Copy)]
pub struct Skb {
    skb: *mut __sk_buff,
    /// End of the packet, in bytes from the start of the socket buffer. Padding or an outer packet may follow.
    end: u32,
}

impl Skb {
    /// Returns the whole packet.
    #[inline(always)]
    pub fn whole(skb: *mut __sk_buff) -> Self {
        // SAFETY: the kernel hands a valid context.
        Self { skb, end: unsafe { (*skb).len } }
    }

    /// Returns the packet shortened to `end`.
    #[inline(always)]
    pub fn truncate(self, end: u32) -> Self {
        Self { end, ..self }
    }

    /// Returns the number of bytes after the first `header` bytes of a packet whose IP header gives the length
    /// `claimed`. `None` if they are too few for a UDP or TCP header, or if the header gives no length
    /// (jumbograms, offloaded super-packets).
    #[inline(always)]
    pub fn bytes_after(self, header: u32, claimed: u32) -> Option<u32> {
        if claimed <= header {
            return None;
        }
        let end = if claimed < self.end { claimed } else { self.end };
        if end < header + 14 { None } else { Some(end - header) }
    }
}

impl ByteSource for Skb {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        if at + N as u32 > self.end {
            return None;
        }
        // Not zeroed first: the compiler would call a function that writes byte by byte.
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the buffer has `N` bytes, and the helper writes all of them, zeros if it fails.
        unsafe {
            let buffer = bytes.as_mut_ptr().cast();
            let failed = bpf_skb_load_bytes(self.skb.cast(), at, buffer, N as u32);
            if failed == 0 { Some(bytes.assume_init()) } else { None }
        }
    }
}

/// Returns a number in network byte order from its two bytes.
#[inline(always)]
pub fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
