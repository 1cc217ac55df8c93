//! Pods, as far as records and metrics name them.

use super::Runtime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Maximum number of containers per pod: the running ones, then former ones.
pub const MAX_CONTAINERS: usize = 64;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Uid as in the paths of its cgroups.
    pub uid: Box<str>,
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// `namespace/name`.
    pub path: Box<str>,
    /// The workload that owns it.
    pub workload: Option<Workload>,
    /// Its labels, as far as configured.
    pub labels: BTreeMap<String, String>,
    /// Its containers, the running ones first.
    pub containers: Vec<PodContainer>,
    /// Name of its container if it has only one.
    pub single_container: Option<Arc<str>>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodContainer {
    /// Its id, 64 hex digits.
    pub id: Box<str>,
    /// Its name in the pod.
    pub name: Arc<str>,
    /// Its runtime, if the API reported it.
    pub runtime: Option<Runtime>,
}

/// Owner of pods: a Deployment, StatefulSet, DaemonSet, CronJob, …
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Kind, as named by the API.
    pub kind: Box<str>,
    /// Name.
    pub name: Box<str>,
}

/// The pod and container that a task runs in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Name of the container in the pod, if known.
    pub container: Option<Arc<str>>,
    /// Runtime of the container, if the API reported it.
    pub runtime: Option<Runtime>,
}

#[cfg(any(test, feature = "testing"))]
impl Pod {
    /// A pod without labels and containers.
    #[must_use]
    pub fn named(namespace: &str, name: &str, workload: Option<(&str, &str)>) -> Self {
        Self {
            uid: name.into(),
            namespace: namespace.into(),
            name: name.into(),
            path: format!("{namespace}/{name}").into(),
            workload: workload
                .map(|(kind, name)| Workload { kind: kind.into(), name: name.into() }),
            labels: BTreeMap::new(),
            containers: Vec::new(),
            single_container: None,
        }
    }
}

impl Pod {
    /// Keeps former containers of the pod, whose last records come late.
    pub fn remember(&mut self, before: &Self) {
        let capacity = MAX_CONTAINERS.saturating_sub(self.containers.len());
        let ended = before.containers.iter().filter(|old| !self.has(&old.id)).take(capacity);
        let ended: Vec<_> = ended.cloned().collect();
        self.containers.extend(ended);
    }

    /// Returns whether a container of the pod has this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.containers.iter().any(|container| &*container.id == id)
    }
}
