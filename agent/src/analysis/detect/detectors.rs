//! Creates the detectors that inspect single transactions and connections.

use super::amplification::Amplification;
use super::bypass::Bypass;
use super::cache_poisoning::CachePoisoning;
use super::dga::Dga;
use super::drift::Drift;
use super::finding::{Detector, Rule};
use super::options::DetectOptions;
use super::spoofing::Spoofing;
use super::tunnel::Tunnel;
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

type NewDetector<'a> = (&'static [Rule], &'a dyn Fn() -> Box<dyn Detector>);

/// Creates every detector that has an enabled rule.
#[must_use]
pub fn create_detectors(
    options: &DetectOptions,
    meant: &ExpectedResolvers,
) -> Vec<Box<dyn Detector>> {
    let constructors: [NewDetector<'_>; 7] = [
        (&[Rule::Tunnel], &|| Box::new(Tunnel::default())),
        (&[Rule::Dga], &|| Box::new(Dga::default())),
        (&[Rule::Spoofing], &|| Box::new(Spoofing::default())),
        (&[Rule::CachePoisoning], &|| Box::new(CachePoisoning::default())),
        (&[Rule::Amplification], &|| Box::new(Amplification::default())),
        (&[Rule::ResolverDrift], &|| Box::new(Drift::default())),
        (&[Rule::ResolverBypass, Rule::EncryptedBypass], &|| Box::new(Bypass::new(meant.clone()))),
    ];
    let is_enabled = |rules: &[Rule]| rules.iter().any(|rule| options.rule(*rule).enabled);
    constructors.iter().filter(|(rules, _)| is_enabled(rules)).map(|(_, new)| new()).collect()
}
