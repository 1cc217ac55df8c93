//! Policies that allow what was used.

use super::matching::{allows, allows_name};
use super::{
    Destination, METADATA_NAME, Policy, Uses, Workload, WorkloadName, cluster_name, yaml_text,
};
use crate::top::clean;
use dnscribe_record::named_enum;
use dnscribe_sketch::hash_of;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

named_enum! {
    /// Kind of policy.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum PolicyFormat {
        /// `CiliumNetworkPolicy` of `cilium.io/v2`, with `toFQDNs`.
        #[default]
        Cilium = "cilium",
        /// `ClusterNetworkPolicy` of `policy.networking.k8s.io`, with `domainNames`.
        Cluster = "cluster",
        /// `NetworkPolicy`, which knows no names: their addresses of today.
        Kubernetes = "kubernetes",
    }
}

/// Most names in a peer of a `ClusterNetworkPolicy`, most peers and ports in a rule, and most rules.
const MAX_CLUSTER: usize = 25;

/// Most ports in an entry of `toPorts`.
const MAX_CILIUM_PORTS: usize = 40;

/// Priority of the first `ClusterNetworkPolicy` of a workload: in the middle of what is allowed.
const PRIORITY: usize = 500;

/// Longest name of a policy without a hash and its end, `-egress`: the API takes 253 bytes.
const MAX_NAME: usize = 237;

/// A port with its protocol.
type Port<'a> = (&'a str, u16);

/// The ports of DNS.
const DNS: [Port<'static>; 2] = [("UDP", 53), ("TCP", 53)];

/// The records do not say by which labels a workload's pods are selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no label of the pods of {namespace}/{workload} is in the records")]
pub struct NoSelector {
    /// The namespace.
    pub namespace: String,
    /// The workload.
    pub workload: String,
}

/// What a policy allows, sorted.
#[derive(Default)]
struct Allowed<'a> {
    /// Names outside of the cluster, by the ports that they were used at.
    names: BTreeMap<BTreeSet<Port<'a>>, BTreeSet<&'a str>>,
    /// Addresses of these names.
    addresses: BTreeMap<&'a str, BTreeSet<IpAddr>>,
    /// Services: namespace and name.
    services: BTreeSet<(&'a str, &'a str)>,
    /// What was not reached by a certain name that a policy may have.
    left_out: Vec<(&'a Destination, u64)>,
}

/// What a policy is for.
struct Subject<'a> {
    workload: &'a WorkloadName,
    /// Whether there is a workload of another kind with its name.
    has_namesake: bool,
    labels: &'a BTreeMap<String, String>,
}

/// Policies that allow what was used.
#[derive(Clone, Debug, Default)]
pub struct Suggestion {
    /// Documents of YAML.
    pub text: String,
    /// What their comments warn of that is more than connections.
    pub warnings: Vec<String>,
}

/// Returns the policies of all workloads. `selector` replaces the labels of the pods.
///
/// # Errors
/// The labels of a workload's pods are not known.
pub fn suggest(
    uses: &Uses,
    format: PolicyFormat,
    selector: Option<&BTreeMap<String, String>>,
) -> Result<Suggestion, NoSelector> {
    let mut suggestion = Suggestion::default();
    let out = &mut suggestion.text;
    for (owner, workload) in &uses.workloads {
        let labels = selector.unwrap_or(&workload.labels);
        if labels.is_empty() {
            let (namespace, workload) = (owner.namespace.clone(), owner.name.clone());
            return Err(NoSelector { namespace, workload });
        }
        let mut namesakes = uses.neighbours(owner).filter(|(other, _)| other.name == owner.name);
        let has_namesake = namesakes.next().is_some();
        let subject = Subject { workload: owner, has_namesake, labels };
        let allowed = Allowed::of(workload, format);
        let policies = match format {
            PolicyFormat::Cilium => vec![cilium(&subject, &allowed)],
            PolicyFormat::Cluster => cluster(&subject, &allowed),
            PolicyFormat::Kubernetes => vec![kubernetes(&subject, &allowed)],
        };
        out.push_str("---\n");
        if let Some(warning) = subject.also_selected(uses) {
            comment(out, &warning);
            suggestion.warnings.push(warning);
        }
        comments(out, format, &allowed, &policies);
        let texts: Vec<String> = policies.iter().map(yaml_text::document).collect();
        out.push_str(&texts.join("---\n"));
    }
    Ok(suggestion)
}

