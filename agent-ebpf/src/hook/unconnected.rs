//! Uses by UDP sockets without a connection (`sendto`): hooks `cgroup/sendmsg4`, `sendmsg6`, `recvmsg4` and
//! `recvmsg6`. Only where connections are captured.
//!
//! The first datagram to a destination begins a connection, as that of a connected socket does. A socket whose first
//! datagram is one that it receives is a server's: it answers, and opens nothing. So is one at a chosen port that is asked
//! by a stranger before it has sent to more than a few: its first datagrams were answers, to what came before the program
//! was loaded.
//!
//! # Minimum kernel version
//!
//! Linux 5.8, for the cookie of the network namespace.

use crate::counters::Counters;
use crate::hook::{connect, datagram_drop};
use crate::parse::UDP;
use crate::settings;
use crate::socket::SocketState;
use crate::task;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use core::mem::MaybeUninit;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::globals::Setting;

/// Destinations that a socket remembers; a further one takes the place of the oldest.
const REMEMBERED: usize = 16;

/// Most peers that a socket has when it turns out to be a server's: those that waited for its answers at the start.
const MAX_WAITING: u32 = 4;

/// Most connections that a socket begins in a minute: a socket may send to thousands of destinations.
const MAX_A_MINUTE: u32 = 64;

const MINUTE_NS: u64 = 60_000_000_000;

/// [`Destinations::role`]: sent a datagram first.
const CLIENT: u32 = 1;
/// [`Destinations::role`]: received a datagram first.
const SERVER: u32 = 2;

/// Peers of an unconnected socket. Two tasks may write it at once; the worst result is a destination that is recorded
/// twice.
#[repr(C)]
struct Destinations {
    /// See [`crate::socket::Peer::key`].
    known: [u64; REMEMBERED],
    /// Number of those that were stored, each in the place of its number modulo [`REMEMBERED`].
    next: u32,
    /// 0 before the first datagram.
    role: u32,
    /// Minute of the kernel's monotonic clock in which [`Self::begun`] was counted.
    minute: u32,
    /// Connections begun in that minute, and datagrams of more.
    begun: u32,
}

#[btf_map]
static DESTINATIONS: SkStorage<Destinations> = SkStorage::new();

impl Destinations {
    /// Returns the peers of the socket; none without memory.
    #[inline(always)]
    fn of<'a>(address: *mut bpf_sock_addr) -> Option<&'a mut Self> {
        let context = SockAddrContext::new(address);
        // SAFETY: the kernel hands a valid context with a socket. The result is null, or the map's value, at first zeros,
        // which lives as long as the program runs; any bytes are valid.
        unsafe { DESTINATIONS.get_or_insert_ptr_mut(&context, None).as_mut() }
    }

    /// Remembers a peer. Returns whether it was remembered before.
    #[inline(always)]
    fn remember(&mut self, key: u64) -> bool {
        for known in &self.known {
            if *known == key {
                return true;
            }
        }
        let next = self.next as usize % REMEMBERED;
        self.known[next] = key;
        self.next = self.next.saturating_add(1);
        false
    }

    /// Returns whether the socket may begin one more connection in this minute.
    #[inline(always)]
    fn may_begin(&mut self) -> bool {
        // SAFETY: a helper without conditions.
        let minute = (unsafe { bpf_ktime_get_ns() } / MINUTE_NS) as u32;
        if self.minute != minute {
            self.minute = minute;
            self.begun = 0;
        }
        self.begun += 1;
        self.begun <= MAX_A_MINUTE
    }
}

/// Records the first datagram to a destination.
#[inline(always)]
pub fn send<const VERSION: u8>(address: *mut bpf_sock_addr) {
    let Some(destinations) = Destinations::of(address) else { return };
    if destinations.role == SERVER {
        return;
    }
    let peer = connect::peer::<VERSION>(address);
    if destinations.remember(peer.key()) {
        return;
    }
    destinations.role = CLIENT;
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*address).__bindgen_anon_1.sk };
    if let Some(state) = SocketState::find(socket.cast())
        && state.peer.has_address_of(&peer)
    {
        // Connected to this destination, which may have got its first datagram.
        if state.peer.version == 0 {
            return;
        }
        state.peer.version = 0;
        // SAFETY: a helper that is allowed for this context.
        datagram_drop::note_begun(unsafe { bpf_get_socket_cookie(address.cast()) }, &peer);
    }
    if !destinations.may_begin() {
        let Some(counters) = Counters::this_cpu() else { return };
        counters.add(Hook::Connect, Counter::Seen);
        counters.add(Hook::Connect, Counter::ManyDestinations);
        return;
    }
    let mut spare = MaybeUninit::uninit();
    let state = SocketState::empty(&mut spare);
    if let Some(owner) = task::current(Setting::HookTask) {
        state.set_owner(&owner);
    }
    connect::write_begun(address, UDP, &peer, state);
}

/// Remembers the sender of a datagram, to which a client's answer is no use.
#[inline(always)]
pub fn receive<const VERSION: u8>(address: *mut bpf_sock_addr) {
    let Some(destinations) = Destinations::of(address) else { return };
    if destinations.role == SERVER {
        return;
    }
    // SAFETY: the kernel hands a valid context.
    let socket = unsafe { (*address).__bindgen_anon_1.sk };
    // A connected socket sends without the hook, and is a client's.
    let is_connected =
        || SocketState::find(socket.cast()).is_some_and(|state| state.peer.port != 0);
    let is_server = if destinations.role == CLIENT || is_connected() {
        let has_few = destinations.next <= MAX_WAITING;
        let is_known = destinations.remember(connect::peer::<VERSION>(address).key());
        // A client's socket has a port that the kernel chose. Datagrams of strangers reach that, too: from behind an
        // address that something translates after the program.
        // SAFETY: as above.
        let is_chosen = unsafe { (*socket).src_port } < settings::get(Setting::FirstChosenPort);
        !is_known && has_few && destinations.role == CLIENT && is_chosen
    } else {
        true
    };
    if is_server {
        destinations.role = SERVER;
    }
}
