//! Values that are remembered for as long as there is a place for them, and answers that clients got lately.

use super::attribution::{combine_hashes, hash, hash_address};
use crate::view::TransactionView;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::Transport;
use dnscribe_transaction::pair::Vantage;
use std::time::Duration;

/// Values that are remembered: a power of two.
const MAX_RECENT: usize = 1 << 14;
/// Time from which on a client has waited for a server, though another one has answered.
const PATIENCE: Duration = Duration::from_secs(1);

/// Values by a key, each in the one place that its key has. A later one takes the place.
#[derive(Debug)]
pub(super) struct Recent<T>(Box<[(u64, T)]>);

impl<T: Copy + Default> Default for Recent<T> {
    fn default() -> Self {
        Self(vec![(0, T::default()); MAX_RECENT].into())
    }
}

impl<T: Copy> Recent<T> {
    const fn place(key: u64) -> usize {
        // The result is less than MAX_RECENT.
        (key >> 32) as usize & (MAX_RECENT - 1)
    }

    pub(super) fn get(&self, key: u64) -> Option<T> {
        let (known, value) = self.0[Self::place(key)];
        (known == key).then_some(value)
    }

    pub(super) fn insert(&mut self, key: u64, value: T) {
        self.0[Self::place(key)] = (key, value);
    }
}

/// Answers by the client's socket and the question. A client that asks several servers at once, as musl does, takes the first
/// answer and closes its socket: what the others answer reaches nobody.
#[derive(Debug, Default)]
pub(super) struct RecentAnswers(Recent<Answered>);

#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    at: Timestamp,
    /// Hash of the server's address.
    server: u64,
}

impl RecentAnswers {
    /// Remembers the answer, if a client is content with it.
    pub(super) fn note(&mut self, observation: &TransactionView<'_>) {
        let (Some(at), Some(0 | 3)) = (observation.response_ts, observation.rcode) else { return };
        if let Some(key) = socket_and_question(observation) {
            self.0.insert(key, Answered { at, server: hash_address(observation.server.ip()) });
        }
    }

    /// Returns whether another server answered the question so soon that the client may not have waited for this one.
    pub(super) fn is_answered_elsewhere(&self, observation: &TransactionView<'_>) -> bool {
        let answered = socket_and_question(observation).and_then(|key| self.0.get(key));
        answered.is_some_and(|Answered { at, server }| {
            server != hash_address(observation.server.ip())
                && at >= observation.ts
                && at.since(observation.ts) < PATIENCE
        })
    }
}

/// Returns the hash of the client's socket and the question; none where a server or a tap sees all answers.
fn socket_and_question(observation: &TransactionView<'_>) -> Option<u64> {
    let TransactionView { vantage, transport, client, qname, qtype, .. } = *observation;
    if vantage != Vantage::Client || transport != Transport::Udp {
        return None;
    }
    let socket = combine_hashes(hash_address(client.ip()), client.port().into());
    Some(combine_hashes(combine_hashes(socket, hash(qname?.as_bytes())), qtype?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::helpers::at;
    use crate::view::testing::example;
    use std::net::SocketAddr;

    #[test]
    fn only_an_early_answer_to_the_same_socket_counts() {
        let answer = example(at(0.0));
        let mut answers = RecentAnswers::default();
        answers.note(&answer);
        let server = SocketAddr::from(([192, 0, 2, 54], 53));
        let unanswered = TransactionView { server, response_ts: None, rcode: None, ..answer };
        let other_port = SocketAddr::new(answer.client.ip(), 40_001);
        for (observation, expected) in [
            (unanswered, true),
            (TransactionView { server: answer.server, ..unanswered }, false),
            (TransactionView { client: other_port, ..unanswered }, false),
            (TransactionView { qtype: Some(28), ..unanswered }, false),
            (TransactionView { vantage: Vantage::Server, ..unanswered }, false),
            (TransactionView { ts: Timestamp::default(), ..unanswered }, false),
            (TransactionView { ts: at(1.0), ..unanswered }, false),
        ] {
            assert_eq!(answers.is_answered_elsewhere(&observation), expected, "{observation:?}");
        }
        // musl waits for another one.
        answers.note(&TransactionView { qname: Some("other.example"), rcode: Some(2), ..answer });
        let failed = TransactionView { qname: Some("other.example"), ..unanswered };
        assert!(!answers.is_answered_elsewhere(&failed));
    }
}
