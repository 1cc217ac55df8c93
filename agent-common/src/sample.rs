//! Sampling of UDP transactions under overload: the decision that programs and agent share.
//!
//! A hash of the values that a query and its response have in common is compared with a *cut*; transactions
//! below it are left out. Transactions are therefore exported or left out as a whole, a lower cut exports
//! everything that a higher one does, and every node decides alike about the same packets.
//!
//! The message id is hashed with the flow. From a flow shared by many clients, such as that of a load balancer with
//! one socket, a share is exported instead of all or nothing. Transactions are sampled independently of each other,
//! which the error bounds of estimates require.
#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

/// Share of transactions that is left out, in parts of [`PARTS`].
pub type Cut = u16;

/// Number of parts of all transactions.
pub const PARTS: u32 = 1 << 16;

/// Port of mDNS, which is never sampled: its questions and answers are multicast (RFC 6762).
pub const MDNS: u16 = 5353;

/// Returns the hash of the values that a UDP query and its response have in common: the
/// [flow](crate::flow::hash) and the message id.
#[inline(always)]
#[must_use]
pub const fn hash(flow: u32, id: u16) -> u64 {
    // Finalizer of MurmurHash3, which is a bijection.
    let mut word = (flow as u64) << 16 | id as u64;
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

/// Returns the part of a hash that is compared with a cut.
#[inline(always)]
#[must_use]
pub const fn part(hash: u64) -> Cut {
    (hash >> 48) as Cut
}

/// Cuts that the agent passes to the programs, in the word [`crate::CONFIG_SAMPLING`]. 0 leaves nothing out.
///
/// The cut may change between a query and its response. A response below all cuts of the time in which its query
/// can have passed is left out, and one above all of them is exported. Between the two, the programs look up
/// whether they left the query out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Cut for queries.
    pub current: Cut,
    /// Lowest cut in the last `memory_ticks`.
    pub min: Cut,
    /// Highest cut in the last `memory_ticks`.
    pub max: Cut,
    /// Time for which a changed cut still matters, in ticks.
    pub memory_ticks: u16,
}

/// Length of a tick as a power of two, in nanoseconds: 134 ms.
const TICK_SHIFT: u32 = 27;

/// Converts nanoseconds to ticks.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
pub const fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_SHIFT) as u32
}

impl Cuts {
    /// Returns the cuts as one word, so that programs see changes as a whole.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.current as u64
            | (self.min as u64) << 16
            | (self.max as u64) << 32
            | (self.memory_ticks as u64) << 48
    }

    /// Returns the cuts of a word.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each is 16 bits of the word")]
    pub const fn unpack(word: u64) -> Self {
        Self {
            current: word as u16,
            min: (word >> 16) as u16,
            max: (word >> 32) as u16,
            memory_ticks: (word >> 48) as u16,
        }
    }

    /// Returns a number of ticks that is no shorter than `nanoseconds`.
    #[must_use]
    pub fn memory(nanoseconds: u64) -> u16 {
        u16::try_from((nanoseconds >> TICK_SHIFT) + 2).unwrap_or(u16::MAX)
    }
}

/// Number of buckets for queries that were left out, each with [`MARKS_EACH`] marks.
pub const MARKS: u32 = 1 << 16;
/// Number of marks per bucket.
pub const MARKS_EACH: usize = 2;

/// Returns the bucket and the mark of a query that was left out at `now`, in [`ticks`].
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "16 bits of the hash, and 32 others")]
pub const fn mark(hash: u64, now: u32) -> (u32, u64) {
    ((hash as u32) & (MARKS - 1), (hash >> 16 << 32) | now as u64)
}

/// Returns whether a stored mark is of the same hash as `mark`, and not older than `memory_ticks`.
#[inline(always)]
#[must_use]
pub const fn is_marked(stored: u64, mark: u64, memory_ticks: u16) -> bool {
    stored >> 32 == mark >> 32 && is_fresh(stored, mark, memory_ticks)
}

/// Returns whether a stored mark is no older than `memory_ticks` at the time of `mark`.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
pub const fn is_fresh(stored: u64, mark: u64, memory_ticks: u16) -> bool {
    stored != 0 && (mark as u32).wrapping_sub(stored as u32) <= memory_ticks as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips_through_a_word(current: u16, min: u16, max: u16, memory_ticks: u16) {
            let cuts = Cuts { current, min, max, memory_ticks };
            prop_assert_eq!(Cuts::unpack(cuts.pack()), cuts);
        }

        #[test]
        fn marks_match_until_they_expire(hash: u64, other: u64, now: u32, memory: u16) {
            let (bucket, stored) = mark(hash, now);
            prop_assert!(bucket < MARKS);
            let at = |ticks: u16| mark(hash, now.wrapping_add(ticks.into())).1;
            // The mark of hash 0 at tick 0 is an empty slot.
            prop_assume!(stored != 0);
            prop_assert!(is_marked(stored, at(0), memory));
            prop_assert!(is_marked(stored, at(memory), memory));
            prop_assert!(memory == u16::MAX || !is_marked(stored, at(memory + 1), memory));
            let (elsewhere, another) = mark(other, now);
            prop_assert_eq!(
                elsewhere == bucket && is_marked(stored, another, memory),
                mark(hash, now) == mark(other, now),
            );
        }
    }

    #[test]
    fn parts_are_uniform_over_flows_and_ids() {
        const COUNT: u16 = 60_000;
        let server = flow::four([192, 0, 2, 1]);
        let client = flow::four([10, 0, 0, 1]);
        let by_port =
            |number: u16| hash(flow::hash(client, server, 1_024 + number / 2, 53), number % 2);
        let by_id = |number: u16| hash(flow::hash(client, server, 5_000, 53), number);
        let by_address = |number: u16| {
            let [high, low] = number.to_be_bytes();
            hash(flow::hash(flow::four([10, 7, high, low]), server, 5_000, 53), 7)
        };
        let exported = |cut: Cut, of: &dyn Fn(u16) -> u64| {
            let exported = (0..COUNT).filter(|number| part(of(*number)) >= cut).count();
            f64::from(u32::try_from(exported).unwrap())
        };
        for cut in [655, 16_384, 32_768, 64_880] {
            let share = f64::from(PARTS - u32::from(cut)) / f64::from(PARTS);
            let expected = f64::from(COUNT) * share;
            // Five standard deviations of `COUNT` independent draws.
            let slack = 5.0 * (expected * (1.0 - share)).sqrt();
            for of in [&by_port as &dyn Fn(u16) -> u64, &by_id, &by_address] {
                let exported = exported(cut, of);
                assert!((exported - expected).abs() < slack, "{cut}: {exported} of {expected}");
            }
        }
    }
}
