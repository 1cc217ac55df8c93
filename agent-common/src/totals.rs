//! Counts that the programs keep of packets they do not export, because these were sampled out or the ring was
//! full: by server, and by class the first bytes show.

#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

use crate::flow::Address;

/// Largest number of entries in the map `TOTALS`. Further packets are counted without their server.
pub const TOTALS: u32 = 4_096;
/// Number of packed values of a [`TrafficClass`].
pub const CLASSES: u32 = 1 << 11;

/// Key of the map `TOTALS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TotalsKey {
    /// The server's address.
    pub server: Address,
    /// A packed [`TrafficClass`].
    pub class: u64,
}

/// Index in a value: packets sampled out.
pub const SAMPLED: usize = 0;
/// Index in a value: packets lost because the ring was full.
pub const LOST: usize = 1;
/// Words per value.
pub const OUTCOMES: usize = 2;

/// Path of a packet relative to this host, as far as the programs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketPath {
    /// Out of a socket.
    Egress = 0,
    /// To a socket.
    Ingress = 1,
    /// On the loopback interface.
    Loopback = 2,
    /// Tap: sent by this host.
    Sent = 3,
    /// Tap: to this host by its link address.
    Received = 4,
    /// Tap: broadcast or multicast.
    Broadcast = 5,
    /// Tap: between other hosts, or forwarded.
    Transit = 6,
}

impl PacketPath {
    /// Every path.
    pub const ALL: [Self; 7] = [
        Self::Egress,
        Self::Ingress,
        Self::Loopback,
        Self::Sent,
        Self::Received,
        Self::Broadcast,
        Self::Transit,
    ];
}

/// Kind of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketKind {
    /// A UDP datagram with a query.
    Query = 0,
    /// A UDP datagram with a response.
    Response = 1,
    /// A TCP segment to a server.
    ToServer = 2,
    /// A TCP segment from a server.
    FromServer = 3,
    /// Anything else: a fragment, ICMP, encrypted DNS, or too short for a header.
    Other = 4,
}

impl PacketKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Query, Self::Response, Self::ToServer, Self::FromServer, Self::Other];
}

/// Properties by which packets are counted, besides the server: eleven bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficClass {
    /// Path of the packet.
    pub path: PacketPath,
    /// Kind of the packet.
    pub kind: PacketKind,
    /// The four bits of the DNS header; 0 unless it is a response.
    pub rcode: u8,
    /// The TC bit of a response.
    pub truncated: bool,
}

impl TrafficClass {
    /// Returns the properties as a number below [`CLASSES`].
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u32 {
        (self.path as u32) << 8
            | (self.kind as u32) << 5
            | (self.truncated as u32) << 4
            | (self.rcode & 15) as u32
    }

    /// Returns the properties of a number; `None` if the number is invalid.
    #[must_use]
    pub fn unpack(number: u32) -> Option<Self> {
        Some(Self {
            path: *PacketPath::ALL.get(usize::try_from(number >> 8).ok()?)?,
            kind: *PacketKind::ALL.get(usize::try_from(number >> 5 & 7).ok()?)?,
            truncated: number & 16 != 0,
            rcode: u8::try_from(number & 15).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_through_numbers() {
        let mut valid = 0;
        for number in 0..CLASSES {
            if let Some(class) = TrafficClass::unpack(number) {
                assert_eq!(class.pack(), number);
                valid += 1;
            }
        }
        assert_eq!(valid, PacketPath::ALL.len() * PacketKind::ALL.len() * 32);
        assert!(TrafficClass::unpack(CLASSES).is_none());
    }
}
