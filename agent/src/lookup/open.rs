//! A lookup under way.

use super::index::both;
use super::outcome::outcome;
use super::query::{Client, Network, Query};
use super::{Asker, Home, Outcome, PATIENCE, QUIET};
use crate::capture::Transport;
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::{Status, Vantage};
use crate::time::Timestamp;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::ops::Range;

/// Octets that a query takes in the table's indices, roughly.
const INDEX_BYTES: usize = 256;

/// A text that a lookup has written down, by its place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    start: u32,
    end: u32,
}

/// A name that was asked for.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Text,
    /// The table's key of the client and this name.
    pub(super) key: u64,
    /// Where it is the target of a CNAME: the name that the application asked for.
    pub(super) root: Option<usize>,
}

/// The target of a CNAME that came without the records asked for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) text: Text,
    /// The table's key of the client and this name.
    pub(super) key: u64,
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
    /// Nothing more can be told of it: the table finds it by its id no more.
    pub(super) closed: bool,
    pub(super) found: Found,
}

/// What an answer told: places in `pieces`.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) chain: Range<usize>,
    pub(super) addresses: Range<usize>,
    pub(super) address_count: u32,
}

/// A server that was asked.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Known once a transaction with it has ended.
    pub(super) name: Option<Text>,
}

/// A lookup under way. Most have a query or two for one name to one server: these need no room of their
/// own, and the room for texts is used again.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) vantage: Vantage,
    pub(super) client: Client,
    pub(super) network: Network,
    /// The hash of the client.
    pub(super) asker: u64,
    /// The table's key of the client and the first label.
    pub(super) label: u64,
    pub(super) qclass: u16,
    /// A query of it was given up for want of room.
    pub(super) evicted: bool,
    /// Asks that wait.
    pub(super) waiting: usize,
    /// When the last outcome was known.
    pub(super) last_end: Timestamp,
    /// When the table will next see whether it is over.
    pub(super) queued: Option<Timestamp>,
    /// Octets on the heap, roughly, the table's indices included.
    pub(super) bytes: usize,
    pub(super) names: SmallVec<[Name; NAMES]>,
    pub(super) servers: SmallVec<[Server; SERVERS]>,
    pub(super) asks: SmallVec<[Ask; ASKS]>,
    pub(super) targets: Vec<Target>,
    pub(super) pieces: Vec<Text>,
    texts: String,
    pub(super) process: Option<Asker>,
    pub(super) container: Option<Home>,
    pub(super) pod: Option<Box<str>>,
}

/// For so many there is room in a lookup itself: A and AAAA of one name at one server.
const NAMES: usize = 1;
const SERVERS: usize = 1;
const ASKS: usize = 2;

/// Octets of text for which the room of a lookup that is over is used again.
const KEPT_TEXT: usize = 1 << 10;
/// The same of pieces.
const KEPT_PIECES: usize = 1 << 6;

impl Open {
    /// The most octets that one takes that is worth keeping.
    pub(super) const KEPT_BYTES: usize =
        size_of::<Self>() + KEPT_TEXT + KEPT_PIECES * size_of::<Text>();

    /// Whether it took so little room that this can be kept for another.
    pub(super) fn is_small(&self) -> bool {
        let has_spilled = self.names.spilled() || self.servers.spilled() || self.asks.spilled();
        !has_spilled
            && self.targets.capacity() == 0
            && self.texts.capacity() <= KEPT_TEXT
            && self.pieces.capacity() <= KEPT_PIECES
    }

