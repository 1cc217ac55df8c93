use super::super::{OpenWith, Sink, SinkSpec, Stream, open as open_sinks};
use super::*;
use proptest::prelude::*;
use std::fs;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

pub(super) const STREAMS: [Stream; 3] = [Stream::Transactions, Stream::Ledger, Stream::Messages];

/// A batch of records with the given streams and sizes. A record's first field is its number.
pub(super) fn batch(sizes: &[(usize, usize)], number: &mut u64) -> Arc<Batch> {
    let mut batch = Batch::default();
    for (stream, size) in sizes {
        *number += 1;
        let line = format!("{number} {}\n", "x".repeat(*size));
        batch.push(
            STREAMS[stream % STREAMS.len()],
            u128::from(*number),
            |out| out.extend_from_slice(line.as_bytes()),
            |out| out.extend_from_slice(b"key\nwith a newline"),
        );
    }
    Arc::new(batch)
}

pub(super) fn two_streams() -> StreamSet {
    [Stream::Transactions, Stream::Ledger].into_iter().collect()
}

/// Checks identity 5 and returns (records, delivered, dropped) of both streams together.
pub(super) fn totals(sink: &dyn Sink) -> (u64, u64, u64) {
    let counters = sink.counters();
    assert_eq!(counters.keys().collect::<Vec<_>>(), ["ledger", "transactions"]);
    let mut totals = (0, 0, 0);
    for delivery in counters.values() {
        let dropped: u64 = delivery.dropped.values().sum();
        let reasons = ["pipe_closed", "queue_full", "shutdown", "write_error"];
        assert_eq!(delivery.dropped.keys().collect::<Vec<_>>(), reasons);
        assert_eq!(delivery.records, delivery.delivered + delivery.in_flight + dropped);
        totals.0 += delivery.records;
        totals.1 += delivery.delivered;
        totals.2 += dropped;
    }
    totals
}

pub(super) fn dropped(sink: &dyn Sink, reason: &str) -> u64 {
    sink.counters().values().map(|delivery| delivery.dropped[reason]).sum()
}

/// A sink that writes into a pipe, as stdout does.
fn piped(limits: QueueLimits) -> (ThreadedSink, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let shared = SharedState::new(two_streams(), REASONS);
    let target = Target::unnamed(file, "stdout".into());
    let work = move |receiver: &SinkReceiver| Writer::new(target, true).run(receiver);
    (
        ThreadedSink::start("stdout".into(), OutputFormat::Json, limits, shared, work).unwrap(),
        reader,
    )
}

#[test]
fn appends_whole_batches_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.ndjson");
    fs::write(&path, "before\n").unwrap();
    let mut sink =
        file("file".into(), two_streams(), OutputFormat::Json, &path, Rotation::default()).unwrap();
    let mut number = 0;
    sink.offer(&batch(&[(0, 5), (2, 5), (1, 0)], &mut number));
    sink.offer(&batch(&[(2, 5)], &mut number));
    sink.flush(Duration::from_secs(5));
    assert_eq!(fs::read_to_string(&path).unwrap(), "before\n1 xxxxx\n3 \n");
    assert_eq!(totals(&sink), (2, 2, 0));
    assert!(sink.wants(Stream::Ledger) && !sink.wants(Stream::Messages));
    sink.close();
    sink.offer(&batch(&[(0, 5)], &mut number));
    assert_eq!((totals(&sink), dropped(&sink, "shutdown")), ((3, 2, 1), 1));
}

