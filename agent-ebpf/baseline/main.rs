//! What `cargo xtask bench kernel` measures the programs against: one that does nothing, one that only
//! reserves and submits as much of a ring as they do, and what each helper costs by itself. An object of
//! its own, so that the agent does not carry it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod prices;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::macros::{cgroup_skb, map, socket_filter};
use aya_ebpf::maps::{Array, RingBuf};
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::record::{CLASSES, HEADER_BYTES};

/// What a cgroup program returns to let a packet through.
pub const PASS: i32 = 1;

/// Octets of a record with a short packet: a query, a segment with one.
const SMALL: usize = HEADER_BYTES + CLASSES[0];
/// Octets of a record with a response of 512 octets in IP.
const LARGE: usize = HEADER_BYTES + CLASSES[2];

/// The bench sets the size before it loads.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(4096, 0);

/// How often the ring had no room: such a run is not what is to be measured.
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
    floor::<SMALL>();
    PASS
}

#[socket_filter]
fn small_tap(_: SkBuffContext) -> i64 {
    floor::<SMALL>();
    0
}

#[cgroup_skb]
fn large_cgroup(_: SkBuffContext) -> i32 {
    floor::<LARGE>();
    PASS
}

#[socket_filter]
fn large_tap(_: SkBuffContext) -> i64 {
    floor::<LARGE>();
    0
}

#[inline(always)]
fn floor<const N: usize>() {
    match RING.reserve::<[u8; N]>(0) {
        Some(room) => room.submit(u64::from(BPF_RB_NO_WAKEUP)),
        None => {
            if let Some(full) = FULL.get_ptr_mut(0) {
                // SAFETY: the map's value; two CPUs that count at once may count one, and one is
                // too many.
                unsafe { *full += 1 };
            }
        }
    }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
