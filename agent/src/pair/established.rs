//! Who has been answered before: what tells a flood's queries from those of established flows.

use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// Bits of a generation, as a power of two.
const BITS: u32 = 20;

/// Pairs of hosts that a generation takes before the next begins.
const MAX_SET: u32 = 1 << 17;

/// A set of pairs of hosts, client and server, between which a query was answered lately.
///
/// Two generations of a bitmap: bounded, O(1), and wrong in one of eight cases at worst, so that a
/// stranger may pass for an acquaintance, never the other way round until some 130,000 others have
/// come. The hash is the same in every run, for replay must not depend on chance.
#[derive(Debug)]
pub(super) struct Established {
    now: Vec<u64>,
    before: Vec<u64>,
    set: u32,
}

impl Default for Established {
    fn default() -> Self {
        let empty = || vec![0; 1 << (BITS - 6)];
        Self { now: empty(), before: empty(), set: 0 }
    }
}

impl Established {
    /// Octets of memory.
    pub(super) const BYTES: usize = 2 << (BITS - 3);

    /// A query between the two was answered.
    pub(super) fn note(&mut self, client: SocketAddr, server: SocketAddr) {
        let (word, bit) = place(client, server);
        if self.now[word] & bit == 0 {
            if self.set == MAX_SET {
                std::mem::swap(&mut self.now, &mut self.before);
                self.now.fill(0);
                self.set = 0;
            }
            self.now[word] |= bit;
            self.set += 1;
        }
    }

    /// Whether a query between the two was answered lately.
    pub(super) fn knows(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let (word, bit) = place(client, server);
        (self.now[word] | self.before[word]) & bit != 0
    }
}

fn place(client: SocketAddr, server: SocketAddr) -> (usize, u64) {
    let hash = FixedState::with_seed(u64::from(BITS)).hash_one((client.ip(), server.ip()));
    let bit = hash >> (u64::BITS - BITS);
    // Twenty bits fit.
    ((bit >> 6) as usize, 1 << (bit & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(number), 4000))
    }

    #[test]
    fn knows_the_answered_and_hardly_any_other() {
        let mut established = Established::default();
        for number in 0..MAX_SET / 2 {
            established.note(host(number), host(1));
        }
        assert!((0..MAX_SET / 2).all(|number| established.knows(host(number), host(1))));
        let strangers = (MAX_SET..2 * MAX_SET).filter(|n| established.knows(host(*n), host(1)));
        assert!(strangers.count() < MAX_SET as usize / 10);
    }

    #[test]
    fn forgets_after_two_generations_who_has_not_come_again() {
        let mut established = Established::default();
        established.note(host(0), host(1));
        established.note(host(0), host(2));
        for number in 1..4 * MAX_SET {
            established.note(host(number), host(1));
            if number % MAX_SET == 0 {
                established.note(host(0), host(2));
            }
        }
        assert!(established.knows(host(0), host(2)));
        assert!(!established.knows(host(0), host(1)));
    }
}
