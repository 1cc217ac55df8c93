//! Certificate revocation lists (CRLs; RFC 5280, section 5), fetched from where certificates say and kept
//! until they are due again. All rounds share one store, so that a list is fetched once for all targets.

mod fetch;
mod list;

pub use list::{Revocation, RevocationList};

use rustls::pki_types::UnixTime;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use url::Url;

/// Most lists that are known at a time.
const MAX_LISTS: usize = 256;
/// Most bytes of all lists that are kept.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// Time after which a list is fetched again even if the next is announced for later: authorities publish
/// new revocations before they must.
const MAX_AGE: Duration = Duration::from_hours(6);
/// Time after which a list that could not be fetched, or is out of date, is fetched again.
const RETRY_AFTER: Duration = Duration::from_mins(10);

/// Why the status of a certificate is not known: one word, as records have it.
pub type Unknown = &'static str;

/// Whether lists are fetched, and from where. Default: not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationOptions {
    /// Whether they are fetched.
    pub enabled: bool,
    /// Whether they are fetched from special addresses (RFC 6890: private, loopback, link-local, ...) too.
    pub from_private: bool,
}

/// Revocation lists by URL.
#[derive(Debug)]
pub struct RevocationLists {
    options: RevocationOptions,
    lists: Mutex<HashMap<String, CachedList>>,
}

#[derive(Debug)]
struct CachedList {
    /// What the last fetch has found; nothing before the first has ended.
    latest: Option<Result<Arc<RevocationList>, Unknown>>,
    /// When the list is fetched again.
    due: Instant,
    /// Closed once the fetch that runs has ended.
    fetching: Option<watch::Receiver<()>>,
}

impl CachedList {
    fn is_fetching(&self) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.has_changed().is_ok())
    }

    fn kept_bytes(&self) -> usize {
        self.latest.as_ref().map_or(0, |latest| latest.as_ref().map_or(0, |list| list.len()))
    }
}

impl RevocationLists {
    /// Creates an empty store.
    #[must_use]
    pub fn new(options: RevocationOptions) -> Self {
        Self { options, lists: Mutex::default() }
    }

    /// Returns whether lists are fetched.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.options.enabled
    }

    /// Returns the list at a URL. Fetches it in the background if it is due; only while nothing is known of
    /// it, waits for that, for `limit` at most.
    ///
    /// # Errors
    /// Why there is no list: `crl_pending` (it is being fetched), `crl_unreachable`, `crl_timeout`,
    /// `crl_status`, `crl_too_large`, `crl_address_private`, `crl_malformed` or `crl_no_room`.
    pub async fn get(
        self: &Arc<Self>,
        url: &Url,
        limit: Duration,
    ) -> Result<Arc<RevocationList>, Unknown> {
        let mut fetching = match self.latest_or_fetch(url) {
            Ok(latest) => return latest,
            Err(fetching) => fetching,
        };
        // Ends with an error in any case: nothing is ever sent.
        let _ = timeout(limit, fetching.changed()).await;
        let lists = self.lock();
        let latest = lists.get(url.as_str()).and_then(|entry| entry.latest.clone());
        latest.unwrap_or(Err("crl_pending"))
    }

    /// Returns what is known of a list, or what to wait for. Begins to fetch it if that is due.
    fn latest_or_fetch(
        self: &Arc<Self>,
        url: &Url,
    ) -> Result<Result<Arc<RevocationList>, Unknown>, watch::Receiver<()>> {
        let now = Instant::now();
        let mut lists = self.lock();
        if !lists.contains_key(url.as_str()) && lists.len() >= MAX_LISTS {
            lists.retain(|_, entry| entry.due > now || entry.is_fetching());
            if lists.len() >= MAX_LISTS {
                return Ok(Err("crl_no_room"));
            }
        }
        let new = || CachedList { latest: None, due: now, fetching: None };
        let entry = lists.entry(url.as_str().to_owned()).or_insert_with(new);
        if entry.due <= now && !entry.is_fetching() {
            let (ended, fetching) = watch::channel(());
            entry.fetching = Some(fetching);
            tokio::spawn(Arc::clone(self).refresh(url.clone(), ended));
        }
        match (&entry.latest, &entry.fetching) {
            (Some(latest), _) => Ok(latest.clone()),
            (None, Some(fetching)) => Err(fetching.clone()),
            (None, None) => Ok(Err("crl_pending")),
        }
    }

    /// Fetches a list and keeps it. `_ended` is dropped then.
    async fn refresh(self: Arc<Self>, url: Url, _ended: watch::Sender<()>) {
        let fetched = fetch::fetch(&url, self.options.from_private).await;
        let read = fetched.and_then(|bytes| {
            RevocationList::read(bytes).ok_or_else(|| ("crl_malformed", String::new()))
        });
        let found = read.map_err(|(reason, detail)| {
            tracing::debug!("no revocation list from {url}: {reason} {detail}");
            reason
        });
        self.store(url.as_str(), found);
    }

    fn store(&self, url: &str, found: Result<RevocationList, Unknown>) {
        let (now, time) = (Instant::now(), UnixTime::now());
        let mut lists = self.lock();
        let others = lists.iter().filter(|(other, _)| *other != url);
        let kept: usize = others.map(|(_, entry)| entry.kept_bytes()).sum();
        let Some(entry) = lists.get_mut(url) else { return };
        let has_room = |list: &RevocationList| kept + list.len() <= MAX_KEPT_BYTES;
        match found {
            Ok(list) if has_room(&list) => {
                entry.due = now + list.time_left(time).clamp(RETRY_AFTER, MAX_AGE);
                entry.latest = Some(Ok(Arc::new(list)));
            }
            other => {
                entry.due = now + RETRY_AFTER;
                let is_current = |list: &Arc<RevocationList>| !list.time_left(time).is_zero();
                let has_current =
                    entry.latest.as_ref().is_some_and(|old| old.as_ref().is_ok_and(is_current));
                if !has_current {
                    entry.latest = Some(Err(other.err().unwrap_or("crl_no_room")));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CachedList>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
