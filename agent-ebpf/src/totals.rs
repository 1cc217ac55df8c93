//! Counts packets that are not exported, so that totals stay exact. The agent counts the exported ones.

use crate::parse::PacketSummary;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerCpuHashMap};
use core::arch::asm;
use dnscribe_common::totals::{
    CLASSES, OUTCOMES, PacketPath, TOTALS as TOTALS_MAX, TotalsKey, TrafficClass,
};

#[map]
static TOTALS: PerCpuHashMap<TotalsKey, [u64; OUTCOMES]> =
    PerCpuHashMap::with_max_entries(TOTALS_MAX, 0);

/// Counts of packets whose server did not fit into `TOTALS`.
#[map]
static TOTALS_OTHER: PerCpuArray<[u64; OUTCOMES]> = PerCpuArray::with_max_entries(CLASSES, 0);

/// Counts a packet with this number of messages.
#[inline(always)]
pub fn count(summary: &PacketSummary, path: PacketPath, outcome: usize, messages: u64) {
    let (rcode, truncated) = summary.response_status();
    let class = TrafficClass { path, kind: summary.kind, rcode, truncated }.pack();
    let key = TotalsKey { server: summary.server(), class: u64::from(class) };
    let mut words = TOTALS.get_ptr_mut(&key);
    if words.is_none() {
        // Fails if the map is full, or if this program interrupted itself here.
        const NO_EXIST: u64 = 1;
        let _ = TOTALS.insert(&key, &[0; OUTCOMES], NO_EXIST);
        words = TOTALS.get_ptr_mut(&key);
    }
    if words.is_none() {
        words = TOTALS_OTHER.get_ptr_mut(class);
    }
    if let Some(words) = words {
        // SAFETY: an outcome is below `OUTCOMES`; the value is aligned to 8 bytes, and programs access it in no
        // other way. Atomic, as the counters are.
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
