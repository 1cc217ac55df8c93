//! Pages of queries from the pairing table of one agent for that of another, in Protobuf.

use crate::capture::{Direction, PacketId, Task, Transport};
use crate::decode::{Envelope, MessageId, OwnedMessage};
use crate::pair::{HandoverQuery, HandoverQueryState};
use dnscribe_record::time::Timestamp;
use prost::Message as _;
use std::net::{IpAddr, SocketAddr};

/// A page of this size is complete.
const FULL_BYTES: usize = 1 << 20;

/// Reason why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadPage {
    /// It is not a page.
    #[error("not a page: {0}")]
    Coding(#[from] prost::DecodeError),
    /// An entry is not a query.
    #[error("not a query: {0}")]
    Query(&'static str),
}

#[derive(prost::Message)]
struct QueryEntry {
    #[prost(uint32, tag = "1")]
    cpu: u32,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(uint32, tag = "3")]
    index: u32,
    #[prost(fixed64, tag = "4")]
    ts: u64,
    #[prost(uint64, tag = "5")]
    scope: u64,
    #[prost(uint32, tag = "6")]
    sight: u32,
    #[prost(message, optional, tag = "7")]
    task: Option<TaskEntry>,
    #[prost(uint64, tag = "8")]
    cgroup_id: u64,
    #[prost(bool, tag = "9")]
    tcp: bool,
    #[prost(bytes = "vec", tag = "10")]
    src: Vec<u8>,
    #[prost(uint32, tag = "11")]
    src_port: u32,
    #[prost(bytes = "vec", tag = "12")]
    dst: Vec<u8>,
    #[prost(uint32, tag = "13")]
    dst_port: u32,
    #[prost(bytes = "vec", tag = "14")]
    message: Vec<u8>,
    #[prost(uint32, tag = "15")]
    wire_bytes: u32,
    #[prost(fixed64, tag = "16")]
    deadline: u64,
    #[prost(uint32, tag = "17")]
    retries: u32,
    #[prost(uint32, tag = "18")]
    rejected: u32,
    /// 0: waiting; 1: answered, 2: failed, at `since`.
    #[prost(uint32, tag = "19")]
    fate: u32,
    #[prost(fixed64, tag = "20")]
    since: u64,
}

#[derive(prost::Message)]
struct TaskEntry {
    #[prost(uint32, tag = "1")]
    pid: u32,
    #[prost(uint32, tag = "2")]
    uid: u32,
    #[prost(uint64, tag = "3")]
    start_ns: u64,
    #[prost(bytes = "vec", tag = "4")]
    comm: Vec<u8>,
}

#[derive(prost::Message)]
struct Page {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<QueryEntry>,
}

/// Writes pages.
#[derive(Debug)]
pub struct PageWriter {
    page: Page,
    bytes: usize,
    pages: Vec<Vec<u8>>,
}

impl PageWriter {
    /// Creates a writer for the queries of a flow stage.
    #[must_use]
    pub fn new(shard: usize) -> Self {
        let shard = u32::try_from(shard).unwrap_or(u32::MAX);
        Self { page: Page { shard, entries: Vec::new() }, bytes: 0, pages: Vec::new() }
    }

    /// Adds a query.
    pub fn push(&mut self, carried: &HandoverQuery<'_>) {
        let entry = entry(carried);
        self.bytes += entry.encoded_len();
        self.page.entries.push(entry);
        if self.bytes >= FULL_BYTES {
            self.finish_page();
        }
    }

    fn finish_page(&mut self) {
        self.pages.push(self.page.encode_to_vec());
        self.page.entries.clear();
        self.bytes = 0;
    }

    /// Returns the pages.
    #[must_use]
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.page.entries.is_empty() {
            self.finish_page();
        }
        self.pages
    }
}

