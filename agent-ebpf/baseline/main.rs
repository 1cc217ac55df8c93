//! Baselines for `cargo xtask bench kernel`: an empty program, programs that only reserve and submit a ring record,
//! and one program per helper. A separate object, so that the agent does not embed it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod helper_costs;
#[path = "../src/object.rs"]
mod object;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::macros::{cgroup_skb, map, socket_filter};
use aya_ebpf::maps::{Array, RingBuf};
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::record::{CLASSES, HEADER_BYTES};
use object::PASS;

/// Size in bytes of a record with a short packet, such as a query.
const SMALL: usize = HEADER_BYTES + CLASSES[0];
/// Size in bytes of a record with a response of 512 bytes.
const LARGE: usize = HEADER_BYTES + CLASSES[2];

/// The bench sets the size before it loads.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Number of failed reservations. A run with any is not valid.
#[map]
static FULL: Array<u64> = Array::with_max_entries(1, 0);

#[cgroup_skb]
fn empty_cgroup(_: SkBuffContext) -> i32 {
    PASS
}

#[socket_filter]
fn empty_tap(_: SkBuffContext) -> i64 {
    0
}

#[cgroup_skb]
fn small_cgroup(_: SkBuffContext) -> i32 {
    reserve_and_submit::<SMALL>();
    PASS
}

#[socket_filter]
fn small_tap(_: SkBuffContext) -> i64 {
    reserve_and_submit::<SMALL>();
    0
}

#[cgroup_skb]
fn large_cgroup(_: SkBuffContext) -> i32 {
    reserve_and_submit::<LARGE>();
    PASS
}

#[socket_filter]
fn large_tap(_: SkBuffContext) -> i64 {
    reserve_and_submit::<LARGE>();
    0
}

#[inline(always)]
fn reserve_and_submit<const N: usize>() {
    match RING.reserve::<[u8; N]>(0) {
        Some(record) => record.submit(u64::from(BPF_RB_NO_WAKEUP)),
        None => {
            if let Some(full) = FULL.get_ptr_mut(0) {
                // SAFETY: the map's value. Two CPUs that count at once may lose one, but the count stays above 0.
                unsafe { *full += 1 };
            }
        }
    }
}
