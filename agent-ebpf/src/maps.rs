//! Maps other than rings and counters, and their lookups.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap};
use core::arch::asm;
use core::mem::MaybeUninit;
use dnscribe_common::owner::Owner;
use dnscribe_common::{
    CONFIG_OWNERS, CONFIG_QUIET, CONFIG_SAMPLING, CONFIG_WORDS, FRAGMENT_LIFETIME_NS, FRAGMENTS,
    OWNERS as OWNERS_MAX, PORT_WORDS, RESOLVERS as RESOLVERS_MAX,
};

/// Classes of all ports. The agent sets it before loading, and may change it later. A global rather than a map:
/// a lookup is one load.
#[unsafe(no_mangle)]
static mut PORTS: [u64; PORT_WORDS as usize] = [0; PORT_WORDS as usize];

#[map]
static CONFIG: Array<u64> = Array::with_max_entries(CONFIG_WORDS, 0);

/// Owners of sockets that are older than the agent, by socket cookie. The agent fills it once; unused entries
/// take no memory.
#[map]
static OWNERS: HashMap<u64, Owner> = HashMap::with_max_entries(OWNERS_MAX, BPF_F_NO_PREALLOC);

#[map]
static FRAGMENT: LruHashMap<FragmentKey, FragmentNote> = LruHashMap::with_max_entries(FRAGMENTS, 0);

#[map]
static EARLY: LruHashMap<FragmentKey, FragmentNote> = LruHashMap::with_max_entries(FRAGMENTS, 0);

/// Address prefixes of resolvers, IPv4 ones as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
#[map]
static RESOLVERS: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(RESOLVERS_MAX, 0);

/// Key that the fragments of one datagram share (RFC 791, 3.2; RFC 8200, 4.5).
#[repr(C, align(8))]
pub struct FragmentKey {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub id: u32,
    pub protocol: u32,
}

/// Size of a [`FragmentKey`] in words.
const KEY_WORDS: usize = size_of::<FragmentKey>() / 8;

impl FragmentKey {
    /// Creates an empty key in place. By words, and volatile: the compiler would call a function that goes
    /// byte by byte, which is slow, and takes the verifier more instructions.
    #[inline(always)]
    pub fn empty(buffer: &mut MaybeUninit<Self>) -> &mut Self {
        let words = buffer.as_mut_ptr().cast::<u64>();
        for word in 0..KEY_WORDS {
            // SAFETY: a key consists of `KEY_WORDS` aligned words without padding.
            unsafe { words.add(word).write_volatile(0) };
        }
        // SAFETY: every word is written, and any bytes are valid.
        unsafe { buffer.assume_init_mut() }
    }

    /// Copies the key to where the verifier lets a program write; by words as in [`Self::empty`].
    #[inline(always)]
    pub fn copy_to(&self, buffer: *mut Self) {
        let (from, to) = (core::ptr::from_ref(self).cast::<u64>(), buffer.cast::<u64>());
        for word in 0..KEY_WORDS {
            // SAFETY: a key consists of `KEY_WORDS` aligned words without padding, and `buffer` is one.
            unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        }
    }
}

/// State that a fragment leaves for the others of its datagram.
#[derive(Clone, Copy)]
#[repr(C)]
struct FragmentNote {
    since_ns: u64,
    /// In `FRAGMENT`: whether the DNS ports are in a tunnel inside the datagram, and in the upper half the
    /// flow. In `EARLY`: the number of fragments that came before the first.
    value: u64,
}

impl FragmentNote {
    #[inline(always)]
    fn new(value: u64) -> Self {
        // SAFETY: no condition.
        Self { since_ns: unsafe { bpf_ktime_get_ns() }, value }
    }

    #[inline(always)]
    fn is_fresh(&self) -> bool {
        // SAFETY: no condition.
        unsafe { bpf_ktime_get_ns() }.saturating_sub(self.since_ns) <= FRAGMENT_LIFETIME_NS
    }
}

