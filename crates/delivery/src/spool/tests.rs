//! Tests of the spool, one behaviour each. `model` drives it at random, `damage` damages its files,
//! `disk` fills the disk.

mod damage;
mod disk;
mod model;

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const NODE: &str = "node-1";
const BROKERS: &str = "kafka-1:9092,kafka-2:9092";

/// A configuration with `max_bytes`.
fn config(dir: &Path, max_bytes: u64) -> SpoolConfig {
    SpoolConfig {
        directory: dir.to_owned(),
        max_bytes,
        max_age: Duration::from_hours(1),
        when_full: WhenFull::DropOldest,
    }
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// Opens a spool that no other test uses.
fn open(config: &SpoolConfig) -> (Spool, RecoveryReport) {
    released(&config.directory);
    Spool::open(config, BROKERS, NODE, time(0)).unwrap()
}

/// Waits until no slot is locked: a process that another test is starting has a copy of every lock
/// until it executes its program.
fn released(dir: &Path) {
    for lock in files(dir, |path| path.ends_with("lock")) {
        let lock = File::open(lock).unwrap();
        let free = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            lock.try_lock().is_ok()
        });
        assert!(free, "a spool is still open");
    }
}

/// Path of the checkpoint of the first slot.
fn checkpoint_path(dir: &Path) -> PathBuf {
    released(dir);
    Slot::take(dir, BROKERS).unwrap().path.join("checkpoint")
}

/// Records whose content depends on their ids and is hardly compressible.
fn batch(stream: Stream, ids: impl IntoIterator<Item = u128>, bytes: usize) -> Batch {
    let mut batch = Batch::default();
    for id in ids {
        let mut state = u64::try_from(id).unwrap() << 1 | 1;
        let line = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        });
        let line: Vec<u8> = line.take(bytes).chain([b'\n']).collect();
        let key = format!("key {id}");
        batch.push(stream, id, |to| to.extend(line), |to| to.extend(key.as_bytes()));
    }
    batch
}

fn append(
    spool: &mut Spool,
    batch: &Batch,
    sent: bool,
    now: SystemTime,
) -> Result<FrameId, AppendError> {
    let stream = batch.iter().next().unwrap().stream;
    spool.append(stream, &mut batch.iter(), sent, now)
}

/// Appends one record of `bytes`.
fn put(spool: &mut Spool, stream: Stream, id: u128, bytes: usize) -> Result<FrameId, AppendError> {
    append(spool, &batch(stream, [id], bytes), false, time(1))
}

/// The ids of all frames that are handed out.
fn drain(spool: &mut Spool) -> Vec<u128> {
    let mut ids = Vec::new();
    while let Some(unsent) = spool.next() {
        let settled = unsent.settled.iter().copied().chain(std::iter::repeat(false));
        let left = unsent.batch.iter().zip(settled).filter(|(_, settled)| !settled);
        ids.extend(left.map(|(record, _)| record.event_id));
    }
    ids
}

/// Lookups may be sent first, as they are more important, or after the transactions that were appended before them.
#[test]
fn sends_causes_first() {
    for (causes_first, expected) in [(false, [2, 4, 5, 1, 3]), (true, [1, 2, 3, 4, 5])] {
        let dir = TempDir::new().unwrap();
        let (mut spool, _) = open(&config(dir.path(), 1 << 20));
        spool.causes_first = causes_first;
        let (transactions, lookups) = (Stream::Transactions, Stream::Lookups);
        let order = [
            (transactions, 1, 1),
            (lookups, 2, 1),
            (transactions, 3, 2),
            (lookups, 4, 2),
            (lookups, 5, 3),
        ];
        for (stream, id, second) in order {
            append(&mut spool, &batch(stream, [id], 10), false, time(second)).unwrap();
        }
        assert_eq!(drain(&mut spool), expected);
    }
}

/// All segments, by path.
fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir, |path| path.extension().is_some_and(|extension| extension == "seg"))
}

