//! Clients that query servers other than the expected resolvers.

use crate::detect::attribution::{Attribution, EvidenceSample};
use crate::detect::finding::{Evidence, Figure, Finding, Rule, Severity};
use crate::detect::rolling::Rolling;
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::encrypted::{Connection, Protocol};
use std::net::IpAddr;
use std::time::Duration;

/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(10);
const MAX_SERVERS: usize = 8;
/// Minimum queries to other servers within ten to twenty minutes, if resolvers are configured.
const MIN_QUERIES: u64 = 3;
/// Minimum queries if no resolver is configured.
const MIN_QUERIES_UNCONFIGURED: u64 = 12;
/// Maximum number of sampled connections.
const MAX_SAMPLES: usize = 10;

/// Use of other servers than the expected resolvers by one client.
#[derive(Debug)]
pub(super) struct Client {
    attribution: Attribution,
    /// Process that was seen first.
    pub(super) pid: Option<u32>,
    /// Protocol that was seen first, of encrypted DNS.
    protocol: Option<Protocol>,
    servers: Rolling<Vec<UsedServer>>,
    evidence: EvidenceSample,
    samples: Vec<MessageId>,
    /// Server name in the handshake of a connection.
    sni: Option<Box<str>>,
}

/// A server that the client used.
#[derive(Clone, Debug)]
struct UsedServer {
    server: IpAddr,
    name: Box<str>,
    /// Number of queries, or of connection reports.
    times: u64,
    /// Number of those that were or may have been answered.
    works: u64,
}

impl Client {
    pub(super) fn new(
        attribution: Attribution,
        pid: Option<u32>,
        protocol: Option<Protocol>,
    ) -> Self {
        Self {
            attribution,
            pid,
            protocol,
            servers: Rolling::default(),
            evidence: EvidenceSample::default(),
            samples: Vec::new(),
            sni: None,
        }
    }

    pub(super) fn roll(&mut self, now: Timestamp) {
        self.servers.roll(now, SPAN);
    }

    pub(super) fn record_query(&mut self, observation: &TransactionView<'_>) {
        self.roll(observation.ts);
        let works = observation.answered_at().is_some();
        self.record(observation.server.ip(), observation.resolver, works);
        self.evidence.record(observation);
    }

    pub(super) fn record_connection(
        &mut self,
        connection: &Connection,
        resolver: &str,
        id: MessageId,
        works: bool,
    ) {
        self.roll(connection.last);
        self.record(connection.server.ip(), resolver, works);
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(id);
        }
        if self.sni.is_none() {
            self.sni = connection.handshake.client.as_ref().and_then(|hello| hello.sni.clone());
        }
    }

    fn record(&mut self, server: IpAddr, name: &str, works: bool) {
        let servers = &mut self.servers.current;
        let index = servers.iter().position(|used| used.server == server).unwrap_or_else(|| {
            if servers.len() < MAX_SERVERS {
                servers.push(UsedServer { server, name: name.into(), times: 0, works: 0 });
            }
            servers.len() - 1
        });
        servers[index].times += 1;
        servers[index].works += u64::from(works);
    }

    /// Returns the finding of this client, if any. `is_other` returns whether a server is not an
    /// expected resolver; `strict` is true if the expected resolvers are configured.
    pub(super) fn finding(
        &self,
        is_other: &dyn Fn(IpAddr) -> bool,
        strict: bool,
    ) -> Option<Finding> {
        let Rolling { current, previous, .. } = &self.servers;
        let others: Vec<&UsedServer> =
            current.iter().chain(previous).filter(|used| is_other(used.server)).collect();
        let times: u64 = others.iter().map(|used| used.times).sum();
        let works = others.iter().any(|used| used.works > 0);
        let mut names: Vec<Box<str>> = others.iter().map(|used| used.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let (rule, (summary, evidence)) = match self.protocol {
            None => (Rule::ResolverBypass, self.plain(times, works, names, strict)?),
            Some(protocol) => {
                (Rule::EncryptedBypass, self.encrypted(times, works, names, protocol)?)
            }
        };
        let level = if works { Severity::Warning } else { Severity::Info };
        Some(Finding { rule, entity: self.attribution.entity(), level, summary, evidence })
    }

    fn plain(
        &self,
        times: u64,
        works: bool,
        names: Vec<Box<str>>,
        strict: bool,
    ) -> Option<(String, Evidence)> {
        let threshold = if strict { MIN_QUERIES } else { MIN_QUERIES_UNCONFIGURED };
        if times < threshold {
            return None;
        }
        let than = if strict { "the configured resolvers" } else { "the resolvers in use here" };
        let answered = if works { "" } else { ", and got no answer" };
        let summary = format!(
            "{} asks others than {than}: {times} queries within 20 min to {}{answered}",
            self.attribution,
            names.join(", ")
        );
        let figures = vec![Figure::new("queries", to_f64(times), Some(to_f64(threshold)))];
        Some((summary, Evidence { resolvers: names, ..self.evidence.evidence(figures) }))
    }

    fn encrypted(
        &self,
        times: u64,
        works: bool,
        names: Vec<Box<str>>,
        protocol: Protocol,
    ) -> Option<(String, Evidence)> {
        if times == 0 {
            return None;
        }
        let called = self.sni.as_ref().map_or(String::new(), |sni| format!(" ({sni})"));
        let verb = if works { "uses" } else { "tries to use" };
        let summary = format!(
            "{} {verb} encrypted DNS ({}) of {}{called}, which is not among the configured resolvers",
            self.attribution,
            protocol.name(),
            names.join(", ")
        );
        let shown = match (&self.attribution, self.pid) {
            (Attribution::Process(process, _), Some(pid)) => {
                vec![format!("{process}[{pid}]").into()]
            }
            _ => Vec::new(),
        };
        let evidence = Evidence {
            figures: vec![Figure::new("connections", to_f64(times), None)],
            samples: self.samples.clone(),
            processes: shown,
            resolvers: names,
            ..Evidence::default()
        };
        Some((summary, evidence))
    }
}
