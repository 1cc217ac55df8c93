use super::*;
use crate::capture::dnstap::received;
use crate::pipeline::{FlowOptions, PipelineOptions, RenderedEvent};
use crate::record::RecordBuilder;
use std::collections::HashMap;

fn stages(epoch: Timestamp) -> (Pipeline, Runner) {
    let identity = RecordBuilder::new("node".to_owned(), None, epoch, HashMap::new());
    let mut pipeline = Pipeline::new(PipelineOptions::new(identity), Vec::new());
    let flow = pipeline.flow_stage(FlowOptions::default());
    (pipeline, Runner::inline(flow))
}

fn seconds_now() -> u64 {
    Timestamp::now().as_nanos() / 1_000_000_000
}

/// Time that the agent needs for what has come before the capture was stopped is no time that a query has waited.
#[test]
fn queries_are_open_however_long_draining_takes() {
    let folder = tempfile::tempdir().unwrap();
    let sent = seconds_now() - 60;
    let mut capture = Capture::Dnstap(received(folder.path(), [sent].into_iter()));
    let sent = Timestamp::from_nanos(sent * 1_000_000_000);
    let (mut pipeline, mut runner) = stages(sent);
    capture.detach();
    let stopped = sent.plus(Duration::from_secs(4));
    let limit = Instant::now() + Duration::from_secs(10);
    runner.stop(&mut capture, &mut pipeline, stopped, (limit, limit));
    let pairing = pipeline.counters(&runner.counters(&capture)).pairing;
    assert_eq!((pairing.queries, pairing.open, pairing.timeout), (1, 1, 0));
}

/// Packets that stay in the ring may answer the queries that were read.
#[test]
fn queries_are_open_if_the_ring_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let sent = seconds_now() - 60;
    let seconds = (sent..).take(2).flat_map(|second| [second; DRAIN_STEP]);
    let mut capture = Capture::Dnstap(received(folder.path(), seconds));
    let (mut pipeline, mut runner) = stages(Timestamp::from_nanos(sent * 1_000_000_000));
    capture.detach();
    let late = Instant::now();
    runner.stop(&mut capture, &mut pipeline, Timestamp::now(), (late, late));
    let counters = pipeline.counters(&runner.counters(&capture));
    assert_eq!(counters.ring.in_ring, DRAIN_STEP as u64);
    assert_eq!((counters.pairing.open, counters.pairing.timeout), (1, 0));
}

struct SlowSink;

impl EventSink for SlowSink {
    fn event(&mut self, _: Timestamp, _: RenderedEvent<'_>) {
        std::thread::sleep(DRAIN_TIME / 10);
    }

    fn expired(&mut self, _: Timestamp) {}
}

#[test]
fn a_turn_is_short_however_long_packets_take() {
    let folder = tempfile::tempdir().unwrap();
    let seconds = std::iter::repeat_n(seconds_now() - 60, DRAIN_STEP * 3);
    let mut capture = Capture::Dnstap(received(folder.path(), seconds));
    let (_, mut runner) = stages(Timestamp::default());
    let waker = Waker::new().unwrap();
    let mut turn = || {
        let polled = runner.flows.poll(&mut capture, &mut SlowSink, Duration::ZERO, &waker);
        let polled = polled.unwrap_or_else(|_| unreachable!("a poll without error"));
        (polled.packets, polled.is_busy)
    };
    assert_eq!([turn(), turn()], [(DRAIN_STEP, true); 2]);
}