fn files(dir: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn bytes_on_disk(dir: &Path) -> u64 {
    segments(dir).iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn only(stream: Stream, records: u64) -> PerStream {
    let mut all = PerStream::default();
    all[stream as usize] = records;
    all
}

#[test]
fn returns_frames_most_important_first() {
    let dir = TempDir::new().unwrap();
    let (mut spool, recovered) = open(&config(dir.path(), 1 << 20));
    assert_eq!(recovered, RecoveryReport::default());
    assert!(!spool.has_unsent() && spool.next().is_none() && spool.oldest().is_none());
    let transactions = batch(Stream::Transactions, 1..4, 300);
    let first = append(&mut spool, &transactions, false, time(5)).unwrap();
    put(&mut spool, Stream::Messages, 10, 10).unwrap();
    put(&mut spool, Stream::Ledger, 20, 10).unwrap();
    put(&mut spool, Stream::Transactions, 4, 10).unwrap();
    assert_eq!(spool.records()[Stream::Transactions as usize], 4);
    assert_eq!(spool.oldest(), Some(time(1)));
    assert_eq!(spool.bytes(), bytes_on_disk(dir.path()));

    assert_eq!(spool.next().unwrap().id.stream, Stream::Ledger);
    let unsent = spool.next().unwrap();
    assert_eq!((unsent.id, unsent.origin, &*unsent.node), (first, Origin::Own, NODE));
    assert!(unsent.batch.iter().eq(transactions.iter()) && unsent.settled.is_empty());
    assert_eq!(drain(&mut spool), [4, 10]);
    assert!(!spool.has_unsent() && spool.take_removed().is_empty());
    assert_eq!(spool.records().iter().sum::<u64>(), 6);
}

#[test]
fn removes_files_of_settled_frames() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&config(dir.path(), 1 << 20));
    let first = put(&mut spool, Stream::Alerts, 1, 10).unwrap();
    let second = put(&mut spool, Stream::Alerts, 2, 10).unwrap();
    spool.settle(second);
    spool.settle(second);
    assert_eq!(spool.records(), only(Stream::Alerts, 1));
    assert_eq!(segments(dir.path()).len(), 1);
    spool.settle(first);
    assert_eq!((spool.bytes(), spool.records()), (0, PerStream::default()));
    assert!(segments(dir.path()).is_empty() && spool.take_removed().is_empty());
    put(&mut spool, Stream::Alerts, 3, 10).unwrap();
    spool.settle(first);
    assert_eq!(drain(&mut spool), [3]);
}

#[test]
fn returns_backup_copies_only_to_the_next_process() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let (mut spool, _) = open(&config);
    append(&mut spool, &batch(Stream::Metrics, 1..3, 10), true, time(1)).unwrap();
    put(&mut spool, Stream::Metrics, 3, 10).unwrap();
    assert_eq!(drain(&mut spool), [3]);
    drop(spool);
    let (mut spool, recovered) = open(&config);
    assert_eq!(
        recovered,
        RecoveryReport { records: only(Stream::Metrics, 3), ..RecoveryReport::default() }
    );
    let unsent = spool.next().unwrap();
    assert!(unsent.origin == Origin::Recovered && unsent.batch.len() == 2);
    assert_eq!(drain(&mut spool), [3]);
}

#[test]
fn skips_records_settled_in_the_checkpoint() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let (mut spool, _) = open(&config);
    let done = put(&mut spool, Stream::Dlq, 1, 10).unwrap();
    let part = append(&mut spool, &batch(Stream::Dlq, 2..6, 10), false, time(1)).unwrap();
    spool.settle(done);
    spool.checkpoint(&[(part, &[true, false, true, false]), (done, &[true])]).unwrap();
    drop(spool);

    let (mut spool, recovered) = open(&config);
    assert_eq!(recovered.records, only(Stream::Dlq, 2));
    let unsent = spool.next().unwrap();
    assert_eq!(unsent.settled, [true, false, true, false]);
    // Remembered without being passed again, and extended.
    spool.checkpoint(&[(unsent.id, &[false, true])]).unwrap();
    spool.checkpoint(&[]).unwrap();
    spool.checkpoint(&[(unsent.id, &[false, true])]).unwrap();
    drop(spool);
    let (mut spool, _) = open(&config);
    assert_eq!(drain(&mut spool), [5]);
    drop(spool);

    // Losing it costs duplicates, but no record.
    fs::remove_file(checkpoint_path(dir.path())).unwrap();
    let (mut spool, _) = open(&config);
    assert_eq!(drain(&mut spool), [1, 2, 3, 4, 5]);
}

#[test]
fn adopts_slots_of_terminated_agents() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let (mut first, _) = open(&config);
    let (mut second, _) = Spool::open(&config, BROKERS, "node-2", time(0)).unwrap();
    let settled = put(&mut second, Stream::Messages, 1, 10).unwrap();
    let part = append(&mut second, &batch(Stream::Messages, 2..4, 10), true, time(1)).unwrap();
    put(&mut first, Stream::Messages, 4, 10).unwrap();
    second.settle(settled);
    second.checkpoint(&[(part, &[true])]).unwrap();
    assert_ne!(first.slot.path, second.slot.path);
    // Both have a segment of the same name.
    assert_eq!(drain(&mut first), [4]);
    drop(second);
    drop(first);
    released(dir.path());

    let (mut other, _) = Spool::open(&config, "elsewhere:9092", NODE, time(0)).unwrap();
    assert!(other.next().is_none());
    drop(other);
    let (mut third, recovered) = Spool::open(&config, BROKERS, "node-3", time(0)).unwrap();
    assert_eq!(recovered.records, only(Stream::Messages, 2));
    let nodes: Vec<_> = std::iter::from_fn(|| third.next()).map(|unsent| unsent.node).collect();
    assert_eq!(nodes.iter().map(|node| &**node).collect::<Vec<_>>(), [NODE, "node-2"]);
    drop(third);
    // Their checkpoint moved with them.
    let (mut fourth, _) = open(&config);
    assert_eq!(drain(&mut fourth), [4, 3]);
}

