//! Which records are told: those that the operator includes and does not exclude. What is left out is
//! counted as `filtered`, and what is made of many transactions (windows, alerts) sees all of them.

#![forbid(unsafe_code)]

mod names;
#[cfg(test)]
mod tests;

pub use names::{BadSuffix, Suffix, Suffixes};

use crate::capture::encrypted::Prefixes;
use crate::sink::Stream;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The streams whose records can be left out: the others tell of many transactions, or of losses.
pub const STREAMS: [Stream; 4] =
    [Stream::Transactions, Stream::Messages, Stream::Lookups, Stream::Connections];

/// The filters of all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters([Option<Filter>; Stream::ALL.len()]);

impl Filters {
    /// The same with a filter for a stream; one that lets everything pass is none.
    #[must_use]
    pub fn with(mut self, stream: Stream, filter: Filter) -> Self {
        self.0[stream as usize] = Some(filter).filter(|filter| *filter != Filter::default());
        self
    }

    /// The filter of a stream, where there is one.
    #[must_use]
    pub const fn of(&self, stream: Stream) -> Option<&Filter> {
        self.0[stream as usize].as_ref()
    }
}

/// Which records of a stream are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Every criterion given must hold.
    pub include: Criteria,
    /// None of the criteria given may hold.
    pub exclude: Criteria,
}

/// Properties of a record. Of each, one of the values given must fit; one that is not given says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// Names, each with all below it.
    pub qname: Option<Suffixes>,
    /// Addresses and prefixes of clients.
    pub client: Option<Prefixes>,
    /// Types asked for.
    pub qtype: Option<BTreeSet<u16>>,
    /// Names of processes; paths of executables where they begin with a slash.
    pub process: Option<BTreeSet<String>>,
    /// Beginnings of ids of containers.
    pub container: Option<BTreeSet<String>>,
}

/// What of a record filters look at. What is not known fits nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// What was asked for; none of what asks for nothing, such as a connection.
    pub asked: Option<Asked<'a>>,
    /// Who asked.
    pub client: Option<IpAddr>,
    /// The process's name.
    pub comm: Option<&'a str>,
    /// Its executable.
    pub exe: Option<&'a str>,
    /// The id of its container.
    pub container: Option<&'a str>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The name, as records write it.
    pub qname: Option<&'a str>,
    /// The types.
    pub qtypes: &'a [u16],
}

impl Filter {
    /// Whether a record is told.
    #[must_use]
    pub fn admits(&self, subject: &Subject<'_>) -> bool {
        self.include.fits(subject).all(|fits| fits) && !self.exclude.fits(subject).any(|fits| fits)
    }

    /// Whether it takes a name to decide.
    #[must_use]
    pub const fn reads_names(&self) -> bool {
        self.include.qname.is_some() || self.exclude.qname.is_some()
    }
}

impl Criteria {
    /// Of each criterion given that can be asked of the subject, whether it fits.
    fn fits<'a>(&'a self, subject: &'a Subject<'_>) -> impl Iterator<Item = bool> + 'a {
        let Subject { asked, client, comm, exe, container } = *subject;
        let names =
            self.qname.as_ref().zip(asked).map(move |(suffixes, asked)| {
                asked.qname.is_some_and(|qname| suffixes.contain(qname))
            });
        let types = self
            .qtype
            .as_ref()
            .zip(asked)
            .map(move |(types, asked)| asked.qtypes.iter().any(|qtype| types.contains(qtype)));
        let clients = self.client.as_ref().map(move |prefixes| {
            client.is_some_and(|client| prefixes.contains(client.to_canonical()))
        });
        let processes = self
            .process
            .as_ref()
            .map(move |names| [comm, exe].into_iter().flatten().any(|name| names.contains(name)));
        let containers = self.container.as_ref().map(move |ids| {
            container.is_some_and(|id| ids.iter().any(|start| id.starts_with(start.as_str())))
        });
        [names, types, clients, processes, containers].into_iter().flatten()
    }
}