/// Reads a page: calls `each` with the number of the flow stage and each query.
///
/// # Errors
/// The page or an entry cannot be read. Queries before that entry have been passed to `each`.
pub fn read(bytes: &[u8], each: &mut dyn FnMut(usize, &HandoverQuery<'_>)) -> Result<(), BadPage> {
    let page = Page::decode(bytes)?;
    for entry in &page.entries {
        let kept = kept(entry)?;
        let since = Timestamp::from_nanos(entry.since);
        let fate = match entry.fate {
            0 => HandoverQueryState::Waiting,
            1 => HandoverQueryState::Answered(since),
            2 => HandoverQueryState::Failed(since),
            _ => return Err(BadPage::Query("an unknown fate")),
        };
        let carried = HandoverQuery {
            query: kept.message(),
            deadline: Timestamp::from_nanos(entry.deadline),
            retries: entry.retries,
            rejected: entry.rejected,
            state: fate,
        };
        each(page.shard as usize, &carried);
    }
    Ok(())
}

fn entry(carried: &HandoverQuery<'_>) -> QueryEntry {
    let HandoverQuery { query, deadline, retries, rejected, state: fate } = carried;
    let Envelope { id, ts, scope, direction: sight, task, cgroup_id, transport, src, dst } =
        query.envelope;
    let (fate, since) = match fate {
        HandoverQueryState::Waiting => (0, Timestamp::default()),
        HandoverQueryState::Answered(since) => (1, *since),
        HandoverQueryState::Failed(since) => (2, *since),
    };
    QueryEntry {
        cpu: id.packet.cpu,
        seq: id.packet.seq,
        index: id.index,
        ts: ts.as_nanos(),
        scope: *scope,
        sight: match sight {
            Direction::Egress => 0,
            Direction::Ingress => 1,
            Direction::Loopback => 2,
            Direction::Passive => 3,
        },
        task: task.map(|task| TaskEntry {
            pid: task.pid,
            uid: task.uid,
            start_ns: task.start_ns,
            comm: task.comm.to_vec(),
        }),
        cgroup_id: *cgroup_id,
        tcp: *transport == Transport::Tcp,
        src: address_bytes(src.ip()),
        src_port: src.port().into(),
        dst: address_bytes(dst.ip()),
        dst_port: dst.port().into(),
        message: query.dns.bytes().to_vec(),
        wire_bytes: query.wire_bytes,
        deadline: deadline.as_nanos(),
        retries: *retries,
        rejected: *rejected,
        fate,
        since: since.as_nanos(),
    }
}

fn kept(entry: &QueryEntry) -> Result<OwnedMessage, BadPage> {
    let sights = [Direction::Egress, Direction::Ingress, Direction::Loopback, Direction::Passive];
    let sight = sights.get(entry.sight as usize).copied();
    let envelope = Envelope {
        id: MessageId { packet: PacketId { cpu: entry.cpu, seq: entry.seq }, index: entry.index },
        ts: Timestamp::from_nanos(entry.ts),
        scope: entry.scope,
        direction: sight.ok_or(BadPage::Query("an unknown sight"))?,
        task: entry.task.as_ref().map(task).transpose()?,
        cgroup_id: entry.cgroup_id,
        transport: if entry.tcp { Transport::Tcp } else { Transport::Udp },
        src: address(&entry.src, entry.src_port)?,
        dst: address(&entry.dst, entry.dst_port)?,
    };
    let kept = OwnedMessage::parse(envelope, &entry.message, entry.wire_bytes);
    let kept = kept.map_err(|reason| BadPage::Query(reason.name()))?;
    if kept.message().dns.flags.is_response() {
        return Err(BadPage::Query("a response"));
    }
    Ok(kept)
}

fn task(entry: &TaskEntry) -> Result<Task, BadPage> {
    let comm = entry.comm.as_slice().try_into().map_err(|_| BadPage::Query("a wrong name"))?;
    Ok(Task { pid: entry.pid, uid: entry.uid, start_ns: entry.start_ns, comm, parent_pid: 0 })
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8], port: u32) -> Result<SocketAddr, BadPage> {
    let wrong = || BadPage::Query("a wrong address");
    let port = u16::try_from(port).map_err(|_| wrong())?;
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let six = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    Ok(SocketAddr::new(four.or_else(|_| six()).map_err(|_| wrong())?, port))
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let mut writer = PageWriter::new(2);
            writer.push(&sent);
            let pages = writer.finish();
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
        let mut writer = PageWriter::new(0);
        let kept = query(1).to_message();
        (0..20_000).for_each(|_| writer.push(&carried(&kept, HandoverQueryState::Waiting)));
        let pages = writer.finish();
        assert!(pages.len() > 1 && pages.iter().all(|page| page.len() < 2 * FULL_BYTES));
        let mut shown = 0;
        for page in &pages {
            read(page, &mut |_, _| shown += 1).unwrap();
        }
        assert_eq!(shown, 20_000);
        assert!(PageWriter::new(0).finish().is_empty());
    }

    #[test]
    fn refuses_what_is_no_query() {
        let entry = || entry(&carried(&query(1).to_message(), HandoverQueryState::Waiting));
        let with = |change: fn(&mut QueryEntry)| {
            let mut entry = entry();
            change(&mut entry);
            let page = Page { shard: 0, entries: vec![entry] };
            read(&page.encode_to_vec(), &mut |_, _| {})
        };
        assert!(with(|_| {}).is_ok());
        assert!(with(|entry| entry.src = vec![1; 5]).is_err());
        assert!(with(|entry| entry.dst_port = 1 << 16).is_err());
        assert!(with(|entry| entry.sight = 4).is_err());
        assert!(with(|entry| entry.fate = 3).is_err());
        assert!(with(|entry| entry.message.truncate(11)).is_err());
        assert!(with(|entry| entry.message[2] |= 0x80).is_err());
        assert!(with(|entry| entry.task.as_mut().unwrap().comm.clear()).is_err());
    }

    proptest! {
        /// No bytes from the socket lead to a panic.
        #[test]
        fn reads_or_refuses_any_bytes(bytes: Vec<u8>) {
            let _ = read(&bytes, &mut |_, _| {});
        }
    }
}
