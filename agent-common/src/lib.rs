//! Definitions that the eBPF programs and the agent share: ring records, counters, and the values of maps.
//!
//! Numbers are in the byte order of the host, since both sides run on the same machine. Addresses are in network
//! byte order.
#![no_std]

pub mod counter;
pub mod flow;
pub mod globals;
pub mod layers;
pub mod owner;
pub mod record;
pub mod sample;
pub mod totals;

/// Number of words in the global `PORTS`, each for 32 ports. The class of port `p` is in the two bits of word
/// `p / 32` from bit `p % 32 * 2` on: one of the `PORT_` constants, or 0 for a port that is not captured.
pub const PORT_WORDS: u32 = 2048;
/// Class of a port of plain DNS.
pub const PORT_DNS: u64 = 1;
/// Class of a port where all packets are encrypted DNS: 853.
pub const PORT_ENCRYPTED: u64 = 2;
/// Class of a port where only packets to or from an address in the map `RESOLVERS` are encrypted DNS: 443.
pub const PORT_HTTPS: u64 = 3;

/// Largest number of entries in the map `RESOLVERS`.
pub const RESOLVERS: u32 = 1024;

/// Largest number of bytes kept of an encrypted payload that may be a handshake.
pub const HANDSHAKE_BYTES: u32 = 4096;

/// Index in the map `CONFIG` of the first of the words, one per ring, that disable wakeups of the ring's reader if
/// not 0 (`BPF_RB_NO_WAKEUP`). The reader then polls.
pub const CONFIG_QUIET: u32 = 0;
/// Index in the map `CONFIG` of the cuts of sampling, as [`sample::Cuts`].
pub const CONFIG_SAMPLING: u32 = CONFIG_QUIET + flow::MAX_RINGS;
/// Index in the map `CONFIG` of the word that is not 0 once the map `OWNERS` is filled with the owners of sockets
/// that are older than the agent.
pub const CONFIG_OWNERS: u32 = CONFIG_SAMPLING + 1;
/// Number of words in the map `CONFIG`.
pub const CONFIG_WORDS: u32 = CONFIG_OWNERS + 1;

/// Largest number of entries in the map `OWNERS`.
pub const OWNERS: u32 = 65_536;
/// Largest number of fragmented datagrams that are tracked.
pub const FRAGMENTS: u32 = 4_096;
/// Time within which fragments belong to one datagram: the default of Linux (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_LIFETIME_NS: u64 = 30_000_000_000;

/// Mark (`SO_MARK`) of the agent's raw sockets for ICMP errors.
pub const ICMP_MARK: u32 = 0x646e_7363;
