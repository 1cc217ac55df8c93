//! The threads while another agent takes over: all of them stop between two packets, and either go on or
//! leave.

use super::{Crew, Hand, Order};
use crate::pipeline::{Batch, Pipeline, Shard, Stand};
use crate::takeover::page::Writer;
use crossbeam_channel::{Sender, unbounded};
use std::time::{Duration, Instant};

/// How long the threads may take to stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for batches before it is looked who has stopped.
const GLANCE: Duration = Duration::from_millis(1);

/// A thread that has stopped.
pub(in crate::command) struct Rested {
    shard: usize,
    /// Where it stands.
    pub(in crate::command) stand: Stand,
    /// Its queries.
    pub(in crate::command) pages: Vec<Vec<u8>>,
}

impl Crew {
    /// Has all threads stop, and takes what they have found out. Nothing where one does not in time; then
    /// all go on.
    pub(in crate::command) fn rest(&mut self, pipeline: &mut Pipeline) -> Option<Vec<Rested>> {
        let (tell, told) = unbounded();
        self.order(|| Order::Rest(tell.clone()));
        let end = Instant::now() + PATIENCE;
        let mut rested: Vec<Rested> = Vec::new();
        while rested.len() < self.members.len() && Instant::now() < end {
            // Whoever waits for an empty batch hears nothing: all that is there is taken, although a thread
            // that has not stopped may give something earlier.
            if let Ok(Ok(batch)) = self.told.recv_timeout(GLANCE) {
                pipeline.put(batch);
            }
            pipeline.gather_all();
            self.gather(pipeline);
            rested.extend(told.try_iter());
        }
        if rested.len() < self.members.len() {
            self.resume();
            return None;
        }
        // Each told its last batch before it said that it rests.
        while let Ok(Ok(batch)) = self.told.try_recv() {
            pipeline.put(batch);
            pipeline.gather_all();
            self.gather(pipeline);
        }
        rested.sort_by_key(|one| one.shard);
        Some(rested)
    }

    /// Has them go on.
    pub(in crate::command) fn resume(&self) {
        self.order(|| Order::Resume);
    }

    /// Has them say what waits, and end; waits for that until `end`.
    pub(in crate::command) fn leave(mut self, pipeline: &mut Pipeline, end: Instant) {
        self.order(|| Order::Leave);
        self.await_ends(pipeline, end);
    }
}

impl Hand {
    /// Stops, says so, and waits for what is next: whether that is the end.
    pub(super) fn rest(&mut self, batch: &mut Option<Batch>, rested: &Sender<Rested>) -> bool {
        let Some(filling) = batch.take().or_else(|| self.empty.recv().ok()) else { return true };
        if !self.send(filling, Shard::fill_rest) {
            return true;
        }
        let mut writer = Writer::new(self.shard.number());
        self.shard.carry(&mut |carried| writer.push(carried));
        let shard = self.shard.number();
        let stand = self.shard.stand(self.reader.received());
        // Fails where nobody waits for it any more, and then the order to go on is there.
        let _ = rested.send(Rested { shard, stand, pages: writer.finish() });
        loop {
            match self.ordered.recv() {
                Ok(Order::Reconfigure(pairing, connecting)) => {
                    self.shard.reconfigure(pairing, connecting);
                }
                Ok(Order::Sample(change)) => self.shard.sample(change),
                Ok(Order::Write(wanted)) => self.shard.write(wanted),
                Ok(Order::Resume) => return false,
                Ok(Order::Leave) => {
                    if let Ok(filling) = self.empty.recv() {
                        self.send(filling, Shard::fill_left);
                    }
                    return true;
                }
                // Nobody rests twice, or is told to stop while it does, nor are ports changed meanwhile.
                Ok(Order::Rest(_) | Order::Stop(_) | Order::Widen(_) | Order::Narrow(_))
                | Err(_) => {
                    return true;
                }
            }
        }
    }

    /// Fills a batch and gives it away: whether anybody takes it.
    fn send(&mut self, mut batch: Batch, fill: impl FnOnce(&mut Shard, &mut Batch)) -> bool {
        let Self { reader, shard, .. } = self;
        fill(shard, &mut batch);
        shard.seal(&mut batch, reader.received(), None);
        self.tell.send(Ok(batch)).is_ok()
    }
}
