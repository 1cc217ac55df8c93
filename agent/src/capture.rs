//! The first stage: packets from live capture or from a capture file. Both give
//! [`Packet`](dnscribe_transaction::packet::Packet)s to the decoder; later stages do not know the difference.

pub mod dnstap;
pub mod live;
pub mod replay;

/// Records received from the rings of a live capture that were written by one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Number of records.
    pub records: u64,
    /// The highest sequence number among them.
    pub highest: u64,
}

impl Received {
    /// Counts a record.
    pub fn note(&mut self, seq: u64) {
        self.records += 1;
        self.highest = self.highest.max(seq);
    }

    /// Returns the sum with the records of another reader.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { records: self.records + other.records, highest: self.highest.max(other.highest) }
    }
}
