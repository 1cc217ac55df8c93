//! Which transactions are told when there are more than can be told: the same on both sides.
//!
//! A hash of what a query and its response have in common is compared with a *cut*: what is below is
//! left out. So transactions stay or go as a whole, a lower cut tells all that a higher one tells, and
//! each node decides alike about the same packets.
//!
//! The id of the message is hashed with the flow. Of a flow that many share, such as that of a load
//! balancer with one socket, a share is told then, instead of all or nothing; and transactions are
//! told independently of each other, which is what the error of an estimate rests upon.
#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

/// Values of a cut: of 65,536 parts of all transactions, how many are left out.
pub type Cut = u16;

/// Parts that a cut counts.
pub const PARTS: u32 = 1 << 16;

/// Never sampled: a question that is put to all is answered to all (mDNS, RFC 6762).
pub const MDNS: u16 = 5353;

/// What a UDP query and its response have in common, hashed: the [flow](crate::flow::hash) and the id
/// of the message.
#[inline(always)]
#[must_use]
pub const fn hash(flow: u32, id: u16) -> u64 {
    // The finalizer of MurmurHash3, which takes different words to different ones.
    let mut word = (flow as u64) << 16 | id as u64;
    word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ (word >> 33)
}

/// What of a hash is compared with a cut.
#[inline(always)]
#[must_use]
pub const fn part(hash: u64) -> Cut {
    (hash >> 48) as Cut
}

/// What the programs are told: the word [`crate::CONFIG_SAMPLING`]. 0 leaves nothing out.
///
/// A response follows its query, and the cut may have changed between the two. What is below every
/// cut of the time in which the query can have passed is left out, and what is above every one is told,
/// without a look. Between the two, the programs know which queries they left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// The cut for queries.
    pub now: Cut,
    /// The lowest of those of late.
    pub least: Cut,
    /// The highest of those of late.
    pub most: Cut,
    /// How long "of late" is, in ticks.
    pub memory_ticks: u16,
}

/// A tick is 2 to the power of this in nanoseconds: 134 ms.
const TICK_SHIFT: u32 = 27;

/// The time in ticks.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
pub const fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_SHIFT) as u32
}

impl Cuts {
    /// As one word, so that no program sees half of a change.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.now as u64
            | (self.least as u64) << 16
            | (self.most as u64) << 32
            | (self.memory_ticks as u64) << 48
    }

    /// From the word.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each is 16 bits of the word")]
    pub const fn unpack(word: u64) -> Self {
        Self {
            now: word as u16,
            least: (word >> 16) as u16,
            most: (word >> 32) as u16,
            memory_ticks: (word >> 48) as u16,
        }
    }

    /// Ticks that are no shorter than so many nanoseconds.
    #[must_use]
    pub fn memory(nanoseconds: u64) -> u16 {
        u16::try_from((nanoseconds >> TICK_SHIFT) + 2).unwrap_or(u16::MAX)
    }
}

/// Places for queries that were left out, with room for [`MARKS_EACH`].
pub const MARKS: u32 = 1 << 16;
/// Of so many in one place, none overwrites another.
pub const MARKS_EACH: usize = 2;

/// Where a query that was left out is noted, and as what, at a time in [`ticks`].
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "16 bits of the hash, and 32 others")]
pub const fn mark(hash: u64, now: u32) -> (u32, u64) {
    ((hash as u32) & (MARKS - 1), (hash >> 16 << 32) | now as u64)
}

/// Whether a note is of the same hash as this mark, and fresh.
#[inline(always)]
#[must_use]
pub const fn is_marked(noted: u64, mark: u64, memory_ticks: u16) -> bool {
    noted >> 32 == mark >> 32 && is_fresh(noted, mark, memory_ticks)
}

/// Whether a note is no older than so many ticks.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
pub const fn is_fresh(noted: u64, mark: u64, memory_ticks: u16) -> bool {
    noted != 0 && (mark as u32).wrapping_sub(noted as u32) <= memory_ticks as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_word_holds_all(now: u16, least: u16, most: u16, memory_ticks: u16) {
            let cuts = Cuts { now, least, most, memory_ticks };
            prop_assert_eq!(Cuts::unpack(cuts.pack()), cuts);
        }

        #[test]
        fn a_note_is_known_again_for_a_while(hash: u64, other: u64, now: u32, memory: u16) {
            let (place, noted) = mark(hash, now);
            prop_assert!(place < MARKS);
            let at = |ticks: u16| mark(hash, now.wrapping_add(ticks.into())).1;
            // The note of hash 0 at tick 0 is an empty place.
            prop_assume!(noted != 0);
            prop_assert!(is_marked(noted, at(0), memory));
            prop_assert!(is_marked(noted, at(memory), memory));
            prop_assert!(memory == u16::MAX || !is_marked(noted, at(memory + 1), memory));
            let (elsewhere, another) = mark(other, now);
            prop_assert_eq!(
                elsewhere == place && is_marked(noted, another, memory),
                mark(hash, now) == mark(other, now),
            );
        }
    }

    #[test]
    fn parts_are_even_for_flows_and_for_ids() {
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
        let told = |cut: Cut, of: &dyn Fn(u16) -> u64| {
            let told = (0..COUNT).filter(|number| part(of(*number)) >= cut).count();
            f64::from(u32::try_from(told).unwrap())
        };
        for cut in [655, 16_384, 32_768, 64_880] {
            let share = f64::from(PARTS - u32::from(cut)) / f64::from(PARTS);
            let wanted = f64::from(COUNT) * share;
            // Five standard deviations of so many independent draws.
            let slack = 5.0 * (wanted * (1.0 - share)).sqrt();
            for of in [&by_port as &dyn Fn(u16) -> u64, &by_id, &by_address] {
                let told = told(cut, of);
                assert!((told - wanted).abs() < slack, "{cut}: {told} of {wanted}");
            }
        }
    }
}
