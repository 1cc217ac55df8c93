//! The state of an open lookup.

use super::index::hash_client_text;
use super::query::{Client, Network, Query};
use super::{MAX_ADDRESSES, MAX_CHAIN, MAX_PAUSE, MAX_STUB_TIMEOUT, NOERROR, NXDOMAIN, Outcome};
use crate::attribution::Attribution;
use crate::view::TransactionView;
use dnscribe_dns::Answer;
use dnscribe_dns::rtype::{A, AAAA, CNAME};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::packet::Transport;
use dnscribe_transaction::pair::{Status, Vantage};
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::ops::Range;

/// Approximate memory of a query in the table's indices, in bytes.
const INDEX_BYTES: usize = 256;

/// A range of the lookup's text buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    start: u32,
    end: u32,
}

#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Text,
    /// Index key of the client and this name.
    pub(super) key: u64,
    /// For a CNAME target, the name that the application asked for.
    pub(super) root: Option<usize>,
}

/// The target of a CNAME that came without the requested records.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) text: Text,
    /// Index key of the client and this name.
    pub(super) key: u64,
    /// The name that it is the target of.
    pub(super) root: usize,
    /// The query whose answer contained it.
    pub(super) sent: usize,
}

/// A query and its outcome.
#[derive(Debug)]
pub(super) struct SentQuery {
    pub(super) id: MessageId,
    pub(super) ts: Timestamp,
    /// Time of the outcome; `None` while pending.
    pub(super) ended: Option<Timestamp>,
    /// `None` while pending.
    pub(super) outcome: Option<Outcome>,
    pub(super) rcode: Option<u16>,
    pub(super) retries: u32,
    /// Index into `names`; `server` is one into `servers`.
    pub(super) name: usize,
    pub(super) server: usize,
    pub(super) qtype: u16,
    pub(super) port: u16,
    pub(super) dns_id: u16,
    pub(super) transport: Transport,
    /// Whether it turned out to be a resolver's own query, which does not count.
    pub(super) withdrawn: bool,
    /// Whether no further outcome can follow. The table has then removed its id.
    pub(super) closed: bool,
    pub(super) found: AnswerData,
}

/// The data of an answer, as ranges of `pieces`.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerData {
    pub(super) chain: Range<usize>,
    pub(super) addresses: Range<usize>,
    pub(super) address_count: u32,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Its name, known after the first transaction.
    pub(super) name: Option<Text>,
}

/// An open lookup. The inline capacities suffice for most lookups: one or two queries for one name
/// to one server.
#[derive(Debug)]
pub(super) struct OpenLookup {
    pub(super) vantage: Vantage,
    pub(super) client: Client,
    pub(super) network: Network,
    /// Hash of the client.
    pub(super) asker: u64,
    /// Index key of the client and the first label.
    pub(super) label: u64,
    pub(super) qclass: u16,
    /// Whether pairing evicted one of its queries.
    pub(super) evicted: bool,
    /// Number of pending queries.
    pub(super) waiting: usize,
    /// Time of the last outcome.
    pub(super) last_end: Timestamp,
    /// When the table will check whether it has ended.
    pub(super) queued: Option<Timestamp>,
    /// Approximate memory in bytes, index entries included.
    pub(super) bytes: usize,
    pub(super) names: SmallVec<[Name; NAMES]>,
    pub(super) servers: SmallVec<[Server; SERVERS]>,
    pub(super) queries: SmallVec<[SentQuery; QUERIES]>,
    pub(super) targets: Vec<Target>,
    pub(super) pieces: Vec<Text>,
    texts: String,
    /// Process, container and pod; empty until the process is known.
    pub(super) attribution: Attribution,
    pub(super) pod: Option<Box<str>>,
}

/// Inline capacities: A and AAAA of one name at one server.
const NAMES: usize = 1;
const SERVERS: usize = 1;
const QUERIES: usize = 2;

/// Initial capacity for text: a name, a server and some addresses.
const TYPICAL_TEXT_BYTES: usize = 96;