impl Subject<'_> {
    /// Returns which other workloads the labels select, too, if any.
    fn also_selected(&self, uses: &Uses) -> Option<String> {
        let has = |one: &Workload, (label, value): (&String, &String)| {
            one.values.get(label).is_some_and(|values| values.contains(value))
        };
        let others: Vec<String> = uses
            .neighbours(self.workload)
            .filter(|(_, one)| self.labels.iter().all(|pair| has(one, pair)))
            .map(|(name, _)| format!("{name} ({})", name.kind))
            .collect();
        if others.is_empty() {
            return None;
        }
        let (own, others) = (self.workload, others.join(", "));
        Some(format!("the selector of {own} ({}) also selects pods of {others}", own.kind))
    }

    /// Returns the name of a policy: that of a subdomain (RFC 1123), which no other workload's has. In a name for the whole
    /// cluster a dot ends the namespace, which has none itself. A hash tells apart what would be equal otherwise.
    fn policy_name(&self, is_of_cluster: bool, part: usize) -> String {
        let WorkloadName { namespace, name, kind } = self.workload;
        let mut whole = if is_of_cluster { format!("{namespace}.{name}") } else { name.clone() };
        if part > 1 {
            whole = format!("{whole}-{part}");
        }
        let is_safe = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '.');
        let safe = whole.chars().map(|one| if is_safe(one) { one } else { '-' }).take(MAX_NAME);
        let mut safe = safe.collect::<String>().to_ascii_lowercase();
        if part > 1 || self.has_namesake || safe != whole {
            let of = format!("{namespace}/{kind}/{name}/{part}");
            let hash = hash_of(of.as_bytes()) >> 32;
            safe = format!("{}-{hash:08x}", safe.trim_end_matches(['-', '.']));
        }
        format!("{safe}-egress")
    }
}

/// Returns whether a policy may have a name: DNS allows every byte, and one name that the API refuses spoils the policy. No rule
/// has names of pods.
fn is_valid(name: &str, format: PolicyFormat) -> bool {
    if matches!(cluster_name(name), Some((_, None))) {
        return false;
    }
    let is_inner = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_');
    let mut labels = name.split('.');
    match format {
        PolicyFormat::Cilium => {
            labels.all(|label| !label.is_empty() && label.chars().all(is_inner))
        }
        PolicyFormat::Cluster => {
            name.contains('.')
                && labels.all(|label| {
                    label.chars().all(is_inner)
                        && label.starts_with(|one: char| one.is_ascii_alphanumeric())
                        && label.ends_with(|one: char| one.is_ascii_alphanumeric())
                })
        }
        // Names are in comments only.
        PolicyFormat::Kubernetes => true,
    }
}

impl<'a> Allowed<'a> {
    fn of(workload: &'a Workload, format: PolicyFormat) -> Self {
        let mut allowed = Self::default();
        let mut ports: BTreeMap<&str, BTreeSet<Port<'_>>> = BTreeMap::new();
        for (destination, count) in &workload.uses {
            // Port 0 would be all ports in a policy.
            let is_usable = destination.is_answered && destination.port != 0;
            let name = destination.name().filter(|name| is_usable && is_valid(name, format));
            let Some(name) = name else {
                allowed.left_out.push((destination, *count));
                continue;
            };
            if let Some((namespace, Some(service))) = cluster_name(name) {
                allowed.services.insert((namespace, service));
                continue;
            }
            ports.entry(name).or_default().insert((&*destination.protocol, destination.port));
            allowed.addresses.entry(name).or_default().insert(destination.address);
        }
        for (name, ports) in ports {
            allowed.names.entry(ports).or_default().insert(name);
        }
        allowed
    }

    /// Namespaces of the services.
    fn namespaces(&self) -> BTreeSet<&'a str> {
        self.services.iter().map(|(namespace, _)| *namespace).collect()
    }
}

/// Writes a comment. Names may have every character, also one that ends the line.
fn comment(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# {}", clean(text));
}

