//! Alerts to Alertmanager, by its API v2.
//!
//! The sink takes `dns.alert/1` records as any sink does, and its thread tells Alertmanager what it
//! has to know: an alert when it begins, again and again while it goes on, and that it is over. A
//! record is delivered once an Alertmanager has taken what it says. While none does, the newest of
//! each alert waits in memory.

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

/// Without a word for so many times the resend interval, Alertmanager takes an alert for over.
const SILENCES: u32 = 4;
/// Alerts in one post at most.
const POST: usize = 256;
/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause while somebody waits for all to arrive.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

const REASONS: &[Reason] =
    &[Reason::QueueFull, Reason::MessageTimedOut, Reason::Rejected, Reason::Shutdown];

/// How to reach Alertmanager, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertmanagerConfig {
    /// `http://…` or `https://…` of each, without a slash at its end; at least one.
    pub urls: Vec<String>,
    /// Who we are, if they ask.
    pub authorization: Option<Authorization>,
    /// The certificates to trust, in PEM; those of the system where absent.
    pub ca_file: Option<PathBuf>,
    /// How long each may take to answer.
    pub timeout: Duration,
    /// How often an alert that goes on is told again.
    pub resend: Duration,
    /// Labels of every alert, beside its own.
    pub labels: BTreeMap<String, String>,
    /// Where an alert's link leads.
    pub generator_url: Option<String>,
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// By name and password (RFC 7617).
    Basic(Login),
    /// By a token (RFC 6750).
    Bearer(Password),
}

/// Starts a sink. Does not wait for Alertmanager: alerts do, for `patience` at most where there is one.
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

/// Asks every Alertmanager who it is: what they say, or what is wrong with one of them.
pub fn probe(config: &AlertmanagerConfig) -> Result<String, String> {
    let versions = Client::new(config)?.versions();
    versions.map(|versions| versions.join(", ")).map_err(|refusal| refusal.why)
}

/// What the sink measures.
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

/// Since when posts fail, and when the next is tried.
struct Trouble {
    since: Instant,
    last: Instant,
    pause: Duration,
}

/// The thread's state.
struct Courier {
    config: AlertmanagerConfig,
    client: Client,
    book: Book,
    patience: Option<Duration>,
    numbers: Arc<Numbers>,
    trouble: Option<Trouble>,
    /// Whether some Alertmanagers take alerts and others do not.
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

    /// Until when it is no use to try; after a failure only.
    fn next_try(&self, shared: &Shared) -> Option<Instant> {
        let trouble = self.trouble.as_ref()?;
        let pause = if shared.flushing() { trouble.pause.min(SHORT_PAUSE) } else { trouble.pause };
        Some(trouble.last + pause)
    }

    /// How long there is nothing to do unless a record comes, or somebody begins to wait.
    fn pause(&self, shared: &Shared) -> Duration {
        // Of two times, the absent one is the earlier.
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
                // Both sides come from one build, so that this cannot be.
                Err(error) => {
                    tracing::error!(%error, "an alert's record cannot be read");
                    Reason::Rejected
                }
            };
            shared.tally.dropped(&alerts(1), reason);
        }
    }

    /// Posts all that is due, until that fails.
    fn post_due(&mut self, shared: &Shared) {
        while !shared.stopping() {
            let due = self.book.due(Instant::now(), POST);
            if due.is_empty() || !self.post(&due, shared) {
                return;
            }
        }
    }

    /// Posts these; whether it is worth going on.
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
            // One of them is not to its taste; the others need not suffer.
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

    /// Tells once that some do not take alerts which others do.
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

/// So many records of the stream alerts.
fn alerts(count: u64) -> PerStream {
    let mut share = PerStream::default();
    share[Stream::Alerts as usize] = count;
    share
}

#[cfg(test)]
mod tests;

/// What this kind of sink measures.
#[cfg(test)]
pub(super) fn every_gauge() -> Vec<Gauge> {
    Numbers::default().gauges()
}
