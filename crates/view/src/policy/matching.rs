//! Reads policies, as far as they concern where connections may lead.

use super::{Destination, METADATA_NAME, Workload, WorkloadName, service_of};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A policy on egress.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `NAMESPACE/NAME`, or the name.
    pub name: String,
    /// Its namespace, if it has one.
    namespace: Option<String>,
    /// Labels of the pods that it selects; all pods if empty.
    selector: BTreeMap<String, String>,
    rules: Vec<Rule>,
}

/// Why a document is no policy that can be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Its kind is unknown.
    #[error("kind {0:?} is not CiliumNetworkPolicy, ClusterNetworkPolicy or NetworkPolicy")]
    Kind(String),
    /// It selects pods or peers in a way that is not evaluated.
    #[error("{0} is not evaluated")]
    Unsupported(String),
    /// An address prefix cannot be read.
    #[error("{0:?} is no address prefix")]
    Prefix(String),
}

#[derive(Clone, Debug)]
struct Rule {
    peers: Vec<Peer>,
    /// Protocol (`ANY` for all) with the first and the last port; all if empty.
    ports: Vec<(String, u16, u16)>,
    accepts: bool,
}

#[derive(Clone, Debug)]
enum Peer {
    /// A name, or a pattern.
    Name(String),
    /// Any pod of a namespace, or of a service there.
    Cluster {
        namespace: String,
        service: Option<String>,
    },
    Prefix(IpNet),
    /// Anything.
    All,
}

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// It is another kind of object, or has what cannot be evaluated.
    pub fn read(document: &Value) -> Result<Self, PolicyError> {
        let kind = text(&document["kind"]);
        let (spec, metadata) = (&document["spec"], &document["metadata"]);
        let mut namespace = Some(text(&metadata["namespace"])).filter(|name| !name.is_empty());
        let name = text(&metadata["name"]);
        let name = namespace.as_ref().map_or(name.clone(), |space| format!("{space}/{name}"));
        let (selector, read): (&Value, ReadRule) = match &*kind {
            "CiliumNetworkPolicy" => (&spec["endpointSelector"], cilium_rule),
            "NetworkPolicy" => (&spec["podSelector"], kubernetes_rule),
            "ClusterNetworkPolicy" => {
                let pods = &spec["subject"]["pods"];
                namespace = pods["namespaceSelector"]["matchLabels"][METADATA_NAME]
                    .as_str()
                    .map(str::to_owned);
                (&pods["podSelector"], cluster_rule)
            }
            _ => return Err(PolicyError::Kind(kind)),
        };
        if selector.get("matchExpressions").is_some() {
            return Err(PolicyError::Unsupported(format!("matchExpressions of {name}")));
        }
        let rules = list(&spec["egress"]).map(read).collect::<Result<_, _>>()?;
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let selector = labels.map(|(label, value)| (label.clone(), text(value))).collect();
        Ok(Self { name, namespace, selector, rules })
    }

    /// Returns whether it selects a workload's pods. Labels that no record names do not exclude them.
    #[must_use]
    pub fn selects(&self, (namespace, _): &WorkloadName, workload: &Workload) -> bool {
        self.namespace.as_ref().is_none_or(|own| own == namespace)
            && self
                .selector
                .iter()
                .all(|(label, value)| workload.labels.get(label).is_none_or(|other| other == value))
    }

    /// Returns whether it allows connections to a destination; none if that depends on which name was used.
    #[must_use]
    pub fn allows(&self, destination: &Destination) -> Option<bool> {
        let verdict = |name: Option<&str>| {
            let first = self.rules.iter().find(|rule| rule.matches(name, destination));
            first.is_some_and(|rule| rule.accepts)
        };
        let mut names = destination.names.iter().map(|name| verdict(Some(name)));
        let Some(first) = names.next() else { return Some(verdict(None)) };
        names.all(|other| other == first).then_some(first)
    }
}

/// Reads a rule of a kind of policy.
type ReadRule = fn(&Value) -> Result<Rule, PolicyError>;

impl Rule {
    fn matches(&self, name: Option<&str>, destination: &Destination) -> bool {
        let Destination { address, port, protocol, .. } = destination;
        let on_port = self.ports.iter().any(|(other, first, last)| {
            (other == "ANY" || other == protocol) && (*first..=*last).contains(port)
        });
        (self.ports.is_empty() || on_port)
            && self.peers.iter().any(|peer| peer.matches(name, *address))
    }
}