#[test]
fn creates_files_without_access_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    drop(
        file("file".into(), two_streams(), OutputFormat::Json, &path, Rotation::default()).unwrap(),
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

#[test]
fn names_sinks_and_reports_open_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| SinkSpec::File(dir.path().join(name));
    let kafka = super::super::KafkaConfig::default();
    let with = OpenWith::new("n", &kafka);
    let specs = [path("a"), SinkSpec::Null, path("b")];
    let sinks = open_sinks(&specs, &with).unwrap();
    assert_eq!(
        sinks.iter().map(|sink| sink.name()).collect::<Vec<_>>(),
        ["file", "null", "file_2"]
    );
    assert_eq!(sinks[0].counters().len(), 5);
    assert_eq!(sinks[1].counters().keys().collect::<Vec<_>>(), ["transactions"]);
    let error = open_sinks(&[path("no/such/dir")], &with).err().unwrap().to_string();
    assert!(error.contains("no/such/dir") && error.contains("No such file"), "{error}");
}

#[test]
fn fails_on_a_full_device() {
    let mut sink = file(
        "file".into(),
        two_streams(),
        OutputFormat::Json,
        Path::new("/dev/full"),
        Rotation::default(),
    )
    .unwrap();
    let mut number = 0;
    sink.offer(&batch(&[(0, 5), (1, 5)], &mut number));
    sink.flush(Duration::from_secs(5));
    sink.offer(&batch(&[(0, 5)], &mut number));
    sink.flush(Duration::from_secs(5));
    assert_eq!((totals(&sink), dropped(&sink, "write_error")), ((3, 0, 3), 3));
    let Some(Failure::Broken(reason)) = sink.failure() else { panic!("no failure") };
    assert!(reason.contains("/dev/full") && reason.contains("No space left"), "{reason}");
}

#[test]
fn leaves_whole_records_on_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(dir.path())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        assert!(!super::super::testing::is_ci(), "cannot mount a tmpfs");
        eprintln!("skipped, because mounting a tmpfs is not permitted");
        return;
    }
    let path = dir.path().join("out");
    let mut sink =
        file("file".into(), two_streams(), OutputFormat::Json, &path, Rotation::default()).unwrap();
    let mut number = 0;
    for _ in 0..100 {
        sink.offer(&batch(&[(0, 700), (1, 333), (2, 10)], &mut number));
    }
    sink.flush(Duration::from_secs(5));
    let written = fs::read_to_string(&path).unwrap();
    let (records, delivered, lost) = totals(&sink);
    let failure = sink.failure();
    drop(sink);
    let unmounted = Command::new("umount").arg(dir.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert_eq!((records, delivered + lost), (200, 200));
    assert!(written.ends_with('\n') && written.len() > 50_000, "{}", written.len());
    assert_eq!(written.lines().count() as u64, delivered);
    assert!(matches!(failure, Some(Failure::Broken(reason)) if reason.contains("No space left")));
}

#[test]
fn reports_a_closed_pipe() {
    let (mut sink, reader) = piped(QueueLimits::default());
    drop(reader);
    sink.offer(&batch(&[(0, 5)], &mut 0));
    sink.flush(Duration::from_secs(5));
    assert_eq!(sink.failure(), Some(Failure::PipeClosed));
    assert_eq!((totals(&sink), dropped(&sink, "pipe_closed")), ((1, 0, 1), 1));
}

