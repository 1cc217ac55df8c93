//! Writes records to the rings. The only file that does.

use crate::counters::Counters;
use crate::hook::kernel_packet::KernelPacket;
use crate::hook::translation;
use crate::maps;
use crate::parse::{PacketSummary, Skb};
use crate::sample;
use crate::settings;
use crate::totals;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{__sk_buff, BPF_RB_NO_WAKEUP};
use aya_ebpf::btf_maps::{self, ArrayOfMaps};
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns, bpf_probe_read_kernel,
    bpf_skb_load_bytes,
};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use aya_ebpf::programs::RawTracePointContext;
use core::arch::asm;
use core::mem::MaybeUninit;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::flow::{self, MAX_RINGS};
use dnscribe_common::globals::Setting;
use dnscribe_common::owner::Owner;
use dnscribe_common::record::{
    CLASSES, Connect, DROP_ON_WAY_OUT, FLAG_TASK, FLAG_TUNNEL, Header, KIND_CONNECT, KIND_PACKET,
    KIND_PACKET_DROP, KIND_PACKET_SENT, KIND_SOCKET_ERROR, KIND_SOCKET_READ, PacketDrop,
    STACK_FRAMES, SocketError, SocketRead,
};
use dnscribe_common::totals::{LOST, PacketPath, SAMPLED};

/// Size of a word in bytes.
const WORD: usize = 8;

/// Bytes copied at a time of longer packets.
const BLOCK: usize = 8 * WORD;

/// Largest packet that is copied by words. For larger ones the helper is as fast.
const DIRECT: usize = CLASSES[3];

/// The agent sets the size before it loads.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(4096, 0);

/// All rings where there are several, with `RING` as the first. The agent creates the others.
#[btf_map]
static RINGS: ArrayOfMaps<btf_maps::RingBuf<(), 4096>, { MAX_RINGS as usize }> = ArrayOfMaps::new();

/// Data of a packet besides its bytes.
pub struct Context {
    pub hook: Hook,
    pub path: PacketPath,
    /// Where the innermost IP header begins.
    pub ip: u32,
    pub direction: u8,
    pub packet_type: u8,
    pub datagram_bytes: u16,
    /// Largest number of bytes exported, besides the snap length.
    pub max_bytes: u32,
    pub ifindex: u32,
    pub netns_cookie: u64,
    pub cgroup_id: u64,
    pub task: Option<Owner>,
    /// See [`Header::parent_pid`].
    pub parent_pid: u32,
    pub tunnelled: bool,
    /// Whether the program has direct access to the packet.
    pub direct: bool,
    /// Whether the packet's socket has other addresses or ports, which are exported in place of the packet's.
    pub translated: bool,
    /// Hash of the packet's flow; 0 with a single ring.
    pub flow: u32,
    /// See [`Header::arrived_ns`].
    pub arrived_ns: u32,
}

impl Context {
    /// What a report has that is not a packet on its way through a hook.
    #[inline(always)]
    pub const fn of_report(hook: Hook, direction: u8) -> Self {
        Self {
            hook,
            path: PacketPath::Egress,
            ip: 0,
            direction,
            packet_type: 0,
            datagram_bytes: 0,
            max_bytes: u32::MAX,
            ifindex: 0,
            netns_cookie: 0,
            cgroup_id: 0,
            task: None,
            parent_pid: 0,
            tunnelled: false,
            direct: false,
            translated: false,
            flow: 0,
            arrived_ns: 0,
        }
    }
}

/// A record with space for `N` bytes of packet.
#[repr(C)]
struct Slot<const N: usize> {
    header: Header,
    bytes: [u8; N],
}

/// A record of a report on a socket.
#[repr(C)]
struct ReportSlot<T> {
    header: Header,
    report: T,
}

/// Writes a record with `wire` bytes of the packet, from `start` on, unless it is sampled out.
#[inline(always)]
pub fn write_packet(
    counters: Counters,
    skb: *mut __sk_buff,
    start: u32,
    wire: u32,
    context: &Context,
) {
    if let Some(cuts) = sample::cuts() {
        let summary = summary(skb, context);
        if sample::is_sampled_out(&summary, cuts) {
            counters.add(context.hook, Counter::SampledOut);
            return count_unexported(skb, &summary, context, SAMPLED);
        }
    }
    if !write_record(counters, skb, start, wire, context) {
        counters.add(context.hook, Counter::LostRingFull);
        count_unexported(skb, &summary(skb, context), context, LOST);
    }
}

