//! Pages of queries from the pairing table of one agent for that of another: the number of the flow stage, and its
//! queries behind each other, in Postcard.

use crate::decode::{Envelope, OwnedMessage};
use crate::pair::{HandoverQuery, HandoverQueryState};
use dnscribe_record::time::{Timestamp, nanos};
use serde::{Deserialize, Serialize};

/// A page of this size is complete.
const FULL_BYTES: usize = 1 << 20;

/// Reason why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadPage {
    /// It is not a page.
    #[error("not a page: {0}")]
    Coding(#[from] postcard::Error),
    /// An entry is not a query.
    #[error("not a query: {0}")]
    Query(&'static str),
}

#[derive(Serialize, Deserialize)]
struct QueryEntry<'a> {
    envelope: Envelope,
    message: &'a [u8],
    wire_bytes: u32,
    #[serde(with = "nanos")]
    deadline: Timestamp,
    retries: u32,
    rejected: u32,
    state: HandoverQueryState,
}

/// Adds a query of a flow stage to its pages.
pub fn push(pages: &mut Vec<Vec<u8>>, shard: usize, carried: &HandoverQuery<'_>) {
    if pages.last().is_none_or(|page| page.len() >= FULL_BYTES) {
        pages.push(encoded(&shard));
    }
    let HandoverQuery { query, deadline, retries, rejected, state } = *carried;
    let entry = QueryEntry {
        envelope: query.envelope.clone(),
        message: query.dns.bytes(),
        wire_bytes: query.wire_bytes,
        deadline,
        retries,
        rejected,
        state,
    };
    pages.iter_mut().last().into_iter().for_each(|page| page.extend(encoded(&entry)));
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    // Fails only for sequences of unknown length, which are not in a page.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// Reads a page: calls `each` with the number of the flow stage and each query.
///
/// # Errors
/// The page or an entry cannot be read. Queries before that entry have been passed to `each`.
pub fn read(bytes: &[u8], each: &mut dyn FnMut(usize, &HandoverQuery<'_>)) -> Result<(), BadPage> {
    let (shard, mut rest) = postcard::take_from_bytes(bytes)?;
    while !rest.is_empty() {
        let (entry, next) = postcard::take_from_bytes::<QueryEntry<'_>>(rest)?;
        rest = next;
        let QueryEntry { envelope, message, wire_bytes, deadline, retries, rejected, state } =
            entry;
        let message = OwnedMessage::parse(envelope, message, wire_bytes)
            .map_err(|reason| BadPage::Query(reason.name()))?;
        let query = message.message();
        if query.dns.flags.is_response() {
            return Err(BadPage::Query("a response"));
        }
        each(shard, &HandoverQuery { query, deadline, retries, rejected, state });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Direction, PacketId, Task, Transport};
    use crate::decode::MessageId;
    use crate::decode::testing::{Draft, DraftDns, DraftQuestion};
    use dnscribe_dns::Flags;
    use proptest::prelude::*;

    fn query(seq: u64) -> Draft {
        let task =
            Task { pid: 7, uid: 8, start_ns: 9, comm: *b"resolver\0\0\0\0\0\0\0\0", parent_pid: 0 };
        Draft {
            envelope: Envelope {
                id: MessageId { packet: PacketId { cpu: 3, seq }, index: 1 },
                ts: Timestamp::from_nanos(1_000_000_000_000 + seq),
                scope: 11,
                direction: Direction::Egress,
                task: Some(task),
                cgroup_id: 12,
                transport: Transport::Tcp,
                src: "[2001:db8::1]:4000".parse().unwrap(),
                dst: "192.0.2.53:53".parse().unwrap(),
            },
            dns: DraftDns {
                id: 77,
                flags: Flags(0x100),
                question: Some(DraftQuestion { qname: "a.test".into(), qtype: 1, qclass: 1 }),
                ..DraftDns::default()
            },
            wire_bytes: 24,
        }
    }

    fn carried(kept: &OwnedMessage, fate: HandoverQueryState) -> HandoverQuery<'_> {
        let deadline = Timestamp::from_nanos(1_005_000_000_000);
        HandoverQuery { query: kept.message(), deadline, retries: 2, rejected: 1, state: fate }
    }

    #[test]
    fn query_survives_a_page() {
        let since = Timestamp::from_nanos(5);
        for fate in [
            HandoverQueryState::Waiting,
            HandoverQueryState::Answered(since),
            HandoverQueryState::Failed(since),
        ] {
            let kept = query(9).to_message();
            let sent = carried(&kept, fate);
            let mut pages = Vec::new();
            push(&mut pages, 2, &sent);
            let mut shown = 0;
            read(&pages[0], &mut |shard, got| {
                shown += 1;
                assert_eq!(shard, 2);
                assert_eq!(format!("{got:?}"), format!("{sent:?}"));
            })
            .unwrap();
            assert_eq!((pages.len(), shown), (1, 1));
        }
    }

    #[test]
    fn writes_many_queries_to_several_pages() {
        let mut pages = Vec::new();
        let kept = query(1).to_message();
        let sent = carried(&kept, HandoverQueryState::Waiting);
        (0..20_000).for_each(|_| push(&mut pages, 0, &sent));
        assert!(pages.len() > 1 && pages.iter().all(|page| page.len() < 2 * FULL_BYTES));
        let mut shown = 0;
        for page in &pages {
            read(page, &mut |_, _| shown += 1).unwrap();
        }
        assert_eq!(shown, 20_000);
    }

    #[test]
    fn refuses_what_is_no_query() {
        let kept = query(1).to_message();
        let mut pages = Vec::new();
        push(&mut pages, 0, &carried(&kept, HandoverQueryState::Waiting));
        let whole = pages.remove(0);
        let message = kept.message().dns.bytes();
        let at = whole.windows(message.len()).position(|window| window == message).unwrap();
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut page = whole.clone();
            change(&mut page);
            read(&page, &mut |_, _| {})
        };
        assert!(with(&|_| {}).is_ok());
        let response = with(&|page| page[at + 2] |= 0x80);
        assert!(matches!(response, Err(BadPage::Query("a response"))));
        let question = with(&|page| page[at + 4..at + 6].fill(9));
        assert!(matches!(question, Err(BadPage::Query(_))));
        let state = with(&|page| *page.last_mut().unwrap() = 3);
        assert!(matches!(state, Err(BadPage::Coding(_))));
        for length in 0..whole.len() {
            let clipped = with(&|page| page.truncate(length));
            assert_eq!(clipped.is_ok(), length == 1, "only the number of the stage");
        }
    }

    proptest! {
        /// No bytes from the socket lead to a panic.
        #[test]
        fn reads_or_refuses_any_bytes(bytes: Vec<u8>) {
            let _ = read(&bytes, &mut |_, _| {});
        }
    }
}
