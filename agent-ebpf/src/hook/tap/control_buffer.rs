//! State passed from one program of the tap to the next, in the control buffer of the packet (`cb`), which belongs
//! to a filter while it runs. The verifier knows nothing of the values read from it, so it checks a program once,
//! for all values.

use crate::flow::Flow;
use crate::parse::{Outcome, Verdict};
use aya_ebpf::bindings::__sk_buff;

/// Work for the next program.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Parse the packet from its first header on.
    Begin = 0,
    /// Continue to parse at the current position of the walk.
    Continue = 1,
    /// Write a record for the packet.
    Emit = 2,
    /// Count the packet as a TCP segment without payload.
    Count = 3,
}

/// Passes a step to the next program.
#[inline(always)]
pub fn set_step(skb: *mut __sk_buff, step: Step) {
    write(skb, step as u32);
}

/// Passes the verdict on a captured packet without options, extension headers, tags and tunnels, whose UDP or
/// TCP header is at `upper`.
#[inline(always)]
pub fn set_verdict(skb: *mut __sk_buff, outcome: Outcome, protocol: u8, upper: u32) {
    let step = if outcome == Outcome::Emit { Step::Emit } else { Step::Count };
    write(skb, step as u32 | u32::from(protocol) << 8 | upper << 16);
}

/// Returns the passed step, with the verdict if one was passed.
#[inline(always)]
pub fn read(skb: *mut __sk_buff) -> (Step, Verdict) {
    // SAFETY: the kernel hands a valid context. Volatile, as in `write`.
    let word = unsafe { (&raw const (*skb).cb[0]).read_volatile() };
    let (protocol, upper) = ((word >> 8) as u8, word >> 16);
    match word & 3 {
        0 => (Step::Begin, Verdict::SKIPPED),
        1 => (Step::Continue, Verdict::SKIPPED),
        2 => (Step::Emit, Verdict::emit(protocol, Flow::in_headers(0, upper))),
        _ => (Step::Count, Verdict::TCP_NO_PAYLOAD),
    }
}

#[inline(always)]
fn write(skb: *mut __sk_buff, word: u32) {
    // SAFETY: the kernel hands a valid context. Volatile, because the compiler would otherwise compute an
    // address inside it first, which the verifier refuses.
    unsafe { (&raw mut (*skb).cb[0]).write_volatile(word) };
}
