//! The counters that the programs keep per CPU, and where each stands.
//!
//! One per-CPU array entry of [`WORDS`] words holds all of them, so that a single read gives one
//! CPU's counters of all hooks and its sequence together.

/// Words per hook.
const STRIDE: usize = 16;
/// Where a CPU's record sequence stands: how many records it tried to put into the ring.
pub const SEQUENCE: usize = Hook::ALL.len() * STRIDE;
/// Words of one CPU.
pub const WORDS: usize = SEQUENCE + STRIDE;

/// Who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// `cgroup_skb`, both ways.
    Cgroup = 0,
    /// The filter of the `AF_PACKET` socket.
    Socket = 1,
    /// The tracepoint `sock:inet_sk_error_report`.
    Icmp = 2,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Self; 3] = [Self::Cgroup, Self::Socket, Self::Icmp];

    /// The name in the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Socket => "socket",
            Self::Icmp => "icmp",
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Packets that matched the ports, or whose ports lie too deep; raised before any outcome.
    Seen = 0,
    /// Packets handed to the ring; raised before the record becomes visible.
    Submitted = 1,
    /// Packets for which the ring had no room.
    LostRingFull = 2,
    /// Packets left out by sampling.
    SampledOut = 3,
    /// Skipped: TCP segments with neither payload nor SYN, FIN or RST.
    TcpNoPayload = 4,
    /// Skipped: the sending view of a packet on the loopback interface; the receiving view counts.
    LoopbackCopy = 5,
    /// Packets handed over with fewer octets than they had. Not an outcome, these are submitted.
    Clipped = 6,
    /// Skipped: more tunnels or other headers, one in the other, than are looked through; or, which
    /// should never be, the program that looks through them was not there.
    TunnelDepth = 7,
    /// Skipped: fragments that came before the first of their datagram, which alone tells the ports.
    FragmentEarly = 8,
    /// Skipped: fragments of encrypted DNS. Neither TLS nor QUIC lets itself be fragmented, and no
    /// fragment but the first can be told from others.
    EncryptedFragment = 9,
}

impl Counter {
    /// Exactly one of these is raised for each packet seen.
    pub const OUTCOMES: [Self; 8] = [
        Self::Submitted,
        Self::LostRingFull,
        Self::SampledOut,
        Self::TcpNoPayload,
        Self::LoopbackCopy,
        Self::TunnelDepth,
        Self::FragmentEarly,
        Self::EncryptedFragment,
    ];

    /// Reasons to skip a packet, with their names in the ledger.
    pub const SKIPPED: [(Self, &'static str); 5] = [
        (Self::TcpNoPayload, "tcp_no_payload"),
        (Self::LoopbackCopy, "loopback_copy"),
        (Self::TunnelDepth, "tunnel_depth"),
        (Self::FragmentEarly, "fragment_early"),
        (Self::EncryptedFragment, "encrypted_fragment"),
    ];

    /// Where this counter of that hook stands among a CPU's words.
    #[must_use]
    pub const fn index(self, hook: Hook) -> usize {
        hook as usize * STRIDE + self as usize
    }
}

/// The counters of one CPU as one read gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerCpu(pub [u64; WORDS]);

impl PerCpu {
    /// One counter.
    #[must_use]
    pub fn get(&self, hook: Hook, counter: Counter) -> u64 {
        self.0.get(counter.index(hook)).copied().unwrap_or(0)
    }

    /// How many records this CPU tried to put into the ring: the number of the newest.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.get(SEQUENCE).copied().unwrap_or(0)
    }

    /// Records put into the ring, all hooks together.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        Hook::ALL.iter().map(|&hook| self.get(hook, Counter::Submitted)).sum()
    }

    /// The sum of one hook's outcomes.
    #[must_use]
    pub fn outcomes(&self, hook: Hook) -> u64 {
        Counter::OUTCOMES.iter().map(|&counter| self.get(hook, counter)).sum()
    }

    /// Whether no packet was between being seen and its outcome while this was read.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let tried: u64 =
            Hook::ALL.iter().map(|&hook| self.get(hook, Counter::LostRingFull)).sum::<u64>()
                + self.submitted();
        self.sequence() == tried
            && Hook::ALL.iter().all(|&hook| self.get(hook, Counter::Seen) == self.outcomes(hook))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        let mut taken = [false; WORDS];
        for hook in Hook::ALL {
            for counter in Counter::OUTCOMES.into_iter().chain([Counter::Seen, Counter::Clipped]) {
                let place = &mut taken[counter.index(hook)];
                assert!(!*place, "{hook:?} {counter:?}");
                *place = true;
            }
        }
        assert!(!taken[SEQUENCE]);
    }

    #[test]
    fn settles_when_every_packet_has_its_outcome() {
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