impl OpenLookup {
    pub(super) fn new(query: &Query<'_>, asker: u64, label: u64) -> Self {
        Self {
            vantage: query.vantage,
            client: query.client,
            network: query.network,
            asker,
            label,
            qclass: query.qclass,
            evicted: false,
            waiting: 0,
            last_end: query.ts,
            queued: None,
            bytes: size_of::<Self>() + INDEX_BYTES,
            names: SmallVec::new(),
            servers: SmallVec::new(),
            queries: SmallVec::new(),
            targets: Vec::new(),
            pieces: Vec::new(),
            texts: String::with_capacity(TYPICAL_TEXT_BYTES),
            attribution: Attribution::default(),
            pod: None,
        }
    }

    pub(super) fn text(&self, text: Text) -> &str {
        self.texts.get(text.start as usize..text.end as usize).unwrap_or_default()
    }

    pub(super) fn write(&mut self, text: &str) -> Text {
        self.bytes += text.len();
        // The texts of messages are far below 4 GiB.
        let end = |texts: &String| u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let start = end(&self.texts);
        self.texts.push_str(text);
        Text { start, end: end(&self.texts) }
    }

    /// Stores a text in lower case.
    pub(super) fn write_lower_case(&mut self, text: &str) -> Text {
        let text = self.write(text);
        if let Some(written) = self.texts.get_mut(text.start as usize..) {
            written.make_ascii_lowercase();
        }
        text
    }

    pub(super) fn name(&self, text: &str) -> Option<usize> {
        self.names.iter().position(|name| self.text(name.text) == text)
    }

    pub(super) fn target(&self, text: &str) -> Option<&Target> {
        self.targets.iter().find(|target| self.text(target.text) == text)
    }

    /// Returns the name that the application asked for with a query for `name`.
    pub(super) fn root(&self, name: usize) -> usize {
        self.names.get(name).and_then(|name| name.root).unwrap_or(name)
    }

    /// Returns the queries that are not withdrawn.
    pub(super) fn queries(&self) -> impl Iterator<Item = &SentQuery> {
        self.queries.iter().filter(|sent| !sent.withdrawn)
    }

    /// Returns the names that the application asked for.
    pub(super) fn roots(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter(|name| name.root.is_none()).map(|name| self.text(name.text))
    }

