//! Sampling under overload: leaves out whole UDP transactions, by a hash of what query and response share. The
//! agent sets the cuts.

use crate::maps;
use crate::parse::Glance;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use dnscribe_common::flow;
use dnscribe_common::sample::{self, Cuts, MARKS as MARKS_MAX, MARKS_EACH, MDNS};
use dnscribe_common::totals::Kind;

/// Marks of queries that were left out (see [`sample::mark`]). The newest overwrites another where several share
/// a place; the response to the overwritten one is then exported if the cut has changed since.
#[map]
static MARKS: Array<[u64; MARKS_EACH]> = Array::with_max_entries(MARKS_MAX, 0);

/// Returns the current cuts; none while sampling is off.
#[inline(always)]
pub fn cuts() -> Option<Cuts> {
    match maps::sampling() {
        0 => None,
        word => Some(Cuts::unpack(word)),
    }
}

/// Returns whether a packet must be left out.
#[inline(always)]
pub fn leaves_out(glance: &Glance, cuts: Cuts) -> bool {
    if !glance.is_message() || glance.src_port == MDNS || glance.dst_port == MDNS {
        return false;
    }
    let flow = flow::hash(glance.src, glance.dst, glance.src_port, glance.dst_port);
    let hash = sample::hash(flow, glance.id);
    let part = sample::part(hash);
    if part >= cuts.most {
        return false;
    }
    if glance.kind == Kind::Response && part < cuts.least {
        return true;
    }
    // SAFETY: no condition.
    let (place, mark) = sample::mark(hash, sample::ticks(unsafe { bpf_ktime_get_ns() }));
    let Some(notes) = MARKS.get_ptr_mut(place) else { return false };
    let notes = notes.cast::<u64>();
    let fits = |noted: u64| sample::is_marked(noted, mark, cuts.memory_ticks);
    // SAFETY: the map's value, two aligned words; of two CPUs that write at once, one is read.
    unsafe {
        let (first, second) = (notes.read_volatile(), notes.add(1).read_volatile());
        if glance.kind == Kind::Response {
            return fits(first) || fits(second);
        }
        let left_out = part < cuts.now;
        if left_out {
            let is_taken = !fits(first) && sample::is_fresh(first, mark, cuts.memory_ticks);
            notes.add(usize::from(is_taken)).write_volatile(mark);
        } else {
            if fits(first) {
                notes.write_volatile(0);
            }
            if fits(second) {
                notes.add(1).write_volatile(0);
            }
        }
        left_out
    }
}