/// Writes what policies leave out, and what their reader must know.
fn comments(out: &mut String, format: PolicyFormat, allowed: &Allowed<'_>, policies: &[Value]) {
    // What is allowed is judged as by a check of the same policies; nothing is if their selector is one that no check evaluates.
    let policies: Vec<Policy> = policies.iter().flat_map(Policy::read).flatten().collect();
    let policies: Vec<&Policy> = policies.iter().collect();
    let is_allowed = |verdict| !policies.is_empty() && verdict == Some(true);
    let mut perhaps = 0_u64;
    for (destination, count) in &allowed.left_out {
        if is_allowed(allows(&policies, destination)) {
            continue;
        }
        let Destination { names, address, port, protocol, .. } = destination;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let by_name = |name: &&str| is_allowed(allows_name(&policies, Some(*name), destination));
        let by_names: Vec<&str> = names.iter().copied().filter(by_name).collect();
        if !names.is_empty() && by_names.len() == names.len() {
            perhaps = perhaps.saturating_add(*count);
            continue;
        }
        let verdict = if by_names.is_empty() {
            "not allowed".to_owned()
        } else {
            format!("allowed only to {}", by_names.join(" and "))
        };
        let (connections, why) = (connections(*count), why(destination, &names));
        comment(
            out,
            &format!("{verdict}: {connections} to {address} port {port}/{protocol}; {why}"),
        );
    }
    if perhaps > 0 {
        let connections = connections(perhaps);
        comment(
            out,
            &format!(
                "allowed unless answers were missed: {connections} by ambiguous names that are all allowed"
            ),
        );
    }
    if format == PolicyFormat::Kubernetes {
        for (name, addresses) in &allowed.addresses {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let addresses = addresses.join(", ");
            comment(
                out,
                &format!("{name} was {addresses}; a NetworkPolicy does not follow its changes"),
            );
        }
    }
    let extent = match format {
        PolicyFormat::Cilium => "all its ports are allowed",
        _ => "every pod of that namespace is allowed, at all ports",
    };
    for (namespace, service) in &allowed.services {
        comment(out, &format!("service {service} in {namespace}: {extent}"));
    }
}

fn connections(count: u64) -> String {
    format!("{count} {}", if count == 1 { "connection" } else { "connections" })
}

/// Returns why a destination is left out.
fn why(destination: &Destination, names: &[&str]) -> String {
    match names {
        [] if destination.is_ambiguous => "its name is not known".to_owned(),
        [] => "no name was looked up".to_owned(),
        [one] if destination.is_ambiguous => format!("{one}, or another name"),
        [one] if !destination.is_answered => format!("{one}; nobody answered"),
        [one] if destination.port == 0 => format!("{one}; port 0 would be all ports"),
        [one] => format!("{one} is no name that such a policy may have"),
        several => format!("one of {}", several.join(", ")),
    }
}

fn metadata(subject: &Subject<'_>) -> Value {
    json!({ "name": subject.policy_name(false, 1), "namespace": subject.workload.namespace })
}

/// Selects a namespace.
fn of_namespace(name: &str) -> Value {
    json!({ "matchLabels": { METADATA_NAME: name } })
}

/// Selects pods of a namespace by their labels.
fn pods(namespace: &str, labels: &Value) -> Value {
    json!({
        "namespaceSelector": of_namespace(namespace),
        "podSelector": { "matchLabels": labels },
    })
}

/// Selects the name servers of the cluster.
fn name_servers() -> Value {
    pods("kube-system", &json!({ "k8s-app": "kube-dns" }))
}