/// Returns a summary of the packet; an empty one for encrypted DNS.
#[inline(always)]
fn summary(skb: *mut __sk_buff, context: &Context) -> PacketSummary {
    if context.max_bytes == u32::MAX {
        let summary = PacketSummary::read(Skb::whole(skb), context.ip);
        if context.translated { translation::undo_in_summary(skb, summary) } else { summary }
    } else {
        PacketSummary::OTHER
    }
}

/// Counts a packet that is not exported. Several datagrams in one packet all count as the first.
#[inline(always)]
fn count_unexported(
    skb: *mut __sk_buff,
    summary: &PacketSummary,
    context: &Context,
    outcome: usize,
) {
    // SAFETY: the kernel hands a valid context.
    let segments = unsafe { (*skb).gso_segs };
    let several = context.datagram_bytes > 0 && segments > 1;
    totals::count(summary, context.path, outcome, if several { u64::from(segments) } else { 1 });
}

/// Writes the smallest record that holds the packet. Returns `false` if the ring is full.
#[inline(always)]
fn write_record(
    counters: Counters,
    skb: *mut __sk_buff,
    start: u32,
    wire: u32,
    context: &Context,
) -> bool {
    let limit = wire.min(context.max_bytes);
    let wanted = limit.min(settings::get(Setting::Snap)).min(CLASSES[7] as u32);
    let class = |index: usize| wanted <= CLASSES[index] as u32;
    if class(0) {
        write_sized::<{ CLASSES[0] }>(counters, skb, start, wire, wanted, context)
    } else if class(1) {
        write_sized::<{ CLASSES[1] }>(counters, skb, start, wire, wanted, context)
    } else if class(2) {
        write_sized::<{ CLASSES[2] }>(counters, skb, start, wire, wanted, context)
    } else if class(3) {
        write_sized::<{ CLASSES[3] }>(counters, skb, start, wire, wanted, context)
    } else if class(4) {
        write_sized::<{ CLASSES[4] }>(counters, skb, start, wire, wanted, context)
    } else if class(5) {
        write_sized::<{ CLASSES[5] }>(counters, skb, start, wire, wanted, context)
    } else if class(6) {
        write_sized::<{ CLASSES[6] }>(counters, skb, start, wire, wanted, context)
    } else {
        write_sized::<{ CLASSES[7] }>(counters, skb, start, wire, wanted, context)
    }
}

#[inline(always)]
fn write_sized<const N: usize>(
    counters: Counters,
    skb: *mut __sk_buff,
    start: u32,
    wire: u32,
    wanted: u32,
    context: &Context,
) -> bool {
    let seq = counters.next_sequence();
    let ring = ring_of(context);
    let Some(mut slot) = reserve::<Slot<N>>(ring) else { return false };
    let at: *mut Slot<N> = MaybeUninit::as_mut_ptr(&mut slot);
    // SAFETY: `at` is reserved memory of the size of a `Slot<N>`.
    let (header, bytes) = unsafe { (&raw mut (*at).header, &raw mut (*at).bytes) };
    let mut captured = bounded::<N, 0>(wanted);
    let is_copied = N <= DIRECT
        && context.direct
        && settings::get(Setting::Direct) != 0
        && copy::<N>(skb, bytes, captured);
    // SAFETY: `bytes` has `N` bytes, and `captured` is not above that.
    if !is_copied
        && unsafe { bpf_skb_load_bytes(skb.cast(), start, bytes.cast(), captured as u32) } != 0
    {
        captured = 0;
    }
    if context.translated {
        const { assert!(CLASSES[0] >= 44) };
        // SAFETY: `bytes` has `N` bytes.
        unsafe { translation::undo(skb, bytes.cast()) };
    }
    let captured = captured as u32;
    write_header(header, KIND_PACKET, seq, wire, captured, context);
    counters.add(context.hook, Counter::Submitted);
    if captured < wire.min(context.max_bytes) {
        counters.add(context.hook, Counter::Clipped);
    }
    slot.submit(wakeup(ring));
    true
}

/// Copies the first bytes of a packet by words, which is cheaper than a helper call. Returns `false` if they are
/// not contiguous, or fewer than two words.
#[inline(always)]
fn copy<const N: usize>(skb: *mut __sk_buff, bytes: *mut [u8; N], captured: u64) -> bool {
    if captured > BLOCK as u64 {
        copy_blocks::<N, BLOCK>(skb, bytes.cast(), captured)
    } else {
        captured > WORD as u64 && copy_blocks::<BLOCK, WORD>(skb, bytes.cast(), captured)
    }
}

