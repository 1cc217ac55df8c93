//! Whom somebody asks beside the resolvers that are meant to be asked.

use super::BypassOptions;
use crate::connection::{Connection, Protocol};
use crate::decode::MessageId;
use crate::detect::finding::{Evidence, Finding, Level, Rule};
use crate::detect::table::Halves;
use crate::detect::who::{Exhibits, Who, figure};
use crate::number::float;
use crate::observation::Observation;
use crate::time::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

/// Half of the look back.
const SPAN: Duration = Duration::from_secs(600);
/// Servers told apart of one asker.
const SERVERS: usize = 8;
/// Samples of connections.
const SAMPLES: usize = 10;

/// Whom somebody asks beside those that are meant to be asked.
#[derive(Debug)]
pub(super) struct Asker {
    who: Who,
    /// The process that was seen first.
    pub(super) pid: Option<u32>,
    /// Where it goes encrypted: how, at first.
    protocol: Option<Protocol>,
    halves: Halves<Vec<Asked>>,
    exhibits: Exhibits,
    samples: Vec<MessageId>,
    /// The name that a connection asked for in its handshake.
    sni: Option<Box<str>>,
}

/// A server that was asked.
#[derive(Clone, Debug)]
struct Asked {
    server: IpAddr,
    name: Box<str>,
    /// Queries, or reports of connections.
    times: u64,
    /// Those that got an answer or may have.
    works: u64,
}

impl Asker {
    pub(super) fn new(who: Who, pid: Option<u32>, protocol: Option<Protocol>) -> Self {
        Self {
            who,
            pid,
            protocol,
            halves: Halves::default(),
            exhibits: Exhibits::default(),
            samples: Vec::new(),
            sni: None,
        }
    }

    pub(super) fn roll(&mut self, now: Timestamp) {
        self.halves.roll(now, SPAN);
    }

    /// Asks in the clear.
    pub(super) fn asks(&mut self, observation: &Observation<'_>) {
        self.roll(observation.ts);
        self.take(observation.server.ip(), observation.resolver, observation.rcode.is_some());
        self.exhibits.take(observation);
    }

    /// Connects.
    pub(super) fn connects(
        &mut self,
        connection: &Connection,
        resolver: &str,
        id: MessageId,
        works: bool,
    ) {
        self.roll(connection.last);
        self.take(connection.server.ip(), resolver, works);
        if self.samples.len() < SAMPLES {
            self.samples.push(id);
        }
        if self.sni.is_none() {
            self.sni = connection.handshake.client.as_ref().and_then(|hello| hello.sni.clone());
        }
    }

    fn take(&mut self, server: IpAddr, name: &str, works: bool) {
        let asked = &mut self.halves.now;
        let place = asked.iter().position(|known| known.server == server).unwrap_or_else(|| {
            if asked.len() < SERVERS {
                asked.push(Asked { server, name: name.into(), times: 0, works: 0 });
            }
            asked.len() - 1
        });
        asked[place].times += 1;
        asked[place].works += u64::from(works);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let halves = [&self.halves.now, &self.halves.before];
        let asked = halves.iter().map(|asked| asked.capacity() * (size_of::<Asked>() + 40));
        self.who.heap_bytes()
            + self.exhibits.heap_bytes()
            + asked.sum::<usize>()
            + self.samples.capacity() * size_of::<MessageId>()
            + self.sni.as_ref().map_or(0, |sni| sni.len())
    }

    /// What is wrong with it, if `is_other` tells that a server is not one that is meant to be asked.
    pub(super) fn finding(
        &self,
        is_other: &dyn Fn(IpAddr) -> bool,
        options: &BypassOptions,
    ) -> Option<Finding> {
        let Halves { now, before, .. } = &self.halves;
        let others: Vec<&Asked> =
            now.iter().chain(before).filter(|asked| is_other(asked.server)).collect();
        let times: u64 = others.iter().map(|asked| asked.times).sum();
        let works = others.iter().any(|asked| asked.works > 0);
        let mut names: Vec<Box<str>> = others.iter().map(|asked| asked.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        match self.protocol {
            None => self.in_the_clear(times, works, names, options),
            Some(protocol) => self.encrypted(times, works, names, protocol),
        }
    }

    fn in_the_clear(
        &self,
        times: u64,
        works: bool,
        names: Vec<Box<str>>,
        options: &BypassOptions,
    ) -> Option<Finding> {
        let strict = !options.configured.is_empty();
        let threshold = if strict { options.queries } else { options.queries_unusual };
        if times < threshold {
            return None;
        }
        let than = if strict { "the configured resolvers" } else { "the resolvers in use here" };
        let answered = if works { "" } else { ", and got no answer" };
        let summary = format!(
            "{} asks others than {than}: {times} queries within 20 min to {}{answered}",
            self.who,
            names.join(", ")
        );
        let figures = vec![figure("queries", float(times), Some(float(threshold)))];
        Some(Finding {
            rule: Rule::ResolverBypass,
            entity: self.who.entity(),
            level: if works { Level::Warning } else { Level::Info },
            summary,
            evidence: Evidence { resolvers: names, ..self.exhibits.evidence(figures) },
        })
    }

    fn encrypted(
        &self,
        times: u64,
        works: bool,
        names: Vec<Box<str>>,
        protocol: Protocol,
    ) -> Option<Finding> {
        if times == 0 {
            return None;
        }
        let called = self.sni.as_ref().map_or(String::new(), |sni| format!(" ({sni})"));
        let verb = if works { "uses" } else { "tries to use" };
        let summary = format!(
            "{} {verb} encrypted DNS ({}) of {}{called}, which is not among the configured resolvers",
            self.who,
            protocol.name(),
            names.join(", ")
        );
        let shown = match (&self.who, self.pid) {
            (Who::Process(process, _), Some(pid)) => vec![format!("{process}[{pid}]").into()],
            _ => Vec::new(),
        };
        Some(Finding {
            rule: Rule::EncryptedBypass,
            entity: self.who.entity(),
            level: if works { Level::Warning } else { Level::Info },
            summary,
            evidence: Evidence {
                figures: vec![figure("connections", float(times), None)],
                samples: self.samples.clone(),
                processes: shown,
                resolvers: names,
                ..Evidence::default()
            },
        })
    }
}
