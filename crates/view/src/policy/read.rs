//! Reads policies, as far as they concern where connections may lead. What cannot be evaluated is refused, since a
//! verdict without it would be wrong.

use super::METADATA_NAME;
use super::matching::{Action, Peer, Policy, Ports, Rule, Tier};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Label of an endpoint with its namespace, without the source of the label.
const CILIUM_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// Protocols of rules for ports, also those that no connection has.
const PROTOCOLS: [&str; 8] = ["ANY", "TCP", "UDP", "SCTP", "ICMP", "ICMPV6", "VRRP", "IGMP"];

/// Everything outside of the cluster, by address family.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Why a document is no policy that can be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Its kind is unknown.
    #[error("kind {0:?} is not CiliumNetworkPolicy, ClusterNetworkPolicy or NetworkPolicy")]
    Kind(String),
    /// It selects pods or peers in a way that is not evaluated.
    #[error("{0} is not evaluated")]
    Unsupported(String),
    /// It lacks what it must have.
    #[error("{0} has no {1}")]
    Missing(String, &'static str),
    /// An address prefix cannot be read.
    #[error("{0:?} is no address prefix")]
    Prefix(String),
}

type Result<T> = std::result::Result<T, PolicyError>;

impl Policy {
    /// Reads a document: a policy, or several with `specs`.
    ///
    /// # Errors
    /// It is another kind of object, or has what cannot be evaluated.
    pub fn read(document: &Value) -> Result<Vec<Self>> {
        let kind = text(&document["kind"]);
        let metadata = &document["metadata"];
        let namespace = Some(text(&metadata["namespace"])).filter(|name| !name.is_empty());
        let name = text(&metadata["name"]);
        let name = namespace.as_ref().map_or(name.clone(), |space| format!("{space}/{name}"));
        let reader = Reader { name, namespace };
        // Without one it would be applied to the namespace of whoever applies it.
        if reader.namespace.is_none() && matches!(&*kind, "CiliumNetworkPolicy" | "NetworkPolicy") {
            return Err(reader.missing("metadata.namespace"));
        }
        let spec = || present(document, "spec").ok_or_else(|| reader.missing("spec"));
        match &*kind {
            "CiliumNetworkPolicy" => {
                reader.known(
                    document,
                    &["apiVersion", "kind", "metadata", "spec", "specs", "status"],
                )?;
                let specs = reader.list(document, "specs")?;
                let own = if specs.is_empty() { Some(spec()?) } else { present(document, "spec") };
                own.into_iter().chain(specs).map(|spec| reader.cilium(spec)).collect()
            }
            "NetworkPolicy" => Ok(vec![reader.kubernetes(spec()?)?]),
            "ClusterNetworkPolicy" => Ok(vec![reader.cluster(spec()?)?]),
            _ => Err(PolicyError::Kind(kind)),
        }
    }
}

/// Reads what is below a document.
struct Reader {
    /// `NAMESPACE/NAME`, or the name.
    name: String,
    namespace: Option<String>,
}

impl Reader {
    fn unsupported(&self, what: &str) -> PolicyError {
        PolicyError::Unsupported(format!("{what} of {}", self.name))
    }

    fn missing(&self, what: &'static str) -> PolicyError {
        PolicyError::Missing(self.name.clone(), what)
    }

