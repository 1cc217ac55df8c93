//! Which pod is it: the pods of this node, as the Kubernetes API tells of them.
//!
//! A thread of its own watches the API and publishes what it knows as a whole, the [`Directory`]; the
//! pipeline reads it without a lock and never waits for the API. While the API is away, what was known
//! last goes on serving.

mod client;
mod directory;
mod pod;
mod trouble;
mod watch;

pub use client::probe;
pub use pod::{Place, Pod, Workload};
pub use trouble::Reason;

use super::container::Container;
use arc_swap::{ArcSwap, Cache};
use directory::Directory;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use watch::Watch;

/// How to reach the API, and what is wanted from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The node whose pods are watched, as the API calls it.
    pub node_name: String,
    /// A kubeconfig file; where absent, the service account of this pod.
    pub kubeconfig: Option<PathBuf>,
    /// The labels of pods that records show.
    pub labels: Vec<String>,
    /// How long the API may take to connect and to answer.
    pub timeout: Duration,
}

/// Where a pod finds its service account's token.
pub(crate) const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl KubernetesConfig {
    /// The file that says who asks the API; what else it takes stands beside it.
    pub(crate) fn credentials(&self) -> &Path {
        self.kubeconfig.as_deref().unwrap_or(Path::new(TOKEN))
    }
}

/// How the watch stands, for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the API is being watched: what is known is what is.
    pub up: bool,
    /// Pods known, those that ended lately too.
    pub pods: usize,
    /// Pods for which there was no room.
    pub refused: u64,
    /// What went wrong how often, in the order of [`Reason::ALL`].
    pub errors: [u64; Reason::ALL.len()],
    /// Transactions of pods with their pod's name.
    pub named: u64,
    /// Transactions of pods whose names were not known.
    pub unnamed: u64,
}

/// The pods of this node. The watch ends when this is dropped.
#[derive(Debug)]
pub struct Pods {
    directory: Cache<Arc<ArcSwap<Directory>>, Arc<Directory>>,
    watch: Watch,
    named: u64,
    unnamed: u64,
}

impl Pods {
    /// Begins to watch.
    pub fn watch(config: KubernetesConfig) -> std::io::Result<Self> {
        let watch = Watch::start(config)?;
        Ok(Self { directory: Cache::new(watch.directory()), watch, named: 0, unnamed: 0 })
    }

    /// Waits until the pods are known, or this long; whether they are.
    #[must_use]
    pub fn await_first(&self, limit: Duration) -> bool {
        self.watch.await_first(limit)
    }

    /// The place of a container: by its own id, else by its pod's.
    pub(super) fn find(&mut self, container: &Container) -> Option<Place> {
        self.directory.load().find(&container.id, container.pod_uid.as_deref())
    }

    /// Counts a transaction of a container.
    pub(super) fn count(&mut self, container: &Container, place: Option<&Place>) {
        match place {
            Some(_) => self.named += 1,
            None if container.pod_uid.is_some() => self.unnamed += 1,
            None => {}
        }
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { named: self.named, unnamed: self.unnamed, ..self.watch.status() }
    }
}
