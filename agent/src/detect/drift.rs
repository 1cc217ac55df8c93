//! One name, two answers: resolvers that do not agree.
//!
//! Of each name that is asked for its address the last answer of each resolver is kept, as a kind: no
//! such name or none of this type, an address of the Internet, a private one, one that leads nowhere. Of a
//! resolver counts on what share of the names that others answered too within minutes it differs from them.
//! Large sites give every resolver other addresses, so different addresses of the Internet count only where
//! they hardly ever agree. `docs/detectors.md` tells the method.

mod answer;
mod judge;

use super::finding::{Detector, Finding};
use super::table::Table;
use super::who::{both, hash, is_echo, is_multicast};
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::{Status, Vantage};
use crate::time::Timestamp;
use answer::Said;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::time::Duration;

pub use judge::DriftOptions;

/// Octets that [`Drift`] takes at most.
pub const DRIFT_MEMORY_BYTES: usize = 6 << 20;

/// Names at a time.
const NAMES: usize = 8192;
/// Answers kept of a name: of so many resolvers.
const ANSWERS: usize = 4;
/// Resolvers told apart; further ones are not compared.
const RESOLVERS: usize = 64;
/// Names that evidence can show are kept up to this length.
const LONGEST_NAME: usize = 96;
/// Two answers are compared where no more time passed between them: names do change.
const TOGETHER: Duration = Duration::from_secs(300);
/// How long a name is remembered, and a resolver that is not asked.
const IDLE: Duration = Duration::from_secs(900);

const A: u16 = 1;
const AAAA: u16 = 28;
const RECURSION_DESIRED: u16 = 0x100;

/// Finds resolvers that do not agree with others.
#[derive(Debug)]
pub struct Drift {
    options: DriftOptions,
    resolvers: Vec<Resolver>,
    names: Table<Name>,
}

#[derive(Debug)]
struct Resolver {
    address: IpAddr,
    name: Box<str>,
    used: Timestamp,
}

/// What resolvers said of a name and type.
#[derive(Debug)]
struct Name {
    qname: Box<str>,
    zone: u64,
    qtype: u16,
    answers: SmallVec<[Heard; ANSWERS]>,
}

/// An answer of a resolver.
#[derive(Clone, Copy, Debug)]
struct Heard {
    resolver: usize,
    said: Said,
    /// How often it said so, one after the other.
    times: u32,
    at: Timestamp,
    id: MessageId,
}

impl Default for Drift {
    fn default() -> Self {
        Self::new(DriftOptions::default())
    }
}

impl Drift {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: DriftOptions) -> Self {
        Self { options, resolvers: Vec::new(), names: Table::new(NAMES) }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let heap = |name: &Name| name.qname.len();
        let resolvers = self.resolvers.iter().map(|resolver| resolver.name.len());
        self.names.bytes(heap)
            + self.resolvers.capacity() * size_of::<Resolver>()
            + resolvers.sum::<usize>()
    }

    /// The number of a resolver, if there is room.
    fn resolver(&mut self, observation: &Observation<'_>) -> Option<usize> {
        let address = observation.server.ip();
        let ts = observation.ts;
        if let Some(place) = self.resolvers.iter().position(|known| known.address == address) {
            self.resolvers[place].used = self.resolvers[place].used.max(ts);
            return Some(place);
        }
        let resolver = Resolver { address, name: observation.resolver.into(), used: ts };
        if self.resolvers.len() < RESOLVERS {
            self.resolvers.push(resolver);
            return Some(self.resolvers.len() - 1);
        }
        // A number is used again once nothing can be compared under it any more.
        let place = self.resolvers.iter().position(|known| ts.since(known.used) > IDLE)?;
        self.resolvers[place] = resolver;
        Some(place)
    }
}

impl Detector for Drift {
    fn observe(&mut self, observation: &Observation<'_>) {
        let (Some(qname), Some(qtype @ (A | AAAA))) = (observation.qname, observation.qtype) else {
            return;
        };
        let recursive = observation.flags.0 & RECURSION_DESIRED != 0;
        let is_answer = observation.status == Status::Answered && observation.opcode == 0;
        if !recursive || !is_answer || observation.vantage == Vantage::Server {
            return;
        }
        if is_echo(observation) || is_multicast(observation) {
            return;
        }
        // With one resolver there is nothing to compare.
        if let [only] = self.resolvers.as_mut_slice()
            && only.address == observation.server.ip()
        {
            only.used = only.used.max(observation.ts);
            return;
        }
        let Some(said) = Said::of(observation, qtype) else { return };
        let Some(resolver) = self.resolver(observation) else { return };
        if self.resolvers.len() < 2 {
            return;
        }
        let key = both(hash(qname.as_bytes()), u64::from(qtype));
        let name = self.names.entry(key, observation.ts, || Name {
            qname: qname.get(..qname.len().min(LONGEST_NAME)).unwrap_or_default().into(),
            zone: hash(observation.zone.unwrap_or(qname).as_bytes()),
            qtype,
            answers: SmallVec::new(),
        });
        name.take(Heard { resolver, said, times: 1, at: observation.ts, id: observation.id });
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.names.age(now, IDLE);
        if self.resolvers.len() >= 2 {
            judge::judge(
                &self.resolvers,
                self.names.iter().map(|(_, name)| name),
                now,
                &self.options,
                each,
            );
        }
    }
}

impl Name {
    fn take(&mut self, heard: Heard) {
        if let Some(known) = self.answers.iter_mut().find(|known| known.resolver == heard.resolver)
        {
            let times = if known.said == heard.said { known.times.saturating_add(1) } else { 1 };
            *known = Heard { times, ..heard };
        } else if self.answers.len() < ANSWERS {
            self.answers.push(heard);
        } else if let Some(oldest) = self.answers.iter_mut().min_by_key(|known| known.at) {
            *oldest = heard;
        }
    }
}

#[cfg(test)]
mod tests;
