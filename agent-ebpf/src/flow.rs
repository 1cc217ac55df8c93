//! Flow hash of a packet, which chooses the ring. With a single ring, the verifier removes this code.

use crate::parse::Skb;
use crate::settings;
use dnscribe_common::flow::{Address, four, hash, six};
use dnscribe_common::globals::Setting;
use dnscribe_common::layers::ByteSource;

/// Flow of a packet in a verdict: its hash, or where to read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub is_hashed: bool,
    /// The hash if `is_hashed`; else the offsets of the IP header (upper half) and of the ports (lower half). Never
    /// compared, because the verifier would then track every path through the headers separately.
    pub value: u32,
}

impl Flow {
    pub const UNKNOWN: Self = Self::hashed(0);

    #[inline(always)]
    pub const fn hashed(hash: u32) -> Self {
        Self { is_hashed: true, value: hash }
    }

    /// Creates the flow of the packet with its IP header at `ip` and its ports at `upper`.
    #[inline(always)]
    pub const fn in_headers(ip: u32, upper: u32) -> Self {
        Self { is_hashed: false, value: ip << 16 | upper & 0xffff }
    }

    /// Returns the hash; 0 with a single ring.
    #[inline(always)]
    pub fn hash(self, packet: Skb) -> u32 {
        if !is_wanted() {
            0
        } else if self.is_hashed {
            self.value
        } else {
            read(packet, self.value >> 16, self.value & 0xffff).unwrap_or(0)
        }
    }
}

/// Returns whether there are several rings.
#[inline(always)]
pub fn is_wanted() -> bool {
    settings::get(Setting::Rings) > 1
}

#[inline(always)]
fn read(packet: Skb, ip: u32, upper: u32) -> Option<u32> {
    let [first] = packet.load(ip)?;
    let (src, dst) = if first >> 4 == 4 {
        (four(packet.load(ip + 12)?), four(packet.load(ip + 16)?))
    } else {
        (six(packet.load(ip + 8)?), six(packet.load(ip + 24)?))
    };
    let [a, b, c, d] = packet.load(upper)?;
    Some(hash(src, dst, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Reads the flow by direct access, from an IPv4 header without options or an IPv6 header without extension
/// headers, and the ports.
///
/// # Safety
/// `UPPER + 4` bytes from `ip` on must be readable.
#[inline(always)]
pub unsafe fn read_direct<const UPPER: usize>(ip: usize) -> Flow {
    if !is_wanted() {
        return Flow::UNKNOWN;
    }
    // SAFETY: the caller guarantees these bytes; any values are valid.
    unsafe {
        let (src, dst) = addresses::<UPPER>(ip);
        let ports = (ip + UPPER) as *const [u8; 2];
        let port = |at: usize| u16::from_be_bytes(ports.add(at).read_unaligned());
        Flow::hashed(hash(src, dst, port(0), port(1)))
    }
}

/// Reads source and destination as [`read_direct`] does.
///
/// # Safety
/// `UPPER` bytes from `ip` on must be readable.
#[inline(always)]
pub unsafe fn addresses<const UPPER: usize>(ip: usize) -> (Address, Address) {
    // SAFETY: the caller guarantees these bytes; any values are valid.
    unsafe {
        if UPPER == 20 {
            let addresses = (ip + 12) as *const [u8; 4];
            (four(addresses.read_unaligned()), four(addresses.add(1).read_unaligned()))
        } else {
            let addresses = (ip + 8) as *const [u8; 16];
            (six(addresses.read_unaligned()), six(addresses.add(1).read_unaligned()))
        }
    }
}
