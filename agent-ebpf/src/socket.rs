//! Per-socket state in socket storage (`BPF_MAP_TYPE_SK_STORAGE`): one lookup finds all of it, and the
//! kernel frees it with the socket.

use crate::diagnose;
use crate::maps;
use crate::task;
use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_SK_STORAGE;
use aya_ebpf::bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use aya_ebpf::macros::btf_map;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use dnscribe_common::owner::Owner;

/// State of one socket. Another CPU may write it during a read; the worst result is a mix of two owners
/// of the same socket.
#[repr(C)]
pub struct SocketState {
    /// The task that bound the socket, connected it, or sent through it last. For an accepted socket that
    /// has sent nothing yet: the owner of its listening socket. pid 0 where unknown.
    pub owner: Owner,
    /// Id of the socket's cgroup, which never changes; 0 where not read yet, or unknown.
    pub cgroup_id: u64,
    /// Cookie of the socket's network namespace; 0 where not read yet, or unknown.
    pub netns_cookie: u64,
    /// Not 0 where the agent does not know an owner either.
    unowned: u32,
    /// Process that forked the owner, if that runs the same executable file; else 0.
    pub parent_pid: u32,
    /// Flow hash of the last packet that the socket sent, if the path of packets is captured.
    pub flow: u64,
    /// The peer of a connected UDP socket that has sent nothing to it yet.
    pub peer: Peer,
}

/// Address of a peer, as the program gave it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Peer {
    /// First half of the address, in the order of memory. IPv4 is in the first half of it.
    pub front: u64,
    /// Second half.
    pub back: u64,
    /// In host order.
    pub port: u32,
    /// 4 or 6; 0 if there is no peer.
    pub version: u32,
}

impl Peer {
    /// No peer.
    pub const NONE: Self = Self { front: 0, back: 0, port: 0, version: 0 };

    /// Returns whether address and port are the same.
    #[inline(always)]
    pub fn has_address_of(&self, other: &Self) -> bool {
        self.front == other.front && self.back == other.back && self.port == other.port
    }