/// Copies `captured` bytes, more than `EACH` and at most `MAX`, in blocks of `EACH`.
#[inline(always)]
fn copy_blocks<const MAX: usize, const EACH: usize>(
    skb: *mut __sk_buff,
    to: *mut u8,
    captured: u64,
) -> bool {
    let (start, end) = ends(skb);
    if start + captured as usize > end {
        return false;
    }
    // Read again, because the compiler would otherwise omit checks that follow from the one above, which the
    // verifier cannot see.
    let (start, end) = ends(skb);
    for part in 0..MAX / EACH {
        let from = start + part * EACH;
        if from + EACH > end {
            break;
        }
        // SAFETY: the verifier checks that both blocks are inside.
        unsafe { copy_block::<EACH>(from, to.wrapping_add(part * EACH)) };
    }
    // The last block overlaps the one before.
    let last = bounded::<MAX, EACH>(captured as u32 - EACH as u32) as usize;
    if start + last + EACH > end {
        return false;
    }
    // SAFETY: the verifier checks that both blocks are inside.
    unsafe { copy_block::<EACH>(start + last, to.wrapping_add(last)) };
    true
}

/// Returns the addresses of the start and end of the packet's data.
#[inline(always)]
fn ends(skb: *mut __sk_buff) -> (usize, usize) {
    // SAFETY: the kernel hands a valid context to a program with direct access. Volatile, so that the compiler
    // does not reuse earlier values.
    unsafe {
        let (start, end) = (&raw const (*skb).data, &raw const (*skb).data_end);
        (start.read_volatile() as usize, end.read_volatile() as usize)
    }
}

/// Copies one word or eight. In assembly, because the compiler would copy unaligned data byte by byte, although
/// the loads of BPF need no alignment.
///
/// # Safety
///
/// Source and destination must have `EACH` bytes.
#[inline(always)]
unsafe fn copy_block<const EACH: usize>(from: usize, to: *mut u8) {
    const { assert!(EACH == WORD || EACH == BLOCK) };
    // SAFETY: the caller passes valid addresses.
    unsafe {
        if EACH == WORD {
            asm!(
                "{a} = *(u64 *)({from} + 0)",
                "*(u64 *)({to} + 0) = {a}",
                a = out(reg) _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack),
            );
        } else {
            asm!(
                "{a} = *(u64 *)({from} + 0)",
                "{b} = *(u64 *)({from} + 8)",
                "*(u64 *)({to} + 0) = {a}",
                "*(u64 *)({to} + 8) = {b}",
                "{a} = *(u64 *)({from} + 16)",
                "{b} = *(u64 *)({from} + 24)",
                "*(u64 *)({to} + 16) = {a}",
                "*(u64 *)({to} + 24) = {b}",
                "{a} = *(u64 *)({from} + 32)",
                "{b} = *(u64 *)({from} + 40)",
                "*(u64 *)({to} + 32) = {a}",
                "*(u64 *)({to} + 40) = {b}",
                "{a} = *(u64 *)({from} + 48)",
                "{b} = *(u64 *)({from} + 56)",
                "*(u64 *)({to} + 48) = {a}",
                "*(u64 *)({to} + 56) = {b}",
                a = out(reg) _,
                b = out(reg) _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack),
            );
        }
    }
}

/// Writes a record with the error of a socket.
#[inline(always)]
pub fn write_socket_error(counters: Counters, error: SocketError, context: &Context) {
    write_report(counters, KIND_SOCKET_ERROR, error, context);
}

/// Writes a record with a step of a connection.
#[inline(always)]
pub fn write_connect(counters: Counters, connect: Connect, context: &Context) {
    write_report(counters, KIND_CONNECT, connect, context);
}

/// Writes a record with a datagram that a process reads.
#[inline(always)]
pub fn write_socket_read(counters: Counters, read: SocketRead, context: &Context) {
    write_report(counters, KIND_SOCKET_READ, read, context);
}

