//! Rule `stale_address`: processes that keep connecting to an address long after the answer that gave it has expired.
//!
//! Harmless while the name still has the address. So the answers that anyone on this host gets for the name are
//! remembered from the first stale connection on.

use super::attribution::{Attribution, combine_hashes, hash, is_echo};
use super::finding::{Detector, Entity, Evidence, Figure, Finding, Rule, Severity};
use super::rolling::Rolling;
use super::table::AssociativeTable;
use crate::uses::{Use, UseOutcome, addresses};
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(10);
/// Least number of connections within ten to twenty minutes.
const MIN_CONNECTIONS: u64 = 3;
/// Number of answers without the address after which it counts as gone.
const MIN_ANSWERS: u64 = 3;
const MAX_USERS: usize = 1024;
const MAX_NAMES: usize = 1024;
/// Addresses of a process and a name that are named.
const MAX_ADDRESSES: usize = 8;
/// Addresses of later answers that are remembered: a name with as many gives some of them in each answer.
const MAX_ANSWERED: usize = 64;
/// Time after which an idle process or name is forgotten.
const IDLE: Duration = Duration::from_hours(1);

/// Finds processes that keep connecting to stale addresses.
#[derive(Debug, Default)]
pub struct StaleAddress {
    users: AssociativeTable<User, MAX_USERS>,
    /// Answers since the first stale connection, by name.
    names: AssociativeTable<LaterAnswers, MAX_NAMES>,
}

/// A process that connects to addresses that it got long ago for a name.
#[derive(Debug)]
struct User {
    attribution: Attribution,
    /// Process that was seen first.
    pid: u32,
    name: Box<str>,
    used: Rolling<Vec<StaleUse>>,
    /// Longest time since an answer expired.
    longest: Duration,
}

/// Connections to a stale address; none: to all those that are not named.
#[derive(Clone, Debug)]
struct StaleUse {
    address: Option<IpAddr>,
    connections: u64,
    failed: u64,
}

/// Answers for a name, with IPv4 addresses and with IPv6 addresses.
#[derive(Debug, Default)]
struct LaterAnswers([FamilyAnswers; 2]);

#[derive(Debug, Default)]
struct FamilyAnswers {
    count: u64,
    /// Addresses, and the number of the last answer that had them.
    last_seen: Vec<(IpAddr, u64)>,
}

impl LaterAnswers {
    fn record(&mut self, observation: &TransactionView<'_>) {
        for (FamilyAnswers { count, last_seen }, is_ipv6) in self.0.iter_mut().zip([false, true]) {
            let all = addresses(observation).map(|(address, _)| address);
            let mut found = all.filter(|address| address.is_ipv6() == is_ipv6).peekable();
            if found.peek().is_none() {
                continue;
            }
            *count += 1;
            for address in found {
                match last_seen.iter().position(|(known, _)| *known == address) {
                    Some(at) => last_seen[at].1 = *count,
                    None if last_seen.len() < MAX_ANSWERED => last_seen.push((address, *count)),
                    None => {}
                }
            }
        }
    }

    /// Returns whether the name no longer has the address: none of the last answers had it.
    fn lacks(&self, address: IpAddr) -> bool {
        let FamilyAnswers { count, last_seen } = &self.0[usize::from(address.is_ipv6())];
        *count >= MIN_ANSWERS
            && last_seen.len() < MAX_ANSWERED
            && !last_seen
                .iter()
                .any(|(known, number)| *known == address && count - number < MIN_ANSWERS)
    }
}

impl User {
    fn record(&mut self, one: &Use, stale: Duration) {
        self.used.roll(one.last, SPAN);
        self.longest = self.longest.max(stale);
        let (address, used) = (Some(one.remote.ip()), &mut self.used.current);
        let index = used.iter().position(|used| used.address == address).unwrap_or_else(|| {
            if used.len() <= MAX_ADDRESSES {
                let address = address.filter(|_| used.len() < MAX_ADDRESSES);
                used.push(StaleUse { address, connections: 0, failed: 0 });
            }
            used.len() - 1
        });
        let has_failed =
            matches!(one.outcome, UseOutcome::Refused | UseOutcome::Timeout | UseOutcome::Reset);
        used[index].connections += one.count;
        used[index].failed += if has_failed { one.count } else { 0 };
    }

    fn finding(&self, later: Option<&LaterAnswers>) -> Option<Finding> {
        let used = || self.used.current.iter().chain(&self.used.previous);
        let connections: u64 = used().map(|used| used.connections).sum();
        if connections < MIN_CONNECTIONS {
            return None;
        }
        let failed: u64 = used().map(|used| used.failed).sum();
        let is_gone = later.is_some_and(|later| {
            used().all(|used| used.address.is_some_and(|address| later.lacks(address)))
        });
        let addresses: BTreeSet<IpAddr> = used().filter_map(|used| used.address).collect();
        let has_others =
            addresses.len() > MAX_ADDRESSES || used().any(|used| used.address.is_none());
        let mut named: Vec<String> =
            addresses.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect();
        if has_others {
            named.push("others".to_owned());
        }
        let summary = format!(
            "{} keeps connecting to {} for {}, up to {} s after the answer expired: {connections} connections within \
             20 min{}{}",
            self.attribution,
            named.join(", "),
            self.name,
            self.longest.as_secs(),
            if failed > 0 { format!(", {failed} failed") } else { String::new() },
            if is_gone { "; the name has other addresses now" } else { "" },
        );
        let worse = is_gone || failed * 2 >= connections;
        Some(Finding {
            rule: Rule::StaleAddress,
            entity: Entity { qname: Some(self.name.clone()), ..self.attribution.entity() },
            level: if worse { Severity::Warning } else { Severity::Info },
            summary,
            evidence: Evidence {
                figures: vec![
                    Figure::new("connections", to_f64(connections), Some(to_f64(MIN_CONNECTIONS))),
                    Figure::new("failed", to_f64(failed), None),
                    Figure::new("stale_seconds", self.longest.as_secs_f64(), None),
                ],
                qnames: vec![self.name.clone()],
                processes: self.attribution.process_text(self.pid).into_iter().collect(),
                ..Evidence::default()
            },
        })
    }
}

impl Detector for StaleAddress {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::StaleAddress]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let Some(name) = observation.qname.filter(|_| !is_echo(observation)) else { return };
        if let Some(later) = self.names.get_mut(hash(name.as_bytes()), observation.ts) {
            later.record(observation);
        }
    }

    fn used(&mut self, one: &Use) {
        let (Some(name), Some(stale)) = (&one.name, one.long_stale()) else { return };
        let Some((process, attribution)) = Attribution::of_use(one) else { return };
        let name_key = hash(name.as_bytes());
        self.names.entry(name_key, one.last, LaterAnswers::default);
        let user = self.users.entry(combine_hashes(process, name_key), one.last, || User {
            attribution: attribution(),
            pid: one.pid(),
            name: (**name).into(),
            used: Rolling::default(),
            longest: Duration::ZERO,
        });
        user.record(one, stale);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        let Self { users, names } = self;
        users.values_mut().for_each(|user| user.used.roll(now, SPAN));
        users.age(now, IDLE);
        names.age(now, IDLE);
        let findings =
            users.iter().filter_map(|user| user.finding(names.get(hash(user.name.as_bytes()))));
        findings.for_each(each);
    }
}

#[cfg(test)]
mod tests;
