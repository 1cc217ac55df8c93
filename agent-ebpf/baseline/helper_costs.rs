//! Programs that repeat one operation, to measure its cost.

use crate::object::PASS;
use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::{btf_map, cgroup_skb, map};
use aya_ebpf::maps::{Array, LruHashMap, PerCpuArray};
use aya_ebpf::programs::SkBuffContext;
use core::arch::asm;
use core::ffi::c_void;
use core::hint::black_box;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use dnscribe_common::owner::Owner;

/// Repetitions per run of a program.
const REPETITIONS: u32 = 16;

#[map]
static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(65_536, 0);
#[map]
static WORDS: PerCpuArray<[u64; 64]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static WORD: Array<u64> = Array::with_max_entries(2048, 0);
#[btf_map]
static SOCKETS: SkStorage<u64> = SkStorage::new();

/// An operation, in an unsafe block unless it is marked as safe.
macro_rules! operation {
    (safe $operation:block) => {
        $operation
    };
    ($operation:block) => {
        // SAFETY: the helpers are allowed for this program type, and their buffers are large enough.
        unsafe { $operation }
    };
}

/// Defines a program per operation. Results are discarded; helpers are opaque to the compiler, so it keeps every
/// call.
macro_rules! costs {
    ($($name:ident($skb:ident, $buffer:ident, $word:ident) $($safe:ident)? $operation:block)*) => {$(
        #[cgroup_skb]
        fn $name(ctx: SkBuffContext) -> i32 {
            let $skb = ctx.skb.skb;
            let mut buffer = MaybeUninit::<[u64; 10]>::uninit();
            let mut word = 0u64;
            let ($buffer, $word): (*mut c_void, *mut u64) = (buffer.as_mut_ptr().cast(), &raw mut word);
            for _ in 0..REPETITIONS {
                operation!($($safe)? $operation);
            }
            PASS
        }
    )*};
}

costs! {
    ktime_get_ns(_skb, _place, _word) { helper::bpf_ktime_get_ns(); }
    get_smp_processor_id(_skb, _place, _word) { black_box(helper::bpf_get_smp_processor_id()); }
    get_socket_cookie(skb, _place, _word) { helper::bpf_get_socket_cookie(skb.cast()); }
    get_netns_cookie(skb, _place, _word) { helper::bpf_get_netns_cookie(skb.cast()); }
    skb_cgroup_id(skb, _place, _word) { helper::bpf_skb_cgroup_id(skb); }
    get_current_pid_tgid(_skb, _place, _word) { helper::bpf_get_current_pid_tgid(); }
    get_current_uid_gid(_skb, _place, _word) { helper::bpf_get_current_uid_gid(); }
    get_current_comm(_skb, buffer, _word) { helper::bpf_get_current_comm(buffer, 16); }
    get_current_task(_skb, _place, _word) { black_box(helper::bpf_get_current_task()); }
    probe_read_kernel(_skb, buffer, _word) {
        let task = helper::bpf_get_current_task() as usize;
        helper::bpf_probe_read_kernel(buffer, 8, task as *const c_void);
    }
    skb_load_bytes_2(skb, buffer, _word) { helper::bpf_skb_load_bytes(skb.cast(), 0, buffer, 2); }
    skb_load_bytes_24(skb, buffer, _word) { helper::bpf_skb_load_bytes(skb.cast(), 0, buffer, 24); }
    skb_load_bytes_78(skb, buffer, _word) { helper::bpf_skb_load_bytes(skb.cast(), 0, buffer, 78); }
    map_lookup_lru_hash(_skb, _place, _word) safe { black_box(OWNERS.get_ptr(7)); }
    map_lookup_array(_skb, _place, _word) safe { black_box(WORD.get_ptr(black_box(7))); }
    map_lookup_percpu_array(_skb, _place, _word) safe { black_box(WORDS.get_ptr(0)); }
    sk_storage_get(skb, _place, _word) {
        let socket = (*skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return PASS;
        }
        let map = (&raw const SOCKETS).cast_mut().cast();
        helper::bpf_sk_storage_get(map, socket.cast(), null_mut(), BPF_SK_STORAGE_GET_F_CREATE.into());
    }
    atomic_add(_skb, _place, word) {
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) word, in(reg) 1u64, options(nostack));
    }
}
