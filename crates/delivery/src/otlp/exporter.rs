//! The thread that sends requests, one after the other, and retries them.

use super::client::{Client, RequestError};
use super::encode::{Encoded, Encoder, Inclusion};
use super::proto::{self, record_ids};
use super::{OtlpConfig, Signal, SignalSet};
use crate::spooled::{Cursor, Destination, InFlight, InFlightBatch, Outcome};
use crate::tally::DropReason;
use crate::threaded::{Flag, lock};
use crate::{Gauge, SinkError, Stream};
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// A request has records of at most this many bytes, or one record.
const REQUEST_BYTES: usize = 1 << 20;
/// A window becomes points of many metrics, which have so many times its bytes.
const WINDOW_FACTOR: usize = 8;
/// Larger requests are halved: receivers of gRPC accept 4 MiB.
const MAX_REQUEST_BYTES: usize = 3 << 20;
/// How long records wait for others of their request.
const LINGER: Duration = Duration::from_secs(1);
/// Pause after the first failure. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a waiting thread checks whether it is to end or to flush.
const TICK: Duration = Duration::from_millis(20);
/// How long the end of a sink waits for acknowledgements.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// The records of a batch from the cursor on.
struct Job {
    batch: InFlightBatch,
    cursor: Cursor,
}

/// A record in flight: its number, stream, id and line.
type Record<'a> = (usize, Stream, u128, &'a [u8]);

/// State that the sender, the thread and the metrics share.
#[derive(Default)]
pub(super) struct Progress {
    /// The thread must end.
    stop: Flag,
    /// Records must not wait for others.
    hurry: Flag,
    /// The thread has sent everything.
    ended: Flag,
    /// The last request failed.
    down: Flag,
    /// Why.
    trouble: Mutex<Option<String>>,
    /// When the server last accepted or refused a request.
    answered: Mutex<Option<Instant>>,
    requests: AtomicU64,
    failed: AtomicU64,
    sent_bytes: AtomicU64,
    rejected: AtomicU64,
}

impl Progress {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
    pub(super) fn gauges(&self) -> Vec<Gauge> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        vec![
            Gauge::new("dnscribe_otlp_requests_total", of(&self.requests)),
            Gauge::new("dnscribe_otlp_failed_requests_total", of(&self.failed)),
            Gauge::new("dnscribe_otlp_sent_bytes_total", of(&self.sent_bytes)),
            Gauge::new("dnscribe_otlp_rejected_total", of(&self.rejected)),
        ]
    }
}

/// The sender's view of the thread.
pub(super) struct Exporter {
    /// `None` instead of a job: there are no more, and all were done.
    jobs: Option<Sender<Option<Job>>>,
    /// When that was sent.
    finished: Option<Instant>,
    in_flight: Arc<InFlight>,
    progress: Arc<Progress>,
}

impl Exporter {
    /// Starts the thread.
    pub(super) fn start(
        client: Client,
        config: &OtlpConfig,
        signals: SignalSet,
        in_flight: &Arc<InFlight>,
        progress: &Arc<Progress>,
    ) -> Result<Self, SinkError> {
        // What is in flight is limited elsewhere.
        let (jobs, receiver) = crossbeam_channel::unbounded();
        let worker = Worker {
            client,
            encoder: Encoder::new(config, signals),
            in_flight: Arc::clone(in_flight),
            progress: Arc::clone(progress),
            logged: Vec::new(),
        };
        let thread = thread::Builder::new().name("otlp-export".into());
        let started = thread.spawn(move || worker.run(&receiver));
        started.map_err(|error| SinkError::Thread { name: "otlp".into(), error })?;
        let (in_flight, progress) = (Arc::clone(in_flight), Arc::clone(progress));
        Ok(Self { jobs: Some(jobs), finished: None, in_flight, progress })
    }
}

/// Transactions that count as delivered, and whose spans wait or are in a request that is not accepted yet.
fn unsent_spans(in_flight: &InFlight) -> &AtomicU64 {
    &in_flight.tallies.own.waiting
}

impl Destination for Exporter {
    const STALL: Duration = Duration::from_secs(15);
    const FIRST_STALL: Duration = Duration::from_secs(15);
    /// A lookup's span is made when those of its transactions are known.
    const CAUSES_FIRST: bool = true;

    fn is_down(&mut self, _now: Instant) -> bool {
        self.progress.down.get()
    }

