//! What the programs count of packets that they do not tell, because they were sampled out or found
//! no room in the ring: by server, and by what the first octets say.

#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

use crate::flow::Address;

/// Entries in the map `TOTALS`. What finds no room is counted without its server.
pub const TOTALS: u32 = 4_096;
/// Values of [`What`].
pub const WHATS: u32 = 1 << 11;

/// A key of the map `TOTALS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Key {
    /// The server's address.
    pub server: Address,
    /// A [`What`].
    pub what: u64,
}

/// Of a value: packets that were sampled out.
pub const SAMPLED: usize = 0;
/// Of a value: packets for which the ring had no room.
pub const LOST: usize = 1;
/// Words of a value.
pub const OUTCOMES: usize = 2;

/// How a packet stands to this host, as far as the programs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// Out of a socket.
    Egress = 0,
    /// To a socket.
    Ingress = 1,
    /// On the loopback interface.
    Loopback = 2,
    /// Tap: sent from here.
    Sent = 3,
    /// Tap: to this host by its link address.
    Arrived = 4,
    /// Tap: to many.
    Spread = 5,
    /// Tap: between others.
    Passing = 6,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 7] = [
        Self::Egress,
        Self::Ingress,
        Self::Loopback,
        Self::Sent,
        Self::Arrived,
        Self::Spread,
        Self::Passing,
    ];
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
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

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Query, Self::Response, Self::ToServer, Self::FromServer, Self::Other];
}

/// What is counted of a packet beside its server, in eleven bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What {
    /// Where it goes.
    pub way: Way,
    /// What it is.
    pub kind: Kind,
    /// The four bits of the header; 0 but for responses.
    pub rcode: u8,
    /// The TC bit of a response.
    pub truncated: bool,
}

impl What {
    /// As a number below [`WHATS`].
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u32 {
        (self.way as u32) << 8
            | (self.kind as u32) << 5
            | (self.truncated as u32) << 4
            | (self.rcode & 15) as u32
    }

    /// From the number; none where it is of nothing.
    #[must_use]
    pub fn unpack(number: u32) -> Option<Self> {
        Some(Self {
            way: *Way::ALL.get(usize::try_from(number >> 8).ok()?)?,
            kind: *Kind::ALL.get(usize::try_from(number >> 5 & 7).ok()?)?,
            truncated: number & 16 != 0,
            rcode: u8::try_from(number & 15).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back() {
        let mut known = 0;
        for number in 0..WHATS {
            if let Some(what) = What::unpack(number) {
                assert_eq!(what.pack(), number);
                known += 1;
            }
        }
        assert_eq!(known, Way::ALL.len() * Kind::ALL.len() * 32);
        assert!(What::unpack(WHATS).is_none());
    }
}
