//! Sends alerts to Alertmanager by its API v2.
//!
//! Input: `dns.alert/1` records, as for any sink. The sink's thread posts an alert when it begins,
//! repeats it while it lasts, and posts its end. A record counts as delivered once an Alertmanager
//! has accepted it. While none does, the newest record of each alert waits in memory.

mod alert;
mod book;
mod client;

use super::format::{Login, Password};
use super::tally::{PerStream, Reason, Tally};
use super::threaded::{Back, Bounds, FOR_EVER, Next, Shared, Threaded};
use super::{Batch, Failure, Gauge, Look, SinkError, Stream, StreamSet};
use crate::time::Timestamp;
use book::{Book, Key};
use client::{Client, Refusal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Alertmanager considers an alert over if it is not repeated for this many resend intervals.
const SILENCES: u32 = 4;
/// Most alerts in one request.
const POST: usize = 256;
/// Pause after the first failure. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause during a flush.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

const REASONS: &[Reason] =
    &[Reason::QueueFull, Reason::MessageTimedOut, Reason::Rejected, Reason::Shutdown];

/// How to reach Alertmanager, and what alerts contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertmanagerConfig {
    /// `http://…` or `https://…` of each Alertmanager, without a trailing slash; at least one.
    pub urls: Vec<String>,
    /// Credentials, if Alertmanager requires them.
    pub authorization: Option<Authorization>,
    /// File with the trusted certificates in PEM. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Time limit for each request.
    pub timeout: Duration,
    /// Interval at which a lasting alert is repeated.
    pub resend: Duration,
    /// Labels added to every alert.
    pub labels: BTreeMap<String, String>,
    /// The `generatorURL` of alerts.
    pub generator_url: Option<String>,
}

/// Credentials for Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// User name and password (RFC 7617).
    Basic(Login),
    /// Bearer token (RFC 6750).
    Bearer(Password),
}

/// Starts a sink without waiting for Alertmanager. If alerts cannot be sent for `patience`, the
/// sink fails.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    config: &AlertmanagerConfig,
    patience: Option<Duration>,
) -> Result<Threaded, SinkError> {
    let client = Client::new(config).map_err(SinkError::Alertmanager)?;
    let numbers = Arc::new(Numbers::default());
    let courier = Courier {
        book: Book::new(config.resend),
        config: config.clone(),
        client,
        patience,
        numbers: Arc::clone(&numbers),
        trouble: None,
        in_part: false,
    };
    let shared = Threaded::shared(Tally::new(streams, REASONS));
    let thread = name.clone();
    let work = move |back: &Back| courier.run(back);
    let sink = Threaded::start(name, Look::Json, Bounds::default(), shared, work)
        .map_err(|error| SinkError::Thread { name: thread, error })?;
    Ok(sink.with_gauges(move || numbers.gauges()))
}

/// Asks every Alertmanager for its version.
///
/// # Errors
/// Returns why one of them did not answer as expected.
pub fn probe(config: &AlertmanagerConfig) -> Result<String, String> {
    let versions = Client::new(config)?.versions();
    versions.map(|versions| versions.join(", ")).map_err(|refusal| refusal.why)
}

/// Metrics of the sink.
#[derive(Default)]
struct Numbers {
    sent: AtomicU64,
    failed: AtomicU64,
    firing: AtomicU64,
    waiting: AtomicU64,
    away: AtomicBool,
}

impl Numbers {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
    fn gauges(&self) -> Vec<Gauge> {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
        vec![
            Gauge::new("dnscribe_alertmanager_sent_total", of(&self.sent)),
            Gauge::new("dnscribe_alertmanager_failed_total", of(&self.failed)),
            Gauge::new("dnscribe_alertmanager_firing", of(&self.firing)),
            Gauge::new("dnscribe_alertmanager_waiting", of(&self.waiting)),
            Gauge::new(
                "dnscribe_alertmanager_away",
                f64::from(u8::from(self.away.load(Ordering::Relaxed))),
            ),
        ]
    }
}

/// State of repeated failures.
struct Trouble {
    since: Instant,
    last: Instant,
    pause: Duration,
}

/// State of the sink's thread: sends alerts that are due.
struct Courier {
    config: AlertmanagerConfig,
    client: Client,
    book: Book,
    patience: Option<Duration>,
    numbers: Arc<Numbers>,
    trouble: Option<Trouble>,
    /// Whether only some of the Alertmanagers accept alerts.
    in_part: bool,
}

impl Courier {
    fn run(mut self, back: &Back) {
        let shared = &back.shared;
        loop {
            match back.next(self.pause(shared)) {
                Next::Batch(taken) => {
                    self.take(&taken.batch, shared);
                    back.ready().for_each(|taken| self.take(&taken.batch, shared));
                }
                Next::Idle => {}
                Next::Stop => return,
            }
            if self.next_try(shared).is_none_or(|next| Instant::now() >= next) {
                self.post_due(shared);
            }
            self.show();
            if self.has_lost_patience() {
                let given_up = alerts(self.book.give_all_up());
                shared.tally.dropped(&given_up, Reason::MessageTimedOut);
                let broken = "no Alertmanager could be reached in time; see the log".to_owned();
                shared.fail(Failure::Broken(broken), Reason::MessageTimedOut);
                return back.drop_all(Reason::MessageTimedOut);
            }
        }
    }