#[test]
fn restricts_file_permissions() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&config(&dir.path().join("spool"), 1 << 20));
    let done = put(&mut spool, Stream::Messages, 1, 10).unwrap();
    put(&mut spool, Stream::Messages, 2, 10).unwrap();
    spool.settle(done);
    spool.checkpoint(&[]).unwrap();
    spool.sync().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let slot = &spool.slot.path;
    let destination_directory = slot.parent().unwrap();
    for folder in [
        destination_directory.parent().unwrap(),
        destination_directory,
        slot,
        &slot.join("messages"),
    ] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    let files =
        [destination_directory.join("destination"), slot.join("lock"), slot.join("checkpoint")];
    for file in files.iter().chain(&segments(dir.path())) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert_eq!(fs::read_to_string(&files[0]).unwrap().trim_end(), BROKERS);
    assert!(
        destination_directory.file_name().unwrap().to_str().unwrap().starts_with("kafka-1-9092")
    );
}

#[test]
fn removes_least_important_streams_first() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&config(dir.path(), 100_000));
    put(&mut spool, Stream::Ledger, 1, 30_000).unwrap();
    put(&mut spool, Stream::Messages, 2, 30_000).unwrap();
    put(&mut spool, Stream::Transactions, 3, 30_000).unwrap();
    put(&mut spool, Stream::Alerts, 4, 30_000).unwrap();
    let gone = spool.take_removed();
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].id.stream, gone[0].reason), (Stream::Messages, DropReason::SpoolFull));
    assert_eq!((gone[0].records, gone[0].origin), (1, Origin::Own));
    put(&mut spool, Stream::Ledger, 5, 30_000).unwrap();
    assert_eq!(spool.take_removed()[0].id.stream, Stream::Transactions);
    // Nothing less important is stored.
    for stream in [Stream::Messages, Stream::Transactions, Stream::Metrics] {
        assert!(matches!(put(&mut spool, stream, 6, 30_000), Err(AppendError::Full)), "{stream:?}");
    }
    // A frame that can never fit removes nothing.
    assert!(matches!(put(&mut spool, Stream::Ledger, 7, 100_000), Err(AppendError::Full)));
    assert!(spool.take_removed().is_empty() && spool.bytes() <= 100_000);
    assert_eq!(drain(&mut spool), [1, 5, 4]);
}

#[test]
fn applies_the_policy_within_a_stream() {
    for (when_full, left) in [(WhenFull::DropOldest, [9, 3, 4]), (WhenFull::DropNewest, [9, 0, 1])]
    {
        let dir = TempDir::new().unwrap();
        let (mut spool, _) = open(&SpoolConfig { when_full, ..config(dir.path(), 150_000) });
        let refused =
            (0..5).filter(|id| put(&mut spool, Stream::Messages, *id, 40_000).is_err()).count();
        assert_eq!(refused + spool.take_removed().len(), 2, "{when_full}");
        // The policy also applies to less important streams.
        put(&mut spool, Stream::Ledger, 9, 40_000).unwrap();
        let gone = spool.take_removed();
        assert_eq!(gone.len(), 1);
        assert_eq!(drain(&mut spool), left);
    }
}

/// What is in memory is sent before all others of its stream, also after a restart: it is neither removed nor expires.
#[test]
fn keeps_frames_that_are_in_memory() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let dir = TempDir::new().unwrap();
        let config = SpoolConfig { when_full, ..config(dir.path(), 250_000) };
        let (mut spool, _) = open(&config);
        let transactions = |id| batch(Stream::Transactions, [id], 60_000);
        append(&mut spool, &transactions(1), true, time(1)).unwrap();
        put(&mut spool, Stream::Transactions, 2, 60_000).unwrap();
        put(&mut spool, Stream::Transactions, 3, 60_000).unwrap();
        assert_eq!(spool.next().unwrap().batch.iter().next().unwrap().event_id, 2);
        put(&mut spool, Stream::Ledger, 4, 60_000).unwrap();
        put(&mut spool, Stream::Ledger, 5, 60_000).unwrap();
        let gone = spool.take_removed();
        assert_eq!((gone.len(), gone[0].id.stream), (1, Stream::Transactions), "{when_full}");
        // A copy replaces nothing.
        let copy = append(&mut spool, &batch(Stream::Alerts, [6], 60_000), true, time(1));
        assert!(matches!(copy, Err(AppendError::Full)));
        spool.expire(time(10_000));
        let gone = spool.take_removed();
        assert!(gone.iter().all(|gone| gone.id.stream == Stream::Ledger) && gone.len() == 2);
        drop(spool);
        assert_eq!(drain(&mut open(&config).0), [1, 2], "{when_full}");
    }
}

