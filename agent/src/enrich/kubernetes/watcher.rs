//! Thread that watches the Kubernetes API and publishes the [`Snapshot`].

use super::client::{NO_PODS, PodsApi, WATCH_SECONDS};
use super::error::{ApiError, ApiErrorReason};
use super::pod::{ApiPod, read_pod};
use super::snapshot::{Snapshot, SnapshotBuilder};
use super::{KubernetesConfig, PodWatchStatus};
use arc_swap::ArcSwap;
use dnscribe_analysis::attribution::Pod;
use futures_util::{StreamExt, pin_mut};
use kube::core::WatchEvent;
use std::hash::BuildHasher;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// First pause after a failure; it doubles with each further one up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Minimum pause between two successful watches.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// Time that a watch may last beyond the agreed end.
const WATCH_GRACE: Duration = Duration::from_secs(15);

/// Number of consecutive failures after which the credentials are read again. They are read again at once where the API
/// server does not accept them.
const RELOAD_AFTER: u32 = 3;

/// What the thread shares with the pipeline.
#[derive(Debug, Default)]
pub(super) struct SharedWatch {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    status: Mutex<PodWatchStatus>,
    /// Notified once the pods are listed.
    pub(super) first: Condvar,
}

impl SharedWatch {
    pub(super) fn lock(&self) -> MutexGuard<'_, PodWatchStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State of the watch thread.
pub(super) struct Watcher {
    config: KubernetesConfig,
    shared: Arc<SharedWatch>,
    builder: SnapshotBuilder,
    /// Version to resume the watch from; `None` if the pods have to be listed.
    version: Option<String>,
    /// Number of consecutive failures.
    failures: u32,
    /// Reasons of the failures in a row that the log has.
    logged: Vec<ApiErrorReason>,
}

impl Watcher {
    pub(super) fn new(config: KubernetesConfig, shared: Arc<SharedWatch>) -> Self {
        let builder = SnapshotBuilder::default();
        Self { config, shared, builder, version: None, failures: 0, logged: Vec::new() }
    }

    /// Watches forever.
    pub(super) async fn run(mut self) {
        loop {
            let api = match PodsApi::open(&self.config).await {
                Ok(api) => api,
                Err(error) => {
                    self.handle_failure(&error).await;
                    continue;
                }
            };
            let reload_at = self.failures + RELOAD_AFTER;
            while self.failures < reload_at {
                match self.follow(&api).await {
                    Ok(()) => sleep(WATCH_PAUSE).await,
                    Err(error) if error.gone => {
                        self.version = None;
                        sleep(FIRST_PAUSE).await;
                    }
                    Err(error) => {
                        self.handle_failure(&error).await;
                        if error.reason == ApiErrorReason::Unauthorized {
                            // A token was renewed, and this one has expired.
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Lists the pods if necessary and follows their changes until the API server ends the watch.
    async fn follow(&mut self, api: &PodsApi) -> Result<(), ApiError> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list(api).await?,
        };
        let events = api.watch(&version).await?;
        self.note_success();
        pin_mut!(events);
        let silence = Duration::from_secs(WATCH_SECONDS.into()) + WATCH_GRACE;
        loop {
            match timeout(silence, events.next()).await {
                Ok(Some(Ok(event))) => self.apply_event(event)?,
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Ok(()),
                Err(_) => return Err(ApiError::timeout("end of a watch")),
            }
        }
    }

    async fn list(&mut self, api: &PodsApi) -> Result<String, ApiError> {
        let list = api.list().await?;
        let version = list.metadata.resource_version.unwrap_or_default();
        if version.is_empty() {
            let message = format!("{}: the answer is not a list of pods", api.url);
            return Err(ApiError::new(ApiErrorReason::InvalidAnswer, message));
        }
        let labels = &self.config.labels;
        let pods: Vec<Pod> = list.items.iter().filter_map(|pod| read_pod(pod, labels)).collect();
        let (count, node) = (pods.len(), &self.config.node_name);
        if count == 0 {
            tracing::warn!("kubernetes: no pods on node {node}; remedy: {NO_PODS}");
        } else if !self.shared.lock().listed {
            tracing::info!("kubernetes: {count} pods on node {node}, from {}", api.url);
        }
        self.builder.replace(Instant::now(), pods);
        self.version = Some(version.clone());
        self.publish();
        self.shared.lock().listed = true;
        self.shared.first.notify_all();
        Ok(version)
    }

    fn apply_event(&mut self, event: WatchEvent<ApiPod>) -> Result<(), ApiError> {
        let now = Instant::now();
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                if let Some(pod) = self.read_pod(&pod) {
                    self.builder.apply(pod);
                }
            }
            WatchEvent::Deleted(pod) => {
                if let Some(pod) = self.read_pod(&pod) {
                    self.builder.end(now, &pod.uid);
                }
            }
            WatchEvent::Bookmark(mark) => {
                self.version = Some(mark.metadata.resource_version);
                if !self.builder.expire(now) {
                    return Ok(());
                }
            }
            WatchEvent::Error(status) => {
                self.version = None;
                return Err((&*status).into());
            }
        }
        self.builder.expire(now);
        self.publish();
        Ok(())
    }

    /// Reads a pod and notes its version, from which the watch continues.
    fn read_pod(&mut self, pod: &ApiPod) -> Option<Pod> {
        self.version.clone_from(&pod.metadata.resource_version);
        read_pod(pod, &self.config.labels)
    }

    fn publish(&self) {
        let snapshot = self.builder.snapshot.clone();
        let mut status = self.shared.lock();
        (status.pods, status.refused) = (snapshot.pods.len(), self.builder.refused);
        drop(status);
        self.shared.snapshot.store(Arc::new(snapshot));
    }

    /// Records that the API answers.
    fn note_success(&mut self) {
        self.failures = 0;
        self.shared.lock().up = true;
        if self.builder.expire(Instant::now()) {
            self.publish();
        }
        if !std::mem::take(&mut self.logged).is_empty() {
            tracing::info!("kubernetes: the API answers again; pod names are up to date");
        }
    }

    /// Handles a failure: counts it, logs the first in a row for each reason, and pauses.
    async fn handle_failure(&mut self, error: &ApiError) {
        let listed = {
            let mut status = self.shared.lock();
            status.up = false;
            status.errors[error.reason as usize] += 1;
            status.listed
        };
        if !self.logged.contains(&error.reason) {
            self.logged.push(error.reason);
            let meanwhile = if listed {
                "pod names are not updated"
            } else {
                "records have no pod names until it answers"
            };
            let remedy = error.reason.remedy();
            tracing::warn!("kubernetes: {error}; {meanwhile}; remedy: {remedy}");
        }
        sleep(backoff(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
    }
}

/// Returns the pause after a number of failures: at random between half and all of the backoff, so
/// that the nodes of a cluster do not retry at the same time.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let random = foldhash::fast::RandomState::default().hash_one(Instant::now());
    let per_mille = u32::try_from(random % 500).unwrap_or_default();
    longest * (500 + per_mille) / 1000
}