#[inline(always)]
fn write_report<T: 'static>(counters: Counters, kind: u8, report: T, context: &Context) {
    let seq = counters.next_sequence();
    let ring = ring_of(context);
    let Some(mut slot) = reserve::<ReportSlot<T>>(ring) else {
        counters.add(context.hook, Counter::LostRingFull);
        return;
    };
    let at: *mut ReportSlot<T> = MaybeUninit::as_mut_ptr(&mut slot);
    // SAFETY: `at` is reserved memory of the size of a `ReportSlot`.
    unsafe {
        write_header(&raw mut (*at).header, kind, seq, 0, 0, context);
        (&raw mut (*at).report).write(report);
    }
    counters.add(context.hook, Counter::Submitted);
    slot.submit(wakeup(ring));
}

/// What a [`PacketDrop`] has besides its stack.
#[derive(Clone, Copy)]
pub struct DropReport {
    /// See [`PacketDrop::location`].
    pub location: u64,
    /// See [`PacketDrop::reason`].
    pub reason: u32,
    /// See [`PacketDrop::flags`].
    pub flags: u32,
}

/// A record of a report on a packet, with space for `N` bytes of it.
#[repr(C)]
struct PacketReportSlot<T, const N: usize> {
    header: Header,
    report: T,
    bytes: [u8; N],
}

impl DropReport {
    /// Returns whether the hook for packets that leave a socket never saw the packet, since netfilter comes before.
    #[inline(always)]
    fn is_unseen(self) -> bool {
        self.reason == settings::get(Setting::ReasonNetfilter)
            && self.flags & DROP_ON_WAY_OUT == DROP_ON_WAY_OUT
    }
}

/// Writes a record with a packet that the kernel discards. One that is the only record of its message is sampled and counted
/// as that would be.
#[inline(always)]
pub fn write_packet_drop(
    counters: Counters,
    ctx: &RawTracePointContext,
    packet: &KernelPacket,
    report: DropReport,
    context: &Context,
) {
    if report.is_unseen()
        && let Some(cuts) = sample::cuts()
    {
        let summary = packet.summary();
        if sample::is_sampled_out(&summary, cuts) {
            counters.add(context.hook, Counter::SampledOut);
            return totals::count(&summary, context.path, SAMPLED, 1);
        }
    }
    let fill = |drop: *mut PacketDrop| {
        // SAFETY: the caller passes reserved memory of this type; the helper writes within its field.
        unsafe {
            (&raw mut (*drop).location).write_volatile(report.location);
            (&raw mut (*drop).reason).write_volatile(report.reason);
            (&raw mut (*drop).flags).write_volatile(report.flags);
            let stack = (&raw mut (*drop).stack).cast::<u64>();
            if report.reason == settings::get(Setting::ReasonNetfilter) {
                // Fills what it does not use with zeros.
                bpf_get_stack(ctx.as_ptr(), stack.cast(), STACK_FRAMES as u32 * 8, 0);
            } else {
                for frame in 0..STACK_FRAMES {
                    stack.add(frame).write_volatile(0);
                }
            }
        }
    };
    let is_written = if packet.captured() <= CLASSES[0] as u32 {
        write_packet_report::<_, { CLASSES[0] }>(counters, KIND_PACKET_DROP, packet, context, fill)
    } else {
        write_packet_report::<_, { CLASSES[2] }>(counters, KIND_PACKET_DROP, packet, context, fill)
    };
    if !is_written && report.is_unseen() {
        totals::count(&packet.summary(), context.path, LOST, 1);
    }
}

/// Writes a record with a message that a device takes.
#[inline(always)]
pub fn write_packet_sent(counters: Counters, packet: &KernelPacket, context: &Context) {
    let fill = |_: *mut ()| {};
    write_packet_report::<_, { CLASSES[0] }>(counters, KIND_PACKET_SENT, packet, context, fill);
}

/// Returns `false` if the ring is full.
#[inline(always)]
fn write_packet_report<T: 'static, const N: usize>(
    counters: Counters,
    kind: u8,
    packet: &KernelPacket,
    context: &Context,
    fill: impl FnOnce(*mut T),
) -> bool {
    let seq = counters.next_sequence();
    let ring = ring_of(context);
    let Some(mut slot) = reserve::<PacketReportSlot<T, N>>(ring) else {
        counters.add(context.hook, Counter::LostRingFull);
        return false;
    };
    let at: *mut PacketReportSlot<T, N> = MaybeUninit::as_mut_ptr(&mut slot);
    let mut captured = bounded::<N, 0>(packet.captured());
    // SAFETY: `at` is reserved memory of the size of the slot; the helper writes within its field, and `captured` is
    // not above `N`.
    unsafe {
        let bytes = (&raw mut (*at).bytes).cast();
        if bpf_probe_read_kernel(bytes, captured as u32, packet.ip as *const _) != 0 {
            captured = 0;
        }
        write_header(&raw mut (*at).header, kind, seq, packet.wire, captured as u32, context);
        fill(&raw mut (*at).report);
    }
    counters.add(context.hook, Counter::Submitted);
    if (captured as u32) < packet.wire.min(context.max_bytes) {
        counters.add(context.hook, Counter::Clipped);
    }
    slot.submit(wakeup(ring));
    true
}

