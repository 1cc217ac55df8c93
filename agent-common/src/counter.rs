//! Counters that the programs keep per CPU, and their indexes.
//!
//! One per-CPU array entry of [`WORDS`] words holds all of them, so that a single read returns the
//! counters of all hooks and the sequence number of a CPU together.

/// Words per hook.
const STRIDE: usize = 16;
/// Index of a CPU's sequence number: the number of records that it tried to write to the ring.
pub const SEQUENCE: usize = Hook::ALL.len() * STRIDE;
/// Words per CPU.
pub const WORDS: usize = SEQUENCE + STRIDE;

/// Hook that saw the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// `cgroup_skb`, both directions.
    Cgroup = 0,
    /// The filter of the `AF_PACKET` socket.
    Socket = 1,
    /// The tracepoint `sock:inet_sk_error_report`.
    Icmp = 2,
    /// `cgroup/connect4` and `connect6`, and the first datagrams of UDP sockets to a destination, also those that netfilter
    /// discards: connections that begin.
    Connect = 3,
    /// `sock_ops`, the first data that arrives, and ICMP errors: what became of TCP connections.
    SockOps = 4,
    /// The tracepoint `skb:kfree_skb`: packets that the kernel discards.
    Drop = 5,
    /// The tracepoint `net:net_dev_start_xmit`: messages that a device takes.
    Transmit = 6,
    /// `cgroup/recvmsg4` and `recvmsg6`: messages that a process reads.
    Read = 7,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 8] = [
        Self::Cgroup,
        Self::Socket,
        Self::Icmp,
        Self::Connect,
        Self::SockOps,
        Self::Drop,
        Self::Transmit,
        Self::Read,
    ];

    /// Returns the name in the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Socket => "socket",
            Self::Icmp => "icmp",
            Self::Connect => "connect",
            Self::SockOps => "sock_ops",
            Self::Drop => "drop",
            Self::Transmit => "transmit",
            Self::Read => "read",
        }
    }
}

/// Counters per hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Packets that matched the ports, or whose ports are nested too deeply; incremented before any outcome.
    Seen = 0,
    /// Packets written to the ring; incremented before the record becomes visible.
    Submitted = 1,
    /// Packets lost because the ring was full.
    LostRingFull = 2,
    /// Packets left out by sampling.
    SampledOut = 3,
    /// Skipped: TCP segments with neither payload nor SYN, FIN or RST.
    TcpNoPayload = 4,
    /// Skipped: the sending view of a packet on the loopback interface; the receiving view counts.
    LoopbackCopy = 5,
    /// Packets exported with fewer bytes than they had. Not an outcome: they are submitted.
    Clipped = 6,
    /// Skipped: more nested tunnels, IPv6 extension headers or other headers than the programs parse; or the program
    /// that parses them was missing, which should never happen.
    TunnelDepth = 7,
    /// Skipped: fragments that came before the first of their datagram, which alone has the ports.
    FragmentEarly = 8,
    /// Skipped: fragments of encrypted DNS. TLS and QUIC packets are not fragmented in normal operation, and
    /// only the first fragment can be identified.
    EncryptedFragment = 9,
    /// Skipped: datagrams of an unconnected socket to more new destinations than are recorded in a minute.
    ManyDestinations = 10,
}

impl Counter {
    /// Outcomes. Exactly one of them is incremented for each packet seen.
    pub const OUTCOMES: [Self; 9] = [
        Self::Submitted,
        Self::LostRingFull,
        Self::SampledOut,
        Self::TcpNoPayload,
        Self::LoopbackCopy,
        Self::TunnelDepth,
        Self::FragmentEarly,
        Self::EncryptedFragment,
        Self::ManyDestinations,
    ];

    /// Reasons to skip a packet, with their names in the ledger.
    pub const SKIPPED: [(Self, &'static str); 6] = [
        (Self::TcpNoPayload, "tcp_no_payload"),
        (Self::LoopbackCopy, "loopback_copy"),
        (Self::TunnelDepth, "tunnel_depth"),
        (Self::FragmentEarly, "fragment_early"),
        (Self::EncryptedFragment, "encrypted_fragment"),
        (Self::ManyDestinations, "many_destinations"),
    ];

    /// Returns the index of a hook's counter among a CPU's words.
    #[must_use]
    pub const fn index(self, hook: Hook) -> usize {
        hook as usize * STRIDE + self as usize
    }
}

/// Counters of one CPU from a single read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCpu(pub [u64; WORDS]);

impl PerCpu {
    /// Returns a counter of a hook.
    #[must_use]
    pub fn get(&self, hook: Hook, counter: Counter) -> u64 {
        self.0.get(counter.index(hook)).copied().unwrap_or(0)
    }

    /// Returns the sequence number: how many records this CPU tried to write to the ring.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.get(SEQUENCE).copied().unwrap_or(0)
    }

    /// Returns the number of records written to the ring by all hooks.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        Hook::ALL.iter().map(|&hook| self.get(hook, Counter::Submitted)).sum()
    }

    /// Returns the sum of a hook's outcomes.
    #[must_use]
    pub fn outcomes(&self, hook: Hook) -> u64 {
        Counter::OUTCOMES.iter().map(|&counter| self.get(hook, counter)).sum()
    }

    /// Returns whether no packet was between `Seen` and its outcome during the read.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let attempts: u64 =
            Hook::ALL.iter().map(|&hook| self.get(hook, Counter::LostRingFull)).sum::<u64>()
                + self.submitted();
        self.sequence() == attempts
            && Hook::ALL.iter().all(|&hook| self.get(hook, Counter::Seen) == self.outcomes(hook))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_distinct() {
        let mut taken = [false; WORDS];
        for hook in Hook::ALL {
            for counter in Counter::OUTCOMES.into_iter().chain([Counter::Seen, Counter::Clipped]) {
                let is_taken = &mut taken[counter.index(hook)];
                assert!(!*is_taken, "{hook:?} {counter:?}");
                *is_taken = true;
            }
        }
        assert!(!taken[SEQUENCE]);
    }

    #[test]
    fn is_settled_when_every_packet_has_an_outcome() {
        let mut cpu = PerCpu([0; WORDS]);
        assert!(cpu.is_settled());
        cpu.0[Counter::Seen.index(Hook::Cgroup)] = 3;
        cpu.0[Counter::TcpNoPayload.index(Hook::Cgroup)] = 1;
        cpu.0[Counter::Submitted.index(Hook::Cgroup)] = 1;
        cpu.0[SEQUENCE] = 2;
        assert!(!cpu.is_settled());
        cpu.0[Counter::LostRingFull.index(Hook::Cgroup)] = 1;
        assert!(cpu.is_settled());
    }
}
