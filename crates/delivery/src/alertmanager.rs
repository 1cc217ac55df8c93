//! Sends alerts to Alertmanager by its API v2.
//!
//! Input: `dns.alert/1` records, as for any sink. The sink's thread posts an alert when it begins,
//! repeats it while it lasts, and posts its end. A record counts as delivered once an Alertmanager
//! has accepted it. While none does, the newest record of each alert waits in memory.

mod alert;
mod client;
mod state;

use super::format::{Login, Password};
use super::tally::{DropReason, PerStream};
use super::threaded::{
    LONG_WAIT, NextStep, QueueLimits, SharedState, SinkReceiver, ThreadedSink, lock,
};
use super::{Batch, Failure, Gauge, OutputFormat, SinkError, Stream, StreamSet, http};
use client::{Client, RequestError};
use dnscribe_record::time::Timestamp;
use serde_json::Value;
use state::{AlertState, Key};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Alertmanager considers an alert over if it is not repeated for this many resend intervals.
const EXPIRY_RESENDS: u32 = 4;
const MAX_ALERTS_PER_POST: usize = 256;
/// Pause after the first failure. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause during a flush.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

const REASONS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::MessageTimedOut,
    DropReason::Rejected,
    DropReason::Shutdown,
];

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
) -> Result<ThreadedSink, SinkError> {
    let client = Client::new(config).map_err(SinkError::Alertmanager)?;
    let metrics = Arc::<Mutex<SenderMetrics>>::default();
    let sender = AlertSender {
        state: AlertState::new(config.resend),
        config: config.clone(),
        client,
        patience,
        metrics: Arc::clone(&metrics),
        outage: None,
        partial: false,
    };
    let shared = SharedState::new(streams, REASONS);
    let work = move |receiver: &SinkReceiver| sender.run(receiver);
    let mut sink =
        ThreadedSink::start(name, OutputFormat::Json, QueueLimits::default(), shared, work)?;
    sink.gauges = Box::new(move || lock(&metrics).gauges());
    Ok(sink)
}

/// Asks every Alertmanager for its version.
///
/// # Errors
/// Returns why one of them did not answer as expected, and a remedy if the cause is clear.
pub fn probe(config: &AlertmanagerConfig) -> Result<String, (String, Option<String>)> {
    let remedy = || Some(http::CORRECT_SETTING.to_owned());
    let versions = Client::new(config).map_err(|why| (why, remedy()))?.versions();
    versions.map(|all| all.join(", ")).map_err(|error| (error.why, error.remedy))
}

#[derive(Default)]
struct SenderMetrics {
    sent: usize,
    failed: usize,
    firing: usize,
    waiting: usize,
    away: bool,
}

impl SenderMetrics {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus metrics are floats")]
    fn gauges(&self) -> Vec<Gauge> {
        vec![
            Gauge::new("dnscribe_alertmanager_sent_total", self.sent as f64),
            Gauge::new("dnscribe_alertmanager_failed_total", self.failed as f64),
            Gauge::new("dnscribe_alertmanager_firing", self.firing as f64),
            Gauge::new("dnscribe_alertmanager_waiting", self.waiting as f64),
            Gauge::new("dnscribe_alertmanager_up", f64::from(u8::from(!self.away))),
        ]
    }
}

/// State of repeated failures.
struct Outage {
    since: Instant,
    last: Instant,
    pause: Duration,
}

/// State of the sink's thread: sends alerts that are due.
struct AlertSender {
    config: AlertmanagerConfig,
    client: Client,
    state: AlertState,
    patience: Option<Duration>,
    metrics: Arc<Mutex<SenderMetrics>>,
    outage: Option<Outage>,
    /// Whether only some of the Alertmanagers accept alerts.
    partial: bool,
}

impl AlertSender {
    fn run(mut self, receiver: &SinkReceiver) {
        let shared = &receiver.shared;
        loop {
            match receiver.next(self.wait(shared)) {
                NextStep::Batch(taken) => {
                    self.take(&taken.batch, shared);
                    receiver.queued().for_each(|taken| self.take(&taken.batch, shared));
                }
                NextStep::Idle => {}
                NextStep::Stop => return,
            }
            if self.retry_at(shared).is_none_or(|next| Instant::now() >= next) {
                self.post_due(shared);
            }
            self.update_metrics();
            if self.is_out_of_time() {
                let given_up = alerts(self.state.remove_all());
                shared.tally.dropped(&given_up, DropReason::MessageTimedOut);
                let broken = "no Alertmanager could be reached in time; see the log".to_owned();
                shared.fail(Failure::Broken(broken), DropReason::MessageTimedOut);
                return receiver.drop_all(DropReason::MessageTimedOut);
            }
        }
    }

