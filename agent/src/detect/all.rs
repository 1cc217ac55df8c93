//! The detectors beside those of the engine's own.

use super::amplification::Amplification;
use super::bypass::{Bypass, BypassOptions};
use super::cache_poisoning::CachePoisoning;
use super::dga::Dga;
use super::drift::Drift;
use super::finding::{Detector, Rule};
use super::options::DetectOptions;
use super::spoofing::Spoofing;
use super::tunnel::Tunnel;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Resolvers that are meant to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meant {
    /// Those that the operator has named.
    pub configured: BTreeSet<IpAddr>,
    /// Those of this host's own configuration.
    pub system: BTreeSet<IpAddr>,
}

/// A detector, made where any of its rules is looked for.
type Make<'a> = (&'static [Rule], &'a dyn Fn() -> Box<dyn Detector>);

/// Every detector of which a rule is looked for.
#[must_use]
pub fn all(options: &DetectOptions, meant: &Meant) -> Vec<Box<dyn Detector>> {
    let bypass = || -> Box<dyn Detector> {
        let Meant { configured, system } = meant.clone();
        Box::new(Bypass::new(BypassOptions { configured, system, ..BypassOptions::default() }))
    };
    let makes: [Make<'_>; 7] = [
        (&[Rule::Tunnel], &|| Box::new(Tunnel::default())),
        (&[Rule::Dga], &|| Box::new(Dga::default())),
        (&[Rule::Spoofing], &|| Box::new(Spoofing::default())),
        (&[Rule::CachePoisoning], &|| Box::new(CachePoisoning::default())),
        (&[Rule::Amplification], &|| Box::new(Amplification::default())),
        (&[Rule::ResolverDrift], &|| Box::new(Drift::default())),
        (&[Rule::ResolverBypass, Rule::EncryptedBypass], &bypass),
    ];
    let wanted = |rules: &[Rule]| rules.iter().any(|rule| options.rule(*rule).enabled);
    makes.iter().filter(|(rules, _)| wanted(rules)).map(|(_, make)| make()).collect()
}
