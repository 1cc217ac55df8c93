//! Thread that watches the Kubernetes API and publishes the [`Snapshot`].

use super::client::{NO_PODS, PodsApi, WATCH_SECONDS};
use super::error::{ApiError, ApiErrorReason};
use super::pod::{ApiPod, Pod};
use super::snapshot::{Snapshot, SnapshotBuilder};
use super::{KubernetesConfig, PodWatchStatus};
use arc_swap::ArcSwap;
use futures_util::{StreamExt, pin_mut};
use kube::core::WatchEvent;
use std::hash::BuildHasher;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// First pause after a failure; it doubles with each further one up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Minimum pause between two successful watches.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// Time that a watch may last beyond the agreed end.
const WATCH_GRACE: Duration = Duration::from_secs(15);

/// Number of consecutive failures after which the credentials are read again.
const RELOAD_AFTER: u32 = 3;

/// Handle of the watch thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct WatchHandle {
    shared: Arc<SharedWatch>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct SharedWatch {
    snapshot: Arc<ArcSwap<Snapshot>>,
    state: Mutex<WatchState>,
    first: Condvar,
}

/// Status shared by the thread, apart from the pods.
#[derive(Debug, Default)]
struct WatchState {
    status: PodWatchStatus,
    listed: bool,
}

impl SharedWatch {
    fn lock(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchHandle {
    pub(super) fn start(config: KubernetesConfig) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (snapshot, state, first) = Default::default();
        let shared = Arc::new(SharedWatch { snapshot, state, first });
        let (stop, stopped) = oneshot::channel();
        let watcher = Watcher::new(config, Arc::clone(&shared));
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
        let thread = thread::Builder::new().name("kubernetes".into()).spawn(work)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the current and future snapshots.
    pub(super) fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.shared.snapshot)
    }

    pub(super) fn await_first(&self, limit: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.first.wait_timeout_while(state, limit, |state| !state.listed);
        waited.unwrap_or_else(PoisonError::into_inner).0.listed
    }

    pub(super) fn status(&self) -> PodWatchStatus {
        self.shared.lock().status.clone()
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic.
            let _ = thread.join();
        }
    }
}

/// State of the watch thread.
struct Watcher {
    config: KubernetesConfig,
    shared: Arc<SharedWatch>,
    builder: SnapshotBuilder,
    /// Version to resume the watch from; `None` if the pods have to be listed.
    version: Option<String>,
    /// Number of consecutive failures.
    failures: u32,
    /// Whether the current failure has been logged.
    is_failure_logged: bool,
}

impl Watcher {
    fn new(config: KubernetesConfig, shared: Arc<SharedWatch>) -> Self {
        let builder = SnapshotBuilder::default();
        Self { config, shared, builder, version: None, failures: 0, is_failure_logged: false }
    }

    /// Watches forever.
    async fn run(mut self) {
        loop {
            let opened = PodsApi::open(&self.config).await;
            let api = match opened {
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
                    Err(error) => self.handle_failure(&error).await,
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
        let pods: Vec<Pod> = list.items.iter().filter_map(|pod| Pod::of(pod, labels)).collect();
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
                self.version.clone_from(&pod.metadata.resource_version);
                if let Some(pod) = Pod::of(&pod, &self.config.labels) {
                    self.builder.apply(pod);
                }
            }
            WatchEvent::Deleted(pod) => {
                self.version.clone_from(&pod.metadata.resource_version);
                if let Some(pod) = Pod::of(&pod, &self.config.labels) {
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

    fn publish(&self) {
        let snapshot = self.builder.snapshot().clone();
        let mut state = self.shared.lock();
        state.status.pods = snapshot.len();
        state.status.refused = self.builder.refused();
        drop(state);
        self.shared.snapshot.store(Arc::new(snapshot));
    }

    /// Records that the API answers.
    fn note_success(&mut self) {
        self.failures = 0;
        self.shared.lock().status.up = true;
        if self.builder.expire(Instant::now()) {
            self.publish();
        }
        if std::mem::take(&mut self.is_failure_logged) {
            tracing::info!("kubernetes: the API answers again; pod names are up to date");
        }
    }

    /// Counts a failure. Returns whether pods had been listed before.
    fn count_failure(&self, reason: ApiErrorReason) -> bool {
        let mut state = self.shared.lock();
        state.status.up = false;
        if let Some(count) = state.status.errors.get_mut(reason as usize) {
            *count += 1;
        }
        state.listed
    }

    /// Handles a failure: counts it, logs the first in a row, and pauses.
    async fn handle_failure(&mut self, error: &ApiError) {
        let listed = self.count_failure(error.reason);
        if !std::mem::replace(&mut self.is_failure_logged, true) {
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
