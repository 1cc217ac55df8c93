//! What one program at the tap tells the next, in the packet's control buffer, which is a filter's own
//! while it runs. What comes out of it is nothing that the verifier knows: a program is looked at once,
//! whatever it may be told.

use crate::flow::Flow;
use crate::parse::{Fate, Verdict};
use aya_ebpf::bindings::__sk_buff;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Look into the packet from its first header on.
    Begin = 0,
    /// Look on from where the walk is.
    GoOn = 1,
    /// Tell the packet, which is ours.
    Emit = 2,
    /// Count it: a TCP segment of ours that carries nothing.
    Count = 3,
}

/// Leaves a step for the next program.
#[inline(always)]
pub fn leave(skb: *mut __sk_buff, step: Step) {
    write(skb, step as u32);
}

/// Leaves the verdict on a packet of ours without options, extension headers, tags and tunnels, whose
/// UDP or TCP header is at `upper`.
#[inline(always)]
pub fn leave_verdict(skb: *mut __sk_buff, fate: Fate, protocol: u8, upper: u32) {
    let step = if fate == Fate::Emit { Step::Emit } else { Step::Count };
    write(skb, step as u32 | u32::from(protocol) << 8 | upper << 16);
}

/// The step that was left; with the verdict, where that was.
#[inline(always)]
pub fn take(skb: *mut __sk_buff) -> (Step, Verdict) {
    // SAFETY: the kernel hands a valid context. Volatile, as in `write`.
    let word = unsafe { (&raw const (*skb).cb[0]).read_volatile() };
    let (protocol, upper) = ((word >> 8) as u8, word >> 16);
    match word & 3 {
        0 => (Step::Begin, Verdict::NOT_OURS),
        1 => (Step::GoOn, Verdict::NOT_OURS),
        2 => (Step::Emit, Verdict::emit(protocol, Flow::at(0, upper))),
        _ => (Step::Count, Verdict::TCP_NO_PAYLOAD),
    }
}

#[inline(always)]
fn write(skb: *mut __sk_buff, word: u32) {
    // SAFETY: the kernel hands a valid context. Volatile, or the compiler would compute an address in
    // it first, which the verifier refuses.
    unsafe { (&raw mut (*skb).cb[0]).write_volatile(word) };
}