    /// With nothing asked yet.
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
            asks: SmallVec::new(),
            targets: Vec::new(),
            pieces: Vec::new(),
            texts: String::new(),
            process: None,
            container: None,
            pod: None,
        }
    }

    /// The same in the room of one that is over.
    pub(super) fn renew(&mut self, query: &Query<'_>, asker: u64, label: u64) {
        let mut texts = std::mem::take(&mut self.texts);
        texts.clear();
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.clear();
        *self = Self { pieces, texts, ..Self::new(query, asker, label) };
    }

    /// A text that it has written down.
    pub(super) fn text(&self, text: Text) -> &str {
        self.texts.get(text.start as usize..text.end as usize).unwrap_or_default()
    }

    /// Writes a text down.
    pub(super) fn write(&mut self, text: &str) -> Text {
        self.bytes += text.len();
        // Nothing that messages tell comes near 4 GiB.
        let end = |texts: &String| u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let start = end(&self.texts);
        self.texts.push_str(text);
        Text { start, end: end(&self.texts) }
    }

    /// The same in lower case.
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
        self.names.iter().filter(|name| name.root.is_none()).map(|name| self.text(name.text))
    }

    /// Takes a query, with the table's key of its name; true where its name is a new one.
    pub(super) fn push(&mut self, query: &Query<'_>, key: u64) -> bool {
        let known = self.name(&query.qname);
        let name = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.bytes += beyond::<Name>(self.names.len(), NAMES) + INDEX_BYTES;
            let root = self.target(&query.qname).map(|target| target.root);
            let text = self.write(&query.qname);
            self.names.push(Name { text, key, root });
        }
        let server = self.servers.iter().position(|server| server.address == query.server);
        let server = server.unwrap_or_else(|| {
            self.bytes += beyond::<Server>(self.servers.len(), SERVERS);
            self.servers.push(Server { address: query.server, name: None });
            self.servers.len() - 1
        });
        self.bytes += beyond::<Ask>(self.asks.len(), ASKS) + 64;
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
            closed: false,
            found: Found::default(),
        });
        known.is_none()
    }

    /// Takes the outcome of a query, known at `ended`; gives the key of the target to which the client may
    /// turn.
    pub(super) fn end(
        &mut self,
        place: usize,
        observation: &Observation<'_>,
        ended: Timestamp,
    ) -> Option<u64> {
        self.identify(observation);
        let found = self.find(observation);
        let outcome = outcome(observation);
        let target = found.chain.clone().last().filter(|_| outcome == Outcome::Nodata);
        let ask = self.asks.get_mut(place)?;
        if ask.ended.is_none() {
            self.waiting -= 1;
        }
        self.last_end = self.last_end.max(ended);
        (ask.ended, ask.outcome, ask.rcode) = (Some(ended), Some(outcome), observation.rcode);
        ask.retries = observation.retries;
        ask.closed = observation.status == Status::Answered;
        ask.found = found;
        let (name, server) = (ask.name, ask.server);
        self.evicted |= observation.status == Status::Evicted;
        if self.servers.get(server).is_some_and(|server| server.name.is_none()) {
            let resolver = Some(self.write(observation.resolver));
            self.servers.get_mut(server)?.name = resolver;
        }
        let text = *self.pieces.get(target?)?;
        if self.target(self.text(text)).is_some() {
            return None;
        }
        let key = both(self.asker, self.text(text));
        self.bytes += size_of::<Target>() + INDEX_BYTES;
        self.targets.push(Target { text, key, root: self.root(name), ask: place });
        Some(key)
    }

    /// A query turned out to be a resolver's own; true where nothing else is left.
    pub(super) fn withdraw(&mut self, place: usize, ended: Timestamp) -> bool {
        if let Some(ask) = self.asks.get_mut(place) {
            ask.withdrawn = true;
            if ask.ended.replace(ended).is_none() {
                self.waiting -= 1;
            }
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
        self.container = observation.container.map(|container| Home {
            id: container.id.into(),
            runtime: container.runtime,
            pod_uid: container.pod_uid.map(Into::into),
            place: container.place.cloned(),
        });
        self.pod = observation.pod.map(Into::into);
        let exe = process.exe.map_or(0, str::len);
        let container = observation
            .container
            .map_or(0, |container| container.id.len() + container.pod_uid.map_or(0, str::len));
        let pod = observation.pod.map_or(0, str::len);
        self.bytes += process.comm.len() + exe + container + pod;
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

/// Octets that one more takes of which there are so many, beyond those for which there is room.
const fn beyond<T>(count: usize, room: usize) -> usize {
    if count < room { 0 } else { size_of::<T>() }
}