    /// When to try again after a failure.
    fn next_try(&self, shared: &Shared) -> Option<Instant> {
        let trouble = self.trouble.as_ref()?;
        let pause = if shared.flushing() { trouble.pause.min(SHORT_PAUSE) } else { trouble.pause };
        Some(trouble.last + pause)
    }

    /// Time until the next alert is due, unless a record or a flush comes earlier.
    fn pause(&self, shared: &Shared) -> Duration {
        // `None` is less than any time.
        let next = self.book.next_due().map(|due| Some(due).max(self.next_try(shared)));
        let left = next.flatten().map(|next| next.saturating_duration_since(Instant::now()));
        left.unwrap_or(FOR_EVER)
    }

    fn take(&mut self, batch: &Batch, shared: &Shared) {
        let now = Instant::now();
        for record in batch.iter().filter(|record| record.stream == Stream::Alerts) {
            let reason = match serde_json::from_slice(record.line) {
                Ok(told) if self.book.has_room_for(&told) => {
                    self.book.take(told, now);
                    continue;
                }
                Ok(_) => Reason::QueueFull,
                // The agent itself rendered the record, so this should not happen.
                Err(error) => {
                    tracing::error!(%error, "an alert's record cannot be read");
                    Reason::Rejected
                }
            };
            shared.tally.dropped(&alerts(1), reason);
        }
    }

    /// Posts all alerts that are due, until a post fails.
    fn post_due(&mut self, shared: &Shared) {
        while !shared.stopping() {
            let due = self.book.due(Instant::now(), POST);
            if due.is_empty() || !self.post(&due, shared) {
                return;
            }
        }
    }

    /// Posts alerts. Returns whether to continue with others.
    fn post(&mut self, keys: &[Key], shared: &Shared) -> bool {
        match self.client.post(&self.body(keys)) {
            Ok(others) => {
                self.recovered();
                self.told_by_some(others);
                self.numbers.sent.fetch_add(keys.len() as u64, Ordering::Relaxed);
                let arrived = self.book.sent(keys, Instant::now());
                shared.tally.delivered(&alerts(arrived));
                true
            }
            Err(refusal) => {
                self.numbers.failed.fetch_add(1, Ordering::Relaxed);
                self.refused(keys, &refusal, shared)
            }
        }
    }

    fn refused(&mut self, keys: &[Key], refusal: &Refusal, shared: &Shared) -> bool {
        match keys {
            _ if !refusal.for_good => {
                self.failed(&refusal.why);
                false
            }
            [_] => {
                tracing::error!("an alert is given up: {}", refusal.why);
                let lost = self.book.give_up(keys);
                shared.tally.dropped(&alerts(lost), Reason::Rejected);
                true
            }
            // Post them one by one, so that one rejected alert does not affect the others.
            _ => keys.iter().all(|key| self.post(std::slice::from_ref(key), shared)),
        }
    }

    fn body(&self, keys: &[Key]) -> String {
        let expiry = Timestamp::now().plus(self.config.resend * SILENCES).to_string();
        let alerts = keys.iter().filter_map(|key| self.book.get(key));
        let alerts =
            alerts.map(|(told, ended)| told.posted(ended.unwrap_or(&expiry), &self.config));
        alerts.collect::<Value>().to_string()
    }

    fn failed(&mut self, why: &str) {
        let now = Instant::now();
        let longest = LONGEST_PAUSE.min(self.config.resend);
        if let Some(trouble) = &mut self.trouble {
            trouble.last = now;
            trouble.pause = (trouble.pause * 2).min(longest);
            tracing::debug!("still no alert gets out: {why}");
        } else {
            let pause = FIRST_PAUSE.min(longest);
            self.trouble = Some(Trouble { since: now, last: now, pause });
            tracing::warn!("alerts wait for Alertmanager: {why}");
        }
    }

    fn recovered(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            let seconds = trouble.since.elapsed().as_secs();
            tracing::info!("Alertmanager takes alerts again, after {seconds} s");
        }
    }

    /// Logs once that some Alertmanagers reject alerts that others accept.
    fn told_by_some(&mut self, others: Option<String>) {
        match (others, self.in_part) {
            (Some(why), false) => tracing::warn!("not every Alertmanager takes alerts: {why}"),
            (None, true) => tracing::info!("every Alertmanager takes alerts again"),
            _ => return,
        }
        self.in_part = !self.in_part;
    }

    fn has_lost_patience(&self) -> bool {
        let failing = self.trouble.as_ref().map(|trouble| trouble.since.elapsed());
        matches!((failing, self.patience), (Some(failing), Some(patience)) if failing >= patience)
    }

    fn show(&self) {
        let set = |number: &AtomicU64, value: usize| number.store(value as u64, Ordering::Relaxed);
        set(&self.numbers.firing, self.book.firing());
        set(&self.numbers.waiting, self.book.waiting());
        self.numbers.away.store(self.trouble.is_some(), Ordering::Relaxed);
    }
}

/// Counts of `count` records of the stream `alerts`.
fn alerts(count: u64) -> PerStream {
    let mut share = PerStream::default();
    share[Stream::Alerts as usize] = count;
    share
}

#[cfg(test)]
mod tests;

/// All metrics of this kind of sink.
#[cfg(test)]
pub(super) fn every_gauge() -> Vec<Gauge> {
    Numbers::default().gauges()
}
