//! Where the flow stages of a live capture run: in the thread of the pipeline, or on worker threads.

use super::super::signals::Waker;
use super::super::worker_pool::WorkerPool;
use super::Capture;
use crate::pipeline::{Control, FlowStage, InputCounters, Pipeline};
use dnscribe_cli::exit::Exit;
use dnscribe_record::privacy::KeyError;
use dnscribe_record::time::Timestamp;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// Packets read from the ring between two checks of anything else.
const DRAIN_PACKETS: usize = 2_048;

/// With this many packets from workers in one turn, more are coming, and records need not be flushed.
const BUSY_PACKETS: usize = 512;

/// Packets processed in a turn.
pub(super) struct Polled {
    pub(super) packets: usize,
    /// Whether more packets wait.
    pub(super) is_busy: bool,
    /// When the wait for them ended.
    pub(super) since: Instant,
}

/// The flow stages.
pub(super) enum Runner {
    /// There is one, in this thread.
    Inline(Box<FlowStage>),
    /// Each has a thread.
    Pool(WorkerPool),
}

impl Runner {
    /// Starts the flow stages of a capture that began at `epoch`: on worker threads if there are several.
    pub(super) fn start(
        capture: &mut Capture,
        mut flows: Vec<FlowStage>,
        epoch: Timestamp,
    ) -> Result<Self, Exit> {
        if flows.len() == 1
            && let Some(flow) = flows.pop()
        {
            return Ok(Self::Inline(Box::new(flow)));
        }
        let failed = |error| Exit::failed(format!("cannot start a thread: {error}"));
        WorkerPool::start(capture.take_readers(), flows, epoch).map(Self::Pool).map_err(failed)
    }

    /// Waits for packets up to `limit`, and processes them.
    pub(super) fn poll(
        &mut self,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
        limit: Duration,
        waker: &Waker,
    ) -> Result<Polled, Exit> {
        let flow = match self {
            Self::Inline(flow) => flow,
            Self::Pool(pool) => {
                let (packets, since) = pool.poll(capture, pipeline, limit)?;
                return Ok(Polled { packets, is_busy: packets >= BUSY_PACKETS, since });
            }
        };
        let failed = |error| Exit::failed(format!("cannot wait for the ring: {error}"));
        if capture.wait(limit, waker.as_fd()).map_err(failed)? {
            waker.drain();
        }
        let since = Instant::now();
        // Packets still in the ring may answer a query whose time is over by the clock. So timers are checked only
        // after the ring was found empty, up to the time before that. An incomplete record hides those behind it.
        let before = capture.now();
        let packets = capture.drain(DRAIN_PACKETS, &mut |packet| flow.observe(packet, pipeline));
        if capture.is_empty(0) {
            flow.ring_drained(before, pipeline);
        }
        Ok(Polled { packets, is_busy: packets >= DRAIN_PACKETS, since })
    }

    /// Applies a change of settings to all stages: the capture, the flow stages and the pipeline.
    ///
    /// # Errors
    /// The key of the pseudonyms cannot be read. Then masking stays unchanged.
    pub(super) fn apply(
        &mut self,
        control: &Control,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
    ) -> Result<(), KeyError> {
        if let Control::Reconfigure(settings) = control {
            capture.set_query_timeout(settings.pairing.query_timeout);
        }
        match self {
            Self::Inline(flow) => flow.apply(control),
            Self::Pool(pool) => pool.apply(control),
        }
        pipeline.apply(control)
    }

    /// Returns whether all changes of settings have taken effect.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Inline(flow) => !flow.has_pending_change(),
            Self::Pool(pool) => pool.is_settled(),
        }
    }

    /// Time that the pipeline has waited for workers; none without workers.
    pub(super) const fn waited(&self) -> Option<Duration> {
        match self {
            Self::Inline(_) => None,
            Self::Pool(pool) => Some(pool.waited),
        }
    }

    /// Counters of the capture and the flow stages, as of the events that the pipeline has processed.
    pub(super) fn counters(&self, capture: &Capture) -> InputCounters {
        let flows: Vec<_> = match self {
            Self::Inline(flow) => vec![flow.counters(&[])],
            Self::Pool(pool) => pool.counters().cloned().collect(),
        };
        InputCounters { capture: capture.counters(&flows), flows }
    }

    /// Makes the pipeline process all events that the flow stages have passed, so that counters and records agree for
    /// a ledger record.
    pub(super) fn merge_all(&mut self, pipeline: &mut Pipeline) {
        if let Self::Pool(pool) = self {
            pool.merge_all(pipeline);
        }
    }

    /// Reads the rings of a detached capture until `drained`, and ends the flow stages. Waits for workers until
    /// `end`.
    pub(super) fn stop(
        &mut self,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
        drained: Instant,
        end: Instant,
    ) {
        match self {
            Self::Inline(flow) => {
                while capture.drain(DRAIN_PACKETS, &mut |packet| flow.observe(packet, pipeline)) > 0
                    && Instant::now() < drained
                {}
                flow.finish(capture.now(), pipeline);
            }
            Self::Pool(pool) => pool.stop(pipeline, drained, end),
        }
    }
}
