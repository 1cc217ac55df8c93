//! The map of per-CPU counters, and the additions to it. What is counted is decided where it happens: in the
//! hooks, and for records that the ring does not take, in `ring.rs`.
//!
//! Additions are atomic although the counters are per CPU: a softirq may interrupt a program that runs for a
//! task, and run the same program on the same CPU. They are written in assembly, because `core` has no
//! `fetch_add` for a target without compare-and-swap.
//!
//! # Minimum kernel version
//!
//! Linux 5.12, for the sequence number (`BPF_FETCH`).

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use core::arch::asm;
use dnscribe_common::counter::{Counter, Hook, SEQUENCE, WORDS};

#[map]
static COUNTERS: PerCpuArray<[u64; WORDS]> = PerCpuArray::with_max_entries(1, 0);

/// Counters of the current CPU.
#[derive(Clone, Copy)]
pub struct Counters(*mut u64);

impl Counters {
    /// Returns the counters of the current CPU.
    #[inline(always)]
    pub fn this_cpu() -> Option<Self> {
        COUNTERS.get_ptr_mut(0).map(|words| Self(words.cast()))
    }

    /// Adds 1 to a counter.
    #[inline(always)]
    pub fn add(self, hook: Hook, counter: Counter) {
        self.add_many(hook, counter, 1);
    }

    /// Adds `count` to a counter.
    #[inline(always)]
    pub fn add_many(self, hook: Hook, counter: Counter, count: u64) {
        // SAFETY: the index is below `WORDS`, the map's value is aligned to 8 bytes, and programs access it in
        // no other way.
        unsafe {
            asm!(
                "lock *(u64 *)({word} + 0) += {count}",
                word = in(reg) self.0.add(counter.index(hook)),
                count = in(reg) count,
                options(nostack),
            );
        }
    }

    /// Returns the sequence number of the next record, from 1.
    #[inline(always)]
    pub fn next_sequence(self) -> u64 {
        let mut number = 1u64;
        // SAFETY: as in `add`.
        unsafe {
            asm!(
                "{number} = atomic_fetch_add((u64 *)({word} + 0), {number})",
                word = in(reg) self.0.add(SEQUENCE),
                number = inout(reg) number,
                options(nostack),
            );
        }
        number + 1
    }
}
