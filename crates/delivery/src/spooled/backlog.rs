//! Connects the sender to the spool, and counts every record in it.

use super::SpooledPlan;
use super::in_flight::{InFlight, InFlightBatch};
use crate::spool::{AppendError, Spool, UnsentFrame, Unsynced};
use crate::tally::{DiskLosses, DropReason, Location, PerStream};
use crate::threaded::{Flag, lock};
use crate::{Batch, Gauge, Stream, StreamSet};
use crossbeam_channel::Sender;
use fixedbitset::FixedBitSet;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// Interval of expiry and checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// Interval of syncing files to disk; also the pause after a backup copy was refused.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Pause before a failed opening of the spool is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(30);

/// The spool of a sink, if it has one.
pub(crate) struct Backlog {
    plan: Arc<SpooledPlan>,
    causes_first: bool,
    spool: Option<Spool>,
    in_flight: Arc<InFlight>,
    gauges: Arc<BacklogGauges>,
    syncer: Syncer,
    next_sync: Instant,
    next_checkpoint: Instant,
    next_open: Instant,
    next_backup: Instant,
    /// Streams with records in memory of which the spool has refused a copy, and why. Younger records go to disk only after
    /// these.
    exposed: Vec<(Stream, DropReason)>,
    /// Losses that a ledger record contains which cannot get lost any more.
    reported: DiskLosses,
    /// Ledger records in flight: numbers of their batches, and the losses that they contain.
    reporting: VecDeque<(usize, DiskLosses)>,
    /// Whether the last write failed: each failure is logged once.
    failing: bool,
}

#[derive(Default)]
pub(crate) struct BacklogGauges {
    pub(crate) bytes: Arc<AtomicU64>,
    away: Flag,
    torn_bytes: AtomicU64,
    oldest: Mutex<Option<SystemTime>>,
}

impl Backlog {
    /// Opens the spool if one is configured. A failure is logged, and opening is tried again later.
    pub(crate) fn new(
        plan: &Arc<SpooledPlan>,
        causes_first: bool,
        in_flight: Arc<InFlight>,
        gauges: Arc<BacklogGauges>,
    ) -> Self {
        let now = Instant::now();
        let mut backlog = Self {
            plan: Arc::clone(plan),
            causes_first,
            spool: None,
            in_flight,
            gauges,
            syncer: Syncer::default(),
            next_sync: now,
            next_checkpoint: now,
            next_open: now,
            next_backup: now,
            exposed: Vec::new(),
            reported: DiskLosses::default(),
            reporting: VecDeque::new(),
            failing: false,
        };
        backlog.open(now);
        backlog
    }

