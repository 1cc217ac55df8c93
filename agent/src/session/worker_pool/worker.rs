//! A worker thread: reads its ring through its flow stage into batches.

use super::{Command, MAX_SLEEP, Progress, WorkerMessage};
use crate::capture::live::Reader;
use crate::pipeline::{Control, EventBatch, FlowStage};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use dnscribe_record::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Packets read from a ring between two checks whether the batch is full.
const DRAIN_PACKETS: usize = 64;

/// State of a worker thread.
pub(super) struct Worker {
    pub(super) reader: Reader,
    pub(super) flow: FlowStage,
    pub(super) progress: Arc<Progress>,
    pub(super) commands: Receiver<Command>,
    /// Batches to be filled.
    pub(super) empty: Receiver<EventBatch>,
    pub(super) messages: Sender<WorkerMessage>,
    /// Number of controls received.
    pub(super) controls: u64,
}

impl Worker {
    /// Runs until a command ends the worker, or the pool is gone.
    pub(super) fn run(mut self) {
        let mut batch = None;
        loop {
            if let Err(error) = self.reader.wait(MAX_SLEEP, None) {
                // Fails if the pool is gone.
                let _ = self.messages.send(Err(error));
                return;
            }
            match self.commands.try_recv() {
                Ok(Command::Control(control)) => self.apply(&control),
                Ok(Command::Stop { stopped, deadline }) => {
                    return self.stop(batch, stopped, deadline);
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            // Waits for the pipeline if that is behind.
            let Some(mut filling) = batch.take().or_else(|| self.empty.recv().ok()) else { return };
            self.progress.turns.fetch_add(1, Ordering::SeqCst);
            if self.turn(&mut filling) {
                if self.messages.send(Ok(filling)).is_err() {
                    return;
                }
            } else {
                batch = Some(filling);
            }
            self.progress.turns.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn apply(&mut self, control: &Control) {
        self.flow.apply(control);
        self.controls += 1;
        self.report_controls();
    }

    fn report_controls(&self) {
        let applied = self.controls - u64::from(self.flow.has_pending_change());
        self.progress.controls.store(applied, Ordering::Release);
    }

    /// Processes packets and timers. Returns whether the batch is to be sent.
    fn turn(&mut self, batch: &mut EventBatch) -> bool {
        // Packets still in the ring may answer a query whose time is over by the clock. So timers are checked only
        // after the ring was found empty, up to the time before that.
        let before = self.reader.now();
        let is_empty = self.fill(batch);
        let Self { reader, flow, progress, .. } = self;
        if is_empty {
            flow.ring_drained(before, batch);
        }
        let until = is_empty.then_some(before);
        progress.expired_ns.store(flow.expired.as_nanos(), Ordering::Release);
        let held_ns = flow.oldest_held().map_or(0, Timestamp::as_nanos);
        progress.held_ns.store(held_ns, Ordering::SeqCst);
        let is_sent = flow.finish_batch(batch, &reader.received, until);
        self.report_controls();
        is_sent
    }

    /// Reads packets until the batch is full. Returns whether the ring was emptied.
    fn fill(&mut self, batch: &mut EventBatch) -> bool {
        let Self { reader, flow, .. } = self;
        while !batch.is_full() {
            let drained = reader.drain(DRAIN_PACKETS, &mut |packet| {
                flow.observe(packet, batch);
                batch.packets += 1;
            });
            if drained < DRAIN_PACKETS {
                // An incomplete record hides those behind it.
                return reader.is_empty();
            }
        }
        false
    }

    /// Reads the rest of the ring until `deadline`, and ends the flow stage of a capture that stopped at `stopped`.
    fn stop(mut self, mut batch: Option<EventBatch>, stopped: Timestamp, deadline: Instant) {
        loop {
            let Some(mut filling) = batch.take().or_else(|| self.empty.recv().ok()) else { return };
            // No program runs any more, so that every record is complete.
            let is_empty = self.fill(&mut filling);
            filling.is_last = is_empty || Instant::now() >= deadline;
            let is_last = filling.is_last;
            let until = is_last.then(|| self.flow.end_of_capture(stopped, is_empty));
            if let Some(now) = until {
                self.flow.finish(now, &mut filling);
            }
            self.flow.finish_batch(&mut filling, &self.reader.received, until);
            if self.messages.send(Ok(filling)).is_err() || is_last {
                return;
            }
        }
    }
}
