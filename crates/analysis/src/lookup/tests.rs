//! Test harness: conversations of stub resolvers, query by query.

mod bounds;
mod failures;
mod property;
mod stubs;

use super::query::{Client, Network};
use super::*;
use crate::attribution::Process;
use crate::losses::Lost;
use crate::view::testing::example;
use crate::view::{ProcessView, TransactionView};
use dnscribe_dns::rtype::{A, AAAA, CNAME};
use dnscribe_dns::{Answers, Flags};
use dnscribe_transaction::correlate::{Parent, ParentMatch};
use dnscribe_transaction::packet::{Loss, LossStage, PacketId, Task, Transport};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

const COMM: &[u8; 16] = b"curl\0\0\0\0\0\0\0\0\0\0\0\0";
const EPOCH: Timestamp = Timestamp::from_nanos(1_000_000_000_000_000);

/// A query to send.
#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    name: &'a str,
    qtype: u16,
    pid: Option<u32>,
    port: u16,
    dns_id: u16,
    /// Last byte of the server's address.
    server: u8,
    transport: Transport,
}

impl<'a> Ask<'a> {
    fn new(name: &'a str, qtype: u16) -> Self {
        Self { name, qtype, ..Self::default() }
    }

    fn from(self, port: u16, dns_id: u16) -> Self {
        Self { port, dns_id, ..self }
    }

    fn to(self, server: u8) -> Self {
        Self { server, ..self }
    }

    fn over_tcp(self) -> Self {
        Self { transport: Transport::Tcp, ..self }
    }
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            name: "web",
            qtype: A,
            pid: Some(4242),
            port: 40_000,
            dns_id: 1,
            server: 53,
            transport: Transport::Udp,
        }
    }
}

/// The outcome of a query.
#[derive(Clone, Debug)]
enum Reply<'a> {
    Address(&'a str),
    /// An address that the kernel of this host discards, for this reason.
    Lost(&'a str),
    /// A chain of CNAMEs and the data at its end.
    Alias(&'a [&'a str], Option<&'a str>),
    Nodata,
    Rcode(u16),
    Truncated,
    Timeout,
    Icmp,
    Open,
    Parented,
}

/// A table under test, and the lookups that it emitted.
struct Bench {
    lookups: LookupTable,
    given: Vec<Lookup<'static>>,
    sent: HashMap<MessageId, Query<'static>>,
    seq: u64,
}

fn at(ms: u64) -> Timestamp {
    EPOCH.plus(Duration::from_millis(ms))
}

impl Bench {
    fn new() -> Self {
        Self::with(LookupOptions::DEFAULT)
    }

    fn with(options: LookupOptions) -> Self {
        let lookups = LookupTable::new(options);
        Self { lookups, given: Vec::new(), sent: HashMap::new(), seq: 0 }
    }

    /// Sends a query.
    fn ask(&mut self, ms: u64, ask: Ask<'_>) -> MessageId {
        self.seq += 1;
        let id = MessageId { packet: PacketId { cpu: 0, seq: self.seq }, index: 0 };
        let network = Network(0, [192, 0, 2, 1].into());
        let address = Client::Address(Vantage::Passive, network);
        let query: Query<'static> = Query {
            id,
            ts: at(ms),
            vantage: if ask.pid.is_some() { Vantage::Client } else { Vantage::Passive },
            client: ask.pid.map_or(address, Client::Process),
            network,
            port: ask.port,
            server: SocketAddr::from(([192, 0, 2, ask.server], 53)),
            transport: ask.transport,
            dns_id: ask.dns_id,
            qname: ask.name.to_owned().into(),
            qtype: ask.qtype,
            qclass: 1,
        };
        self.sent.insert(id, query.clone());
        let given = &mut self.given;
        self.lookups.begin(&query, &mut |lookup| given.push(owned(lookup)));
        id
    }

    /// Passes a query's outcome.
    fn end(&mut self, ms: u64, id: MessageId, reply: &Reply<'_>) {
        self.end_after(ms, id, reply, 0);
    }

    fn end_after(&mut self, ms: u64, id: MessageId, reply: &Reply<'_>, retries: u32) {
        let query = self.sent[&id].clone();
        let (status, rcode, answers) = outcome(reply, &query);
        let answered = rcode.is_some();
        let tc = if matches!(reply, Reply::Truncated) { 0x200 } else { 0 };
        let resolver = query.server.ip().to_string();
        let parent =
            matches!(reply, Reply::Parented).then(|| Parent { id, by: ParentMatch::Question });
        let pid = match query.client {
            Client::Process(pid) => Some(pid),
            Client::Address(..) => None,
        };
        let task = pid.map(|pid| Task { pid, uid: 0, start_ns: 0, comm: *COMM, parent_pid: 0 });
        let process = task.map(|task| Process::new(&task, None));
        let attribution = Attribution { process, ..Attribution::default() };
        let lost = match reply {
            Reply::Lost(reason) => Some(Lost {
                ts: at(ms),
                is_response: true,
                loss: Arc::new(Loss {
                    stage: LossStage::Socket,
                    reason: (*reason).into(),
                    hook: None,
                    function: None,
                }),
                count: 1,
            }),
            _ => None,
        };
        let observation = TransactionView {
            id,
            query: Some(id),
            response_ts: answered.then(|| at(ms)),
            vantage: query.vantage,
            transport: query.transport,
            client: SocketAddr::new(query.network.1, query.port),
            server: query.server,
            resolver: &resolver,
            qname: Some(&query.qname),
            qtype: Some(query.qtype),
            status,
            rcode,
            flags: Flags(0x8180 | tc),
            retries,
            answer_count: Some(u16::try_from(answers.len()).unwrap()),
            answers: &answers,
            parent,
            process: pid.map(|pid| ProcessView { pid, comm: "curl" }),
            attribution: Some(&attribution),
            lost: lost.as_ref(),
            ..example(query.ts)
        };
        self.lookups.observe(at(ms), &observation);
    }

    /// Sends a query and its outcome one millisecond later.
    fn exchange(&mut self, ms: u64, ask: Ask<'_>, reply: &Reply<'_>) -> MessageId {
        let id = self.ask(ms, ask);
        self.end(ms + 1, id, reply);
        id
    }

    /// Behaves like glibc: A and AAAA from one socket, then both answers.
    fn pair(&mut self, ms: u64, name: &str, port: u16, replies: [&Reply<'_>; 2]) {
        let asks = [(A, 1), (AAAA, 2)].map(|(qtype, dns_id)| {
            self.ask(ms, Ask::new(name, qtype).from(port, port.wrapping_mul(2) + dns_id))
        });
        asks.into_iter().zip(replies).for_each(|(id, reply)| self.end(ms + 1, id, reply));
    }

    fn expire(&mut self, ms: u64) {
        let given = &mut self.given;
        self.lookups.expire(at(ms), &mut |lookup| given.push(owned(lookup)));
    }

    fn finish(mut self, ms: u64) -> Vec<Lookup<'static>> {
        let given = &mut self.given;
        self.lookups.finish(at(ms), &mut |lookup| given.push(owned(lookup)));
        assert_eq!((self.lookups.bytes, self.lookups.counters.open), (0, 0));
        self.given
    }

    fn only(self, ms: u64) -> Lookup<'static> {
        let mut given = self.finish(ms);
        assert_eq!(given.len(), 1, "{given:#?}");
        given.remove(0)
    }
}

