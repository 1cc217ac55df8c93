//! Sampling under overload: leaves out whole UDP transactions, by a hash of what query and response share. The
//! agent sets the cuts.

use crate::maps;
use crate::parse::PacketSummary;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use dnscribe_common::flow;
use dnscribe_common::sample::{self, Cuts, MARKS as MARKS_MAX, MARKS_EACH, MDNS};
use dnscribe_common::totals::PacketKind;

/// Marks of queries that were left out (see [`sample::mark`]). The newest overwrites another where several share
/// a bucket; the response to the overwritten one is then exported if the cut has changed since.
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
pub fn is_sampled_out(summary: &PacketSummary, cuts: Cuts) -> bool {
    if !summary.is_message() || summary.src_port == MDNS || summary.dst_port == MDNS {
        return false;
    }
    let flow = flow::hash(summary.src, summary.dst, summary.src_port, summary.dst_port);
    let hash = sample::hash(flow, summary.id);
    let part = sample::part(hash);
    if part >= cuts.max {
        return false;
    }
    if summary.kind == PacketKind::Response && part < cuts.min {
        return true;
    }
    // SAFETY: no condition.
    let (bucket, mark) = sample::mark(hash, sample::ticks(unsafe { bpf_ktime_get_ns() }));
    let Some(marks) = MARKS.get_ptr_mut(bucket) else { return false };
    let marks = marks.cast::<u64>();
    let fits = |stored: u64| sample::is_marked(stored, mark, cuts.memory_ticks);
    // SAFETY: the map's value, two aligned words. If two CPUs write at once, the last one wins.
    unsafe {
        let (first, second) = (marks.read_volatile(), marks.add(1).read_volatile());
        if summary.kind == PacketKind::Response {
            return fits(first) || fits(second);
        }
        let left_out = part < cuts.current;
        if left_out {
            let is_taken = !fits(first) && sample::is_fresh(first, mark, cuts.memory_ticks);
            marks.add(usize::from(is_taken)).write_volatile(mark);
        } else {
            if fits(first) {
                marks.write_volatile(0);
            }
            if fits(second) {
                marks.add(1).write_volatile(0);
            }
        }
        left_out
    }
}
