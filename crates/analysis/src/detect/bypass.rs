//! Rules `resolver_bypass` and `encrypted_bypass`: clients that query other resolvers than the
//! expected ones, in plain or encrypted DNS.
//!
//! Expected are the configured resolvers. If none are configured, those of `/etc/resolv.conf` and
//! those in common use: queried by several processes, or receiving a large share of all queries. A
//! resolver may query any server: a process that answers queries, or queries without recursion
//! desired, is exempt.

mod client;
mod server_usage;

use super::attribution::{Attribution, hash, hash_address, is_multicast};
use super::finding::{Detector, Finding, Rule};
use super::resolver_processes::ResolverProcesses;
use super::table::AssociativeTable;
use super::{DetectOptions, ExpectedResolvers, HostFacts};
use crate::view::TransactionView;
use client::Client;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::pair::Vantage;
use server_usage::ServerUsage;
use std::net::IpAddr;
use std::time::Duration;

/// Maximum number of clients tracked, each for plain and encrypted DNS.
const MAX_CLIENTS: usize = 1024;
/// Time after which an idle client is forgotten.
const IDLE: Duration = Duration::from_hours(1);

/// SOA, IXFR, AXFR: secondaries and updaters send these to servers of their choice.
const TRANSFERS: [u16; 3] = [6, 251, 252];

/// Finds clients that query other resolvers than the expected ones.
#[derive(Debug, Default)]
pub struct Bypass {
    expected: ExpectedResolvers,
    usage: ServerUsage,
    resolver_processes: ResolverProcesses,
    plain: AssociativeTable<Client, MAX_CLIENTS>,
    encrypted: AssociativeTable<Client, MAX_CLIENTS>,
}

impl Bypass {
    /// Creates a detector of queries to other resolvers than `expected`.
    #[must_use]
    pub fn new(expected: ExpectedResolvers) -> Self {
        Self { expected, ..Self::default() }
    }

    fn is_expected(&self, server: IpAddr) -> bool {
        server.is_loopback()
            || self.expected.configured.contains(&server)
            || self.expected.system.contains(&server)
    }

    /// Returns whether traffic of `client` captured from `vantage` can be judged. In the middle of
    /// a network the expected resolvers of strangers are known only if they are configured.
    fn is_judged(&self, vantage: Vantage, client: IpAddr) -> bool {
        match vantage {
            Vantage::Client => true,
            Vantage::Passive => !self.expected.configured.is_empty() && !self.is_expected(client),
            Vantage::Server => false,
        }
    }

    fn finding(&self, client: &Client, encrypted: bool) -> Option<Finding> {
        if client.pid.is_some_and(|pid| self.resolver_processes.contains(pid)) {
            return None;
        }
        let strict = !self.expected.configured.is_empty();
        let is_other = |server: IpAddr| {
            !self.is_expected(server) && (strict || !self.usage.is_common(server, encrypted))
        };
        let ready =
            strict || encrypted || self.usage.is_ready() || !self.expected.system.is_empty();
        if ready { client.finding(&is_other, strict) } else { None }
    }
}

impl Detector for Bypass {
    #[cfg(any(test, feature = "testing"))]
    fn settings_in_force(&self) -> String {
        format!("{:?} {:?}", self.rules(), &self.expected)
    }

    fn rules(&self) -> &'static [Rule] {
        &[Rule::ResolverBypass, Rule::EncryptedBypass]
    }

    fn reconfigure(&mut self, _: &DetectOptions, facts: &HostFacts) {
        let expected = &facts.resolvers;
        self.expected.configured.clone_from(&expected.configured);
        // None if the host's configuration cannot be read.
        if !expected.system.is_empty() {
            self.expected.system.clone_from(&expected.system);
        }
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let (server, client) = (observation.server.ip(), observation.client.ip());
        let pid = observation.process.map(|process| process.pid);
        let ts = observation.ts;
        if self.resolver_processes.observe(observation) {
            return;
        }
        let is_question = observation.opcode == 0 && observation.is_query();
        let is_recursive = is_question && observation.flags.recursion_desired();
        if !is_recursive
            || is_multicast(observation)
            || !self.is_judged(observation.vantage, client)
        {
            return;
        }
        let attribution = Attribution::hash(observation);
        self.usage.record(server, attribution, ts, false);
        let is_transfer = observation.qtype.is_some_and(|qtype| TRANSFERS.contains(&qtype));
        if self.is_expected(server) || is_transfer {
            return;
        }
        // Whether the server is in common use is decided later, in `finding`.
        let client = self
            .plain
            .entry(attribution, ts, || Client::new(Attribution::new(observation), pid, None));
        client.record_query(observation);
    }

    fn connection(&mut self, report: &ConnectionReport<'_>, resolver: &str) {
        let connection = report.connection;
        let server = connection.server.ip();
        let is_named = resolver.parse::<IpAddr>().is_err();
        let client = connection.client.ip();
        if !self.is_judged(connection.vantage, client) || is_named || self.is_expected(server) {
            return;
        }
        let ts = connection.last;
        let task = connection.task.filter(|_| connection.vantage == Vantage::Client);
        let attribution = match &task {
            Some(task) => Attribution::Process(comm_name(&task.comm).into(), None),
            None => Attribution::Client(client),
        };
        let key = match &attribution {
            Attribution::Process(process, _) => hash(process.as_bytes()),
            Attribution::Client(address) => hash_address(*address),
        };
        self.usage.record(server, key, ts, true);
        let protocol = Some(connection.protocol);
        let pid = task.map(|task| task.pid);
        let client = self.encrypted.entry(key, ts, || Client::new(attribution, pid, protocol));
        client.record_connection(connection, resolver, report.id(), report.status.has_worked());
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for table in [&mut self.plain, &mut self.encrypted] {
            table.values_mut().for_each(|client| client.roll(now));
            table.age(now, IDLE);
        }
        self.usage.roll(now);
        self.resolver_processes.age(now);
        for (encrypted, table) in [(false, &self.plain), (true, &self.encrypted)] {
            table.iter().filter_map(|client| self.finding(client, encrypted)).for_each(&mut *each);
        }
    }
}

/// Returns a task's name up to its NUL.
fn comm_name(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

#[cfg(test)]
mod tests;