    /// Returns address and port as a number that is not 0. Of IPv6, a hash; two destinations have the same with a
    /// probability of 2^-63.
    #[inline(always)]
    pub fn key(&self) -> u64 {
        let port = u64::from(self.port);
        if self.version == 4 {
            return (self.front | self.front >> 32) << 32 >> 16 | port;
        }
        let mix = |hash: u64, word: u64| {
            (hash.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        mix(mix(mix(0, self.front), self.back), port) | 1 << 63
    }

    /// Returns the address; IPv4 in the first four bytes.
    #[inline(always)]
    pub fn octets(&self) -> [u8; 16] {
        // SAFETY: any bytes are valid.
        unsafe { core::mem::transmute([self.front, self.back]) }
    }
}

/// Returns version and address of an IPv6 address in the order of memory, each half as [`Peer`] has it. An IPv4-mapped
/// address (RFC 4291, 2.5.5.2) is one of IPv4.
#[inline(always)]
pub fn canonical([a, b, c, d]: [u32; 4]) -> (u32, [u64; 2]) {
    if a | b == 0 && c == u32::from_be(0xffff) {
        (4, [pair([d, 0]), 0])
    } else {
        (6, [pair([a, b]), pair([c, d])])
    }
}

/// Returns two words in the order of memory as one.
#[inline(always)]
pub fn pair([first, second]: [u32; 2]) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// Definition of the map, in the form that loaders read from BTF. [`aya_ebpf::btf_maps::SkStorage`] has no
/// parameter for flags.
///
/// # Minimum kernel version
///
/// Linux 5.4, for `BPF_F_CLONE`.
#[repr(C)]
struct SocketStorage {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const SocketState,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: the pointers only carry types for the loader; nothing reads them.
unsafe impl Sync for SocketStorage {}

/// Cloned with the socket (`BPF_F_CLONE`): an accepted socket starts with the state of its listening
/// socket, at no cost per packet.
#[btf_map]
static SOCKETS: SocketStorage = SocketStorage {
    r#type: null(),
    key: null(),
    value: null(),
    max_entries: null(),
    map_flags: null(),
};

/// Size of a [`SocketState`] in words.
const WORDS: usize = size_of::<SocketState>() / 8;

impl SocketState {
    /// Returns the state of a kernel socket. `spare` takes its place where the kernel has no memory for it,
    /// or where there is no socket, which the verifier cannot rule out.
    #[inline(always)]
    pub fn get(socket: *mut c_void, spare: &mut MaybeUninit<Self>) -> &mut Self {
        match Self::storage(socket, BPF_SK_STORAGE_GET_F_CREATE) {
            Some(state) => state,
            None => {
                if !socket.is_null() {
                    diagnose::no_socket_state();
                }
                Self::empty(spare)
            }
        }
    }

    /// Returns the state of a kernel socket, if there is one.
    #[inline(always)]
    pub fn find<'a>(socket: *mut c_void) -> Option<&'a mut Self> {
        Self::storage(socket, 0)
    }

    #[inline(always)]
    fn storage<'a>(socket: *mut c_void, flags: u32) -> Option<&'a mut Self> {
        if socket.is_null() {
            return None;
        }
        let map = (&raw const SOCKETS).cast_mut().cast();
        // SAFETY: a map and a socket; null as the initial value stands for zeros. The result is null, or the map's
        // value, which lives as long as the program runs; any bytes are valid.
        unsafe { bpf_sk_storage_get(map, socket, null_mut(), flags.into()).cast::<Self>().as_mut() }
    }

    /// Creates an empty state in place. By words, and volatile: see [`maps::FragmentKey::empty`].
    #[inline(always)]
    pub fn empty(place: &mut MaybeUninit<Self>) -> &mut Self {
        let words = place.as_mut_ptr().cast::<u64>();
        for word in 0..WORDS {
            // SAFETY: a `SocketState` consists of `WORDS` aligned words without padding.
            unsafe { words.add(word).write_volatile(0) };
        }
        // SAFETY: every word is written, and any bytes are valid.
        unsafe { place.assume_init_mut() }
    }

    /// Returns whether the owner is known.
    #[inline(always)]
    pub fn has_owner(&self) -> bool {
        self.owner.pid != 0
    }

    /// Makes the current task, `owner`, the owner of the socket.
    #[inline(always)]
    pub fn set_owner(&mut self, owner: &Owner) {
        // The owner rarely changes, and other CPUs may have it in their caches.
        let is_same = is_same(&self.owner, owner);
        if is_same && self.parent_pid == 0 {
            return;
        }
        // Read again while a parent is set: the task may have called `exec` with the socket open.
        let parent_pid = task::parent_of_same_exe(owner);
        if self.parent_pid != parent_pid {
            self.parent_pid = parent_pid;
        }
        // Last, since another process may share the socket and send on another CPU: the caller reads the owner next.
        if !is_same {
            copy(owner, &mut self.owner);
        }
    }

    /// Takes the owner that the agent found for a socket that is older than it, if none is known yet.
    #[inline(always)]
    pub fn load_owner(&mut self, cookie: impl FnOnce() -> u64) {
        if self.has_owner() || self.unowned != 0 {
            return;
        }
        // Read before the lookup, since the agent may fill the map in between.
        let unowned = u32::from(maps::owners_are_loaded());
        match maps::owner(cookie()) {
            Some(owner) => copy(owner, &mut self.owner),
            None => self.unowned = unowned,
        }
    }

    /// Sets cgroup and network namespace from `ask`, once.
    #[inline(always)]
    pub fn set_placement(&mut self, read: impl FnOnce() -> (u64, u64)) {
        if self.cgroup_id | self.netns_cookie == 0 {
            (self.cgroup_id, self.netns_cookie) = read();
        }
    }
}

/// Size of an [`Owner`] in words.
const OWNER_WORDS: usize = size_of::<Owner>() / 8;

/// Compares by words, since the derived comparison goes through the names byte by byte.
#[inline(always)]
fn is_same(a: &Owner, b: &Owner) -> bool {
    let words = |owner| core::ptr::from_ref::<Owner>(owner).cast::<[u64; OWNER_WORDS]>();
    // SAFETY: an `Owner` consists of `OWNER_WORDS` aligned words without padding.
    let (a, b) = unsafe { (&*words(a), &*words(b)) };
    a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3]
}

#[inline(always)]
fn copy(from: &Owner, to: &mut Owner) {
    let (from, to) =
        (core::ptr::from_ref(from).cast::<u64>(), core::ptr::from_mut(to).cast::<u64>());
    for word in 0..OWNER_WORDS {
        // SAFETY: see `is_same`.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}
