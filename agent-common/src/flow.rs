//! Flow hash of a packet, which is the same for both directions of a flow.
//!
//! Pairing must see all packets from and to one port of a client together: the query, its response, and forged
//! responses. Therefore only the client's address and port are hashed. The client is the end with the higher port,
//! since servers use low, well-known ports. If this guess is wrong, both directions still have the same hash.
#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

/// Bytes 8 to 11 of an IPv4-mapped address (RFC 4291, 2.5.5.2), as the lower half of a word.
const MAPPED: u64 = 0xffff_0000;

/// Port of multicast DNS: source and destination of queries, whose responses are for everyone (RFC 6762).
const MDNS: u16 = 5353;

/// Largest number of rings, and of threads that read them.
pub const MAX_RINGS: u32 = 16;

/// Address as two words.
pub type Address = [u64; 2];

/// Returns an IPv4 address, equal to its IPv4-mapped one.
#[inline(always)]
#[must_use]
pub const fn four(octets: [u8; 4]) -> Address {
    // A cast, because `From` is no `const fn`.
    [0, MAPPED | (u32::from_le_bytes(octets) as u64) << 32]
}

/// Returns an IPv6 address.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a half each")]
pub const fn six(octets: [u8; 16]) -> Address {
    let whole = u128::from_le_bytes(octets);
    [whole as u64, (whole >> 64) as u64]
}

/// Returns an address of a version of the Internet Protocol; IPv4 in the first four bytes.
#[inline(always)]
#[must_use]
pub const fn address(version: u32, octets: [u8; 16]) -> Address {
    match (version, octets) {
        (4, [a, b, c, d, ..]) => four([a, b, c, d]),
        _ => six(octets),
    }
}

/// Returns the flow hash of source, destination and their ports in host order.
///
/// If both ports are equal, both addresses are hashed, since neither end is known to be the client; except for
/// multicast DNS, which is a single flow.
#[inline(always)]
#[must_use]
pub const fn hash(src: Address, dst: Address, src_port: u16, dst_port: u16) -> u32 {
    if src_port > dst_port {
        mix(src, src_port)
    } else if src_port < dst_port {
        mix(dst, dst_port)
    } else if src_port == MDNS {
        0
    } else {
        mix([src[0] ^ dst[0], src[1] ^ dst[1]], src_port)
    }
}

/// Returns the index of a flow's ring, below `rings`.
#[inline(always)]
#[must_use]
pub const fn ring(hash: u32, rings: u32) -> u32 {
    // From the lower half: sampling uses the upper one, and must thin out all rings alike.
    ((hash & 0xffff) * rings) >> 16
}

/// Mixes address and port, with the multipliers of `SplitMix64` and its variants.
#[inline(always)]
const fn mix(address: Address, port: u16) -> u32 {
    let word = address[0].wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ address[1] ^ port as u64;
    let word = (word ^ (word >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_one_flow() {
        let ends = [four([10, 0, 0, 1]), four([10, 0, 0, 2]), six([7; 16])];
        for a in ends {
            for b in ends {
                for (p, q) in [(40_000, 53), (53, 53), (1, 2), (5353, 5353)] {
                    assert_eq!(hash(a, b, p, q), hash(b, a, q, p));
                }
            }
        }
    }

    #[test]
    fn response_from_another_server_has_the_flow_of_its_query() {
        let client = four([10, 0, 0, 1]);
        let hashes =
            [[8, 8, 8, 8], [6, 6, 6, 6]].map(|server| hash(four(server), client, 53, 4_000));
        assert_eq!(hashes[0], hashes[1]);
    }

    #[test]
    fn mapped_address_equals_ipv4_address() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3];
        assert_eq!(six(mapped), four([10, 1, 2, 3]));
    }

    #[test]
    fn flows_spread_over_the_rings() {
        let server = four([10, 0, 0, 53]);
        for rings in [2, 3, 4, 16] {
            let mut by_port = [0_u32; 16];
            let mut by_address = [0_u32; 16];
            let mut by_address_6 = [0_u32; 16];
            for n in 0..16_000_u16 {
                let [high, low] = n.to_be_bytes();
                let at = |hash| usize::try_from(ring(hash, rings)).unwrap();
                by_port[at(hash(four([127, 0, 0, 1]), server, 32_768 + n, 53))] += 1;
                by_address[at(hash(four([10, 7, high, low]), server, 40_000, 53))] += 1;
                let mut octets = [0x20; 16];
                octets[14..].copy_from_slice(&[high, low]);
                by_address_6[at(hash(six(octets), server, 40_000, 53))] += 1;
            }
            let (fair, used) = (16_000 / rings, usize::try_from(rings).unwrap());
            for counts in [by_port, by_address, by_address_6] {
                assert_eq!(counts.iter().sum::<u32>(), 16_000);
                let even = |count: &u32| *count > fair * 3 / 4 && *count < fair * 5 / 4;
                assert!(counts[..used].iter().all(even), "{rings}: {counts:?}");
            }
        }
    }

    #[test]
    fn sampling_by_upper_bits_thins_all_rings_alike() {
        let mut kept = [0_u32; 4];
        for n in 0..16_000_u16 {
            let hash = hash(four([127, 0, 0, 1]), four([127, 0, 0, 1]), 32_768 + n, 53);
            if hash < u32::MAX / 4 {
                kept[usize::try_from(ring(hash, 4)).unwrap()] += 1;
            }
        }
        assert!(kept.iter().all(|count| (750..1_250).contains(count)), "{kept:?}");
    }
}