/// Returns the ring of the packet's flow.
#[inline(always)]
fn ring_of(context: &Context) -> u32 {
    match settings::get(Setting::Rings) {
        0 | 1 => 0,
        rings => flow::ring(context.flow, rings),
    }
}

#[inline(always)]
fn reserve<T: 'static>(ring: u32) -> Option<RingBufEntry<T>> {
    if settings::get(Setting::Rings) <= 1 {
        return RING.reserve(0);
    }
    RINGS.get(ring)?.reserve_untyped(0)
}

/// Writes every byte of the header, because reserved memory holds old records, not zeros. Volatile, because the
/// compiler would otherwise turn adjacent zeros into a loop over bytes.
#[inline(always)]
fn write_header(at: *mut Header, kind: u8, seq: u64, wire: u32, captured: u32, context: &Context) {
    let (pid, uid, start_ns, [front, back], flags) = match &context.task {
        Some(task) => (task.pid, task.uid, task.start_ns, words(&task.comm), FLAG_TASK),
        None => (0, 0, 0, [0; 2], 0),
    };
    let flags = flags | if context.tunnelled { FLAG_TUNNEL } else { 0 };
    // SAFETY: the caller reserved the memory.
    unsafe {
        (&raw mut (*at).ktime_ns).write_volatile(bpf_ktime_get_ns());
        (&raw mut (*at).seq).write_volatile(seq);
        (&raw mut (*at).netns_cookie).write_volatile(context.netns_cookie);
        (&raw mut (*at).cgroup_id).write_volatile(context.cgroup_id);
        (&raw mut (*at).start_ns).write_volatile(start_ns);
        (&raw mut (*at).cpu).write_volatile(bpf_get_smp_processor_id());
        (&raw mut (*at).pid).write_volatile(pid);
        (&raw mut (*at).uid).write_volatile(uid);
        (&raw mut (*at).ifindex).write_volatile(context.ifindex);
        (&raw mut (*at).wire_bytes).write_volatile(wire);
        (&raw mut (*at).captured_bytes).write_volatile(captured);
        let comm = (&raw mut (*at).comm).cast::<u64>();
        comm.write_volatile(front);
        comm.add(1).write_volatile(back);
        (&raw mut (*at).kind).write_volatile(kind);
        (&raw mut (*at).direction).write_volatile(context.direction);
        (&raw mut (*at).hook).write_volatile(context.hook as u8);
        (&raw mut (*at).packet_type).write_volatile(context.packet_type);
        (&raw mut (*at).flags).write_volatile(flags);
        (&raw mut (*at).datagram_bytes).write_volatile(context.datagram_bytes);
        (&raw mut (*at).parent_pid).write_volatile(context.parent_pid);
        (&raw mut (*at).arrived_ns).write_volatile(context.arrived_ns);
    }
}

/// Returns the name as two words.
#[inline(always)]
fn words(name: &[u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *name;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

#[inline(always)]
fn wakeup(ring: u32) -> u64 {
    if maps::reader_polls(ring) { u64::from(BPF_RB_NO_WAKEUP) } else { 0 }
}

/// Returns the number, limited to the range from 1 to `N - LESS`. In assembly, because the verifier of Linux 6.1
/// needs the bounds on the register that is passed to the helper, while the compiler would check a copy of it or
/// omit the check as redundant. Compares with `> 0`: only Linux 6.8 and later derive a lower bound from `!= 0`.
#[inline(always)]
fn bounded<const N: usize, const LESS: usize>(number: u32) -> u64 {
    let mut number = u64::from(number);
    // SAFETY: computes on a register.
    unsafe {
        asm!(
            "if {number} > 0 goto +1",
            "{number} = 1",
            "if {number} <= {max_bytes} goto +1",
            "{number} = {max_bytes}",
            number = inout(reg) number,
            max_bytes = const N - LESS,
            options(nomem, nostack),
        );
    }
    number
}
