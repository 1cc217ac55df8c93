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
    jobs: Option<Sender<Job>>,
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
        Ok(Self { jobs: Some(jobs), in_flight, progress })
    }
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
        self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
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
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Some(jobs) = self.collect(jobs) {
            self.export(&jobs);
        }
        let left = if self.progress.stop.get() { None } else { self.encoder.end() };
        left.and_then(|(signal, request)| self.deliver(signal, request));
        self.progress.ended.set(true);
    }

    /// Waits for the jobs of the next request. `None` at the end.
    fn collect(&self, jobs: &Receiver<Job>) -> Option<Vec<Job>> {
        let mut all = vec![jobs.recv().ok()?];
        let mut bytes = all[0].batch.batch.size_bytes();
        let start = Instant::now();
        while bytes < REQUEST_BYTES && !self.progress.stop.get() {
            if let Ok(job) = jobs.recv_timeout(TICK) {
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
        for (signal, request) in requests {
            for refusal in self.deliver(signal, request)? {
                reject(&mut outcomes, &inclusions, records, signal, refusal);
            }
        }
        for ((number, ..), outcome) in records.iter().zip(outcomes) {
            self.in_flight.settle(*number, outcome);
        }
        Some(())
    }

    /// Sends a request, in halves if it is too large. Returns what is refused; `None` if the sink ends.
    fn deliver(&mut self, signal: Signal, request: Vec<u8>) -> Option<Vec<Refusal>> {
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
            let (reason, why) = match self.send(signal, &request) {
                Sent::Accepted => continue,
                Sent::Stopped => return None,
                Sent::Partly(count) => {
                    refusals.push((Refused::Last(count), DropReason::PartialSuccess));
                    continue;
                }
                Sent::Refused(DropReason::MessageTooLarge, _) if halve(&mut left) => {
                    is_whole = false;
                    continue;
                }
                Sent::Refused(reason, why) => (reason, why),
            };
            self.rejected(signal, 1, &why);
            // Each window is in every metric.
            let is_all = is_whole || signal == Signal::Metrics;
            let ids = || Refused::Ids(record_ids(signal, &request));
            refusals.push((if is_all { Refused::All } else { ids() }, reason));
        }
        Some(refusals)
    }

    /// Sends a request until it is accepted or refused.
    fn send(&mut self, signal: Signal, request: &[u8]) -> Sent {
        let mut pause = FIRST_PAUSE;
        loop {
            self.progress.requests.fetch_add(1, Ordering::Relaxed);
            let error = match self.client.send(signal, request) {
                Ok(partial) => {
                    self.recovered();
                    let bytes = request.len() as u64;
                    self.progress.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
                    let Some(partial) = partial else { return Sent::Accepted };
                    let rejected = usize::try_from(partial.rejected).unwrap_or_default();
                    self.rejected(signal, partial.rejected.unsigned_abs(), &partial.error_message);
                    return Sent::Partly(rejected);
                }
                Err(error) => error,
            };
            self.progress.failed.fetch_add(1, Ordering::Relaxed);
            if let Some(reason) = error.permanent {
                self.recovered();
                return Sent::Refused(reason, error.why);
            }
            self.failed(&error);
            let until = Instant::now() + error.retry_after.unwrap_or(pause).min(LONGEST_PAUSE);
            while Instant::now() < until {
                if self.progress.stop.get() {
                    return Sent::Stopped;
                }
                thread::sleep(TICK);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn failed(&self, error: &RequestError) {
        *lock(&self.progress.trouble) = Some(error.why.clone());
        if !self.progress.down.replace(true) {
            warn!("records wait for the OTLP server: {}", error.why);
        }
    }

    fn recovered(&self) {
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
type Refusal = (Refused, DropReason);

enum Refused {
    All,
    /// So many: a server does not say which they are.
    Last(usize),
    Ids(Vec<u128>),
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

/// Counts records of a signal as rejected.
fn reject(
    outcomes: &mut [Outcome],
    inclusions: &[Inclusion],
    records: &[Record],
    signal: Signal,
    (refused, reason): Refusal,
) {
    let of_signal = |inclusion: &Inclusion| matches!(inclusion, Inclusion::Sent(signals) if signals.contains(signal));
    let is_refused = |id: &u128| !matches!(&refused, Refused::Ids(ids) if !ids.contains(id));
    let own = outcomes.iter_mut().zip(inclusions).zip(records).rev();
    let own = own
        .filter(|((_, inclusion), (_, _, id, _))| of_signal(inclusion) && is_refused(id))
        .map(|((outcome, _), _)| outcome);
    let count = if let Refused::Last(count) = refused { count } else { usize::MAX };
    own.take(count).for_each(|outcome| *outcome = Outcome::Rejected(reason));
}
