//! Small queries that draw large responses.
//!
//! Seen where queries are answered, and where they are asked: one network asks the same question far more
//! often than a cache would, and each answer is many times the question. Its address is probably forged,
//! and it is the victim. Seen at the victim: large responses to questions that nobody asked.

use super::finding::{Detector, Entity, Finding, Level, Rule};
use super::table::{Halves, Seen, Table};
use super::who::{
    Exhibits, both, figure, hash, hash_of_address, is_multicast, is_other_end, share,
};
use crate::number::float;
use crate::observation::Observation;
use crate::pair::{OrphanReason, Status, Vantage};
use crate::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Octets that [`Amplification`] takes at most.
pub const AMPLIFICATION_MEMORY_BYTES: usize = 8 << 20;

/// Networks at a time that get large responses.
const VICTIMS: usize = 1024;
/// Half of the look back.
const SPAN: Duration = Duration::from_secs(30);
/// Smaller responses are nobody's weapon, in octets.
const LARGE: u64 = 400;

/// From when on large responses are a finding. All within half a minute to a minute, for one network (/24,
/// or /48 of IPv6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AmplificationOptions {
    /// Large responses to queries.
    pub responses: u64,
    /// So many are critical, at 2,000 octets or so each half a megabit a second.
    pub responses_critical: u64,
    /// How many times the queries' octets the responses' are at least.
    pub factor: f64,
    /// How often each different question is asked at least: a cache asks once.
    pub repeats: f64,
    /// Large responses that nobody asked for.
    pub unasked: u64,
    /// So many of these are critical.
    pub unasked_critical: u64,
}

impl Default for AmplificationOptions {
    fn default() -> Self {
        Self {
            responses: 200,
            responses_critical: 2000,
            factor: 8.0,
            repeats: 10.0,
            unasked: 50,
            unasked_critical: 500,
        }
    }
}

/// Finds small queries that draw large responses.
#[derive(Debug)]
pub struct Amplification {
    options: AmplificationOptions,
    victims: Table<Victim>,
}

#[derive(Debug)]
struct Victim {
    /// The first address of the network that was seen; the network, once there was another.
    entity: Box<str>,
    address: IpAddr,
    /// Whether what was asked for is counted, or what was not.
    asked: bool,
    halves: Halves<Counts>,
    exhibits: Exhibits,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    responses: u64,
    query_bytes: u64,
    response_bytes: u64,
    questions: u64,
    seen: Seen<8>,
}

impl Default for Amplification {
    fn default() -> Self {
        Self::new(AmplificationOptions::default())
    }
}

impl Amplification {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(options: AmplificationOptions) -> Self {
        Self { options, victims: Table::new(VICTIMS) }
    }

    /// Octets that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.victims.bytes(|victim| victim.entity.len() + victim.exhibits.heap_bytes())
    }
}

impl Detector for Amplification {
    fn observe(&mut self, observation: &Observation<'_>) {
        let Some(response_bytes) = observation.response_bytes.filter(|bytes| *bytes >= LARGE)
        else {
            return;
        };
        let asked = match observation.status {
            Status::Answered => true,
            // What only resembles nothing was not asked for; at a server's side one sees half of it.
            // What was left out on purpose was asked for all the same.
            Status::Orphan
                if observation.resembles.is_none()
                    && observation.orphan_reason != Some(OrphanReason::Sampled) =>
            {
                if observation.vantage == Vantage::Server {
                    return;
                }
                false
            }
            _ => return,
        };
        let query_bytes = u64::from(observation.query_bytes.unwrap_or(0));
        // Over TCP nobody's address is forged.
        let by_udp = observation.transport == crate::capture::Transport::Udp;
        let little =
            asked && float(response_bytes) < self.options.factor / 2.0 * float(query_bytes);
        if little || !by_udp || is_other_end(observation) || is_multicast(observation) {
            return;
        }
        let address = observation.client.ip();
        let key = both(hash_of_address(network(address)), u64::from(asked));
        let ts = observation.response_ts.unwrap_or(observation.ts);
        let victim = self.victims.entry(key, ts, || Victim {
            entity: address.to_string().into(),
            address,
            asked,
            halves: Halves::default(),
            exhibits: Exhibits::default(),
        });
        victim.take(observation, ts, query_bytes, response_bytes);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        for victim in self.victims.values_mut() {
            victim.halves.roll(now, SPAN);
            if let Some(finding) = victim.finding(&self.options) {
                each(finding);
            }
        }
        self.victims.age(now, SPAN * 20);
    }
}

impl Victim {
    fn take(&mut self, observation: &Observation<'_>, ts: Timestamp, query: u64, response: u64) {
        self.halves.roll(ts, SPAN);
        if observation.client.ip() != self.address && !self.entity.contains('/') {
            self.entity = shown(network(self.address)).into();
        }
        let Halves { now, before, .. } = &mut self.halves;
        now.responses += 1;
        now.query_bytes += query;
        now.response_bytes += response;
        let qtype = u64::from(observation.qtype.unwrap_or(0));
        let question = both(hash(observation.qname.unwrap_or_default().as_bytes()), qtype);
        if !now.seen.has(question) && !before.seen.has(question) {
            now.seen.insert(question);
            now.questions += 1;
        }
        self.exhibits.take(observation);
    }

    fn finding(&self, options: &AmplificationOptions) -> Option<Finding> {
        let sum = |of: fn(&Counts) -> u64| of(&self.halves.now) + of(&self.halves.before);
        let responses = sum(|counts| counts.responses);
        let (asked, given) =
            (sum(|counts| counts.query_bytes), sum(|counts| counts.response_bytes));
        let factor = share(given, asked);
        let repeats = share(responses, sum(|counts| counts.questions));
        let (threshold, critical) = if self.asked {
            if factor < options.factor || repeats < options.repeats {
                return None;
            }
            (options.responses, options.responses_critical)
        } else {
            (options.unasked, options.unasked_critical)
        };
        if responses < threshold {
            return None;
        }
        let level = if responses >= critical { Level::Critical } else { Level::Warning };
        let each = share(given, responses);
        let whom = &self.entity;
        let summary = if self.asked {
            format!(
                "{whom} draws large responses by small queries: {responses} of {each:.0} octets within a \
                 minute, {factor:.0} times the queries, each question {repeats:.0} times; probably its \
                 address is forged and it is the victim"
            )
        } else {
            format!(
                "{whom} gets large responses that it did not ask for: {responses} of {each:.0} octets \
                 within a minute"
            )
        };
        let mut figures = vec![
            figure("large_responses", float(responses), Some(float(threshold))),
            figure("response_bytes", float(given), None),
        ];
        if self.asked {
            figures.push(figure("amplification_factor", factor, Some(options.factor)));
            figures.push(figure("repeats_per_question", repeats, Some(options.repeats)));
        }
        Some(Finding {
            rule: Rule::Amplification,
            entity: Entity { client: Some(self.entity.clone()), ..Entity::default() },
            level,
            summary,
            evidence: self.exhibits.evidence(figures),
        })
    }
}

/// The network that an address is probably in.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
        }
    }
}

fn shown(network: IpAddr) -> String {
    let length = if network.is_ipv4() { 24 } else { 48 };
    format!("{network}/{length}")
}

#[cfg(test)]
mod tests;