impl Peer {
    fn matches(&self, name: Option<&str>, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => prefix.contains(&address),
            Self::Name(pattern) => name.is_some_and(|name| is_like(pattern, name)),
            Self::Cluster { namespace, service } => {
                name.and_then(service_of).is_some_and(|(other, space)| {
                    space == namespace && service.as_ref().is_none_or(|one| one == other)
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

fn text(value: &Value) -> String {
    value.as_str().map_or_else(
        || if value.is_null() { String::new() } else { value.to_string() },
        str::to_owned,
    )
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn prefix(value: &Value) -> Result<Peer, PolicyError> {
    let text = text(value);
    let whole = text.parse::<IpAddr>().map(IpNet::from).ok();
    let prefix = text.parse().ok().or(whole);
    prefix.map(Peer::Prefix).ok_or(PolicyError::Prefix(text))
}

fn number(value: &Value, otherwise: u16) -> u16 {
    text(value).parse().unwrap_or(otherwise)
}

fn cilium_rule(rule: &Value) -> Result<Rule, PolicyError> {
    let mut peers = Vec::new();
    for (key, value) in rule.as_object().into_iter().flatten() {
        match &**key {
            "toFQDNs" => {
                peers.extend(list(value).map(|one| {
                    Peer::Name(text(one.get("matchName").unwrap_or(&one["matchPattern"])))
                }));
            }
            "toServices" => peers.extend(list(value).map(|one| Peer::Cluster {
                namespace: text(&one["k8sService"]["namespace"]),
                service: Some(text(&one["k8sService"]["serviceName"])),
            })),
            "toCIDR" => {
                for one in list(value) {
                    peers.push(prefix(one)?);
                }
            }
            "toCIDRSet" => {
                for one in list(value) {
                    if one.get("except").is_some() {
                        return Err(PolicyError::Unsupported("except of toCIDRSet".to_owned()));
                    }
                    peers.push(prefix(&one["cidr"])?);
                }
            }
            "toEntities" if list(value).any(|one| one == "world" || one == "all") => {
                peers.push(Peer::All);
            }
            // By labels of pods, which no use has: their services are named where they have a name.
            "toEndpoints" => peers.extend(list(value).filter_map(|one| {
                let labels = &one["matchLabels"];
                let namespace = labels.get("k8s:io.kubernetes.pod.namespace")?;
                Some(Peer::Cluster { namespace: text(namespace), service: None })
            })),
            _ => {}
        }
    }
    let all = list(&rule["toPorts"]).flat_map(|one| list(&one["ports"]));
    let ports = all.map(|one| {
        let first = number(&one["port"], 0);
        let protocol = one.get("protocol").map_or_else(|| "ANY".to_owned(), text);
        (protocol, first, number(&one["endPort"], first))
    });
    Ok(Rule { peers, ports: ports.collect(), accepts: true })
}

fn kubernetes_rule(rule: &Value) -> Result<Rule, PolicyError> {
    let mut peers = Vec::new();
    for to in list(&rule["to"]) {
        if let Some(block) = to.get("ipBlock") {
            if block.get("except").is_some() {
                return Err(PolicyError::Unsupported("except of ipBlock".to_owned()));
            }
            peers.push(prefix(&block["cidr"])?);
        } else if let Some(namespace) = to["namespaceSelector"]["matchLabels"].get(METADATA_NAME) {
            peers.push(Peer::Cluster { namespace: text(namespace), service: None });
        }
    }
    if rule.get("to").is_none() {
        peers.push(Peer::All);
    }
    let ports = list(&rule["ports"]).map(|one| {
        let first = number(&one["port"], 0);
        let protocol = one.get("protocol").map_or_else(|| "TCP".to_owned(), text);
        (protocol, first, number(&one["endPort"], first))
    });
    Ok(Rule { peers, ports: ports.collect(), accepts: true })
}

fn cluster_rule(rule: &Value) -> Result<Rule, PolicyError> {
    let mut peers = Vec::new();
    for to in list(&rule["to"]) {
        // Here a single `*` is any number of labels.
        peers.extend(list(&to["domainNames"]).map(|name| {
            let name = text(name);
            Peer::Name(name.strip_prefix("*.").map_or(name.clone(), |rest| format!("**.{rest}")))
        }));
        for one in list(&to["networks"]) {
            peers.push(prefix(one)?);
        }
        let spaces = [&to["namespaces"], &to["pods"]["namespaceSelector"]];
        peers.extend(spaces.into_iter().filter_map(|space| {
            let namespace = text(space["matchLabels"].get(METADATA_NAME)?);
            Some(Peer::Cluster { namespace, service: None })
        }));
    }
    let protocols = list(&rule["protocols"]).filter_map(Value::as_object).flatten();
    let ports = protocols.map(|(protocol, port)| {
        let port = &port["destinationPort"];
        let (first, last) = match port.get("range") {
            Some(range) => (number(&range["start"], 0), number(&range["end"], 0)),
            None => (number(&port["number"], 0), number(&port["number"], 0)),
        };
        (protocol.to_ascii_uppercase(), first, last)
    });
    let accepts = text(&rule["action"]) == "Accept";
    Ok(Rule { peers, ports: ports.collect(), accepts })
}