    fn open(&mut self, now: Instant) {
        let Some(config) = &self.plan.spool else { return };
        self.next_open = now + REOPEN_EVERY;
        let SpooledPlan { name, destination, node, .. } = &*self.plan;
        match Spool::open(config, destination, node, SystemTime::now()) {
            Ok((mut spool, recovered)) => {
                spool.causes_first = self.causes_first;
                let tally = &self.in_flight.tallies.recovered;
                tally.add_recovered(&recovered.records);
                let torn = Stream::ALL.map(|stream| {
                    (stream, DropReason::SpoolCorrupt, recovered.torn_records[stream as usize])
                });
                for (stream, reason, count) in torn.into_iter().chain(recovered.lost.iter()) {
                    let mut found = PerStream::default();
                    found[stream as usize] = count;
                    tally.add_recovered(&found);
                    tally.settle_at(Location::Disk, stream, count, Err(reason));
                }
                let found: u64 = recovered.records.iter().sum();
                let directory = config.directory.display();
                if found > 0 {
                    info!(
                        records = found,
                        "{directory} holds records of an earlier run for {name}"
                    );
                }
                if recovered.torn_bytes > 0 {
                    let records: u64 = recovered.torn_records.iter().sum();
                    let bytes = recovered.torn_bytes;
                    warn!(bytes, records, "the end of the spool in {directory} was torn");
                    self.gauges.torn_bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                self.spool = Some(spool);
                self.recover();
                // Opening drops expired records.
                self.account_gone();
            }
            Err(error) if !self.failing => {
                self.failing = true;
                warn!("no spool, records wait for {name} in memory only: {error}");
            }
            Err(_) => {}
        }
    }

    /// Tries to open the spool if one is configured and not open.
    pub(crate) fn ensure_open(&mut self, now: Instant) {
        if self.spool.is_none() {
            self.open(now);
        }
    }

    pub(crate) fn note_away(&self, away: bool) {
        self.gauges.away.set(away);
        self.in_flight.tallies.own.diverting.set(away && self.is_open());
    }

    pub(crate) fn is_open(&self) -> bool {
        self.spool.is_some()
    }

    /// Returns whether there are records on disk that the destination's client does not have.
    pub(crate) fn has_unsent(&self) -> bool {
        self.spool.as_ref().is_some_and(Spool::has_unsent)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spool.as_ref().is_none_or(|spool| spool.records() == [0; Stream::ALL.len()])
    }

    /// Appends a batch's records to the spool. Returns the streams whose records were refused, and
    /// why. `reported`: losses that a ledger record of the batch contains.
    pub(crate) fn put(
        &mut self,
        batch: &Batch,
        streams: StreamSet,
        reported: Option<&DiskLosses>,
    ) -> Vec<(Stream, DropReason)> {
        let now = SystemTime::now();
        let mut refused = Vec::new();
        for stream in streams.iter() {
            let count = batch.iter().filter(|record| record.stream == stream).count() as u64;
            if count == 0 {
                continue;
            }
            let records = &mut batch.iter().filter(|record| record.stream == stream);
            let older = self.exposed.iter().find(|(exposed, _)| *exposed == stream);
            if let Some(refusal) = older.filter(|_| self.in_flight.has_exposed(stream)) {
                refused.push(*refusal);
                continue;
            }
            let Some(spool) = &mut self.spool else {
                refused.push((stream, DropReason::SpoolError));
                continue;
            };
            match spool.append(stream, records, false, now) {
                Ok(_) => self.in_flight.own().spooled(stream, count),
                Err(error) => {
                    refused.push((stream, reason(&error)));
                    self.complain(&error.to_string());
                }
            }
            self.account_gone();
        }
        if refused.is_empty() {
            self.recover();
        }
        let has_ledger = refused.iter().all(|(stream, _)| *stream != Stream::Ledger);
        if let Some(lost) = reported.filter(|_| has_ledger) {
            self.set_reported(lost);
        }
        refused
    }

    /// Appends backup copies of records that have been in memory only for `age`, in case of a
    /// crash.
    pub(crate) fn spool_unacked(&mut self, age: Duration, now: Instant) {
        if now >= self.next_backup && !self.back_up(age, now) {
            self.next_backup = now + SYNC_EVERY;
        }
    }

    /// Appends copies of all records that are in memory only, because the sink ends.
    pub(crate) fn spool_all(&mut self) {
        self.back_up(Duration::ZERO, Instant::now());
    }

    /// Appends copies of the records that have been in memory only for `age`. Returns whether the
    /// spool has accepted all.
    fn back_up(&mut self, age: Duration, now: Instant) -> bool {
        let Some(spool) = &mut self.spool else { return true };
        let all = self.in_flight.exposed(age, now);
        self.exposed.clear();
        for (number, exposed) in &all {
            // After a record that is refused, no later one of its stream: the order stays.
            for stream in Stream::ALL {
                let mut records = exposed.exposed(stream).peekable();
                let is_refused = self.exposed.iter().any(|(refused, _)| *refused == stream);
                if is_refused || records.peek().is_none() {
                    continue;
                }
                match spool.append(stream, &mut records, true, SystemTime::now()) {
                    Ok(frame) if self.in_flight.set_spooled(*number, exposed, frame) => {}
                    Ok(frame) => spool.settle(frame),
                    Err(error) => self.exposed.push((stream, reason(&error))),
                }
            }
        }
        let complete = self.exposed.is_empty();
        if complete && let Some((last, _)) = all.last() {
            self.in_flight.set_backed_up(*last);
        }
        complete
    }

    pub(crate) fn next(&mut self) -> Option<InFlightBatch> {
        let next = self.spool.as_mut().and_then(Spool::next);
        self.account_gone();
        let UnsentFrame { id, origin, node, batch, settled: before } = next?;
        let mut settled = FixedBitSet::with_capacity(batch.len());
        settled.extend((0..).zip(before).filter_map(|(index, settled)| settled.then_some(index)));
        let mut spool_frames = [None; Stream::ALL.len()];
        spool_frames[id.stream as usize] = Some(id);
        Some(InFlightBatch {
            batch: Arc::new(batch),
            node,
            origin,
            streams: StreamSet::from_iter([id.stream]),
            spool_frames,
            settled,
        })
    }

    /// Settles delivered frames, drops expired ones, syncs and writes checkpoints.
    pub(crate) fn maintain(&mut self, now: Instant) {
        if now >= self.next_open {
            self.ensure_open(now);
        }
        self.note_losses();
        let done = self.in_flight.take_done();
        let Some(spool) = &mut self.spool else { return };
        for frame in done {
            spool.settle(frame);
        }
        if now >= self.next_sync {
            self.next_sync = now + SYNC_EVERY;
            self.syncer.sync(spool);
            self.gauges.bytes.store(spool.bytes(), Ordering::Relaxed);
            *lock(&self.gauges.oldest) = spool.oldest();
        }
        if now >= self.next_checkpoint {
            self.next_checkpoint = now + CHECKPOINT_EVERY;
            spool.expire(SystemTime::now());
            self.account_gone();
            self.checkpoint();
        }
    }

    /// Notes that a ledger record with these losses is in the spool.
    fn set_reported(&mut self, lost: &DiskLosses) {
        // It is younger than those in flight.
        self.reporting.clear();
        self.reported = *lost;
        self.note_losses();
    }

    /// Notes that a ledger record with these losses is in the batch with this number.
    pub(crate) fn add_reporting(&mut self, number: usize, lost: &DiskLosses) {
        self.reporting.push_back((number, *lost));
    }

    /// Lets the spool write down what no ledger record contains yet, for the next run.
    fn note_losses(&mut self) {
        while let Some((_, lost)) =
            self.reporting.pop_front_if(|(number, _)| self.in_flight.is_ledger_safe(*number))
        {
            self.reported = lost;
        }
        let tallies = &self.in_flight.tallies;
        if !self.in_flight.own().streams.contains(Stream::Ledger) {
            // Another sink has the ledger.
            self.reported = tallies.ledger_lost();
        }
        let lost = tallies.lost();
        if let Some(spool) = &mut self.spool {
            spool.lost = lost.minus(&self.reported);
            // At once: what a ledger record contains must not be counted again after a kill.
            if let Err(error) = spool.save_lost() {
                self.complain(&error.to_string());
            }
        }
    }

    /// Writes a checkpoint for the next run.
    pub(crate) fn checkpoint(&mut self) {
        self.note_losses();
        let Some(spool) = &mut self.spool else { return };
        let partial = self.in_flight.partial();
        let partial: Vec<(_, &[bool])> =
            partial.iter().map(|(frame, settled)| (*frame, settled.as_slice())).collect();
        if let Err(error) = spool.checkpoint(&partial) {
            self.complain(&error.to_string());
        }
    }

    /// Writes the last checkpoint and syncs.
    pub(crate) fn close(&mut self) {
        self.maintain(Instant::now());
        self.checkpoint();
        if let Some(Err(error)) = self.spool.as_mut().map(Spool::sync) {
            self.complain(&error.to_string());
        }
    }

    /// Counts the frames that the spool removed.
    fn account_gone(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        for gone in spool.take_removed() {
            let tally = self.in_flight.tallies.of(gone.origin);
            tally.settle_at(Location::Disk, gone.id.stream, gone.records, Err(gone.reason));
        }
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.failing) {
            info!("the spool can be written to again");
        }
    }

