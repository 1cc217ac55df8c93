//! Shared by the eBPF programs and the agent: the ring record, the counters, the maps' values.
//!
//! Everything is in the byte order of the host, since both sides run on the same machine; addresses
//! alone are in network order, as octets.
#![no_std]
#![forbid(unsafe_code)]

pub mod counter;
pub mod flow;
pub mod globals;
pub mod layers;
pub mod owner;
pub mod record;
pub mod sample;
pub mod totals;

/// Words of 32 ports each in the global `PORTS`; the class of port `p` is the two bits of word `p / 32`
/// from bit `p % 32 * 2` on: one of the `PORT_` constants, 0 for a port that is not watched.
pub const PORT_WORDS: u32 = 2048;
/// Class of a port where DNS is read.
pub const PORT_DNS: u64 = 1;
/// Class of a port where all is encrypted DNS: 853.
pub const PORT_ENCRYPTED: u64 = 2;
/// Class of a port where packets to and from an address in the map `RESOLVERS` are encrypted DNS, and no
/// others: 443.
pub const PORT_HTTPS: u64 = 3;

/// Entries in the map of resolvers' prefixes, at most.
pub const RESOLVERS: u32 = 1024;

/// Largest number of bytes kept of an encrypted payload that may be a handshake.
pub const HANDSHAKE_BYTES: u32 = 4096;

/// Index in the map `CONFIG` of the first of the words, one for each ring, that, where not 0, keep
/// programs from waking that ring's reader at each record (`BPF_RB_NO_WAKEUP`); it then polls.
pub const CONFIG_QUIET: u32 = 0;
/// Index in the map `CONFIG` of the cuts of sampling, as [`sample::Cuts`].
pub const CONFIG_SAMPLING: u32 = CONFIG_QUIET + flow::MAX_RINGS;
/// Index in the map `CONFIG` of the word that is not 0 once the owners of sockets that are older than
/// the agent are in the map `OWNERS`, as far as they can be found.
pub const CONFIG_OWNERS: u32 = CONFIG_SAMPLING + 1;
/// Words in the map `CONFIG`.
pub const CONFIG_WORDS: u32 = CONFIG_OWNERS + 1;

/// Entries in the map of socket owners, at most.
pub const OWNERS: u32 = 65_536;
/// Largest number of fragmented datagrams that are tracked.
pub const FRAGMENTS: u32 = 4_096;
/// Time within which fragments belong to one datagram: the default of Linux (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_LIFETIME_NS: u64 = 30_000_000_000;

/// The mark (`SO_MARK`) of the agent's raw sockets for ICMP errors.
pub const ICMP_MARK: u32 = 0x646e_7363;