    fn hand_over(&mut self, batch: &InFlightBatch, cursor: &mut Cursor) -> bool {
        let job = Job { batch: batch.clone(), cursor: *cursor };
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(Some(job)).is_ok())
    }

    fn finish(&mut self) {
        if let (None, Some(jobs)) = (self.finished, &self.jobs) {
            self.finished = Some(Instant::now());
            // Fails if the thread has ended, with nothing to send.
            let _ = jobs.send(None);
        }
    }

    fn unanswered(&self, now: Instant) -> Duration {
        let is_unsent = unsent_spans(&self.in_flight).load(Ordering::Relaxed) > 0;
        let Some(finished) = self.finished.filter(|_| is_unsent) else { return Duration::ZERO };
        let answered = *lock(&self.progress.answered);
        now.saturating_duration_since(answered.map_or(finished, |at| at.max(finished)))
    }

    fn flush(&self, limit: Duration) {
        self.progress.hurry.set(true);
        thread::sleep(limit.min(TICK));
    }

    fn why_unreachable(&self) -> String {
        let trouble = lock(&self.progress.trouble).clone();
        trouble.unwrap_or_else(|| "the OTLP server did not answer in time".to_owned())
    }

    fn end(&mut self, away: bool) {
        self.progress.hurry.set(true);
        let start = Instant::now();
        while !away && self.in_flight.load().0 > 0 && start.elapsed() < END_TIMEOUT {
            thread::sleep(TICK);
        }
        self.jobs = None;
        while !away && !self.progress.ended.get() && start.elapsed() < END_TIMEOUT {
            thread::sleep(TICK);
        }
        self.purge();
    }

    fn purge(&mut self) {
        self.progress.stop.set(true);
        self.jobs = None;
        let lost = unsent_spans(&self.in_flight).swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.progress.rejected.fetch_add(lost, Ordering::Relaxed);
            warn!(
                spans = lost,
                "spans are lost, as the sink ends before the OTLP server has accepted them: they waited for what caused \
                 their transactions, which count as delivered"
            );
        }
    }
}