    fn complain(&mut self, error: &str) {
        if !self.failing {
            self.failing = true;
            warn!("the spool cannot be written to: {error}");
        }
    }
}

/// Why records are dropped that the spool has refused.
fn reason(error: &AppendError) -> DropReason {
    match error {
        AppendError::Full => DropReason::SpoolFull,
        _ => DropReason::SpoolError,
    }
}

/// Syncs files on its own thread: a slow disk may take seconds while records arrive.
#[derive(Default)]
struct Syncer(Option<Sender<Unsynced>>);

impl Syncer {
    /// Syncs new files unless the previous sync is still running.
    fn sync(&mut self, spool: &mut Spool) {
        if self.0.as_ref().is_some_and(Sender::is_full) {
            return;
        }
        let Some(unsynced) = spool.take_unsynced() else { return };
        let sender = self.0.get_or_insert_with(start_syncer);
        // The start of the thread logs its failure.
        let _ = sender.try_send(unsynced);
    }
}

fn start_syncer() -> Sender<Unsynced> {
    let (sender, receiver) = crossbeam_channel::bounded::<Unsynced>(1);
    let work = move || {
        for unsynced in receiver {
            if let Err(error) = unsynced.sync() {
                warn!(%error, "cannot sync the spool: its last records might not survive a power failure");
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("spool-sync".into()).spawn(work) {
        warn!(%error, "cannot start a thread that syncs the spool");
    }
    sender
}

impl BacklogGauges {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
    /// Metrics, of which `up` is the name of the one that says whether the destination accepts records.
    pub(crate) fn gauges(&self, up: &'static str) -> Vec<Gauge> {
        let oldest = *lock(&self.oldest);
        let age = oldest.and_then(|oldest| oldest.elapsed().ok()).unwrap_or_default();
        let torn_bytes = self.torn_bytes.load(Ordering::Relaxed) as f64;
        vec![
            Gauge::new(up, f64::from(u8::from(!self.away.get()))),
            Gauge::new("dnscribe_spool_oldest_seconds", age.as_secs_f64()),
            Gauge::new("dnscribe_spool_torn_bytes_total", torn_bytes),
        ]
    }
}
