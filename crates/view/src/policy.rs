//! Network policies from the uses of connections: what pods were connected to, by name, as a policy that allows it; and
//! what a policy would have refused.
//!
//! Input: records of `dns.use/1` as JSON, also as `ClickHouse` gives them. Uses of processes outside of Kubernetes belong to no
//! workload, and are counted.

mod check;
mod matching;
mod read;
mod suggest;
mod yaml_text;

pub use check::{Refused, Verdict, check};
pub use matching::Policy;
pub use read::PolicyError;
pub use suggest::{NoSelector, PolicyFormat, suggest};

use crate::Unreadable;
use dnscribe_record::read_object;
use serde::Deserialize;
use serde_with::{DisplayFromStr, PickFirst, serde_as};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Schema of the records.
const SCHEMA: &str = "dns.use/1";

/// Label of a namespace with its name.
const METADATA_NAME: &str = "kubernetes.io/metadata.name";

/// Labels that differ between the pods of a workload, or between its versions.
const VOLATILE_LABELS: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];

/// A workload's uses of connections.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Labels that all its pods have, as far as the records name labels.
    pub labels: BTreeMap<String, String>,
    /// Number of connections by destination.
    pub uses: BTreeMap<Destination, u64>,
}

/// Where connections led.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The name; several if it is one of these; none if no name was looked up.
    pub names: BTreeSet<String>,
    /// The address that the process connected to.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
}

/// Namespace and name of a workload; of a pod without one, its name.
pub type WorkloadName = (String, String);

/// The uses of workloads.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// By workload.
    pub workloads: BTreeMap<WorkloadName, Workload>,
    /// Records of this schema.
    pub records: u64,
    /// Connections of processes outside of Kubernetes.
    pub elsewhere: u64,
    /// Lines that are left out.
    pub unreadable: Unreadable,
}

/// The fields that are needed. `ClickHouse` writes absent texts as empty ones, and large integers as texts.
#[serde_as]
#[derive(Deserialize)]
struct UseLine {
    address: IpAddr,
    port: u16,
    protocol: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    candidates: BTreeSet<String>,
    #[serde_as(as = "PickFirst<(_, DisplayFromStr)>")]
    count: u64,
    #[serde(default)]
    k8s: PodLine,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodLine {
    namespace: String,
    pod: String,
    workload: String,
    labels: BTreeMap<String, String>,
}

impl Uses {
    /// Adds a line. Records of other schemas are ignored.
    pub fn line(&mut self, line: &[u8]) {
        // Rows of ClickHouse have no schema.
        if let Ok(schema) = crate::top::schema_of(line)
            && schema != SCHEMA
        {
            self.unreadable.add_unknown(&schema);
            return;
        }
        let Ok(one) = read_object::<UseLine>(line) else {
            self.unreadable.add();
            return;
        };
        self.records += 1;
        let PodLine { namespace, pod, workload, mut labels } = one.k8s;
        if namespace.is_empty() {
            self.elsewhere += one.count;
            return;
        }
        labels.retain(|label, _| !VOLATILE_LABELS.contains(&&**label));
        let name = if workload.is_empty() { pod } else { workload };
        let workload = self
            .workloads
            .entry((namespace, name))
            .or_insert_with(|| Workload { labels: labels.clone(), uses: BTreeMap::new() });
        workload.labels.retain(|label, value| labels.get(label) == Some(value));
        let mut names = one.candidates;
        names.extend(Some(one.name));
        names.remove("");
        let destination = Destination {
            names,
            address: one.address,
            port: one.port,
            protocol: one.protocol.to_ascii_uppercase(),
        };
        *workload.uses.entry(destination).or_default() += one.count;
    }
}

impl Destination {
    /// Returns the name, if it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let mut names = self.names.iter();
        names.next().filter(|_| self.names.len() == 1).map(String::as_str)
    }
}

/// Returns service and namespace that a name of the cluster stands for: `SERVICE.NAMESPACE.svc.DOMAIN`, and the same of
/// a pod of the service.
fn service_of(name: &str) -> Option<(&str, &str)> {
    let labels: Vec<&str> = name.split('.').collect();
    let at = labels.iter().position(|label| *label == "svc").filter(|at| *at >= 2)?;
    // A domain of the cluster follows, which no public name has.
    (labels.get(at + 1..)?.first() == Some(&"cluster")).then(|| (labels[at - 2], labels[at - 1]))
}

#[cfg(test)]
mod tests;
