//! The thread that watches the API.

use super::client::{NO_PODS, PodsApi, WATCH_SECONDS};
use super::directory::{Directory, Register};
use super::pod::{ApiPod, Pod};
use super::trouble::{Reason, Trouble};
use super::{KubernetesConfig, Status};
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

/// The first pause after something went wrong; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A pause between two watches that went well, whatever the API server does.
const BREATH: Duration = Duration::from_millis(100);

/// How much longer than agreed a watch may be silent.
const GRACE: Duration = Duration::from_secs(15);

/// After so many failures in a row the credentials are read anew: they may have been replaced.
const RENEW_AFTER: u32 = 3;

/// The watch, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    directory: Arc<ArcSwap<Directory>>,
    told: Mutex<Told>,
    first: Condvar,
}

/// What the thread tells beside the pods.
#[derive(Debug, Default)]
struct Told {
    status: Status,
    listed: bool,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    pub(super) fn start(config: KubernetesConfig) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (directory, told, first) = Default::default();
        let shared = Arc::new(Shared { directory, told, first });
        let (stop, stopped) = oneshot::channel();
        let watcher = Watcher::new(config, Arc::clone(&shared));
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watcher.run() => {}
                    _ = stopped => {}
                }
            });
            // What still resolves a name must not hold up the end.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("kubernetes".into()).spawn(work)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// What is known, now and later.
    pub(super) fn directory(&self) -> Arc<ArcSwap<Directory>> {
        Arc::clone(&self.shared.directory)
    }

    pub(super) fn await_first(&self, limit: Duration) -> bool {
        let told = self.shared.told();
        let waited = self.shared.first.wait_timeout_while(told, limit, |told| !told.listed);
        waited.unwrap_or_else(PoisonError::into_inner).0.listed
    }

    pub(super) fn status(&self) -> Status {
        self.shared.told().status.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

/// What the thread does.
struct Watcher {
    config: KubernetesConfig,
    shared: Arc<Shared>,
    register: Register,
    /// Where the next watch goes on; none where all must be listed first.
    version: Option<String>,
    /// Failures in a row.
    failures: u32,
    /// Whether it has been told that the API is away.
    complained: bool,
}

impl Watcher {
    fn new(config: KubernetesConfig, shared: Arc<Shared>) -> Self {
        let register = Register::default();
        Self { config, shared, register, version: None, failures: 0, complained: false }
    }

    /// Watches for ever.
    async fn run(mut self) {
        loop {
            let opened = PodsApi::open(&self.config).await;
            let api = match opened {
                Ok(api) => api,
                Err(trouble) => {
                    self.failed(&trouble).await;
                    continue;
                }
            };
            let patience = self.failures + RENEW_AFTER;
            while self.failures < patience {
                match self.follow(&api).await {
                    Ok(()) => sleep(BREATH).await,
                    Err(trouble) if trouble.gone => {
                        self.version = None;
                        sleep(FIRST_PAUSE).await;
                    }
                    Err(trouble) => self.failed(&trouble).await,
                }
            }
        }
    }

    /// Lists the pods where they are not known, and follows what happens to them until the API server
    /// ends the watch.
    async fn follow(&mut self, api: &PodsApi) -> Result<(), Trouble> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list(api).await?,
        };
        let events = api.watch(&version).await?;
        self.works();
        pin_mut!(events);
        let silence = Duration::from_secs(WATCH_SECONDS.into()) + GRACE;
        loop {
            match timeout(silence, events.next()).await {
                Ok(Some(Ok(event))) => self.take(event)?,
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Ok(()),
                Err(_) => return Err(Trouble::timeout("end of a watch")),
            }
        }
    }

    async fn list(&mut self, api: &PodsApi) -> Result<String, Trouble> {
        let list = api.list().await?;
        let version = list.metadata.resource_version.unwrap_or_default();
        if version.is_empty() {
            let what = format!("{}: the answer is no list of pods", api.url);
            return Err(Trouble::new(Reason::Garbage, what));
        }
        let labels = &self.config.labels;
        let pods: Vec<Pod> = list.items.iter().filter_map(|pod| Pod::of(pod, labels)).collect();
        let (count, node) = (pods.len(), &self.config.node_name);
        if count == 0 {
            tracing::warn!("kubernetes: no pod is on node {node}; remedy: {NO_PODS}");
        } else if !self.shared.told().listed {
            tracing::info!("kubernetes: {count} pods on node {node}, by {}", api.url);
        }
        self.register.replace(Instant::now(), pods);
        self.version = Some(version.clone());
        self.publish();
        self.shared.told().listed = true;
        self.shared.first.notify_all();
        Ok(version)
    }

    fn take(&mut self, event: WatchEvent<ApiPod>) -> Result<(), Trouble> {
        let now = Instant::now();
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                self.version.clone_from(&pod.metadata.resource_version);
                if let Some(pod) = Pod::of(&pod, &self.config.labels) {
                    self.register.apply(pod);
                }
            }
            WatchEvent::Deleted(pod) => {
                self.version.clone_from(&pod.metadata.resource_version);
                if let Some(pod) = Pod::of(&pod, &self.config.labels) {
                    self.register.end(now, &pod.uid);
                }
            }
            WatchEvent::Bookmark(mark) => {
                self.version = Some(mark.metadata.resource_version);
                if !self.register.expire(now) {
                    return Ok(());
                }
            }
            WatchEvent::Error(status) => {
                self.version = None;
                return Err((&*status).into());
            }
        }
        self.register.expire(now);
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let directory = self.register.directory().clone();
        let mut told = self.shared.told();
        told.status.pods = directory.len();
        told.status.refused = self.register.refused();
        drop(told);
        self.shared.directory.store(Arc::new(directory));
    }

    /// The API answers.
    fn works(&mut self) {
        self.failures = 0;
        self.shared.told().status.up = true;
        if self.register.expire(Instant::now()) {
            self.publish();
        }
        if std::mem::take(&mut self.complained) {
            tracing::info!("kubernetes: the API answers again, the pods' names are up to date");
        }
    }

    /// Counts a failure. Whether pods had been listed before.
    fn note(&self, reason: Reason) -> bool {
        let mut told = self.shared.told();
        told.status.up = false;
        if let Some(count) = told.status.errors.get_mut(reason as usize) {
            *count += 1;
        }
        told.listed
    }

    /// The API is away: told once, counted each time, and tried again after a pause.
    async fn failed(&mut self, trouble: &Trouble) {
        let listed = self.note(trouble.reason);
        if !std::mem::replace(&mut self.complained, true) {
            let meanwhile = if listed {
                "pods are named as they were known last"
            } else {
                "no pod is named until it answers"
            };
            let remedy = trouble.reason.remedy();
            tracing::warn!("kubernetes: {trouble}; {meanwhile}; remedy: {remedy}");
        }
        sleep(pause(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
    }
}

/// Between half and all of what is due after so many failures, so that a cluster's nodes do not come
/// back at the same moment.
fn pause(failures: u32) -> Duration {
    let due = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let random = foldhash::fast::RandomState::default().hash_one(Instant::now());
    let per_mille = u32::try_from(random % 500).unwrap_or_default();
    due * (500 + per_mille) / 1000
}
