//! Where the flow stages of a live capture run: in the thread of the pipeline, or on worker threads.

use super::super::signals::Waker;
use super::super::worker_pool::WorkerPool;
use super::Capture;
use crate::pipeline::{
    Beside, Control, EventSink, FlowStage, InputCounters, Pipeline, RenderOptions,
};
use dnscribe_cli::exit::Exit;
use dnscribe_record::privacy::KeyError;
use dnscribe_record::time::Timestamp;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// Most packets read from the ring between two checks of anything else.
const DRAIN_PACKETS: usize = 2_048;

/// Time after which no more packets are read before these checks: large packets take long, and meanwhile the ring fills
/// although nothing is sampled.
const DRAIN_TIME: Duration = Duration::from_millis(5);

/// Packets read between two checks of the time, and of the fill of the ring.
const DRAIN_STEP: usize = 64;

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
pub(super) struct Runner {
    flows: Flows,
    /// Servers that send dnstap beside the hook.
    beside: Option<Box<Beside>>,
}

/// The flow stages of the capture, or of its hook.
enum Flows {
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
        beside: Option<Beside>,
        epoch: Timestamp,
    ) -> Result<Self, Exit> {
        if beside.is_some() {
            // Records are rendered after the join.
            let render = Control::Render(RenderOptions::default());
            for flow in &mut flows {
                flow.apply(&render);
            }
        }
        let failed = |error| Exit::failed(format!("cannot start a thread: {error}"));
        let flows = match flows.pop() {
            Some(flow) if flows.is_empty() => Flows::Inline(Box::new(flow)),
            last => {
                flows.extend(last);
                let pool = WorkerPool::start(capture.take_readers(), flows, epoch);
                Flows::Pool(pool.map_err(failed)?)
            }
        };
        Ok(Self { flows, beside: beside.map(Box::new) })
    }

    /// One flow stage, in this thread.
    #[cfg(test)]
    pub(super) fn inline(flow: FlowStage) -> Self {
        Self { flows: Flows::Inline(Box::new(flow)), beside: None }
    }

    /// Waits for packets up to `limit`, and processes them.
    pub(super) fn poll(
        &mut self,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
        limit: Duration,
        waker: &Waker,
    ) -> Result<Polled, Exit> {
        let Some(beside) = &mut self.beside else {
            return self.flows.poll(capture, pipeline, limit, waker);
        };
        let limit = capture.until_reports(limit);
        let mut polled = self.flows.poll(capture, &mut beside.hook_side(pipeline), limit, waker)?;
        let now = capture.reports_now();
        beside.poll(
            now,
            |each| {
                let (packets, is_empty) = capture.drain_reports(DRAIN_PACKETS, each);
                polled.packets += packets;
                polled.is_busy |= packets >= DRAIN_PACKETS;
                is_empty
            },
            pipeline,
        );
        Ok(polled)
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
        // Beside a hook, records are rendered after the join.
        if self.beside.is_none() || !matches!(control, Control::Render(_)) {
            match &mut self.flows {
                Flows::Inline(flow) => flow.apply(control),
                Flows::Pool(pool) => pool.apply(control),
            }
            if let Some(beside) = &mut self.beside {
                beside.apply(control);
            }
        }
        pipeline.apply(control)
    }

    /// Returns whether all changes of settings have taken effect.
    pub(super) fn is_settled(&self) -> bool {
        match &self.flows {
            Flows::Inline(flow) => !flow.has_pending_change(),
            Flows::Pool(pool) => pool.is_settled(),
        }
    }

    /// Time that the pipeline has waited for workers; none without workers.
    pub(super) const fn waited(&self) -> Option<Duration> {
        match &self.flows {
            Flows::Inline(_) => None,
            Flows::Pool(pool) => Some(pool.waited),
        }
    }

    /// Counters of the capture and the flow stages, as of the events that the pipeline has processed.
    pub(super) fn counters(&self, capture: &Capture) -> InputCounters {
        let mut flows: Vec<_> = match &self.flows {
            Flows::Inline(flow) => vec![flow.counters(&[])],
            Flows::Pool(pool) => pool.counters().cloned().collect(),
        };
        let (counted, senders) = capture.counters(&flows);
        let beside = self.beside.as_ref();
        flows.extend(beside.map(|beside| beside.counters()));
        let seen_by = beside.map(|beside| beside.seen_by().clone());
        InputCounters { capture: counted, flows, seen_by, senders }
    }

    /// Makes the pipeline process all events that the flow stages have passed, so that counters and records agree for
    /// a ledger record.
    pub(super) fn merge_all(&mut self, pipeline: &mut Pipeline) {
        let Flows::Pool(pool) = &mut self.flows else { return };
        match &mut self.beside {
            // What both saw is not yet together.
            Some(beside) => pool.merge_all(&mut beside.hook_side(pipeline)),
            None => pool.merge_all(pipeline),
        }
    }

    /// Reads the rings of a capture that was detached at `stopped` until `drained`, and ends the flow stages. Waits
    /// for workers until `end`.
    pub(super) fn stop(
        &mut self,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
        stopped: Timestamp,
        (drained, end): (Instant, Instant),
    ) {
        let Some(beside) = &mut self.beside else {
            return self.flows.stop(capture, pipeline, stopped, (drained, end));
        };
        self.flows.stop(capture, &mut beside.hook_side(pipeline), stopped, (drained, end));
        beside.finish(stopped, |each| capture.drain_reports(usize::MAX, each).1, pipeline);
    }
}

impl Flows {
    fn poll(
        &mut self,
        capture: &mut Capture,
        sink: &mut dyn EventSink,
        limit: Duration,
        waker: &Waker,
    ) -> Result<Polled, Exit> {
        let flow = match self {
            Self::Inline(flow) => flow,
            Self::Pool(pool) => {
                let (packets, since) = pool.poll(capture, sink, limit)?;
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
        let mut packets = 0;
        let is_busy = loop {
            let drained = capture.drain(DRAIN_STEP, flow, sink);
            packets += drained;
            if drained < DRAIN_STEP {
                break false;
            }
            if packets >= DRAIN_PACKETS || since.elapsed() >= DRAIN_TIME {
                break true;
            }
        };
        if capture.is_empty(0) {
            flow.ring_drained(before, sink);
        }
        Ok(Polled { packets, is_busy, since })
    }

    fn stop(
        &mut self,
        capture: &mut Capture,
        sink: &mut dyn EventSink,
        stopped: Timestamp,
        (drained, end): (Instant, Instant),
    ) {
        match self {
            Self::Inline(flow) => {
                while capture.drain(DRAIN_STEP, flow, sink) > 0 && Instant::now() < drained {}
                flow.finish(flow.end_of_capture(stopped, capture.is_empty(0)), sink);
            }
            Self::Pool(pool) => pool.stop(sink, stopped, (drained, end)),
        }
    }
}

#[cfg(test)]
mod tests;
