//! Threads of a live capture: each has a ring with its share of the flows, and the rooms of one flow
//! behind it. What they find out goes to the thread that has the rest of the pipeline, in batches.
//!
//! No packet takes a lock. A thread has a few batches and waits until one of them comes back, so that
//! what the others cannot take stays in its ring, and only the kernel loses anything, and counts it.

mod rest;

use crate::capture::live::{Live, Reader};
use crate::capture::ports::PortSet;
use crate::capture::sampling::Change;
use crate::connection::ConnectionOptions;
use crate::exit::Exit;
use crate::pair::PairOptions;
use crate::pipeline::{Batch, Pipeline, SHARD_BATCHES, Shard, Wanted};
use crate::time::Timestamp;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};
use rest::Rested;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Packets taken from a ring between two looks at whether the batch is full.
const DRAIN: usize = 64;

/// Packets in a turn from which on nobody has to see to it that records do not wait for more of them.
pub(super) const BUSY: usize = 512;

/// Longest sleep of any thread: timeouts, orders and signals are looked at this often.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest sleep while something waits until an idle thread's ring was looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// What a thread is told.
enum Order {
    /// Adopt other bounds.
    Reconfigure(PairOptions, ConnectionOptions),
    /// Another share of the transactions is told from here on.
    Sample(Change),
    /// Begin other records.
    Write(Wanted),
    /// Look for DNS on these ports, too, and say so.
    Widen(PortSet),
    /// Look for DNS on these only, once the ring was found empty.
    Narrow(PortSet),
    /// Take what is in the ring, not for longer than this, and end.
    Stop(Instant),
    /// Stop between two packets, say where that is, and wait for one of the next two.
    Rest(Sender<Rested>),
    /// Go on.
    Resume,
    /// Say what waits, and end: another goes on.
    Leave,
}

/// What a thread tells.
type Told = io::Result<Batch>;

/// What a thread shows of itself.
#[derive(Debug, Default)]
struct Pulse {
    /// Odd while it takes packets or lets time pass, even while it sleeps.
    turns: AtomicU64,
    /// Up to when it has let time pass.
    expired_ns: AtomicU64,
    /// How often it was told of more ports, and knows them.
    widened: AtomicU64,
}

/// The threads.
pub(super) struct Crew {
    members: Vec<Member>,
    told: Receiver<Told>,
    ended: usize,
    /// How long this thread has waited for the others.
    waited: Duration,
    /// How often the threads were told of more ports.
    widened: u64,
}

struct Member {
    pulse: Arc<Pulse>,
    orders: Sender<Order>,
    spent: Sender<Batch>,
    thread: JoinHandle<()>,
}

impl Crew {
    /// Starts a thread for each reader.
    pub(super) fn start(readers: Vec<Reader>, shards: Vec<Shard>) -> io::Result<Self> {
        // There is always room: no thread has more batches, and none fails twice.
        let (tell, told) = bounded(readers.len() * (SHARD_BATCHES + 1));
        let mut members = Vec::new();
        for (number, (reader, shard)) in readers.into_iter().zip(shards).enumerate() {
            let (orders, ordered) = unbounded();
            let (spent, empty) = bounded(SHARD_BATCHES);
            for _ in 0..SHARD_BATCHES {
                // There is room for all of them.
                let _ = spent.try_send(Batch::default());
            }
            let pulse = Arc::new(Pulse::default());
            let hand = Hand {
                reader,
                shard,
                pulse: Arc::clone(&pulse),
                ordered,
                empty,
                tell: tell.clone(),
                narrowing: None,
            };
            let thread = thread::Builder::new().name(format!("flows-{number}"));
            let thread = thread.spawn(move || hand.work())?;
            members.push(Member { pulse, orders, spent, thread });
        }
        Ok(Self { members, told, ended: 0, waited: Duration::ZERO, widened: 0 })
    }

    /// Tells all threads of other bounds.
    pub(super) fn reconfigure(&self, pairing: PairOptions, connecting: ConnectionOptions) {
        self.order(|| Order::Reconfigure(pairing, connecting));
    }

    /// Tells all threads that another share of the transactions is told from here on.
    pub(super) fn sample(&self, change: Change) {
        self.order(|| Order::Sample(change));
    }

    /// Tells all threads which records to begin.
    pub(super) fn write(&self, wanted: Wanted) {
        self.order(|| Order::Write(wanted));
    }

