//! What policies say about a connection: each on its own, and all that select a workload together.

use super::{Destination, Workload, WorkloadName, cluster_name};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A policy, as far as it concerns where connections may lead.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `NAMESPACE/NAME`, or the name.
    pub name: String,
    /// Its namespace, if it has one.
    pub(super) namespace: Option<String>,
    /// Labels of the pods that it selects; all pods if empty.
    pub(super) selector: BTreeMap<String, String>,
    pub(super) tier: Tier,
    /// Whether it says anything about egress.
    pub(super) is_on_egress: bool,
    /// Whether pods that it selects reach only what a rule allows.
    pub(super) isolates: bool,
    /// In the tier of namespaces a rule that denies is stronger than all others, elsewhere the first one that matches.
    pub(super) rules: Vec<Rule>,
}

/// When a policy is evaluated, the earliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// Before all policies of namespaces, with its priority: the lowest number first.
    Admin(u64),
    /// Policies of a namespace.
    Namespace,
    /// For pods that no policy of their namespace isolates, with its priority.
    Baseline(u64),
}

/// What a rule does with connections that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    Deny,
    /// Leaves it to the next tier.
    Pass,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) action: Action,
    pub(super) peers: Vec<Peer>,
    /// All if absent.
    pub(super) ports: Option<Vec<Ports>>,
}

/// A range of ports.
#[derive(Clone, Debug)]
pub(super) struct Ports {
    /// `ANY` for all.
    pub(super) protocol: String,
    pub(super) first: u16,
    pub(super) last: u16,
}

/// Where connections lead. `is_outside`: only outside of the cluster.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A name, or a pattern.
    Name {
        pattern: String,
        is_outside: bool,
    },
    /// Any pod of a namespace, or of a service there; of all if absent.
    Cluster {
        namespace: Option<String>,
        service: Option<String>,
    },
    Prefix {
        prefix: IpNet,
        is_outside: bool,
    },
    /// Anything.
    All,
}

impl Policy {
    /// Returns whether it selects a workload's pods, to restrict where they connect to. Labels that no record names do
    /// not exclude them.
    #[must_use]
    pub fn selects(&self, name: &WorkloadName, workload: &Workload) -> bool {
        self.is_on_egress
            && self.namespace.as_ref().is_none_or(|own| *own == name.namespace)
            && self
                .selector
                .iter()
                .all(|(label, value)| workload.labels.get(label).is_none_or(|other| other == value))
    }

    /// Returns the action of the first rule that matches.
    fn first_action(&self, name: Option<&str>, destination: &Destination) -> Option<Action> {
        let mut rules = self.rules.iter();
        rules.find(|rule| rule.matches(name, destination)).map(|rule| rule.action)
    }

    fn has(&self, action: Action, name: Option<&str>, destination: &Destination) -> bool {
        self.rules.iter().any(|rule| rule.action == action && rule.matches(name, destination))
    }
}

/// Returns whether policies that select a workload allow it a connection, by whatever name of a destination, and by another one
/// if it is ambiguous; none if that depends on the name, or on which of two policies of one priority comes first.
pub(super) fn allows(policies: &[&Policy], destination: &Destination) -> Option<bool> {
    let verdict = |name: Option<&str>| allows_name(policies, name, destination);
    let is_other = destination.is_ambiguous || destination.names.is_empty();
    let other = is_other.then_some(None);
    let mut verdicts = destination.names.iter().map(|name| Some(&**name)).chain(other).map(verdict);
    let first = verdicts.next()?;
    first.filter(|_| verdicts.all(|other| other == first))
}

