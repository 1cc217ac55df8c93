//! A lookup under way.

use super::query::{A, AAAA, ANY, CNAME, Client, Network, Query};
use super::{Asker, Home, MAX_ADDRESSES, MAX_CHAIN, Outcome, PATIENCE, QUIET};
use crate::capture::Transport;
use crate::decode::MessageId;
use crate::decode::dns::Answer;
use crate::observation::Observation;
use crate::pair::{Status, Vantage};
use crate::time::Timestamp;
use std::net::SocketAddr;

const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

/// Octets that a query takes in the table's indices, roughly.
const INDEX_BYTES: usize = 256;

/// A name that was asked for.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    /// Where it is the target of a CNAME: the name that the application asked for.
    pub(super) root: Option<usize>,
}

/// The target of a CNAME that came without the records asked for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) text: Box<str>,
    /// The name that it is the target of.
    pub(super) root: usize,
    /// The query that told it.
    pub(super) ask: usize,
}

/// One query.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: MessageId,
    pub(super) ts: Timestamp,
    /// When its outcome was known; none while it waits.
    pub(super) ended: Option<Timestamp>,
    /// None while it waits.
    pub(super) outcome: Option<Outcome>,
    pub(super) rcode: Option<u16>,
    pub(super) retries: u32,
    /// Its place in `names` and `servers`.
    pub(super) name: usize,
    pub(super) server: usize,
    pub(super) qtype: u16,
    pub(super) port: u16,
    pub(super) dns_id: u16,
    pub(super) transport: Transport,
    /// It turned out to be a resolver's own: it counts for nothing.
    pub(super) withdrawn: bool,
    pub(super) found: Option<Box<Found>>,
}

/// What an answer told.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) chain: Vec<Box<str>>,
    pub(super) addresses: Vec<Box<str>>,
    pub(super) address_count: u32,
}

/// A server that was asked.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Known once a transaction with it has ended.
    pub(super) name: Option<Box<str>>,
}

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) vantage: Vantage,
    pub(super) client: Client,
    pub(super) network: Network,
    pub(super) qclass: u16,
    pub(super) names: Vec<Name>,
    pub(super) targets: Vec<Target>,
    pub(super) asks: Vec<Ask>,
    pub(super) servers: Vec<Server>,
    /// Asks that wait.
    pub(super) waiting: usize,
    /// When the last outcome was known.
    pub(super) last_end: Timestamp,
    /// A query of it was given up for want of room.
    pub(super) evicted: bool,
    pub(super) process: Option<Asker>,
    pub(super) container: Option<Home>,
    pub(super) pod: Option<Box<str>>,
    /// Octets on the heap, roughly, the table's indices included.
    pub(super) bytes: usize,
}

impl Open {
    /// With nothing asked yet.
    pub(super) fn new(query: &Query) -> Self {
        Self {
            vantage: query.vantage,
            client: query.client,
            network: query.network,
            qclass: query.qclass,
            names: Vec::new(),
            targets: Vec::new(),
            asks: Vec::new(),
            servers: Vec::new(),
            waiting: 0,
            last_end: query.ts,
            evicted: false,
            process: None,
            container: None,
            pod: None,
            bytes: size_of::<Self>() + INDEX_BYTES,
        }
    }

    pub(super) fn name(&self, text: &str) -> Option<usize> {
        self.names.iter().position(|name| *name.text == *text)
    }

    pub(super) fn target(&self, text: &str) -> Option<&Target> {
        self.targets.iter().find(|target| *target.text == *text)
    }

    /// What the application asked for with a query for a name.
    pub(super) fn root(&self, name: usize) -> usize {
        self.names.get(name).and_then(|name| name.root).unwrap_or(name)
    }

    /// The queries that count.
    pub(super) fn asks(&self) -> impl Iterator<Item = &Ask> {
        self.asks.iter().filter(|ask| !ask.withdrawn)
    }

    /// The names that the application asked for.
    pub(super) fn roots(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter(|name| name.root.is_none()).map(|name| &*name.text)
    }