    /// Tells all threads of more ports.
    pub(super) fn widen(&mut self, ports: &PortSet) {
        self.widened += 1;
        self.order(|| Order::Widen(ports.clone()));
    }

    /// Whether all threads know of all ports that they were told of.
    pub(super) fn has_widened(&self) -> bool {
        let knows = |member: &Member| member.pulse.widened.load(Ordering::Acquire) == self.widened;
        self.members.iter().all(knows)
    }

    /// Tells all threads that no packets of other ports come any more but those that are in the rings.
    pub(super) fn narrow(&self, ports: &PortSet) {
        self.order(|| Order::Narrow(ports.clone()));
    }

    fn order(&self, order: impl Fn() -> Order) {
        for member in &self.members {
            // Fails where the thread has ended, which `take` and `stop` tell.
            let _ = member.orders.send(order());
        }
    }

    /// How long this thread has waited for the others, since they began.
    pub(super) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Waits for what the threads have found out, `limit` at most, and takes it through the rest of the
    /// pipeline. Gives the number of packets that it is of.
    pub(super) fn take(
        &mut self,
        live: &Live,
        pipeline: &mut Pipeline,
        limit: Duration,
    ) -> Result<usize, Exit> {
        let limit = limit.min(if pipeline.is_waiting() { GLANCE } else { PAUSE });
        let since = Instant::now();
        let told = self.told.recv_timeout(limit);
        self.waited += since.elapsed().min(limit);
        let mut packets = match told {
            Ok(told) => self.put(told, pipeline)?,
            Err(RecvTimeoutError::Timeout) => 0,
            Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        };
        // In this order: what an idle thread gave before it slept is taken before it is believed.
        let idle = self.idle(live);
        while let Ok(told) = self.told.try_recv() {
            packets += self.put(told, pipeline)?;
        }
        for (shard, time) in idle {
            pipeline.is_past(shard, time);
        }
        self.gather(pipeline);
        if let Some(expired) = self.expired() {
            pipeline.expire(expired);
        }
        if self.ended == 0 && self.members.iter().any(|member| member.thread.is_finished()) {
            return Err(ended());
        }
        Ok(packets)
    }

    /// Has all threads take what is in their rings, until `drained` at most, and end; waits for that until
    /// `end`. What they have not told by then counts as what is still in the rings.
    pub(super) fn stop(mut self, pipeline: &mut Pipeline, drained: Instant, end: Instant) {
        self.order(|| Order::Stop(drained));
        self.await_ends(pipeline, end);
    }

    /// Waits until `end` for the last batches of all threads.
    fn await_ends(&mut self, pipeline: &mut Pipeline, end: Instant) {
        while self.ended < self.members.len() {
            match self.told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Ok(batch)) => {
                    self.ended += usize::from(batch.is_last);
                    pipeline.put(batch);
                    self.gather(pipeline);
                }
                Ok(Err(error)) => {
                    self.ended += 1;
                    tracing::error!("a thread could not wait for its ring: {error}");
                }
                Err(_) => {
                    tracing::error!("the threads that read packets have not ended in time");
                    return;
                }
            }
        }
    }

    fn put(&mut self, told: Told, pipeline: &mut Pipeline) -> Result<usize, Exit> {
        let failed = |error| Exit::failed(format!("cannot wait for the ring: {error}"));
        let batch = told.map_err(failed)?;
        self.ended += usize::from(batch.is_last);
        let packets = batch.packets;
        pipeline.put(batch);
        Ok(packets)
    }

    /// Takes what all threads have got past, and gives their batches back.
    fn gather(&self, pipeline: &mut Pipeline) {
        pipeline.gather(&mut |batch| {
            if let Some(member) = self.members.get(batch.shard) {
                // No thread has more of them than there is room for; one that has ended wants none.
                let _ = member.spent.try_send(batch);
            }
        });
    }

    /// The threads that sleep before an empty ring: they have given all of before this time.
    fn idle(&self, live: &Live) -> Vec<(usize, Timestamp)> {
        let now = live.now();
        let is_idle = |(shard, member): (usize, &Member)| {
            let turns = || member.pulse.turns.load(Ordering::SeqCst);
            let before = turns();
            let sleeps = before.is_multiple_of(2) && live.is_empty(shard);
            fence(Ordering::SeqCst);
            // Where it has not stirred meanwhile, the ring was empty before it was looked at, and what
            // comes into it now is stamped later than `now`.
            (sleeps && turns() == before).then_some((shard, now))
        };
        self.members.iter().enumerate().filter_map(is_idle).collect()
    }

    /// Up to when all threads have let time pass.
    fn expired(&self) -> Option<Timestamp> {
        let expired = |member: &Member| member.pulse.expired_ns.load(Ordering::Acquire);
        self.members.iter().map(expired).min().map(Timestamp::from_nanos)
    }
}