    /// Adds a query with the index key of its name; returns whether the name is new.
    pub(super) fn push(&mut self, query: &Query<'_>, key: u64) -> bool {
        let known = self.name(&query.qname);
        let name = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.bytes += spilled_bytes::<Name>(self.names.len(), NAMES) + INDEX_BYTES;
            let root = self.target(&query.qname).map(|target| target.root);
            let text = self.write(&query.qname);
            self.names.push(Name { text, key, root });
        }
        let server = self.servers.iter().position(|server| server.address == query.server);
        let server = server.unwrap_or_else(|| {
            self.bytes += spilled_bytes::<Server>(self.servers.len(), SERVERS);
            self.servers.push(Server { address: query.server, name: None });
            self.servers.len() - 1
        });
        self.bytes += spilled_bytes::<SentQuery>(self.queries.len(), QUERIES) + 64;
        self.waiting += 1;
        self.queries.push(SentQuery {
            id: query.id,
            ts: query.ts,
            ended: None,
            outcome: None,
            rcode: None,
            retries: 0,
            name,
            server,
            qtype: query.qtype,
            port: query.port,
            dns_id: query.dns_id,
            transport: query.transport,
            withdrawn: false,
            closed: false,
            found: AnswerData::default(),
        });
        known.is_none()
    }

    /// Adds the outcome of a query, known at `ended`. Returns the key of a CNAME target for which
    /// the client may ask next.
    pub(super) fn end(
        &mut self,
        place: usize,
        observation: &TransactionView<'_>,
        ended: Timestamp,
    ) -> Option<u64> {
        self.identify(observation);
        let found = self.find(observation);
        let outcome = Outcome::of_transaction(observation);
        let target = found.chain.clone().last().filter(|_| outcome == Outcome::Nodata);
        let sent = self.queries.get_mut(place)?;
        if sent.ended.is_none() {
            self.waiting -= 1;
        }
        self.last_end = self.last_end.max(ended);
        (sent.ended, sent.outcome, sent.rcode) = (Some(ended), Some(outcome), observation.rcode);
        sent.retries = observation.retries;
        sent.closed = observation.status == Status::Answered;
        sent.found = found;
        let (name, server) = (sent.name, sent.server);
        self.evicted |= observation.status == Status::Evicted;
        if self.servers.get(server).is_some_and(|server| server.name.is_none()) {
            let resolver = Some(self.write(observation.resolver));
            self.servers.get_mut(server)?.name = resolver;
        }
        let text = *self.pieces.get(target?)?;
        if self.target(self.text(text)).is_some() {
            return None;
        }
        let key = hash_client_text(self.asker, self.text(text));
        self.bytes += size_of::<Target>() + INDEX_BYTES;
        self.targets.push(Target { text, key, root: self.root(name), sent: place });
        Some(key)
    }

    /// Withdraws a query that turned out to be a resolver's own. Returns whether no other is left.
    pub(super) fn withdraw(&mut self, place: usize, ended: Timestamp) -> bool {
        if let Some(sent) = self.queries.get_mut(place) {
            sent.withdrawn = true;
            if sent.ended.replace(ended).is_none() {
                self.waiting -= 1;
            }
        }
        self.queries().next().is_none()
    }

    /// Notes process, container and pod, once known.
    fn identify(&mut self, observation: &TransactionView<'_>) {
        let known = observation.attribution.filter(|known| known.process.is_some());
        if self.attribution.process.is_none()
            && let Some(known) = known
        {
            self.attribution = known.clone();
            self.pod = None;
        }
        if self.pod.is_none() {
            self.pod = observation.pod.map(Into::into);
            self.bytes += observation.pod.map_or(0, str::len);
        }
    }

    /// Stores the CNAMEs from the queried name on, up to the first that repeats one, and the addresses.
    fn find(&mut self, observation: &TransactionView<'_>) -> AnswerData {
        if !matches!(observation.rcode, Some(NOERROR | NXDOMAIN)) {
            return AnswerData::default();
        }
        let start = self.pieces.len();
        let mut owner = observation.qname.unwrap_or_default();
        let cname_of = |owner: &str| {
            let is_next = |answer: &Answer<'_>| {
                answer.rtype == CNAME && answer.name.eq_ignore_ascii_case(owner)
            };
            observation.answers.iter().find(is_next)
        };
        while self.pieces.len() - start < MAX_CHAIN
            && observation.qtype != Some(CNAME)
            && let Some(cname) = cname_of(owner)
            && !self.pieces[start..]
                .iter()
                .any(|target| self.text(*target).eq_ignore_ascii_case(cname.data))
        {
            owner = cname.data;
            let text = self.write_lower_case(owner);
            self.pieces.push(text);
        }
        let chain = start..self.pieces.len();
        let mut address_count = 0;
        for answer in observation.answers.iter().filter(|answer| matches!(answer.rtype, A | AAAA)) {
            address_count += 1;
            if self.pieces.len() - chain.end < MAX_ADDRESSES {
                let text = self.write(answer.data);
                self.pieces.push(text);
            }
        }
        self.bytes += (self.pieces.len() - start) * size_of::<Text>();
        AnswerData { addresses: chain.end..self.pieces.len(), chain, address_count }
    }

    /// Returns when the lookup ends; `None` while a query is pending.
    pub(super) fn due(&self) -> Option<Timestamp> {
        if self.waiting > 0 {
            return None;
        }
        let quiet = self.last_end.plus(MAX_PAUSE);
        let retry = self.queries.iter().rev().find(|sent| self.may_be_retried(sent));
        Some(retry.map_or(quiet, |sent| quiet.max(sent.ts.plus(MAX_STUB_TIMEOUT))))
    }

    /// Returns whether the lookup has ended at `now`, even if it was not emitted yet.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.due().is_some_and(|due| due < now)
    }

    /// Returns whether the stub may still wait for a query that has timed out here.
    fn may_be_retried(&self, sent: &SentQuery) -> bool {
        sent.outcome == Some(Outcome::Timeout) && !sent.withdrawn && !self.is_settled(sent)
    }

    /// Returns whether a query's question got a definitive answer, from this or another query.
    pub(super) fn is_settled(&self, sent: &SentQuery) -> bool {
        self.queries().any(|other| {
            (other.name, other.qtype) == (sent.name, sent.qtype)
                && other.outcome.is_some_and(Outcome::is_definitive)
        })
    }
}

/// Returns the bytes of one more entry beyond the inline capacity.
const fn spilled_bytes<T>(count: usize, room: usize) -> usize {
    if count < room { 0 } else { size_of::<T>() }
}
