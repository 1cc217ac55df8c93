//! Counters of frames and connections, by sender.

use dnscribe_record::ledger::DnstapSender;
use std::collections::BTreeMap;

/// Most senders with counters of their own.
const MAX_NAMES: usize = 64;

/// Name of the others.
const OTHER: &str = "other";

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole frame.
    Closed,
    /// In the middle of a frame.
    CutOff,
    /// What came is not dnstap, or nothing may come.
    Refused,
}

/// Counters of all senders since the start, which outlive their connections.
#[derive(Debug, Default)]
pub(super) struct Senders {
    /// In the order in which they came.
    rows: Vec<DnstapSender>,
    /// Indices of `rows`.
    names: BTreeMap<String, usize>,
}

/// The sender at the other end of a connection.
#[derive(Debug)]
pub(super) struct SenderRef {
    /// Its name while its frames have no identity.
    peer: String,
    /// The identity of its newest frame.
    identity: Option<String>,
    /// Index of its row; none before the first frame.
    row: Option<usize>,
    /// Index of the row that counts the connection.
    connection: Option<usize>,
}

impl SenderRef {
    /// Creates the sender of a connection that has sent no frame.
    pub(super) const fn new(peer: String) -> Self {
        Self { peer, identity: None, row: None, connection: None }
    }
}

impl Senders {
    /// Returns the index of the row of a sender whose newest frame has `identity`.
    pub(super) fn row(&mut self, sender: &mut SenderRef, identity: Option<&str>) -> usize {
        if let Some(row) = sender.row.filter(|_| sender.identity.as_deref() == identity) {
            return row;
        }
        let row = self.named(identity.unwrap_or(&sender.peer));
        sender.row = Some(row);
        sender.identity = identity.map(str::to_owned);
        if sender.connection.is_none() {
            sender.connection = Some(row);
            self.rows[row].connections += 1;
            self.rows[row].open += 1;
        }
        row
    }

    fn named(&mut self, name: &str) -> usize {
        if let Some(row) = self.names.get(name) {
            return *row;
        }
        if self.names.len() >= MAX_NAMES && name != OTHER {
            return self.named(OTHER);
        }
        let row = self.rows.len();
        self.rows.push(DnstapSender { name: name.to_owned(), ..DnstapSender::default() });
        self.names.insert(name.to_owned(), row);
        row
    }

    /// Counts a frame that was received, and is kept or lost.
    pub(super) fn receive(&mut self, row: usize, is_kept: bool) {
        let DnstapSender { received, in_ring, lost_ring_full, .. } = &mut self.rows[row];
        *received += 1;
        *if is_kept { in_ring } else { lost_ring_full } += 1;
    }

    /// Counts a frame that has waited and was passed on.
    pub(super) fn pass(&mut self, row: usize, is_decoded: bool) {
        let DnstapSender { in_ring, decoded, malformed, .. } = &mut self.rows[row];
        *in_ring -= 1;
        *if is_decoded { decoded } else { malformed } += 1;
    }

    /// Counts the end of a connection. Who has sent no frame gets no row for it, so that strangers take no place of a
    /// server.
    pub(super) fn end(&mut self, sender: &SenderRef, end: End) {
        let row = sender.connection.unwrap_or_else(|| {
            let known = self.names.get(&sender.peer).copied();
            let row = known.unwrap_or_else(|| self.named(OTHER));
            self.rows[row].connections += 1;
            self.rows[row].open += 1;
            row
        });
        let DnstapSender { open, closed, cut_off, refused, .. } = &mut self.rows[row];
        *open -= 1;
        *match end {
            End::Closed => closed,
            End::CutOff => cut_off,
            End::Refused => refused,
        } += 1;
    }

    /// Returns the counters, in order of the names.
    pub(super) fn counters(&self) -> Vec<DnstapSender> {
        self.names.values().map(|row| self.rows[*row].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_the_others_are_together() {
        let mut senders = Senders::default();
        for number in 0..100 {
            let mut sender = SenderRef::new(format!("192.0.2.{number}"));
            let row = senders.row(&mut sender, None);
            senders.receive(row, number % 2 == 0);
        }
        let counters = senders.counters();
        assert_eq!(counters.len(), MAX_NAMES + 1);
        let other = counters.iter().find(|one| one.name == OTHER).unwrap();
        assert_eq!((other.received, other.in_ring, other.lost_ring_full), (36, 18, 18));
        assert_eq!((other.connections, other.open), (36, 36));
        assert_eq!(counters.iter().map(|one| one.received).sum::<u64>(), 100);
    }

    #[test]
    fn frames_of_one_connection_may_have_several_identities() {
        let mut senders = Senders::default();
        let mut relay = SenderRef::new("192.0.2.7".to_owned());
        for identity in [None, Some("a"), Some("b"), Some("a"), Some("a")] {
            let row = senders.row(&mut relay, identity);
            senders.receive(row, true);
            senders.pass(row, identity.is_some());
        }
        senders.end(&relay, End::CutOff);
        let found: Vec<_> = senders
            .counters()
            .into_iter()
            .map(|one| (one.name, one.decoded, one.malformed, one.connections, one.cut_off))
            .collect();
        let expected = [("192.0.2.7", 0, 1, 1, 1), ("a", 3, 0, 0, 0), ("b", 1, 0, 0, 0)];
        assert_eq!(found, expected.map(|(name, a, b, c, d)| (name.to_owned(), a, b, c, d)));
    }

    #[test]
    fn who_sends_no_frame_takes_no_place() {
        let mut senders = Senders::default();
        let mut known = SenderRef::new("192.0.2.1".to_owned());
        senders.row(&mut known, None);
        senders.end(&known, End::Closed);
        for number in 0..100 {
            senders.end(&SenderRef::new(format!("192.0.2.{number}")), End::Refused);
        }
        let [known, other] = <[_; 2]>::try_from(senders.counters()).unwrap();
        assert_eq!(
            (&*known.name, known.connections, known.closed, known.refused),
            ("192.0.2.1", 2, 1, 1)
        );
        assert_eq!(
            (&*other.name, other.connections, other.refused, other.open),
            (OTHER, 99, 99, 0)
        );
    }
}