#[test]
fn does_not_block_on_a_stuck_reader() {
    let (mut sink, mut reader) = piped(QueueLimits { batches: 2, bytes: 1 << 20 });
    let mut number = 0;
    let mut offered = 50;
    loop {
        let batch = batch(&[(0, 30_000)], &mut number);
        if !sink.wait_for_capacity(&batch, Duration::from_millis(200)) {
            break;
        }
        sink.offer(&batch);
        offered += 1;
    }
    let start = std::time::Instant::now();
    for _ in 0..50 {
        sink.offer(&batch(&[(0, 30_000)], &mut number));
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    sink.flush(Duration::from_millis(100));
    assert_eq!(dropped(&sink, "queue_full"), 50);
    sink.close();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(dropped(&sink, "shutdown") > 0);
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    let lines = read.matches('\n').count() as u64;
    let (records, delivered, lost) = totals(&sink);
    assert_eq!((records, delivered + lost, delivered), (offered, offered, lines));
}

#[test]
fn limits_the_queue_in_bytes() {
    let (mut sink, _reader) = piped(QueueLimits { batches: 1000, bytes: 100_000 });
    let mut number = 0;
    // The first exceeds the limit alone, and fits because the queue is empty.
    sink.offer(&batch(&[(0, 300_000)], &mut number));
    assert_eq!(dropped(&sink, "queue_full"), 0);
    sink.offer(&batch(&[(0, 1)], &mut number));
    assert_eq!(dropped(&sink, "queue_full"), 1);
}

#[test]
fn fails_independently_of_other_sinks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let open = |path: &Path| {
        file("file".into(), two_streams(), OutputFormat::Json, path, Rotation::default())
    };
    let mut sinks = [open(Path::new("/dev/full")).unwrap(), open(&path).unwrap()];
    let mut number = 0;
    for _ in 0..10 {
        let batch = batch(&[(0, 5), (1, 5)], &mut number);
        for sink in &mut sinks {
            sink.offer(&batch);
            sink.flush(Duration::from_secs(5));
        }
    }
    assert_eq!(sinks.each_ref().map(|sink| totals(sink)), [(20, 0, 20), (20, 20, 0)]);
    assert_eq!(sinks.each_ref().map(|sink| sink.failure().is_some()), [true, false]);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// At the end, the delivered records are those that were read, in order, and the others were
    /// dropped with a reason.
    #[test]
    fn delivers_or_drops_every_record(
        batches in prop::collection::vec(
            prop::collection::vec((0_usize..3, 0_usize..6000), 0..8), 0..40),
        depth in 1_usize..8,
        read_limit in prop::option::of(0_u64..200_000),
        wait in any::<bool>(),
    ) {
        let (mut sink, reader) = piped(QueueLimits { batches: depth, bytes: 40_000 });
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            let _ = reader.take(read_limit.unwrap_or(u64::MAX)).read_to_end(&mut read);
            read
        });
        let (mut number, mut offered) = (0, 0);
        for sizes in &batches {
            let batch = batch(sizes, &mut number);
            if wait {
                prop_assert!(sink.wait_for_capacity(&batch, Duration::from_secs(5)));
            }
            sink.offer(&batch);
            offered += sizes.iter().filter(|(stream, _)| stream % 3 < 2).count() as u64;
            prop_assert_eq!(totals(&sink).0, offered);
        }
        sink.flush(Duration::from_secs(5));
        sink.close();
        let read = String::from_utf8(reading.join().unwrap()).unwrap();
        let (records, delivered, lost) = totals(&sink);
        prop_assert_eq!(records, offered);
        prop_assert_eq!(delivered + lost, offered);
        let whole = read.matches('\n').count() as u64;
        if read_limit.is_none() {
            prop_assert_eq!(whole, delivered);
            prop_assert!(!wait || lost == 0);
        } else {
            // Data left in the pipe when the reader closed was written but not read.
            prop_assert!(whole <= delivered);
        }
        let numbers: Vec<u64> = read
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| line.split(' ').next().unwrap().parse().unwrap())
            .collect();
        prop_assert!(numbers.is_sorted());
    }
}

#[test]
fn files_may_have_documents_of_ecs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dns.ndjson");
    let rotation = Rotation::default();
    let mut sink = file("file".into(), two_streams(), OutputFormat::Ecs, &path, rotation).unwrap();
    assert_eq!(sink.output_format(), OutputFormat::Json);
    let mut batch = Batch::default();
    batch.push(Stream::Ledger, 0, |out| out.extend(b"{\"node\":\"n\"}\n"), |_| {});
    sink.offer(&Arc::new(batch));
    sink.flush(Duration::from_secs(5));
    let document: serde_json::Value =
        serde_json::from_str(fs::read_to_string(&path).unwrap().trim_end()).unwrap();
    assert_eq!(
        (&document["host"]["name"], &document["event"]["kind"]),
        (&"n".into(), &"metric".into())
    );
}