fn outcome(reply: &Reply<'_>, query: &Query<'_>) -> (Status, Option<u16>, Answers) {
    let none = Answers::default;
    let answered = |answers| (Status::Answered, Some(0), answers);
    match reply {
        Reply::Address(data) => {
            answered(Answers::from_iter([record(&query.qname, query.qtype, data)]))
        }
        Reply::Lost(_) => outcome(&Reply::Address("192.0.2.7"), query),
        Reply::Alias(chain, address) => {
            let owners = [&*query.qname].into_iter().chain(chain.iter().copied());
            let names = owners.clone().zip(chain.iter());
            let mut answers: Answers =
                names.map(|(owner, target)| record(owner, CNAME, target)).collect();
            let last = owners.last().unwrap_or_default();
            if let Some(data) = address {
                answers.push(&record(last, query.qtype, data));
            }
            answered(answers)
        }
        Reply::Nodata | Reply::Truncated | Reply::Parented => answered(none()),
        Reply::Rcode(rcode) => (Status::Answered, Some(*rcode), none()),
        Reply::Timeout => (Status::Timeout, None, none()),
        Reply::Icmp => (Status::IcmpError, None, none()),
        Reply::Open => (Status::Open, None, none()),
    }
}

fn record<'a>(name: &'a str, rtype: u16, data: &'a str) -> Answer<'a> {
    Answer { name, rtype, class: 1, ttl_seconds: 60, data }
}

/// Returns the counters of a lookup.
fn figures(lookup: &Lookup<'_>) -> [u32; 5] {
    let LookupFields { transactions, packets, packets_wasted, search_expansions, retries, .. } =
        &lookup.fields;
    [*transactions, *packets, *packets_wasted, *search_expansions, *retries]
}

/// Returns how long the application waited.
fn waited(lookup: &Lookup<'_>) -> Duration {
    Duration::from_secs_f64(lookup.fields.duration_ms / 1e3)
}

/// Returns a copy of a lookup. Its texts are never freed.
fn owned(lookup: &Lookup<'_>) -> Lookup<'static> {
    fn text(text: &str) -> &'static str {
        text.to_owned().leak()
    }
    fn texts<T: FromIterator<&'static str>>(texts: &[&str]) -> T {
        texts.iter().copied().map(text).collect()
    }
    let Lookup { id, ts, vantage, outcome, evicted, .. } = *lookup;
    let fields = lookup.fields.clone();
    let LookupFields { client_ip, partial, address_count, duration_ms, transactions, .. } = fields;
    let LookupFields { packets, packets_wasted, search_expansions, retries, .. } = fields;
    let LookupFields { servers_tried, tcp_fallback, qtypes, qclass, rcode, .. } = fields;
    let fields = LookupFields {
        client_ip,
        resolvers: fields.resolvers.iter().map(|name| Cow::Borrowed(text(name))).collect(),
        qname: text(fields.qname),
        qtypes,
        qclass,
        outcome: fields.outcome,
        partial,
        rcode,
        answered_name: fields.answered_name.map(text),
        cname_chain: texts(&fields.cname_chain),
        addresses: texts(&fields.addresses),
        address_count,
        duration_ms,
        transactions,
        packets,
        packets_wasted,
        search_expansions,
        names_tried: texts(&fields.names_tried),
        retries,
        servers_tried,
        tcp_fallback,
    };
    Lookup {
        id,
        ts,
        vantage,
        outcome,
        evicted,
        fields,
        names: texts(&lookup.names),
        qtypes: lookup.qtypes.clone(),
        members: lookup.members.clone(),
        attribution: Box::leak(Box::new(lookup.attribution.clone())),
        pod: lookup.pod.map(text),
    }
}