fn ended() -> Exit {
    Exit::failed("a thread that reads packets has ended; this is a bug, please report it")
}

/// What a thread works with.
struct Hand {
    reader: Reader,
    shard: Shard,
    pulse: Arc<Pulse>,
    ordered: Receiver<Order>,
    empty: Receiver<Batch>,
    tell: Sender<Told>,
    /// The ports that are left once the ring was found empty.
    narrowing: Option<PortSet>,
}

impl Hand {
    /// Works until it is told to stop, or nobody listens any more.
    fn work(mut self) {
        let mut batch = None;
        loop {
            if let Err(error) = self.reader.wait(PAUSE, None) {
                // Fails where nobody listens.
                let _ = self.tell.send(Err(error));
                return;
            }
            match self.ordered.try_recv() {
                Ok(Order::Reconfigure(pairing, connecting)) => {
                    self.shard.reconfigure(pairing, connecting);
                }
                Ok(Order::Sample(change)) => self.shard.sample(change),
                Ok(Order::Write(wanted)) => self.shard.write(wanted),
                Ok(Order::Widen(ports)) => {
                    // What was to be left before is not any more.
                    self.narrowing = None;
                    self.shard.widen(&ports);
                    self.pulse.widened.fetch_add(1, Ordering::Release);
                }
                Ok(Order::Narrow(ports)) => self.narrowing = Some(ports),
                Ok(Order::Stop(drained)) => return self.end(batch, drained),
                Ok(Order::Rest(rested)) => {
                    if self.rest(&mut batch, &rested) {
                        return;
                    }
                    continue;
                }
                // The first two are of a rest that this thread has not begun.
                Ok(Order::Resume | Order::Leave) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            // Waits for the others where they cannot keep up.
            let Some(mut filling) = batch.take().or_else(|| self.empty.recv().ok()) else { return };
            self.pulse.turns.fetch_add(1, Ordering::SeqCst);
            if self.turn(&mut filling) {
                if self.tell.send(Ok(filling)).is_err() {
                    return;
                }
            } else {
                batch = Some(filling);
            }
            self.pulse.turns.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes packets and lets time pass. Whether there is anything in the batch then.
    fn turn(&mut self, batch: &mut Batch) -> bool {
        let Self { reader, shard, pulse, narrowing, .. } = self;
        // What is still in the ring when time is judged would be judged unfairly: only when the ring was
        // emptied may the clock, as it stood before, say that a query's time is over.
        let before = reader.now();
        let is_empty = fill(reader, shard, batch);
        if is_empty {
            shard.fill_expired(before, batch);
            if let Some(ports) = narrowing.take() {
                shard.fill_narrowed(&ports, before, batch);
            }
        }
        let until = is_empty.then_some(before);
        pulse.expired_ns.store(shard.expired().as_nanos(), Ordering::Release);
        shard.seal(batch, reader.received(), until)
    }

    /// Takes what is left, and says what waits.
    fn end(mut self, mut batch: Option<Batch>, drained: Instant) {
        loop {
            let Some(mut filling) = batch.take().or_else(|| self.empty.recv().ok()) else { return };
            let Self { reader, shard, .. } = &mut self;
            // No program runs any more, so that every record is complete.
            let is_last = fill(reader, shard, &mut filling) || Instant::now() >= drained;
            let until = is_last.then(|| reader.now());
            if let Some(now) = until {
                shard.fill_last(now, &mut filling);
            }
            shard.seal(&mut filling, reader.received(), until);
            if self.tell.send(Ok(filling)).is_err() || is_last {
                return;
            }
        }
    }
}

/// Takes packets until the batch is full. Whether the ring was emptied.
fn fill(reader: &mut Reader, shard: &mut Shard, batch: &mut Batch) -> bool {
    while !batch.is_full() {
        if reader.drain(DRAIN, &mut |packet| shard.fill(packet, batch)) < DRAIN {
            // A record that is not complete yet hides those behind it.
            return reader.is_empty();
        }
    }
    false
}
