//! Who asks others than the resolvers that are meant to be asked, in the clear or encrypted.
//!
//! Meant to be asked are those that the operator has configured. Where none is, those of this host's
//! configuration, and those that are in common use: asked by several processes, or for much of all that is
//! asked. Resolvers themselves ask whom they must: a process that answers queries, or that asks without
//! wanting recursion, bypasses nobody.

mod asker;
mod usual;

use super::finding::{Detector, Finding};
use super::table::Table;
use super::who::{Who, hash, hash_of_address, is_echo, is_multicast};
use crate::connection::{Report, Status};
use crate::observation::Observation;
use crate::pair::Vantage;
use crate::time::Timestamp;
use asker::Asker;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use usual::Usual;

/// Octets that [`Bypass`] takes at most.
pub const BYPASS_MEMORY_BYTES: usize = 12 << 20;

/// Askers at a time, in the clear and encrypted.
const ASKERS: usize = 1024;
/// Resolving processes at a time.
const RESOLVING: usize = 1024;
/// How long it is remembered that a process resolves for others, and who asked whom.
const IDLE: Duration = Duration::from_secs(3600);

const RECURSION_DESIRED: u16 = 0x100;
/// SOA, IXFR, AXFR: what secondaries and updaters ask servers of their choice.
const TRANSFERS: [u16; 3] = [6, 251, 252];

/// Who is meant to be asked, and from when on it is a finding that others are. All counts within ten to
/// twenty minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct BypassOptions {
    /// Resolvers that the operator has configured. If there are any, who asks others bypasses them.
    pub configured: BTreeSet<IpAddr>,
    /// Resolvers of this host's own configuration (`/etc/resolv.conf`).
    pub system: BTreeSet<IpAddr>,
    /// Queries to others, where resolvers are configured.
    pub queries: u64,
    /// The same where none is, and the usual ones are taken instead.
    pub queries_unusual: u64,
    /// Different askers that make a server one in common use.
    pub common_askers: u64,
    /// The share of all queries that makes it one, where more than one asks it.
    pub common_share: f64,
}

impl Default for BypassOptions {
    fn default() -> Self {
        Self {
            configured: BTreeSet::new(),
            system: BTreeSet::new(),
            queries: 3,
            queries_unusual: 12,
            common_askers: 3,
            common_share: 0.2,
        }
    }
}

/// Finds who asks others than the resolvers that are meant to be asked.
#[derive(Debug)]
pub struct Bypass {
    options: BypassOptions,
    usual: Usual,
    /// Processes, by pid, that answer queries or ask as resolvers do.
    resolving: Table<()>,
    clear: Table<Asker>,
    encrypted: Table<Asker>,
}

impl Default for Bypass {
    fn default() -> Self {
        Self::new(BypassOptions::default())
    }
}

impl Bypass {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: BypassOptions) -> Self {
        Self {
            options,
            usual: Usual::default(),
            resolving: Table::new(RESOLVING),
            clear: Table::new(ASKERS),
            encrypted: Table::new(ASKERS),
        }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let askers = self.clear.bytes(Asker::heap_bytes) + self.encrypted.bytes(Asker::heap_bytes);
        askers + self.usual.bytes() + self.resolving.bytes(|()| 0)
    }

    fn is_meant(&self, server: IpAddr) -> bool {
        server.is_loopback()
            || self.options.configured.contains(&server)
            || self.options.system.contains(&server)
    }

    /// Whether what is seen from there can be judged: of strangers in between it is only known whom they
    /// should ask where that is configured.
    fn is_judged(&self, vantage: Vantage, client: IpAddr) -> bool {
        match vantage {
            Vantage::Client => true,
            Vantage::Passive => !self.options.configured.is_empty() && !self.is_meant(client),
            Vantage::Server => false,
        }
    }

    fn is_resolving(&self, pid: Option<u32>) -> bool {
        pid.is_some_and(|pid| self.resolving.get(of_pid(pid)).is_some())
    }

    fn found(&self, asker: &Asker, encrypted: bool) -> Option<Finding> {
        if self.is_resolving(asker.pid) {
            return None;
        }
        let strict = !self.options.configured.is_empty();
        let is_other = |server: IpAddr| {
            !self.is_meant(server)
                && (strict || !self.usual.is_common(server, encrypted, &self.options))
        };
        let ready = strict || encrypted || self.usual.is_ready() || !self.options.system.is_empty();
        if !ready {
            return None;
        }
        asker.finding(&is_other, &self.options)
    }
}

impl Detector for Bypass {
    fn observe(&mut self, observation: &Observation<'_>) {
        let (server, client) = (observation.server.ip(), observation.client.ip());
        let pid = observation.process.map(|process| process.pid);
        let ts = observation.ts;
        // Who answers queries resolves for others, and so does whose queries others have caused.
        if observation.vantage == Vantage::Server || is_echo(observation) {
            if let Some(pid) = pid {
                self.resolving.entry(of_pid(pid), ts, || ());
            }
            return;
        }
        let is_question = observation.opcode == 0 && observation.is_query();
        if !is_question || is_multicast(observation) || !self.is_judged(observation.vantage, client)
        {
            return;
        }
        if observation.flags.0 & RECURSION_DESIRED == 0 {
            return;
        }
        let who = Who::key(observation);
        self.usual.take(server, who, ts, false);
        let is_transfer = observation.qtype.is_some_and(|qtype| TRANSFERS.contains(&qtype));
        if self.is_meant(server) || is_transfer {
            return;
        }
        // An alert for what turns out to be in common use is decided against later, in `found`.
        let asker = self.clear.entry(who, ts, || Asker::new(Who::of(observation), pid, None));
        asker.asks(observation);
    }

    fn connection(&mut self, report: &Report<'_>, resolver: &str) {
        let connection = report.connection;
        let server = connection.server.ip();
        let is_named = resolver.parse::<IpAddr>().is_err();
        let client = connection.client.ip();
        if !self.is_judged(connection.vantage, client) || is_named || self.is_meant(server) {
            return;
        }
        let ts = connection.last;
        let task = connection.task.filter(|_| connection.vantage == Vantage::Client);
        let who = match &task {
            Some(task) => Who::Process(name_of(&task.comm).into(), None),
            None => Who::Client(client),
        };
        let key = match &who {
            Who::Process(process, _) => hash(process.as_bytes()),
            Who::Client(address) => hash_of_address(*address),
        };
        self.usual.take(server, key, ts, true);
        let protocol = Some(connection.protocol);
        let pid = task.map(|task| task.pid);
        let asker = self.encrypted.entry(key, ts, || Asker::new(who, pid, protocol));
        let works = !matches!(report.status, Status::Refused | Status::Timeout);
        asker.connects(connection, resolver, report.id(), works);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for table in [&mut self.clear, &mut self.encrypted] {
            table.values_mut().for_each(|asker| asker.roll(now));
            table.age(now, IDLE);
        }
        self.usual.roll(now);
        self.resolving.age(now, IDLE * 24);
        for (encrypted, table) in [(false, &self.clear), (true, &self.encrypted)] {
            for (_, asker) in table.iter() {
                if let Some(finding) = self.found(asker, encrypted) {
                    each(finding);
                }
            }
        }
    }
}

fn of_pid(pid: u32) -> u64 {
    hash(&pid.to_ne_bytes())
}

/// A task's name up to its NUL.
fn name_of(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|octet| *octet == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

#[cfg(test)]
mod tests;
