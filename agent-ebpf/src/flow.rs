//! Which flow a packet is of, for whatever goes by flows: the choice of a ring.
//!
//! With one ring nothing here is run: the verifier knows the settings and takes out what they rule
//! out.

use crate::parse::Skb;
use crate::settings;
use dnscribe_common::flow::{Address, four, hash, six};
use dnscribe_common::globals::Setting;
use dnscribe_common::layers::Octets;

/// How a verdict tells the flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub is_known: bool,
    /// Its number, where known; else where the headers are that tell it, the IP header in the upper half
    /// and the ports in the lower. Never compared: the verifier would tell ways through the headers
    /// apart by it.
    pub value: u32,
}

impl Flow {
    pub const UNKNOWN: Self = Self::known(0);

    #[inline(always)]
    pub const fn known(number: u32) -> Self {
        Self { is_known: true, value: number }
    }

    /// That of the IP header at `ip` with its ports at `upper`.
    #[inline(always)]
    pub const fn at(ip: u32, upper: u32) -> Self {
        Self { is_known: false, value: ip << 16 | upper & 0xffff }
    }

    /// The number; 0 where nobody wants it.
    #[inline(always)]
    pub fn number(self, packet: Skb) -> u32 {
        if !is_wanted() {
            0
        } else if self.is_known {
            self.value
        } else {
            read(packet, self.value >> 16, self.value & 0xffff).unwrap_or(0)
        }
    }
}

/// Whether anything goes by flows.
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

/// The flow of a packet that lies open: an IPv4 header without options or an IPv6 header without
/// extensions, and the ports.
///
/// # Safety
/// From `ip` on there must be `UPPER` and four octets.
#[inline(always)]
pub unsafe fn open<const UPPER: usize>(ip: usize) -> Flow {
    if !is_wanted() {
        return Flow::UNKNOWN;
    }
    // SAFETY: all these octets are there, as the caller promises; any values are right.
    unsafe {
        let (src, dst): (Address, Address) = if UPPER == 20 {
            let addresses = (ip + 12) as *const [u8; 4];
            (four(addresses.read_unaligned()), four(addresses.add(1).read_unaligned()))
        } else {
            let addresses = (ip + 8) as *const [u8; 16];
            (six(addresses.read_unaligned()), six(addresses.add(1).read_unaligned()))
        };
        let ports = (ip + UPPER) as *const [u8; 2];
        let port = |at: usize| u16::from_be_bytes(ports.add(at).read_unaligned());
        Flow::known(hash(src, dst, port(0), port(1)))
    }
}