/// Returns the class of a port in host order: one of the `PORT_` constants, or 0.
#[inline(always)]
pub fn port_class(port: u16) -> u64 {
    let mut offset = u64::from(port) >> 2;
    // SAFETY: computes on a register. In assembly, because the compiler would omit the bound, which the verifier
    // needs to accept the access.
    unsafe {
        asm!(
            "{offset} &= {words}",
            offset = inout(reg) offset,
            words = const (PORT_WORDS - 1) * 8,
            options(pure, nomem, nostack),
        );
    }
    // SAFETY: an aligned word of the global, see above.
    let word =
        unsafe { (&raw const PORTS).byte_add(offset as usize).cast::<u64>().read_volatile() };
    word >> ((port & 31) << 1) & 3
}

/// Returns whether the address, in the map's form, is a resolver's.
#[inline(always)]
pub fn is_resolver(address: &[u8; 16]) -> bool {
    RESOLVERS.get(Key::new(128, *address)).is_some()
}

/// Returns whether the reader of a ring polls, and wants no wakeups.
#[inline(always)]
pub fn reader_polls(ring: u32) -> bool {
    CONFIG.get(CONFIG_QUIET + ring).is_some_and(|word| *word != 0)
}

/// Returns whether the agent has filled `OWNERS`.
#[inline(always)]
pub fn owners_are_loaded() -> bool {
    CONFIG.get(CONFIG_OWNERS).is_some_and(|word| *word != 0)
}

/// Returns the current cuts of sampling, as a word of [`dnscribe_common::sample::Cuts`].
#[inline(always)]
pub fn sampling() -> u64 {
    CONFIG.get(CONFIG_SAMPLING).copied().unwrap_or(0)
}

/// Returns the owner of a socket that is older than the agent.
#[inline(always)]
pub fn owner(cookie: u64) -> Option<&'static Owner> {
    // SAFETY: the agent writes an entry once, and removes none.
    OWNERS.get_ptr(cookie).map(|owner| unsafe { &*owner })
}

/// Remembers a first fragment with DNS ports, its flow, and whether the ports are in a tunnel inside the
/// datagram. A tunnel around the datagram does not count, since both forms of it may pass.
#[inline(always)]
pub fn remember_fragment(key: &FragmentKey, tunnelled: bool, flow: u32) {
    // A full map evicts, so this fails only without memory.
    let _ =
        FRAGMENT.insert(key, FragmentNote::new(u64::from(flow) << 32 | u64::from(tunnelled)), 0);
}

/// Forgets the datagram with this key.
#[inline(always)]
pub fn forget_fragment(key: &FragmentKey) {
    let _ = FRAGMENT.remove(key);
}

/// State of a datagram, from its first fragment.
#[derive(Clone, Copy)]
pub struct FragmentState {
    /// Whether the DNS ports are in a tunnel inside the datagram.
    pub tunnelled: bool,
    pub flow: u32,
}

/// Returns the state from the first fragment, if that had DNS ports.
#[inline(always)]
pub fn fragment_state(key: &FragmentKey) -> Option<FragmentState> {
    // SAFETY: another CPU may replace the entry during the copy; the worst result is a mix of two captured
    // datagrams.
    let note = FRAGMENT.get_ptr(key).map(|note| unsafe { *note })?;
    if note.is_fresh() {
        Some(FragmentState { tunnelled: note.value & 1 != 0, flow: (note.value >> 32) as u32 })
    } else {
        None
    }
}

/// Counts a fragment whose datagram may turn out to be DNS.
#[inline(always)]
pub fn count_early_fragment(key: &FragmentKey) {
    // SAFETY: as in `fragment_state`; two CPUs that count at once may lose one.
    let before = EARLY.get_ptr(key).map(|note| unsafe { *note });
    let count = match before {
        Some(note) if note.is_fresh() => note.value,
        _ => 0,
    };
    let _ = EARLY.insert(key, FragmentNote::new(count + 1), 0);
}

/// Takes the number of fragments that came before the first one of a DNS datagram.
#[inline(always)]
pub fn take_early_fragments(key: &FragmentKey) -> u64 {
    // SAFETY: as in `fragment_state`.
    let Some(note) = EARLY.get_ptr(key).map(|note| unsafe { *note }) else { return 0 };
    let _ = EARLY.remove(key);
    if note.is_fresh() { note.value } else { 0 }
}
