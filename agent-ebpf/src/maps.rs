//! The maps other than ring and counters, and the questions asked of them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use dnscribe_common::owner::Owner;
use dnscribe_common::{CONFIG_QUIET, CONFIG_WORDS, FRAGMENTS, OWNERS as OWNERS_MAX, PORT_WORDS};

#[map]
static PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, 0);

#[map]
static CONFIG: Array<u64> = Array::with_max_entries(CONFIG_WORDS, 0);

#[map]
static OWNERS: LruHashMap<u64, Owner> = LruHashMap::with_max_entries(OWNERS_MAX, 0);

#[map]
static FRAGMENT: LruHashMap<FragmentKey, u8> = LruHashMap::with_max_entries(FRAGMENTS, 0);

/// What the fragments of one datagram have in common (RFC 791, 3.2; RFC 8200, 4.5).
#[repr(C)]
pub struct FragmentKey {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub id: u32,
    pub protocol: u32,
}

/// Whether the port, in host order, is one of ours.
#[inline(always)]
pub fn port_is_ours(port: u16) -> bool {
    match PORTS.get(u32::from(port >> 6)) {
        Some(word) => word >> (port & 63) & 1 == 1,
        None => false,
    }
}

/// Whether the reader polls and wants no wakeups.
#[inline(always)]
pub fn reader_polls() -> bool {
    CONFIG.get(CONFIG_QUIET).is_some_and(|word| *word != 0)
}

#[inline(always)]
pub fn owner(cookie: u64) -> Option<Owner> {
    // SAFETY: another CPU may replace the entry while it is copied; the worst is a mixed owner of
    // one and the same socket.
    OWNERS.get_ptr(cookie).map(|owner| unsafe { *owner })
}

#[inline(always)]
pub fn has_owner(cookie: u64) -> bool {
    OWNERS.get_ptr(cookie).is_some()
}

/// Notes the owner if it is not the one known already: looking up is cheaper than replacing, and
/// most often nothing changes.
#[inline(always)]
pub fn refresh_owner(cookie: u64, owner: &Owner) {
    if let Some(known) = OWNERS.get_ptr(cookie) {
        let (known, owner) = (known.cast::<u64>(), core::ptr::from_ref(owner).cast::<u64>());
        // By words, since the derived comparison goes through the names octet by octet.
        // SAFETY: an `Owner` is four aligned words without padding.
        let same = unsafe {
            *known == *owner
                && *known.add(1) == *owner.add(1)
                && *known.add(2) == *owner.add(2)
                && *known.add(3) == *owner.add(3)
        };
        if same {
            return;
        }
    }
    set_owner(cookie, owner);
}

#[inline(always)]
pub fn set_owner(cookie: u64, owner: &Owner) {
    // A full map evicts, so that this fails for want of memory only; then the owner stays unknown.
    let _ = OWNERS.insert(cookie, owner, 0);
}

#[inline(always)]
pub fn forget_owner(cookie: u64) {
    let _ = OWNERS.remove(cookie);
}

#[inline(always)]
pub fn remember_fragment(key: &FragmentKey) {
    let _ = FRAGMENT.insert(key, 1u8, 0);
}

#[inline(always)]
pub fn fragment_is_ours(key: &FragmentKey) -> bool {
    FRAGMENT.get_ptr(key).is_some()
}