    /// Returns the keys of an object, and their values; none if it is absent.
    fn fields<'a>(
        &self,
        object: &'a Value,
    ) -> Result<impl Iterator<Item = (&'a String, &'a Value)> + use<'a>> {
        if !object.is_object() && !object.is_null() {
            return Err(self.unsupported(&format!("value {object}")));
        }
        Ok(object.as_object().into_iter().flatten())
    }

    /// Returns the items below a key; none if it is absent.
    fn list<'a>(&self, object: &'a Value, key: &str) -> Result<&'a [Value]> {
        match &object[key] {
            Value::Null => Ok(&[]),
            Value::Array(list) => Ok(list),
            _ => Err(self.unsupported(&format!("{key} that is no list"))),
        }
    }

    /// Returns a scalar as text.
    fn text(&self, value: &Value) -> Result<String> {
        if value.is_object() || value.is_array() {
            return Err(self.unsupported(&format!("value {value}")));
        }
        Ok(text(value))
    }

    /// Refuses keys that it does not know.
    fn known(&self, object: &Value, keys: &[&str]) -> Result<()> {
        let mut all = self.fields(object)?.filter(|(_, value)| !value.is_null());
        match all.find(|(key, _)| !keys.contains(&&***key)) {
            Some((key, _)) => Err(self.unsupported(key)),
            None => Ok(()),
        }
    }

    /// Reads labels that select.
    fn labels(&self, selector: &Value) -> Result<BTreeMap<String, String>> {
        self.known(selector, &["matchLabels"])?;
        let labels = self.fields(&selector["matchLabels"])?;
        labels.map(|(label, value)| Ok((label.clone(), self.text(value)?))).collect()
    }

    /// Reads a selector of namespaces: one of them by its name, or all.
    fn namespace(&self, selector: &Value) -> Result<Option<String>> {
        let mut labels = self.labels(selector)?;
        let name = labels.remove(METADATA_NAME);
        match labels.keys().next() {
            Some(label) => Err(self.unsupported(&format!("label {label} of a namespace"))),
            None => Ok(name),
        }
    }

    /// Reads labels of peers. They count by their namespace, which is too much for a rule that does not accept.
    fn pods(&self, selector: &Value, action: Action) -> Result<()> {
        match self.labels(selector)?.keys().next() {
            Some(label) if action != Action::Accept => {
                Err(self.unsupported(&format!("label {label} of pods that are not accepted")))
            }
            _ => Ok(()),
        }
    }

    fn port(&self, value: &Value) -> Result<u16> {
        let text = text(value);
        // Nor does the API take zero, but for Cilium's.
        let port = text.parse().ok().filter(|port| *port != 0);
        port.ok_or_else(|| self.unsupported(&format!("port {text:?}")))
    }

    /// Reads a port, and the last one of its range.
    fn ports(&self, protocol: &Value, default: &str, first: &Value, last: &Value) -> Result<Ports> {
        let protocol = if protocol.is_null() { default.to_owned() } else { text(protocol) };
        let protocol = protocol.to_ascii_uppercase();
        if !PROTOCOLS.contains(&&*protocol) {
            return Err(self.unsupported(&format!("protocol {protocol:?}")));
        }
        if first.is_null() && last.is_null() {
            return Ok(Ports { protocol, first: 0, last: u16::MAX });
        }
        let first = self.port(first)?;
        // Zero, of Kubernetes never: as if absent.
        let last = if last.is_null() || text(last) == "0" { first } else { self.port(last)? };
        if last < first {
            return Err(self.unsupported(&format!("port range {first} to {last}")));
        }
        Ok(Ports { protocol, first, last })
    }

    fn policy(&self, tier: Tier, selector: BTreeMap<String, String>) -> Policy {
        let Self { name, namespace } = self;
        Policy {
            name: name.clone(),
            namespace: namespace.clone(),
            selector,
            tier,
            is_on_egress: false,
            isolates: false,
            rules: Vec::new(),
        }
    }

    fn cilium(&self, spec: &Value) -> Result<Policy> {
        let of_egress = ["egress", "egressDeny", "enableDefaultDeny", "endpointSelector"];
        let of_others = ["ingress", "ingressDeny", "labels", "description", "log"];
        self.known(spec, &[&of_egress[..], &of_others].concat())?;
        let selector =
            present(spec, "endpointSelector").ok_or_else(|| self.missing("endpointSelector"))?;
        let mut policy = self.policy(Tier::Namespace, BTreeMap::new());
        for (label, value) in self.labels(selector)? {
            let label = plain_label(&label);
            let is_own = label == CILIUM_NAMESPACE && Some(&value) == self.namespace.as_ref();
            let is_others = label == CILIUM_NAMESPACE && !is_own;
            if is_others || label.starts_with("io.cilium.") || label.starts_with("reserved:") {
                return Err(self.unsupported(&format!("label {label} in endpointSelector")));
            }
            if !is_own {
                policy.selector.insert(label, value);
            }
        }
        for (key, action) in [("egress", Action::Accept), ("egressDeny", Action::Deny)] {
            for rule in self.list(spec, key)? {
                policy.rules.push(self.cilium_rule(rule, action)?);
            }
        }
        let default_deny = &spec["enableDefaultDeny"];
        self.known(default_deny, &["ingress", "egress"])?;
        policy.isolates = match &*text(&default_deny["egress"]) {
            "true" => true,
            "false" => false,
            "" => !policy.rules.is_empty(),
            other => return Err(self.unsupported(&format!("enableDefaultDeny {other}"))),
        };
        policy.is_on_egress = policy.isolates || !policy.rules.is_empty();
        Ok(policy)
    }

    fn cilium_rule(&self, rule: &Value, action: Action) -> Result<Rule> {
        let (mut peers, mut has_peers) = (Vec::new(), false);
        for (key, value) in self.fields(rule)? {
            match &**key {
                _ if value.is_null() => continue,
                "toPorts" | "icmps" => continue,
                "authentication" if value["mode"] == "disabled" => continue,
                "toFQDNs" => {
                    for one in self.list(rule, key)? {
                        self.known(one, &["matchName", "matchPattern"])?;
                        let pattern =
                            match (present(one, "matchName"), present(one, "matchPattern")) {
                                (Some(name), None) | (None, Some(name)) => self.text(name)?,
                                _ => return Err(self.unsupported(&format!("{key} {one}"))),
                            };
                        peers.push(Peer::Name { pattern, is_outside: true });
                    }
                }
                "toServices" => {
                    for one in self.list(rule, key)? {
                        self.known(one, &["k8sService"])?;
                        let service = &one["k8sService"];
                        self.known(service, &["namespace", "serviceName"])?;
                        let name = present(service, "serviceName")
                            .ok_or_else(|| self.missing("serviceName"))?;
                        let namespace = present(service, "namespace");
                        let namespace = namespace.map(|space| self.text(space)).transpose()?;
                        peers.push(Peer::Cluster {
                            namespace: namespace.or_else(|| self.namespace.clone()),
                            service: Some(self.text(name)?),
                        });
                    }
                }
                "toCIDR" => {
                    for one in self.list(rule, key)? {
                        peers.push(prefix(one, true)?);
                    }
                }
                "toCIDRSet" => {
                    for one in self.list(rule, key)? {
                        self.known(one, &["cidr"])?;
                        peers.push(prefix(&one["cidr"], true)?);
                    }
                }
                "toEntities" => {
                    for one in self.list(rule, key)? {
                        peers.extend(self.entity(&text(one))?);
                    }
                }
                "toEndpoints" => {
                    for one in self.list(rule, key)? {
                        peers.push(self.endpoints(one, action)?);
                    }
                }
                _ => return Err(self.unsupported(key)),
            }
            has_peers = true;
        }
        let mut ports = Vec::new();
        for entry in self.list(rule, "toPorts")? {
            // Rules on what is said there, and who decrypts it, come after the connection.
            self.known(entry, &["ports", "rules", "terminatingTLS", "originatingTLS"])?;
            let before = ports.len();
            for one in self.list(entry, "ports")? {
                self.known(one, &["port", "protocol", "endPort"])?;
                // Port 0 is any.
                let first = Some(&one["port"]).filter(|port| text(port) != "0");
                let first = first.unwrap_or(&Value::Null);
                ports.push(self.ports(&one["protocol"], "ANY", first, &one["endPort"])?);
            }
            if ports.len() == before {
                return Err(self.unsupported("toPorts without ports"));
            }
        }
        // ICMP is no connection.
        let has_ports = !ports.is_empty() || !self.list(rule, "icmps")?.is_empty();
        if !has_peers && has_ports {
            peers.push(Peer::All);
        }
        Ok(Rule { action, peers, ports: has_ports.then_some(ports) })
    }

    fn entity(&self, name: &str) -> Result<Vec<Peer>> {
        let outside = |prefixes: &[&str]| {
            prefixes.iter().map(|one| prefix(&Value::from(*one), true)).collect()
        };
        match name {
            "all" => Ok(vec![Peer::All]),
            "world" => outside(&EVERYWHERE),
            "world-ipv4" => outside(&EVERYWHERE[..1]),
            "world-ipv6" => outside(&EVERYWHERE[1..]),
            "cluster" => Ok(vec![Peer::Cluster { namespace: None, service: None }]),
            "none" => Ok(Vec::new()),
            _ => Err(self.unsupported(&format!("entity {name}"))),
        }
    }

    /// Reads a selector of endpoints: those of its own namespace, unless it names another.
    fn endpoints(&self, selector: &Value, action: Action) -> Result<Peer> {
        let mut namespace = self.namespace.clone();
        for (label, value) in self.labels(selector)? {
            let label = plain_label(&label);
            if label == CILIUM_NAMESPACE {
                namespace = Some(value);
            } else if action != Action::Accept {
                return Err(self.unsupported(&format!("label {label} in egressDeny")));
            } else if label.starts_with("io.cilium.") || label.starts_with("reserved:") {
                return Err(self.unsupported(&format!("label {label}")));
            }
        }
        Ok(Peer::Cluster { namespace, service: None })
    }

    fn kubernetes(&self, spec: &Value) -> Result<Policy> {
        self.known(spec, &["podSelector", "policyTypes", "ingress", "egress"])?;
        let mut policy = self.policy(Tier::Namespace, self.labels(&spec["podSelector"])?);
        let (types, rules) = (self.list(spec, "policyTypes")?, self.list(spec, "egress")?);
        if let Some(other) = types.iter().find(|one| *one != "Egress" && *one != "Ingress") {
            return Err(self.unsupported(&format!("policyTypes {other}")));
        }
        policy.isolates = if types.is_empty() {
            !rules.is_empty()
        } else {
            types.iter().any(|one| one == "Egress")
        };
        policy.is_on_egress = policy.isolates;
        if policy.isolates {
            let rules = rules.iter().map(|rule| self.kubernetes_rule(rule));
            policy.rules = rules.collect::<Result<_>>()?;
        }
        Ok(policy)
    }

    fn kubernetes_rule(&self, rule: &Value) -> Result<Rule> {
        self.known(rule, &["to", "ports"])?;
        let mut peers = Vec::new();
        for to in self.list(rule, "to")? {
            self.known(to, &["ipBlock", "namespaceSelector", "podSelector"])?;
            if self.fields(to)?.all(|(_, value)| value.is_null()) {
                return Err(self.unsupported("to without a peer"));
            }
            if let Some(block) = present(to, "ipBlock") {
                self.known(block, &["cidr"])?;
                peers.push(prefix(&block["cidr"], false)?);
                continue;
            }
            self.pods(&to["podSelector"], Action::Accept)?;
            let namespace = match present(to, "namespaceSelector") {
                Some(selector) => self.namespace(selector)?,
                None => self.namespace.clone(),
            };
            peers.push(Peer::Cluster { namespace, service: None });
        }
        if peers.is_empty() {
            peers.push(Peer::All);
        }
        let mut ports = Vec::new();
        for one in self.list(rule, "ports")? {
            self.known(one, &["port", "protocol", "endPort"])?;
            ports.push(self.ports(&one["protocol"], "TCP", &one["port"], &one["endPort"])?);
        }
        let ports = Some(ports).filter(|ports| !ports.is_empty());
        Ok(Rule { action: Action::Accept, peers, ports })
    }

    fn cluster(&self, spec: &Value) -> Result<Policy> {
        self.known(spec, &["tier", "priority", "subject", "ingress", "egress"])?;
        let priority = match &*text(&spec["priority"]) {
            "" => 0,
            number => {
                number.parse().map_err(|_| self.unsupported(&format!("priority {number}")))?
            }
        };
        let tier = match &*text(&spec["tier"]) {
            "Admin" | "" => Tier::Admin(priority),
            "Baseline" => Tier::Baseline(priority),
            other => return Err(self.unsupported(&format!("tier {other}"))),
        };
        let subject = &spec["subject"];
        self.known(subject, &["namespaces", "pods"])?;
        let pods = &subject["pods"];
        if pods.is_null() == subject["namespaces"].is_null() {
            return Err(self.unsupported(&format!("subject {subject}")));
        }
        self.known(pods, &["namespaceSelector", "podSelector"])?;
        let spaces =
            if pods.is_null() { &subject["namespaces"] } else { &pods["namespaceSelector"] };
        let selector = self.labels(&pods["podSelector"])?;
        let mut policy =
            Policy { namespace: self.namespace(spaces)?, ..self.policy(tier, selector) };
        for rule in self.list(spec, "egress")? {
            policy.rules.push(self.cluster_rule(rule)?);
        }
        policy.is_on_egress = !policy.rules.is_empty();
        Ok(policy)
    }

    fn cluster_rule(&self, rule: &Value) -> Result<Rule> {
        self.known(rule, &["name", "action", "to", "protocols"])?;
        let action = match &*text(&rule["action"]) {
            "Accept" => Action::Accept,
            "Deny" => Action::Deny,
            "Pass" => Action::Pass,
            other => return Err(self.unsupported(&format!("action {other:?}"))),
        };
        let mut peers = Vec::new();
        for to in self.list(rule, "to")? {
            let before = peers.len();
            self.known(to, &["namespaces", "pods", "networks", "domainNames"])?;
            // Here a single `*` is any number of labels.
            for name in self.list(to, "domainNames")? {
                let name = self.text(name)?;
                let pattern =
                    name.strip_prefix("*.").map_or(name.clone(), |rest| format!("**.{rest}"));
                peers.push(Peer::Name { pattern, is_outside: false });
            }
            for one in self.list(to, "networks")? {
                peers.push(prefix(one, false)?);
            }
            if let Some(spaces) = present(to, "namespaces") {
                peers.push(Peer::Cluster { namespace: self.namespace(spaces)?, service: None });
            }
            if let Some(pods) = present(to, "pods") {
                self.known(pods, &["namespaceSelector", "podSelector"])?;
                self.pods(&pods["podSelector"], action)?;
                let namespace = self.namespace(&pods["namespaceSelector"])?;
                peers.push(Peer::Cluster { namespace, service: None });
            }
            if peers.len() == before {
                return Err(self.unsupported("to without a peer"));
            }
        }
        let mut ports = Vec::new();
        for one in self.list(rule, "protocols")? {
            self.known(one, &["tcp", "udp", "sctp"])?;
            let before = ports.len();
            for (protocol, port) in self.fields(one)?.filter(|(_, port)| !port.is_null()) {
                self.known(port, &["destinationPort"])?;
                let port = &port["destinationPort"];
                self.known(port, &["number", "range"])?;
                let (first, last) = match present(port, "range") {
                    Some(range) => (&range["start"], &range["end"]),
                    None => (&port["number"], &Value::Null),
                };
                ports.push(self.ports(&Value::from(&**protocol), "TCP", first, last)?);
            }
            if ports.len() == before {
                return Err(self.unsupported("protocols without a protocol"));
            }
        }
        if peers.is_empty() {
            return Err(self.missing("to"));
        }
        let ports = Some(ports).filter(|ports| !ports.is_empty());
        Ok(Rule { action, peers, ports })
    }
}

/// Returns a label without the source that Cilium writes before it.
fn plain_label(label: &str) -> String {
    let plain = ["k8s:", "any:"].into_iter().find_map(|source| label.strip_prefix(source));
    plain.unwrap_or(label).to_owned()
}

/// Returns a scalar as text: documents of YAML have all scalars so.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(
        || if value.is_null() { String::new() } else { value.to_string() },
        str::to_owned,
    )
}

/// Returns the value of a key, unless it is null: that is absent.
fn present<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn prefix(value: &Value, is_outside: bool) -> Result<Peer> {
    let text = text(value);
    let whole = text.parse::<IpAddr>().map(IpNet::from).ok();
    let prefix = text.parse().ok().or(whole).ok_or(PolicyError::Prefix(text))?;
    Ok(Peer::Prefix { prefix, is_outside })
}
