//! Network policies from the uses of connections: what pods were connected to, by name, as a policy that allows it; and
//! what a policy would have refused.
//!
//! Input: records of `dns.use/1` as JSON, also as `ClickHouse` gives them. Uses of processes outside of Kubernetes belong to no
//! workload, and are counted. So are those of masked records, whose values are not what was used.

mod check;
mod matching;
mod read;
mod suggest;
mod yaml_text;

pub use check::{Refused, Verdict, check};
pub use matching::Policy;
pub use read::PolicyError;
pub use suggest::{NoSelector, PolicyFormat, Suggestion, suggest};

use crate::Unreadable;
use dnscribe_record::read_object;
use serde::Deserialize;
use serde_with::{DisplayFromStr, PickFirst, serde_as};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Schema of the records.
const SCHEMA: &str = "dns.use/1";

/// Label of a namespace with its name.
const METADATA_NAME: &str = "kubernetes.io/metadata.name";

/// Domain of the cluster's names, as nearly all clusters have it.
const CLUSTER_DOMAIN: &str = ".cluster.local";

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
    /// The values that a label has in any of its pods.
    pub values: BTreeMap<String, BTreeSet<String>>,
    /// Number of connections by destination.
    pub uses: BTreeMap<Destination, u64>,
}

/// Where connections led.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The name; what it may be if it is ambiguous; none if no name was looked up.
    pub names: BTreeSet<String>,
    /// The address that the process connected to.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Whether it may be any of the names, or another one if answers were missed: records do not say which.
    pub is_ambiguous: bool,
    /// Whether anybody answered, or it is UDP and nobody refused.
    pub is_answered: bool,
}

/// Identifies a workload; a pod without one by its own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its kind, such as `Deployment`; `Pod` for one without a workload.
    pub kind: String,
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The uses of workloads.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    /// By workload.
    pub workloads: BTreeMap<WorkloadName, Workload>,
    /// Workloads that nobody asked for, whose pods a selector may match all the same.
    pub others: BTreeMap<WorkloadName, Workload>,
    /// Records of this schema.
    pub records: u64,
    /// Connections whose names, addresses or pods are masked.
    pub masked: u64,
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
    r#match: String,
    outcome: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    candidates: BTreeSet<String>,
    #[serde_as(as = "PickFirst<(_, DisplayFromStr)>")]
    count: u64,
    #[serde(default)]
    k8s: PodLine,
    #[serde(default)]
    masking: MaskingLine,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodLine {
    namespace: String,
    pod: String,
    workload: String,
    workload_kind: String,
    labels: BTreeMap<String, String>,
}

/// How the classes of values are masked that a policy is made of: names, addresses of connections, pods.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MaskingLine {
    qname: String,
    answers: String,
    container: String,
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
        let MaskingLine { qname, answers, container } = &one.masking;
        if [qname, answers, container].into_iter().any(|masked| !masked.is_empty()) {
            self.masked = self.masked.saturating_add(one.count);
            return;
        }
        let PodLine { namespace, pod, workload, workload_kind: kind, mut labels } = one.k8s;
        if namespace.is_empty() {
            self.elsewhere = self.elsewhere.saturating_add(one.count);
            return;
        }
        labels.retain(|label, _| !VOLATILE_LABELS.contains(&&**label));
        let (name, kind) =
            if workload.is_empty() { (pod, "Pod".to_owned()) } else { (workload, kind) };
        let workload = self
            .workloads
            .entry(WorkloadName { namespace, name, kind })
            .or_insert_with(|| Workload { labels: labels.clone(), ..Workload::default() });
        workload.labels.retain(|label, value| labels.get(label) == Some(value));
        for (label, value) in labels {
            workload.values.entry(label).or_default().insert(value);
        }
        let (mut names, is_ambiguous) = match &*one.r#match {
            "sole" | "newest" => (BTreeSet::from([one.name]), false),
            "none" => (BTreeSet::new(), false),
            _ => (one.candidates, true),
        };
        names.remove("");
        let protocol = one.protocol.to_ascii_uppercase();
        let is_answered = match &*one.outcome {
            "established" | "reset" => true,
            outcome => outcome == "unknown" && protocol == "UDP",
        };
        let (address, port) = (one.address, one.port);
        let destination = Destination { names, address, port, protocol, is_ambiguous, is_answered };
        let count = workload.uses.entry(destination).or_default();
        *count = count.saturating_add(one.count);
    }

    /// Leaves only the workloads that are wanted to the policies.
    pub fn choose(&mut self, is_wanted: impl Fn(&WorkloadName) -> bool) {
        let (all, others) = (std::mem::take(&mut self.workloads), std::mem::take(&mut self.others));
        let all = all.into_iter().chain(others);
        (self.workloads, self.others) = all.partition(|(name, _)| is_wanted(name));
    }

    /// Returns the other workloads of a namespace, wanted or not.
    fn neighbours<'a>(
        &'a self,
        own: &'a WorkloadName,
    ) -> impl Iterator<Item = (&'a WorkloadName, &'a Workload)> {
        let all = self.workloads.iter().chain(&self.others);
        all.filter(move |(name, _)| *name != own && name.namespace == own.namespace)
    }
}

impl Destination {
    /// Returns the name, if it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let mut names = self.names.iter();
        let is_known = self.names.len() == 1 && !self.is_ambiguous;
        names.next().filter(|_| is_known).map(String::as_str)
    }
}

/// Returns namespace and service that a name of the cluster stands for: `SERVICE.NAMESPACE.svc.cluster.local`, and the same
/// of a pod of the service; no service for `POD.NAMESPACE.pod.cluster.local`.
fn cluster_name(name: &str) -> Option<(&str, Option<&str>)> {
    let (rest, kind) = name.strip_suffix(CLUSTER_DOMAIN)?.rsplit_once('.')?;
    let (front, namespace) = rest.rsplit_once('.')?;
    match kind {
        "svc" => Some((namespace, front.rsplit('.').next())),
        "pod" => Some((namespace, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