#[test]
fn expires_frames_by_their_time() {
    let dir = TempDir::new().unwrap();
    let (mut spool, _) = open(&config(dir.path(), 1 << 20));
    for (id, seconds) in [(1, 100), (2, 200)] {
        append(&mut spool, &batch(Stream::Lookups, [id], 10), false, time(seconds)).unwrap();
    }
    spool.expire(time(3600 + 150));
    let gone = spool.take_removed();
    assert_eq!((gone.len(), gone[0].reason), (1, DropReason::SpoolExpired));
    assert_eq!((spool.oldest(), spool.has_unsent()), (Some(time(200)), true));
    spool.expire(time(10_000));
    assert_eq!((spool.take_removed().len(), spool.bytes(), spool.oldest()), (1, 0, None));
}

/// What was dropped reaches the next process, also from a slot that it takes over, until somebody has reported it.
#[test]
fn remembers_losses_of_killed_processes() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 100_000);
    let (mut first, _) = open(&config);
    let (mut second, _) = Spool::open(&config, BROKERS, NODE, time(0)).unwrap();
    let mut expected = DiskLosses::default();
    for spool in [&mut first, &mut second] {
        for id in 0..5 {
            put(spool, Stream::Messages, id, 30_000).unwrap();
        }
        expected.add(Stream::Messages, DropReason::SpoolFull, 2);
    }
    drop((first, second));
    for _ in 0..2 {
        assert_eq!(open(&config).1.lost, expected);
    }
    let (mut spool, _) = open(&config);
    spool.lost = DiskLosses::default();
    spool.checkpoint(&[]).unwrap();
    drop(spool);
    let (mut spool, recovered) = open(&config);
    assert_eq!(recovered.lost, DiskLosses::default());
    spool.expire(time(10_000));
    let expired = spool.take_removed().iter().map(|gone| gone.records).sum();
    drop(spool);
    expected = DiskLosses::default();
    expected.add(Stream::Messages, DropReason::SpoolExpired, expired);
    assert_eq!(open(&config).1.lost, expected);
}

#[test]
fn keeps_order_when_the_clock_is_set_back() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    for (id, seconds) in [(1, 300), (2, 200), (3, 100)] {
        let (mut spool, _) = open(&config);
        append(&mut spool, &batch(Stream::Lookups, [id], 10), false, time(seconds)).unwrap();
    }
    assert_eq!(drain(&mut open(&config).0), [1, 2, 3]);
}

#[test]
fn refuses_what_it_cannot_hold() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 30);
    let (mut spool, _) = open(&config);
    let none = spool.append(Stream::Dlq, &mut std::iter::empty(), false, time(1));
    assert!(matches!(none, Err(AppendError::Empty)));
    assert!(matches!(put(&mut spool, Stream::Dlq, 1, 65 << 20), Err(AppendError::TooLarge)));
    put(&mut spool, Stream::Dlq, 2, 20 << 20).unwrap();
    assert_eq!(drain(&mut spool), [2]);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Spool::open(&SpoolConfig { directory: file, ..config.clone() }, "", "", time(0));
    assert!(error.err().unwrap().to_string().contains("make it readable and writable"));
    assert!(Spool::open(&config, "", &"n".repeat(70_000), time(0)).is_err());
}

#[test]
fn keeps_segments_of_a_newer_version() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    put(&mut open(&config).0, Stream::Dlq, 1, 10).unwrap();
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    let header = format::segment_header_bytes(NODE);
    let hash = xxhash_rust::xxh3::xxh3_64(&bytes[..header - 8]);
    bytes[header - 8..header].copy_from_slice(&hash.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = Spool::open(&config, BROKERS, NODE, time(0)).err().unwrap();
    assert!(error.to_string().contains("newer dnscribe"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn reads_policies() {
    for policy in [WhenFull::DropOldest, WhenFull::DropNewest] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert_eq!(WhenFull::default(), WhenFull::DropOldest);
    assert!("drop".parse::<WhenFull>().unwrap_err().to_string().contains("drop_newest"));
}
