//! Counts packets that are not exported, so that totals stay exact. The agent counts the exported ones.

use crate::parse::Glance;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerCpuHashMap};
use core::arch::asm;
use dnscribe_common::totals::{Key, OUTCOMES, TOTALS as TOTALS_MAX, WHATS, Way, What};

#[map]
static TOTALS: PerCpuHashMap<Key, [u64; OUTCOMES]> = PerCpuHashMap::with_max_entries(TOTALS_MAX, 0);

/// Counts of packets whose server did not fit into `TOTALS`.
#[map]
static TOTALS_OTHER: PerCpuArray<[u64; OUTCOMES]> = PerCpuArray::with_max_entries(WHATS, 0);

/// Counts a packet with this number of messages.
#[inline(always)]
pub fn count(glance: &Glance, way: Way, outcome: usize, messages: u64) {
    let (rcode, truncated) = glance.outcome();
    let what = What { way, kind: glance.kind, rcode, truncated }.pack();
    let key = Key { server: glance.server(), what: u64::from(what) };
    let mut words = TOTALS.get_ptr_mut(&key);
    if words.is_none() {
        // Fails if the map is full, or if this program interrupted itself here.
        const NO_EXIST: u64 = 1;
        let _ = TOTALS.insert(&key, &[0; OUTCOMES], NO_EXIST);
        words = TOTALS.get_ptr_mut(&key);
    }
    if words.is_none() {
        words = TOTALS_OTHER.get_ptr_mut(what);
    }
    if let Some(words) = words {
        // SAFETY: an outcome is below `OUTCOMES`; the value is aligned to 8 octets, and programs
        // access it in no other way. Atomic for the reason that counters are.
        unsafe {
            asm!(
                "lock *(u64 *)({word} + 0) += {count}",
                word = in(reg) words.cast::<u64>().add(outcome),
                count = in(reg) messages,
                options(nostack),
            );
        }
    }
}
