//! Pods of this node, from the Kubernetes API.
//!
//! A thread watches the API and publishes the pods as a snapshot, the [`Snapshot`]. The pipeline
//! reads it without a lock and never waits for the API. While the API is unreachable, the last
//! snapshot stays in use.

mod client;
mod error;
mod pod;
mod snapshot;
mod watcher;

pub use client::probe;
pub use error::ApiErrorReason;

use arc_swap::{ArcSwap, Cache};
use dnscribe_analysis::attribution::{Container, PodRef};
use kube::config::Kubeconfig;
use snapshot::Snapshot;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;
use watcher::{SharedWatch, Watcher};

/// Configuration of the pod watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Node whose pods are watched, as named by the API.
    pub node_name: String,
    /// Path of a kubeconfig file; if absent, the service account of this pod is used.
    pub kubeconfig: Option<PathBuf>,
    /// Pod labels that records contain.
    pub labels: Vec<String>,
    /// Timeout for connecting to the API and for each answer.
    pub timeout: Duration,
}

/// Path of the service account's token in a pod.
pub(crate) const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl KubernetesConfig {
    /// Returns the files with the credentials: the service account's token, or the kubeconfig and every file that it
    /// names, which may be in other directories.
    pub(crate) fn credentials(&self) -> Vec<PathBuf> {
        let Some(path) = &self.kubeconfig else { return vec![TOKEN_PATH.into()] };
        // The watch reports a file that cannot be read.
        let file = Kubeconfig::read_from(path).unwrap_or_default();
        let clusters = file.clusters.into_iter().filter_map(|one| one.cluster);
        let authorities = clusters.filter_map(|cluster| cluster.certificate_authority);
        let users = file.auth_infos.into_iter().filter_map(|one| one.auth_info);
        let keys =
            users.flat_map(|user| [user.client_certificate, user.client_key, user.token_file]);
        let named = authorities.chain(keys.flatten()).map(PathBuf::from);
        std::iter::once(path.clone()).chain(named).collect()
    }
}

/// Status of the pod watch, for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodWatchStatus {
    /// Whether the pods were listed once.
    pub listed: bool,
    /// Whether the watch runs, that is, the pods are up to date.
    pub up: bool,
    /// Number of known pods, including recently ended ones.
    pub pods: usize,
    /// Number of pods not stored because the table was full.
    pub refused: u64,
    /// Number of errors by reason, in the order of [`ApiErrorReason::ALL`].
    pub errors: [u64; ApiErrorReason::ALL.len()],
    /// Transactions of pods with known names.
    pub named: u64,
    /// Transactions of pods without known names.
    pub unnamed: u64,
}

/// The pods of this node. Dropping it ends the watch.
#[derive(Debug)]
pub struct Pods {
    snapshot: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    watch: Arc<SharedWatch>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    named: u64,
    unnamed: u64,
}

impl Pods {
    /// Starts the watch.
    ///
    /// # Errors
    /// Returns an error if the thread or its runtime cannot be started.
    pub fn watch(config: KubernetesConfig) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let watch = Arc::<SharedWatch>::default();
        let (stop, stopped) = oneshot::channel();
        let watcher = Watcher::new(config, Arc::clone(&watch));
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watcher.run() => {}
                    _ = stopped => {}
                }
            });
            // A pending name resolution must not delay the exit.
            runtime.shutdown_background();
        };
        let thread = Some(thread::Builder::new().name("kubernetes".into()).spawn(work)?);
        let snapshot = Cache::new(Arc::clone(&watch.snapshot));
        Ok(Self { snapshot, watch, stop: Some(stop), thread, named: 0, unnamed: 0 })
    }

    /// Waits until the pods are listed, at most `limit`. Returns whether they are.
    #[must_use]
    pub fn wait_until_listed(&self, limit: Duration) -> bool {
        let status = self.watch.lock();
        let waited = self.watch.first.wait_timeout_while(status, limit, |status| !status.listed);
        waited.unwrap_or_else(PoisonError::into_inner).0.listed
    }

    /// Returns the pod of a container: by container id, else by pod uid.
    pub(super) fn find(&mut self, container: &Container) -> Option<PodRef> {
        self.snapshot.load().find(&container.id, container.pod_uid.as_deref())
    }

    /// Counts a transaction of a container.
    pub(super) fn count(&mut self, container: &Container, place: Option<&PodRef>) {
        match place {
            Some(_) => self.named += 1,
            None if container.pod_uid.is_some() => self.unnamed += 1,
            None => {}
        }
    }

    /// Returns the status of the watch.
    #[must_use]
    pub fn status(&self) -> PodWatchStatus {
        PodWatchStatus { named: self.named, unnamed: self.unnamed, ..self.watch.lock().clone() }
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_every_file_of_a_kubeconfig() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        let yaml = "clusters: [{ name: a, cluster: { server: \"https://a\", certificate-authority: ca.pem } }]\n\
                    users:\n- { name: a, user: { client-certificate: /keys/a.pem, client-key: ../a.key } }\n\
                    - { name: b, user: { tokenFile: token } }\n";
        fs::write(&file, yaml).unwrap();
        let config = KubernetesConfig {
            node_name: "n".into(),
            kubeconfig: Some(file.clone()),
            labels: Vec::new(),
            timeout: Duration::from_secs(1),
        };
        let beside = |name: &str| folder.path().join(name);
        let wanted = [
            beside("kubeconfig"),
            beside("ca.pem"),
            "/keys/a.pem".into(),
            beside("../a.key"),
            beside("token"),
        ];
        assert_eq!(config.credentials(), wanted);
        fs::write(&file, "no: [kubeconfig").unwrap();
        assert_eq!(config.credentials(), [file]);
        let in_pod = KubernetesConfig { kubeconfig: None, ..config };
        assert_eq!(in_pod.credentials(), [PathBuf::from(TOKEN_PATH)]);
    }
}