struct Worker {
    client: Client,
    encoder: Encoder,
    in_flight: Arc<InFlight>,
    progress: Arc<Progress>,
    /// Signals whose rejections have been logged.
    logged: Vec<Signal>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Option<Job>>) {
        while let Some(jobs) = self.collect(jobs) {
            self.export(&jobs);
            if jobs.is_empty() {
                self.send_waiting();
            }
        }
        self.send_waiting();
        self.progress.ended.set(true);
    }

    /// Waits for the jobs of the next request; there are none where the sink finishes. `None` at the end.
    fn collect(&self, jobs: &Receiver<Option<Job>>) -> Option<Vec<Job>> {
        let Some(first) = jobs.recv().ok()? else { return Some(Vec::new()) };
        let mut all = vec![first];
        let mut bytes = all[0].batch.batch.size_bytes();
        let start = Instant::now();
        while bytes < REQUEST_BYTES && !self.progress.stop.get() {
            if let Ok(Some(job)) = jobs.recv_timeout(TICK) {
                bytes += job.batch.batch.size_bytes();
                all.push(job);
            } else if start.elapsed() >= LINGER || self.progress.hurry.replace(false) {
                break;
            }
            if start.elapsed() >= LINGER && jobs.is_empty() {
                break;
            }
        }
        (!self.progress.stop.get()).then_some(all)
    }

    /// Sends the spans that wait, because no more records come.
    fn send_waiting(&mut self) {
        if self.progress.stop.get() {
            return;
        }
        if let Some((signal, request)) = self.encoder.end() {
            // Their records count as delivered already.
            self.deliver(signal, request, &[]);
        }
    }

    fn export(&mut self, jobs: &[Job]) {
        let records: Vec<Record> = jobs
            .iter()
            .flat_map(|Job { batch, cursor }| {
                let left = batch.unsettled().filter(|(index, _)| *index >= cursor.index);
                left.map(|(index, record)| {
                    (cursor.at(index).number(), record.stream, record.event_id, record.line)
                })
            })
            .collect();
        let mut left = records.as_slice();
        while !left.is_empty() {
            let (next, rest) = left.split_at(request_length(left));
            if self.export_part(next).is_none() {
                return;
            }
            left = rest;
        }
    }

    /// Sends records and settles them. `None`: the sink ends.
    fn export_part(&mut self, records: &[Record]) -> Option<()> {
        let lines = records.iter().map(|(_, stream, id, line)| (*stream, *id, *line));
        let Encoded { requests, inclusions } = self.encoder.encode(lines);
        let mut outcomes: Vec<Outcome> =
            inclusions.iter().map(|inclusion| outcome(*inclusion)).collect();
        let is_answered = !requests.is_empty();
        for (signal, request) in requests {
            let refusals = self.deliver(signal, request, records)?;
            reject(&mut outcomes, &inclusions, records, signal, &refusals);
        }
        unsent_spans(&self.in_flight).store(self.encoder.waiting() as u64, Ordering::Relaxed);
        for ((number, ..), outcome) in records.iter().zip(outcomes) {
            let is_deferred = outcome == Outcome::Delivered && !is_answered;
            let outcome = if is_deferred { Outcome::Deferred } else { outcome };
            self.in_flight.settle(*number, outcome);
        }
        Some(())
    }

    /// Notes that the server has the spans in a request: those of settled records count as unsent until then.
    fn note_sent(&self, signal: Signal, request: &[u8], records: &[Record]) {
        if signal != Signal::Traces {
            return;
        }
        let unsettled: HashSet<u128> = records.iter().map(|(_, _, id, _)| *id).collect();
        let ids = record_ids(signal, request);
        let sent = ids.iter().filter(|id| !unsettled.contains(id)).count() as u64;
        let left = |unsent: u64| Some(unsent.saturating_sub(sent));
        // There is a number in any case. After the end it is 0.
        let _ =
            unsent_spans(&self.in_flight).fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// Sends a request, in halves if it is too large. `records` are those at hand. Returns what is refused; `None` if the
    /// sink ends.
    fn deliver(
        &mut self,
        signal: Signal,
        request: Vec<u8>,
        records: &[Record],
    ) -> Option<Vec<Refusal>> {
        let (mut refusals, mut left) = (Vec::new(), vec![request]);
        let mut is_whole = true;
        while let Some(request) = left.pop() {
            let halve = |left: &mut Vec<_>| {
                let halves = proto::halve(signal, &request);
                halves.map(|[first, second]| left.extend([second, first])).is_some()
            };
            if request.len() > MAX_REQUEST_BYTES && halve(&mut left) {
                is_whole = false;
                continue;
            }
            let (count, reason) = match self.send(signal, &request) {
                Sent::Accepted => {
                    self.note_sent(signal, &request, records);
                    continue;
                }
                Sent::Stopped => return None,
                Sent::Partly(count) => (count, DropReason::PartialSuccess),
                Sent::Refused(DropReason::MessageTooLarge, _) if halve(&mut left) => {
                    is_whole = false;
                    continue;
                }
                Sent::Refused(reason, why) => {
                    self.rejected(signal, 1, &why);
                    (usize::MAX, reason)
                }
            };
            self.note_sent(signal, &request, records);
            let is_all = match signal {
                Signal::Logs => is_whole,
                // Each window is in every metric.
                Signal::Metrics => true,
                // Spans may wait for a later request.
                Signal::Traces => false,
            };
            let ids = (!is_all).then(|| record_ids(signal, &request));
            refusals.push(Refusal { ids, count, reason });
        }
        Some(refusals)
    }

    /// Sends a request until it is accepted or refused.
    fn send(&mut self, signal: Signal, request: &[u8]) -> Sent {
        let mut pause = FIRST_PAUSE;
        while !self.progress.stop.get() {
            self.progress.requests.fetch_add(1, Ordering::Relaxed);
            let error = match self.client.send(signal, request) {
                Ok(partial) => {
                    self.recovered();
                    let bytes = request.len() as u64;
                    self.progress.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
                    let Some(partial) = partial else { return Sent::Accepted };
                    // No more than there are, whatever the server says.
                    let items = proto::item_count(signal, request);
                    let rejected =
                        usize::try_from(partial.rejected).map_or(items, |n| n.min(items));
                    self.rejected(signal, rejected as u64, &partial.error_message);
                    return Sent::Partly(rejected);
                }
                Err(error) => error,
            };
            self.progress.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(reason) = error.permanent {
                self.recovered();
                return Sent::Refused(reason, error.to_string());
            }
            self.failed(&error);
            // A server may ask for no pause at all.
            let wait = error.retry_after.unwrap_or(pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            let until = Instant::now() + wait;
            while Instant::now() < until && !self.progress.stop.get() {
                thread::sleep(TICK);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Sent::Stopped
    }

    fn failed(&self, error: &RequestError) {
        *lock(&self.progress.trouble) = Some(error.to_string());
        if !self.progress.down.replace(true) {
            warn!("records wait for the OTLP server: {error}");
        }
    }

    fn recovered(&self) {
        *lock(&self.progress.answered) = Some(Instant::now());
        if self.progress.down.replace(false) {
            info!("the OTLP server answers again");
        }
    }

    fn rejected(&mut self, signal: Signal, count: u64, why: &str) {
        self.progress.rejected.fetch_add(count, Ordering::Relaxed);
        if !self.logged.contains(&signal) {
            self.logged.push(signal);
            let signal = signal.name();
            warn!(signal, "the OTLP server rejects a part, which is counted as dropped: {why}");
        }
    }
}

/// What became of a request.
enum Sent {
    Accepted,
    /// All but this many items.
    Partly(usize),
    /// With the server's words.
    Refused(DropReason, String),
    /// The sink ends.
    Stopped,
}

/// Records that a server refuses, and why.
struct Refusal {
    /// Ids of the records in the request; all of the signal if absent.
    ids: Option<Vec<u128>>,
    /// The last so many of these are refused: a server does not say which they are.
    count: usize,
    reason: DropReason,
}

/// Returns how many of the records the next request has.
fn request_length(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = |(_, stream, _, line): &&Record| {
        let is_first = bytes == 0;
        bytes += line.len() * if *stream == Stream::Metrics { WINDOW_FACTOR } else { 1 };
        is_first || bytes <= REQUEST_BYTES
    };
    records.iter().take_while(fits).count().max(1)
}

fn outcome(inclusion: Inclusion) -> Outcome {
    match inclusion {
        Inclusion::Sent(_) => Outcome::Delivered,
        Inclusion::Filtered => Outcome::Filtered,
        Inclusion::Invalid => Outcome::Rejected(DropReason::NotEncodable),
    }
}

/// Counts records of a signal as rejected, each for one refusal.
fn reject(
    outcomes: &mut [Outcome],
    inclusions: &[Inclusion],
    records: &[Record],
    signal: Signal,
    refusals: &[Refusal],
) {
    let of_signal = |inclusion: &Inclusion| matches!(inclusion, Inclusion::Sent(signals) if signals.contains(signal));
    let own = outcomes.iter_mut().zip(inclusions).zip(records).rev();
    let own = own.filter(|((_, inclusion), _)| of_signal(inclusion));
    let mut left: Vec<_> = own.map(|((outcome, _), (_, _, id, _))| (outcome, *id)).collect();
    for Refusal { ids, count, reason } in refusals {
        let mut count = *count;
        left.retain_mut(|(outcome, id)| {
            let is_refused = count > 0 && ids.as_ref().is_none_or(|ids| ids.contains(id));
            if is_refused {
                count -= 1;
                **outcome = Outcome::Rejected(*reason);
            }
            !is_refused
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the positions of the records that are rejected, of eight with the ids 0 to 7.
    fn rejected(signal: Signal, refusals: &[(Option<&[u128]>, usize)]) -> Vec<usize> {
        let inclusions = [Inclusion::Sent(SignalSet::default().with(signal)); 8];
        let mut outcomes = inclusions.map(outcome);
        let records: Vec<Record> =
            (0..8).map(|number| (number, Stream::Transactions, number as u128, &b""[..])).collect();
        let refusals: Vec<Refusal> = refusals
            .iter()
            .map(|(ids, count)| Refusal {
                ids: ids.map(<[u128]>::to_vec),
                count: *count,
                reason: DropReason::PartialSuccess,
            })
            .collect();
        reject(&mut outcomes, &inclusions, &records, signal, &refusals);
        let all = outcomes.iter().enumerate();
        let rejected = all.filter(|(_, outcome)| **outcome != Outcome::Delivered);
        rejected.map(|(index, _)| index).collect()
    }

    #[test]
    fn parts_of_several_requests_add_up() {
        let metrics = [(None, 3), (None, 4)];
        assert_eq!(rejected(Signal::Metrics, &metrics), [1, 2, 3, 4, 5, 6, 7]);
        let (first, second): (&[u128], &[u128]) = (&[0, 1, 2, 3], &[4, 5, 6, 7]);
        let halves = [(Some(first), 1), (Some(second), 2)];
        assert_eq!(rejected(Signal::Logs, &halves), [3, 6, 7]);
        assert_eq!(rejected(Signal::Logs, &[(None, 0)]), [0; 0]);
    }

    #[test]
    fn records_whose_spans_wait_are_not_refused() {
        let sent: &[u128] = &[2, 5, 900];
        assert_eq!(rejected(Signal::Traces, &[(Some(sent), usize::MAX)]), [2, 5]);
    }
}
