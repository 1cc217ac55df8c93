//! Anomaly and threat detection: transactions, connection reports and windows in, [`Alert`]s out.
//!
//! Every ten seconds of capture time each [`Detector`] reports [`Finding`]s. [`Detection`] turns them
//! into alerts with severities, hysteresis and one alert per cause (`docs/detection.md`). Time is an
//! argument and every table is bounded.
//!
//! | rule | file | input | alert |
//! |---|---|---|---|
//! | `resolver_down`, `resolver_flapping` | `resolver_down.rs` | transactions | a resolver stops answering, or does so repeatedly |
//! | `success_ratio` | `success_ratio.rs` | 10 s windows | too few queries of a resolver or pod succeed |
//! | `query_rate`, `latency`, `nxdomain`, `servfail`, `timeout` | `anomaly.rs` | 1 min windows | a value is far from its baseline |
//! | `tunnel` | `tunnel.rs` | transactions | data is carried in names |
//! | `dga` | `dga.rs` | transactions | generated names, random-subdomain attacks |
//! | `spoofing` | `spoofing.rs` | transactions | responses to one query contradict each other |
//! | `cache_poisoning` | `cache_poisoning.rs` | transactions | responses guess ids and ports |
//! | `amplification` | `amplification.rs` | transactions | small queries draw large responses |
//! | `resolver_bypass`, `encrypted_bypass` | `bypass.rs` | transactions, connections | a client uses other resolvers |
//! | `receive_buffer`, `local_loss` | `lost_messages.rs` | transactions | the kernel of this host discards messages |
//! | `conntrack_race` | `conntrack_race.rs` | transactions | the second query of A and AAAA is lost |
//! | `indicator` | `indicator.rs` | transactions | a name or address is on one of the operator's lists |
//! | `stale_address` | `stale_address.rs` | uses, transactions | a process uses an answer long after its end |
//! | `no_lookup` | `no_lookup.rs` | uses, transactions, connections | a process connects to addresses that no lookup gave |
//! | `unused_answers` | `unused_answers.rs` | uses, transactions | a process looks up a name and never connects to it |
//!
//! Shared by the rules: `attribution.rs` (client identity, evidence), `table.rs` (bounded state per
//! entity), `recent.rs` (values and answers of a moment), `rolling.rs` (look-back spans), `resolver_processes.rs`, `group_stats.rs` (window values), `lexical.rs`
//! (name classification); learned values are in the crate `dnscribe_baseline`. From findings to alerts:
//! `engine.rs`, `episode.rs` (one alert's life), `cause.rs` and `samples.rs` (suppression),
//! `maintenance.rs`.

mod alert;
mod amplification;
mod anomaly;
mod attribution;
mod bypass;
mod cache_poisoning;
mod cause;
mod conntrack_race;
mod dga;
mod engine;
mod episode;
mod finding;
mod group_stats;
mod indicator;
mod lexical;
mod lost_messages;
mod maintenance;
mod no_lookup;
mod options;
mod recent;
mod resolver_down;
mod resolver_processes;
mod rolling;
mod samples;
mod spoofing;
mod stale_address;
mod success_ratio;
mod table;
#[cfg(test)]
mod tests;
mod tunnel;
mod unused_answers;

pub use alert::{Alert, AlertCounters, AlertState, EntityCounts};
pub use amplification::Amplification;
pub use bypass::Bypass;
pub use cache_poisoning::CachePoisoning;
pub use conntrack_race::ConntrackRace;
pub use dga::Dga;
pub use engine::Detection;
pub use finding::{Baseline, Detector, Entity, Evidence, Figure, Finding, Rule, Severity};
pub use indicator::Indicators;
pub use lost_messages::LostMessages;
pub use maintenance::{Maintenance, MaintenancePeriod};
pub use no_lookup::NoLookup;
pub use options::{
    AnomalyOptions, DetectOptions, DownOptions, FlappingOptions, NoLookupOptions, RuleOptions,
    SuccessOptions, UnusedAnswersOptions,
};
pub use spoofing::Spoofing;
pub use stale_address::StaleAddress;
pub use tunnel::Tunnel;
pub use unused_answers::UnusedAnswers;

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Resolvers that clients are expected to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedResolvers {
    /// Resolvers named in the agent's configuration.
    pub configured: BTreeSet<IpAddr>,
    /// Resolvers of this host's own configuration (`/etc/resolv.conf`).
    pub system: BTreeSet<IpAddr>,
}

/// What detection knows of the host, beside its traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Resolvers that clients are expected to use.
    pub resolvers: ExpectedResolvers,
    /// Addresses in `/etc/hosts`.
    pub hosts: BTreeSet<IpAddr>,
    /// If connections are captured: the time since when, in nanoseconds of `CLOCK_BOOTTIME`.
    pub connects_since_ns: Option<u64>,
}

/// Creates every detector that has an enabled rule.
#[must_use]
pub fn create_detectors(options: &DetectOptions, facts: &HostFacts) -> Vec<Box<dyn Detector>> {
    let all: [Box<dyn Detector>; 9] = [
        Box::new(Tunnel::default()),
        Box::new(Dga::default()),
        Box::new(Spoofing::default()),
        Box::new(CachePoisoning::default()),
        Box::new(Amplification::default()),
        Box::new(Bypass::new(facts.resolvers.clone())),
        Box::new(LostMessages::default()),
        Box::new(ConntrackRace::default()),
        Box::new(Indicators::default()),
    ];
    let mut all = Vec::from(all);
    if let Some(since_ns) = facts.connects_since_ns {
        all.push(Box::new(StaleAddress::default()));
        all.push(Box::new(NoLookup::new(options, facts, since_ns)));
        all.push(Box::new(UnusedAnswers::new(options, since_ns)));
    }
    all.retain(|detector| is_enabled(&**detector, options));
    all
}

/// Returns whether one of the detector's rules is enabled.
fn is_enabled(detector: &dyn Detector, options: &DetectOptions) -> bool {
    detector.rules().iter().any(|rule| options.rule(*rule).enabled)
}