    /// Takes a query; true where its name is a new one.
    pub(super) fn push(&mut self, query: Query) -> bool {
        let known = self.name(&query.qname);
        let name = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.bytes += size_of::<Name>() + query.qname.len() + INDEX_BYTES;
            let root = self.target(&query.qname).map(|target| target.root);
            self.names.push(Name { text: query.qname, root });
        }
        let server = self.servers.iter().position(|server| server.address == query.server);
        let server = server.unwrap_or_else(|| {
            self.bytes += size_of::<Server>() + 16;
            self.servers.push(Server { address: query.server, name: None });
            self.servers.len() - 1
        });
        self.bytes += size_of::<Ask>() + 64;
        self.waiting += 1;
        self.asks.push(Ask {
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
            found: None,
        });
        known.is_none()
    }

    /// Takes the outcome of a query, known at `ended`; gives the target to which the client may turn.
    pub(super) fn end(
        &mut self,
        place: usize,
        observation: &Observation<'_>,
        ended: Timestamp,
    ) -> Option<Box<str>> {
        self.identify(observation);
        let name = self.asks.get(place)?.name;
        let root = self.root(name);
        let ask = self.asks.get_mut(place)?;
        let outcome = outcome(observation);
        if ask.ended.is_none() {
            self.waiting -= 1;
        }
        self.last_end = self.last_end.max(ended);
        (ask.ended, ask.outcome, ask.rcode) = (Some(ended), Some(outcome), observation.rcode);
        ask.retries = observation.retries;
        let found = found(observation);
        let target = found.chain.last().filter(|_| outcome == Outcome::Nodata).cloned();
        self.bytes += found.bytes();
        ask.found = (!found.is_empty()).then(|| Box::new(found));
        self.evicted |= observation.status == Status::Evicted;
        if let Some(server) = self.servers.get_mut(ask.server)
            && server.name.is_none()
        {
            self.bytes += observation.resolver.len();
            server.name = Some(observation.resolver.into());
        }
        let text = target.filter(|target| self.target(target).is_none())?;
        self.bytes += size_of::<Target>() + text.len() + INDEX_BYTES;
        self.targets.push(Target { text: text.clone(), root, ask: place });
        Some(text)
    }

    /// A query turned out to be a resolver's own; true where nothing else is left.
    pub(super) fn withdraw(&mut self, place: usize, ended: Timestamp) -> bool {
        if let Some(ask) = self.asks.get_mut(place) {
            ask.withdrawn = true;
            ask.ended = Some(ended);
            self.waiting -= 1;
        }
        self.asks().next().is_none()
    }

    /// Keeps who asked, once it is known.
    fn identify(&mut self, observation: &Observation<'_>) {
        let Some(process) = observation.process.filter(|_| self.process.is_none()) else {
            self.pod = self.pod.take().or_else(|| observation.pod.map(Into::into));
            return;
        };
        self.process = Some(Asker {
            pid: process.pid,
            uid: process.uid,
            comm: process.comm.into(),
            exe: process.exe.map(Into::into),
        });
        self.container = observation
            .container
            .map(|container| Home { id: container.id.into(), runtime: container.runtime });
        self.pod = observation.pod.map(Into::into);
        let exe = process.exe.map_or(0, str::len);
        self.bytes += process.comm.len() + exe + 2 * observation.pod.map_or(0, str::len);
    }

    /// When nothing more can belong to it; none while a query waits.
    pub(super) fn due(&self) -> Option<Timestamp> {
        if self.waiting > 0 {
            return None;
        }
        let quiet = self.last_end.plus(QUIET);
        let retry = self.asks.iter().rev().find(|ask| self.may_be_retried(ask));
        Some(retry.map_or(quiet, |ask| quiet.max(ask.ts.plus(PATIENCE))))
    }

    /// Whether it is over at a time, though it may not have been given out yet.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.due().is_some_and(|due| due < now)
    }

    /// Whether the stub may still wait for what has timed out here.
    fn may_be_retried(&self, ask: &Ask) -> bool {
        ask.outcome == Some(Outcome::Timeout) && !ask.withdrawn && !self.is_settled(ask)
    }

    /// Whether a server has said, now or at another time, whether there is what a query asks for.
    pub(super) fn is_settled(&self, ask: &Ask) -> bool {
        self.asks().any(|other| {
            (other.name, other.qtype) == (ask.name, ask.qtype)
                && other.outcome.is_some_and(Outcome::is_definitive)
        })
    }
}

impl Found {
    const fn is_empty(&self) -> bool {
        self.chain.is_empty() && self.addresses.is_empty()
    }

    fn bytes(&self) -> usize {
        let texts = self.chain.iter().chain(&self.addresses);
        texts.map(|text| size_of::<Box<str>>() + text.len()).sum::<usize>()
    }
}

/// What a transaction came to, for the question that it asked.
fn outcome(observation: &Observation<'_>) -> Outcome {
    match observation.status {
        Status::Timeout => Outcome::Timeout,
        Status::IcmpError => Outcome::Unreachable,
        Status::Evicted | Status::Open => Outcome::Open,
        Status::Answered | Status::Late | Status::Duplicate | Status::Orphan => {
            let over_udp = observation.transport == Transport::Udp;
            match observation.rcode {
                _ if over_udp && observation.truncated() => Outcome::Truncated,
                Some(NOERROR) if has_records(observation) => Outcome::Answered,
                Some(NOERROR) => Outcome::Nodata,
                Some(NXDOMAIN) => Outcome::Nxdomain,
                Some(SERVFAIL) => Outcome::Servfail,
                Some(REFUSED) => Outcome::Refused,
                _ => Outcome::Error,
            }
        }
    }
}

/// Whether the answer has what was asked for. Of an answer that was clipped, the header's word counts.
fn has_records(observation: &Observation<'_>) -> bool {
    let Observation { answers, qtype, .. } = observation;
    let kept = u16::try_from(answers.len()).unwrap_or(u16::MAX);
    let is_wanted = |answer: &Answer| *qtype == Some(ANY) || *qtype == Some(answer.rtype);
    answers.iter().any(is_wanted) || observation.answer_count.is_some_and(|count| count > kept)
}

/// The CNAMEs from the name asked for on, and the addresses.
fn found(observation: &Observation<'_>) -> Found {
    let mut found = Found::default();
    if !matches!(observation.rcode, Some(NOERROR | NXDOMAIN)) {
        return found;
    }
    let mut owner = observation.qname.unwrap_or_default();
    let cname_of = |owner: &str| {
        let is_next =
            |answer: &&Answer| answer.rtype == CNAME && answer.name.eq_ignore_ascii_case(owner);
        observation.answers.iter().find(is_next)
    };
    while found.chain.len() < MAX_CHAIN
        && let Some(cname) = cname_of(owner)
        && observation.qtype != Some(CNAME)
    {
        owner = &cname.data;
        found.chain.push(cname.data.to_ascii_lowercase().into());
    }
    for answer in observation.answers.iter().filter(|answer| matches!(answer.rtype, A | AAAA)) {
        found.address_count += 1;
        if found.addresses.len() < MAX_ADDRESSES {
            found.addresses.push(answer.data.clone());
        }
    }
    found
}
