//! Policies that allow what was used.

use super::{Destination, METADATA_NAME, Uses, Workload, service_of, yaml_text};
use dnscribe_record::named_enum;
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
    /// Services: name and namespace.
    services: BTreeSet<(&'a str, &'a str)>,
    /// What has no certain name, or none that a policy may have.
    unnamed: Vec<(&'a Destination, u64)>,
}

/// Returns the policies of all workloads as documents of YAML. `selector` replaces the labels of the pods.
///
/// # Errors
/// The labels of a workload's pods are not known.
pub fn suggest(
    uses: &Uses,
    format: PolicyFormat,
    selector: Option<&BTreeMap<String, String>>,
) -> Result<String, NoSelector> {
    let mut out = String::new();
    for ((namespace, name), workload) in &uses.workloads {
        let labels = selector.unwrap_or(&workload.labels);
        if labels.is_empty() {
            let (namespace, workload) = (namespace.clone(), name.clone());
            return Err(NoSelector { namespace, workload });
        }
        let allowed = Allowed::of(workload, format);
        out.push_str("---\n");
        comments(&mut out, format, &allowed);
        let policies = match format {
            PolicyFormat::Cilium => vec![cilium(namespace, name, labels, &allowed)],
            PolicyFormat::Cluster => cluster(namespace, name, labels, &allowed),
            PolicyFormat::Kubernetes => vec![kubernetes(namespace, name, labels, &allowed)],
        };
        let texts: Vec<String> = policies.iter().map(yaml_text::document).collect();
        out.push_str(&texts.join("---\n"));
    }
    Ok(out)
}

/// Returns whether a policy may have a name: DNS allows every byte, and one name that the API refuses spoils the policy.
fn is_valid(name: &str, format: PolicyFormat) -> bool {
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
            let Some(name) = destination.name().filter(|name| is_valid(name, format)) else {
                allowed.unnamed.push((destination, *count));
                continue;
            };
            if let Some(service) = service_of(name) {
                allowed.services.insert(service);
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

    /// Returns by which of its names the policy allows a destination that has no certain one.
    fn by_names(&self, format: PolicyFormat, destination: &'a Destination) -> BTreeSet<&'a str> {
        let Destination { names, address, port, protocol } = destination;
        let port: Port<'_> = (protocol, *port);
        let groups = self.names.iter().filter(|(ports, _)| ports.contains(&port));
        let on_port: BTreeSet<&str> = groups.flat_map(|(_, names)| names).copied().collect();
        let has = |name: &&str| self.addresses.get(*name).is_some_and(|all| all.contains(address));
        let is_by_address = format == PolicyFormat::Kubernetes && on_port.iter().any(has);
        let spaces = self.namespaces();
        let is_allowed = |name: &&str| match (format, service_of(name)) {
            (PolicyFormat::Cilium, Some(service)) => self.services.contains(&service),
            (_, Some((_, namespace))) => spaces.contains(namespace),
            (PolicyFormat::Kubernetes, None) => is_by_address,
            (_, None) => on_port.contains(name),
        };
        names.iter().map(String::as_str).filter(is_allowed).collect()
    }

    /// Namespaces of the services.
    fn namespaces(&self) -> BTreeSet<&'a str> {
        self.services.iter().map(|(_, namespace)| *namespace).collect()
    }
}

/// Writes what the policy leaves out, and what its reader must know.
fn comments(out: &mut String, format: PolicyFormat, allowed: &Allowed<'_>) {
    // Writing to a String cannot fail.
    for (destination, count) in &allowed.unnamed {
        let Destination { names, address, port, protocol } = destination;
        let by_names = allowed.by_names(format, destination);
        if !names.is_empty() && by_names.len() == names.len() {
            continue;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let connections = if *count == 1 { "connection" } else { "connections" };
        let by = match &names[..] {
            [] => "no name was looked up".to_owned(),
            [one] => format!("{one} is no name that such a policy may have"),
            several => format!("one of {}", several.join(", ")),
        };
        let verdict = if by_names.is_empty() {
            "not allowed".to_owned()
        } else {
            format!("allowed only to {}", Vec::from_iter(by_names).join(" and "))
        };
        let _ = writeln!(
            out,
            "# {verdict}: {count} {connections} to {address} port {port}/{protocol}; {by}"
        );
    }
    if format == PolicyFormat::Kubernetes {
        for (name, addresses) in &allowed.addresses {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                out,
                "# {name} was {}; a NetworkPolicy does not follow its changes",
                addresses.join(", ")
            );
        }
    }
    if format != PolicyFormat::Cilium {
        for (service, namespace) in &allowed.services {
            let _ = writeln!(
                out,
                "# service {service} in {namespace}: every pod of that namespace is allowed"
            );
        }
    }
}

fn metadata(namespace: Option<&str>, name: &str) -> Value {
    // Names of policies are those of subdomains (RFC 1123).
    let safe = |one: char| if one.is_ascii_alphanumeric() || one == '-' { one } else { '-' };
    let name: String = name.chars().map(safe).collect::<String>().to_ascii_lowercase();
    match namespace {
        Some(namespace) => json!({ "name": format!("{name}-egress"), "namespace": namespace }),
        None => json!({ "name": format!("{name}-egress") }),
    }
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

fn cilium(
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    allowed: &Allowed<'_>,
) -> Value {
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
        let service = |(name, namespace): &(&str, &str)| json!({ "k8sService": { "serviceName": name, "namespace": namespace } });
        egress.push(
            json!({ "toServices": allowed.services.iter().map(service).collect::<Vec<_>>() }),
        );
    }
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": metadata(Some(namespace), name),
        "spec": { "endpointSelector": { "matchLabels": labels }, "egress": egress },
    })
}

/// Returns policies with as many rules as the API takes, of which the last one denies everything else.
fn cluster(
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    allowed: &Allowed<'_>,
) -> Vec<Value> {
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
        let suffix = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        json!({
            "apiVersion": "policy.networking.k8s.io/v1beta1",
            "kind": "ClusterNetworkPolicy",
            "metadata": metadata(None, &format!("{namespace}-{name}{suffix}")),
            "spec": {
                "tier": "Admin",
                "priority": PRIORITY + number,
                "subject": { "pods": pods(namespace, &json!(labels)) },
                "egress": egress,
            },
        })
    };
    egress.chunks(MAX_CLUSTER).enumerate().map(policy).collect()
}

fn kubernetes(
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    allowed: &Allowed<'_>,
) -> Value {
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
        "metadata": metadata(Some(namespace), name),
        "spec": {
            "podSelector": { "matchLabels": labels },
            "policyTypes": ["Egress"],
            "egress": egress,
        },
    })
}