/// Returns whether policies that select a workload allow it a connection by a name, or by one that no policy knows.
pub(super) fn allows_name(
    policies: &[&Policy],
    name: Option<&str>,
    destination: &Destination,
) -> Option<bool> {
    let is_admin = |policy: &Policy| policy.tier < Tier::Namespace;
    let is_baseline = |policy: &Policy| policy.tier > Tier::Namespace;
    match decide(policies, is_admin, name, destination) {
        Decision::Undecided => return None,
        Decision::Made(is_allowed) => return Some(is_allowed),
        Decision::None => {}
    }
    let of_namespace: Vec<&Policy> =
        policies.iter().copied().filter(|policy| policy.tier == Tier::Namespace).collect();
    let has = |action| of_namespace.iter().any(|policy| policy.has(action, name, destination));
    if has(Action::Deny) {
        return Some(false);
    }
    if has(Action::Accept) {
        return Some(true);
    }
    if of_namespace.iter().any(|policy| policy.isolates) {
        return Some(false);
    }
    match decide(policies, is_baseline, name, destination) {
        Decision::Undecided => None,
        Decision::Made(is_allowed) => Some(is_allowed),
        Decision::None => Some(true),
    }
}

/// What the policies of a tier of the cluster say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Made(bool),
    /// Policies of one priority disagree.
    Undecided,
    None,
}

/// Evaluates the policies of a tier of the cluster: those of the lowest priority number that have a rule for the connection.
fn decide(
    policies: &[&Policy],
    is_of_tier: fn(&Policy) -> bool,
    name: Option<&str>,
    destination: &Destination,
) -> Decision {
    let of_tier = policies.iter().filter(|policy| is_of_tier(policy));
    let actions: Vec<(Tier, Action)> = of_tier
        .filter_map(|policy| Some((policy.tier, policy.first_action(name, destination)?)))
        .collect();
    let Some(&(first, action)) = actions.iter().min_by_key(|(tier, _)| *tier) else {
        return Decision::None;
    };
    if actions.iter().any(|(tier, other)| *tier == first && *other != action) {
        return Decision::Undecided;
    }
    match action {
        Action::Accept => Decision::Made(true),
        Action::Deny => Decision::Made(false),
        Action::Pass => Decision::None,
    }
}

impl Rule {
    fn matches(&self, name: Option<&str>, destination: &Destination) -> bool {
        let Destination { address, port, protocol, .. } = destination;
        let is_on_port = self.ports.as_ref().is_none_or(|ports| {
            ports.iter().any(|one| {
                (one.protocol == "ANY" || one.protocol == *protocol)
                    && (one.first..=one.last).contains(port)
            })
        });
        is_on_port && self.peers.iter().any(|peer| peer.matches(name, *address))
    }
}

impl Peer {
    fn matches(&self, name: Option<&str>, address: IpAddr) -> bool {
        let inside = name.and_then(cluster_name);
        match self {
            Self::All => true,
            Self::Prefix { is_outside: true, .. } | Self::Name { is_outside: true, .. }
                if inside.is_some() =>
            {
                false
            }
            Self::Prefix { prefix, .. } => prefix.contains(&address),
            Self::Name { pattern, .. } => name.is_some_and(|name| is_like(pattern, name)),
            Self::Cluster { namespace, service: wanted } => {
                inside.is_some_and(|(space, service)| {
                    namespace.as_ref().is_none_or(|one| one == space)
                        && wanted.as_ref().is_none_or(|one| service == Some(one))
                })
            }
        }
    }
}

/// Returns whether a name is like a pattern: `*` is any part of a label, `**.` at the beginning any labels, and a single `*`
/// anything.
fn is_like(pattern: &str, name: &str) -> bool {
    let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
    if pattern == "*" {
        return true;
    }
    if let Some(end) = pattern.strip_prefix("**.") {
        return name.strip_suffix(end).is_some_and(|front| front.len() > 1 && front.ends_with('.'));
    }
    let (mut labels, mut patterns) = (name.split('.'), pattern.split('.'));
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return true,
            (Some(pattern), Some(label)) if is_label_like(pattern, label) => {}
            _ => return false,
        }
    }
}

fn is_label_like(pattern: &str, label: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut left) = label.strip_prefix(front) else { return false };
    if !rest.contains('*') {
        return left.ends_with(rest);
    }
    loop {
        if is_label_like(rest, left) {
            return true;
        }
        let mut letters = left.chars();
        if letters.next().is_none() {
            return false;
        }
        left = letters.as_str();
    }
}
