//! Filters: which records of a stream are exported.
//!
//! Input: the properties of a record. Excluded records are counted as `filtered`. Windows and alerts
//! are computed before filters apply.

mod names;
#[cfg(test)]
mod tests;

pub use names::{InvalidSuffix, NameSuffix, NameSuffixes};

use dnscribe_record::Stream;
use dnscribe_transaction::packet::encrypted::Prefixes;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Streams with filters. The records of other streams summarize transactions or report losses.
pub const FILTERED_STREAMS: [Stream; 5] =
    [Stream::Transactions, Stream::Messages, Stream::Lookups, Stream::Connections, Stream::Uses];

/// The filters of all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFilters([Option<Filter>; Stream::ALL.len()]);

impl StreamFilters {
    /// Sets the filter of a stream; one that admits everything is not stored.
    #[must_use]
    pub fn with_filter(mut self, stream: Stream, filter: Filter) -> Self {
        self.0[stream as usize] = Some(filter).filter(|filter| *filter != Filter::default());
        self
    }

    /// Returns the filter of a stream, if it has one.
    #[must_use]
    pub const fn get(&self, stream: Stream) -> Option<&Filter> {
        self.0[stream as usize].as_ref()
    }
}

/// Which records of a stream are exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// All of these criteria must match.
    pub include: Criteria,
    /// None of these criteria may match.
    pub exclude: Criteria,
}

/// Criteria for a record. A criterion matches if one of its values does; `None` is no criterion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// Domain names, including all names below them.
    pub qname: Option<NameSuffixes>,
    /// Addresses and prefixes of clients.
    pub client: Option<Prefixes>,
    /// Query types.
    pub qtype: Option<BTreeSet<u16>>,
    /// Configured names of resolvers, else their addresses.
    pub resolver: Option<BTreeSet<String>>,
    /// Statuses, outcomes of lookups and response codes, in lower case.
    pub status: Option<BTreeSet<String>>,
    /// Process names, or paths of executables if they begin with a slash.
    pub process: Option<BTreeSet<String>>,
    /// Prefixes of container ids.
    pub container: Option<BTreeSet<String>>,
    /// Kubernetes namespaces.
    pub namespace: Option<BTreeSet<String>>,
    /// Pod names.
    pub pod: Option<BTreeSet<String>>,
}

/// The properties of a record that filters match. An unknown property matches no criterion.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterSubject<'a> {
    /// The question; `None` for records without one, such as connections.
    pub question: Option<FilterQuestion<'a>>,
    /// Address of the client.
    pub client: Option<IpAddr>,
    /// Configured names of the servers, else their addresses.
    pub resolvers: &'a [Cow<'a, str>],
    /// Status or outcome, in lower case; `None` for records without one.
    pub status: Option<&'a str>,
    /// Mnemonic of the response code.
    pub rcode: Option<&'a str>,
    /// Name of the process.
    pub comm: Option<&'a str>,
    /// Path of the executable.
    pub exe: Option<&'a str>,
    /// Container id.
    pub container: Option<&'a str>,
    /// Namespace and name of the pod.
    pub pod: Option<(&'a str, &'a str)>,
}

/// The question of a record.
#[derive(Clone, Copy, Debug, Default)]
pub struct FilterQuestion<'a> {
    /// Name, as in records.
    pub qname: Option<&'a str>,
    /// Query types.
    pub qtypes: &'a [u16],
}

impl Filter {
    /// Returns whether a record is exported.
    #[must_use]
    pub fn admits(&self, subject: &FilterSubject<'_>) -> bool {
        self.include.fits(subject).all(|fits| fits) && !self.exclude.fits(subject).any(|fits| fits)
    }

    /// Returns whether the filter uses names.
    #[must_use]
    pub const fn reads_names(&self) -> bool {
        self.include.qname.is_some() || self.exclude.qname.is_some()
    }
}

impl Criteria {
    /// Returns for each criterion that applies to the subject whether it matches.
    fn fits<'a>(&'a self, subject: &'a FilterSubject<'_>) -> impl Iterator<Item = bool> + 'a {
        let FilterSubject { question: asked, client, comm, exe, container, pod, .. } = *subject;
        let names =
            self.qname.as_ref().zip(asked).map(move |(suffixes, asked)| {
                asked.qname.is_some_and(|qname| suffixes.matches(qname))
            });
        let types = self
            .qtype
            .as_ref()
            .zip(asked)
            .map(move |(types, asked)| asked.qtypes.iter().any(|qtype| types.contains(qtype)));
        let clients = self.client.as_ref().map(move |prefixes| {
            client.is_some_and(|client| prefixes.contains(client.to_canonical()))
        });
        let resolvers = self
            .resolver
            .as_ref()
            .map(|names| subject.resolvers.iter().any(|name| names.contains(&**name)));
        let statuses = self.status.as_ref().zip(subject.status).map(|(names, status)| {
            names.contains(status)
                || subject
                    .rcode
                    .is_some_and(|rcode| names.iter().any(|name| name.eq_ignore_ascii_case(rcode)))
        });
        let processes = self
            .process
            .as_ref()
            .map(move |names| [comm, exe].into_iter().flatten().any(|name| names.contains(name)));
        let containers = self.container.as_ref().map(move |ids| {
            container.is_some_and(|id| ids.iter().any(|start| id.starts_with(start.as_str())))
        });
        let namespaces = self
            .namespace
            .as_ref()
            .map(move |names| pod.is_some_and(|(namespace, _)| names.contains(namespace)));
        let pods =
            self.pod.as_ref().map(move |names| pod.is_some_and(|(_, pod)| names.contains(pod)));
        [names, types, clients, resolvers, statuses, processes, containers, namespaces, pods]
            .into_iter()
            .flatten()
    }
}
