//! The maps other than ring and counters, and the questions asked of them.

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

/// Set by the agent before loading, and not a constant to the verifier, so that it may be set again. A
/// global rather than a map: its place is known, and asking for a port is one load.
#[unsafe(no_mangle)]
static mut PORTS: [u64; PORT_WORDS as usize] = [0; PORT_WORDS as usize];

#[map]
static CONFIG: Array<u64> = Array::with_max_entries(CONFIG_WORDS, 0);

/// Of sockets that are older than the agent, by their cookies. The agent fills it once, and what it does
/// not fill takes no memory.
#[map]
static OWNERS: HashMap<u64, Owner> = HashMap::with_max_entries(OWNERS_MAX, BPF_F_NO_PREALLOC);

#[map]
static FRAGMENT: LruHashMap<FragmentKey, Note> = LruHashMap::with_max_entries(FRAGMENTS, 0);

#[map]
static EARLY: LruHashMap<FragmentKey, Note> = LruHashMap::with_max_entries(FRAGMENTS, 0);

/// Prefixes of addresses, IPv4 ones as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
#[map]
static RESOLVERS: LpmTrie<[u8; 16], u8> = LpmTrie::with_max_entries(RESOLVERS_MAX, 0);

/// What the fragments of one datagram have in common (RFC 791, 3.2; RFC 8200, 4.5).
#[repr(C, align(8))]
pub struct FragmentKey {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub id: u32,
    pub protocol: u32,
}

/// Words of a [`FragmentKey`].
const KEY_WORDS: usize = size_of::<FragmentKey>() / 8;

impl FragmentKey {
    /// A key of nothing, made in place. By words, and volatile: the compiler would call a function
    /// that goes octet by octet, which takes time, and more of the verifier's.
    #[inline(always)]
    pub fn empty(place: &mut MaybeUninit<Self>) -> &mut Self {
        let words = place.as_mut_ptr().cast::<u64>();
        for word in 0..KEY_WORDS {
            // SAFETY: a key is as many aligned words without padding.
            unsafe { words.add(word).write_volatile(0) };
        }
        // SAFETY: every word is written, and any value is a key.
        unsafe { place.assume_init_mut() }
    }

    /// Copies the key to where the verifier lets a program write; by words as in [`Self::empty`].
    #[inline(always)]
    pub fn copy_to(&self, place: *mut Self) {
        let (from, to) = (core::ptr::from_ref(self).cast::<u64>(), place.cast::<u64>());
        for word in 0..KEY_WORDS {
            // SAFETY: a key is as many aligned words without padding, and `place` has room for one.
            unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
        }
    }
}

/// What a fragment left for the others of its datagram.
#[derive(Clone, Copy)]
#[repr(C)]
struct Note {
    since_ns: u64,
    /// Of a first fragment of ours: whether our ports are in a tunnel that the datagram is, and in the
    /// upper half its flow. Of those that came before the first: their number.
    value: u64,
}

impl Note {
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

/// The class of a port, in host order: one of the `PORT_` constants, or 0.
#[inline(always)]
pub fn port_class(port: u16) -> u64 {
    let mut place = u64::from(port) >> 2;
    // SAFETY: computes on a register. As assembly, since the compiler leaves out what the verifier has
    // to see: that the word is one of the global's.
    unsafe {
        asm!(
            "{place} &= {words}",
            place = inout(reg) place,
            words = const (PORT_WORDS - 1) * 8,
            options(pure, nomem, nostack),
        );
    }
    // SAFETY: an aligned word of the global, see above.
    let word = unsafe { (&raw const PORTS).byte_add(place as usize).cast::<u64>().read_volatile() };
    word >> ((port & 31) << 1) & 3
}

/// Whether the address, as the map has it, is one of the resolvers'.
#[inline(always)]
pub fn is_resolver(address: &[u8; 16]) -> bool {
    RESOLVERS.get(Key::new(128, *address)).is_some()
}

/// Whether the reader of a ring polls and wants no wakeups.
#[inline(always)]
pub fn reader_polls(ring: u32) -> bool {
    CONFIG.get(CONFIG_QUIET + ring).is_some_and(|word| *word != 0)
}

/// Whether the agent has put into `OWNERS` what it knows.
#[inline(always)]
pub fn owners_are_there() -> bool {
    CONFIG.get(CONFIG_OWNERS).is_some_and(|word| *word != 0)
}

/// What is left out, as a word of [`dnscribe_common::sample::Cuts`].
#[inline(always)]
pub fn sampling() -> u64 {
    CONFIG.get(CONFIG_SAMPLING).copied().unwrap_or(0)
}

/// Who owns a socket that is older than the agent.
#[inline(always)]
pub fn owner(cookie: u64) -> Option<&'static Owner> {
    // SAFETY: the agent writes an entry once, and takes none away.
    OWNERS.get_ptr(cookie).map(|owner| unsafe { &*owner })
}

/// Remembers a first fragment of ours, its flow, and whether our ports are in a tunnel that the datagram
/// is: not in one that it is in, since it may be met both within and without.
#[inline(always)]
pub fn remember_fragment(key: &FragmentKey, tunnelled: bool, flow: u32) {
    // A full map evicts, so that this fails for want of memory only.
    let _ = FRAGMENT.insert(key, Note::new(u64::from(flow) << 32 | u64::from(tunnelled)), 0);
}

/// The datagram with this key is no longer one of ours.
#[inline(always)]
pub fn forget_fragment(key: &FragmentKey) {
    let _ = FRAGMENT.remove(key);
}

/// What a first fragment told of the others.
#[derive(Clone, Copy)]
pub struct Known {
    /// Whether our ports are in a tunnel that the datagram is.
    pub tunnelled: bool,
    pub flow: u32,
}

/// What the first fragment told, if it was ours.
#[inline(always)]
pub fn known_fragment(key: &FragmentKey) -> Option<Known> {
    // SAFETY: another CPU may replace the entry while it is copied; the worst is a mixture of two
    // datagrams of ours.
    let note = FRAGMENT.get_ptr(key).map(|note| unsafe { *note })?;
    if note.is_fresh() {
        Some(Known { tunnelled: note.value & 1 != 0, flow: (note.value >> 32) as u32 })
    } else {
        None
    }
}

/// Counts a fragment whose datagram may prove to be ours.
#[inline(always)]
pub fn note_early(key: &FragmentKey) {
    // SAFETY: as in `known_fragment`; two CPUs that count at once may count one.
    let before = EARLY.get_ptr(key).map(|note| unsafe { *note });
    let count = match before {
        Some(note) if note.is_fresh() => note.value,
        _ => 0,
    };
    let _ = EARLY.insert(key, Note::new(count + 1), 0);
}

/// How many fragments came before this first one, which is ours; 0 when asked again.
#[inline(always)]
pub fn take_early(key: &FragmentKey) -> u64 {
    // SAFETY: as in `known_fragment`.
    let Some(note) = EARLY.get_ptr(key).map(|note| unsafe { *note }) else { return 0 };
    let _ = EARLY.remove(key);
    if note.is_fresh() { note.value } else { 0 }
}
