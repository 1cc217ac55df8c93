//! Changes of the sinks while transactions are counted.

use super::*;

/// A pipeline that begins with this sink.
fn starting_with(sink: Box<dyn Sink>) -> Pipeline {
    let identity = RecordBuilder::new("node".into(), None, EPOCH, HashMap::new());
    Pipeline::new(PipelineOptions::new(identity), vec![sink])
}

/// Replaces the sinks by one that wants these streams.
fn want(pipeline: &mut Pipeline, streams: StreamSet) {
    want_by(pipeline, Box::new(NullSink::new("null".into(), streams)));
}

fn want_by(pipeline: &mut Pipeline, sink: Box<dyn Sink>) {
    let _ = pipeline.replace_sinks(SinkChange {
        sinks: vec![SinkReplacement::Add(sink)],
        flush_timeout: Duration::ZERO,
        detection: DetectionChange::Off,
        wire: false,
    });
}

/// A counter that begins anew while the agent runs would hide what came before.
#[test]
fn late_transactions_outlive_a_reload_without_windows() {
    let all = Stream::ALL.into_iter().collect();
    let mut pipeline = starting_with(Box::new(NullSink::new("null".into(), all)));
    pipeline.analysis.windows.as_mut().unwrap().late = 3;
    for (streams, has_windows) in [(StreamSet::EMPTY.with(Stream::Ledger), false), (all, true)] {
        want(&mut pipeline, streams);
        assert_eq!(pipeline.analysis.windows.is_some(), has_windows);
        assert_eq!(pipeline.analysis.late(), 3);
    }
}

/// What is open in an analysis that a reload ends goes to the sinks of before: no other record has it.
#[test]
fn open_windows_and_lookups_end_with_their_stream() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let streams = StreamSet::EMPTY.with(Stream::Metrics).with(Stream::Lookups);
    let keeper = || {
        let inner = NullSink::new("keeper".into(), streams);
        Box::new(Keeper { inner, kept: Arc::clone(&kept) })
    };
    let mut pipeline = starting_with(keeper());
    let mut flow = pipeline.flow_stage(flow_options());
    let query = test_packets::query(1, "a");
    let pool = [
        test_packets::udp(CLIENT, SERVER, &query),
        test_packets::udp(SERVER, CLIENT, &response(&query, 0)),
    ];
    let mut now = EPOCH;
    let written = || {
        let lines = String::from_utf8(std::mem::take(&mut *kept.lock().unwrap())).unwrap();
        let records: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |schema| records.iter().filter(move |record| record["schema"] == schema);
        let windows = of("dns.window/1").filter(|record| record["grouping"] == "node");
        let windows = windows.map(|window| {
            (
                window["window_seconds"].clone(),
                window["partial"] == true,
                window["transactions"].clone(),
            )
        });
        (of("dns.lookup/1").count(), windows.collect::<Vec<_>>())
    };
    for round in 0..2 {
        for packet in packets(&pool, &[(0, None, round * 5000), (1, None, 1)]) {
            flow.observe(&packet, &mut pipeline);
            now = packet.ts;
        }
        want(&mut pipeline, StreamSet::EMPTY.with(Stream::Ledger));
        let (lookups, windows) = written();
        assert_eq!(lookups, 1);
        assert!(!windows.is_empty());
        for (seconds, is_partial, transactions) in windows {
            assert_eq!((is_partial, transactions), (true, 1.into()), "{seconds}");
        }
        want_by(&mut pipeline, keeper());
    }
    pipeline.finish(now);
    assert_eq!(written(), (0, Vec::new()));
}