fn cilium(subject: &Subject<'_>, allowed: &Allowed<'_>) -> Value {
    let mut egress = vec![json!({
        "toEndpoints": [{ "matchLabels": {
            "k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns",
        } }],
        "toPorts": [{
            "ports": [{ "port": "53", "protocol": "ANY" }],
            // The names of a search list are asked for, too; connections are what is restricted.
            "rules": { "dns": [{ "matchPattern": "*" }] },
        }],
    })];
    for (ports, names) in &allowed.names {
        let port =
            |(protocol, port): &Port<'_>| json!({ "port": port.to_string(), "protocol": protocol });
        let ports: Vec<Value> = ports.iter().map(port).collect();
        let ports = ports.chunks(MAX_CILIUM_PORTS).map(|ports| json!({ "ports": ports }));
        egress.push(json!({
            "toFQDNs": names.iter().map(|name| json!({ "matchName": name })).collect::<Vec<_>>(),
            "toPorts": ports.collect::<Vec<_>>(),
        }));
    }
    if !allowed.services.is_empty() {
        let service = |(namespace, name): &(&str, &str)| json!({ "k8sService": { "serviceName": name, "namespace": namespace } });
        egress.push(
            json!({ "toServices": allowed.services.iter().map(service).collect::<Vec<_>>() }),
        );
    }
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": metadata(subject),
        "spec": { "endpointSelector": { "matchLabels": subject.labels }, "egress": egress },
    })
}

/// Returns policies with as many rules as the API takes, of which the last one denies everything else.
fn cluster(subject: &Subject<'_>, allowed: &Allowed<'_>) -> Vec<Value> {
    let protocol = |(protocol, port): &Port<'_>| {
        let protocol = protocol.to_ascii_lowercase();
        json!({ protocol: { "destinationPort": { "number": port } } })
    };
    let mut egress = vec![json!({
        "name": "dns",
        "action": "Accept",
        "to": [{ "pods": name_servers() }],
        "protocols": DNS.iter().map(protocol).collect::<Vec<_>>(),
    })];
    for (ports, names) in &allowed.names {
        let names: Vec<_> = names.iter().collect();
        let peers = names.chunks(MAX_CLUSTER).map(|names| json!({ "domainNames": names }));
        let (peers, protocols): (Vec<_>, Vec<_>) =
            (peers.collect(), ports.iter().map(protocol).collect());
        for to in peers.chunks(MAX_CLUSTER) {
            for protocols in protocols.chunks(MAX_CLUSTER) {
                egress.push(json!({ "action": "Accept", "to": to, "protocols": protocols }));
            }
        }
    }
    let spaces: Vec<_> = allowed
        .namespaces()
        .into_iter()
        .map(|space| json!({ "namespaces": of_namespace(space) }))
        .collect();
    for to in spaces.chunks(MAX_CLUSTER) {
        egress.push(json!({ "action": "Accept", "to": to }));
    }
    egress.push(json!({
        "name": "everything-else",
        "action": "Deny",
        "to": [{ "networks": ["0.0.0.0/0", "::/0"] }],
    }));
    let policy = |(number, egress): (usize, &[Value])| {
        json!({
            "apiVersion": "policy.networking.k8s.io/v1beta1",
            "kind": "ClusterNetworkPolicy",
            "metadata": { "name": subject.policy_name(true, number + 1) },
            "spec": {
                "tier": "Admin",
                "priority": PRIORITY + number,
                "subject": { "pods": pods(&subject.workload.namespace, &json!(subject.labels)) },
                "egress": egress,
            },
        })
    };
    egress.chunks(MAX_CLUSTER).enumerate().map(policy).collect()
}

fn kubernetes(subject: &Subject<'_>, allowed: &Allowed<'_>) -> Value {
    let port = |(protocol, port): &Port<'_>| json!({ "protocol": protocol, "port": port });
    let mut egress = vec![json!({
        "to": [name_servers()],
        "ports": DNS.iter().map(port).collect::<Vec<_>>(),
    })];
    for (ports, names) in &allowed.names {
        let all = names.iter().filter_map(|name| allowed.addresses.get(name)).flatten();
        let addresses: BTreeSet<&IpAddr> = all.collect();
        let block = |address: &&IpAddr| json!({ "ipBlock": { "cidr": IpNet::from(**address).to_string() } });
        egress.push(json!({
            "to": addresses.iter().map(block).collect::<Vec<_>>(),
            "ports": ports.iter().map(port).collect::<Vec<_>>(),
        }));
    }
    for namespace in allowed.namespaces() {
        egress.push(json!({ "to": [{ "namespaceSelector": of_namespace(namespace) }] }));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(subject),
        "spec": {
            "podSelector": { "matchLabels": subject.labels },
            "policyTypes": ["Egress"],
            "egress": egress,
        },
    })
}