    /// When to try again after a failure.
    fn retry_at(&self, shared: &SharedState) -> Option<Instant> {
        let outage = self.outage.as_ref()?;
        let pause =
            if shared.flushing.get() { outage.pause.min(SHORT_PAUSE) } else { outage.pause };
        Some(outage.last + pause)
    }

    /// Time until the next alert is due, unless a record or a flush comes earlier.
    fn wait(&self, shared: &SharedState) -> Duration {
        // `None` is less than any time.
        let next = self.state.next_due().map(|due| Some(due).max(self.retry_at(shared)));
        let left = next.flatten().map(|next| next.saturating_duration_since(Instant::now()));
        left.unwrap_or(LONG_WAIT)
    }

    fn take(&mut self, batch: &Batch, shared: &SharedState) {
        let now = Instant::now();
        for record in batch.iter().filter(|record| record.stream == Stream::Alerts) {
            let reason = match serde_json::from_slice(record.line) {
                Ok(alert) if self.state.has_capacity_for(&alert) => {
                    self.state.add(alert, now);
                    continue;
                }
                Ok(_) => DropReason::QueueFull,
                // The agent itself rendered the record, so this should not happen.
                Err(error) => {
                    tracing::error!(%error, "cannot parse an alert record");
                    DropReason::Rejected
                }
            };
            shared.tally.dropped(&alerts(1), reason);
        }
    }

    fn post_due(&mut self, shared: &SharedState) {
        while !shared.stop.get() {
            let due = self.state.due(Instant::now(), MAX_ALERTS_PER_POST);
            if due.is_empty() || !self.post(&due, shared) {
                return;
            }
        }
    }

    /// Posts alerts. Returns whether to continue with others.
    fn post(&mut self, keys: &[Key], shared: &SharedState) -> bool {
        match self.client.post(&self.body(keys)) {
            Ok(others) => {
                self.recovered();
                self.note_partial(others);
                lock(&self.metrics).sent += keys.len();
                let arrived = self.state.mark_sent(keys, Instant::now());
                shared.tally.delivered(&alerts(arrived));
                true
            }
            Err(error) => {
                lock(&self.metrics).failed += 1;
                self.refused(keys, &error, shared)
            }
        }
    }

    fn refused(&mut self, keys: &[Key], error: &RequestError, shared: &SharedState) -> bool {
        match keys {
            _ if !error.permanent => {
                self.failed(&error.to_string());
                false
            }
            [_] => {
                tracing::error!("an alert is dropped: {error}");
                let lost = self.state.remove(keys);
                shared.tally.dropped(&alerts(lost), DropReason::Rejected);
                true
            }
            // Post them one by one, so that one rejected alert does not affect the others.
            _ => keys.iter().all(|key| self.post(std::slice::from_ref(key), shared)),
        }
    }

    fn body(&self, keys: &[Key]) -> String {
        let expiry = Timestamp::now().plus(self.config.resend * EXPIRY_RESENDS).to_string();
        let alerts = keys.iter().filter_map(|key| self.state.get(key));
        let alerts =
            alerts.map(|(alert, ended)| alert.to_json(ended.unwrap_or(&expiry), &self.config));
        alerts.collect::<Value>().to_string()
    }

    fn failed(&mut self, why: &str) {
        let now = Instant::now();
        let longest = LONGEST_PAUSE.min(self.config.resend);
        if let Some(outage) = &mut self.outage {
            outage.last = now;
            outage.pause = (outage.pause * 2).min(longest);
            tracing::debug!("alerts still wait for Alertmanager: {why}");
        } else {
            let pause = FIRST_PAUSE.min(longest);
            self.outage = Some(Outage { since: now, last: now, pause });
            tracing::warn!("alerts wait for Alertmanager: {why}");
        }
    }

    fn recovered(&mut self) {
        if let Some(outage) = self.outage.take() {
            let seconds = outage.since.elapsed().as_secs();
            tracing::info!("Alertmanager accepts alerts again, after {seconds} s");
        }
    }

    /// Logs once that some Alertmanagers reject alerts that others accept.
    fn note_partial(&mut self, others: Option<String>) {
        match (others, self.partial) {
            (Some(why), false) => tracing::warn!("not every Alertmanager accepts alerts: {why}"),
            (None, true) => tracing::info!("every Alertmanager accepts alerts again"),
            _ => return,
        }
        self.partial = !self.partial;
    }

    fn is_out_of_time(&self) -> bool {
        let failing = self.outage.as_ref().map(|outage| outage.since.elapsed());
        matches!((failing, self.patience), (Some(failing), Some(patience)) if failing >= patience)
    }

    fn update_metrics(&self) {
        let (firing, waiting) = (self.state.firing(), self.state.waiting());
        let mut metrics = lock(&self.metrics);
        (metrics.firing, metrics.waiting) = (firing, waiting);
        metrics.away = self.outage.is_some();
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
pub(super) fn every_gauge() -> Vec<Gauge> {
    SenderMetrics::default().gauges()
}
