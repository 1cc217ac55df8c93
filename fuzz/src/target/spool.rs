//! The spool reads files that a disk has damaged.

use super::scratch;
use dnscribe_delivery::spool::{Spool, SpoolConfig, WhenFull};
use dnscribe_delivery::{Batch, Stream};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Bytes of the length before the checkpoint; the segment follows.
const LENGTH: usize = 2;
const NODE: &str = "fuzz";
const DESTINATION: &str = "broker:9092";
const STREAM: Stream = Stream::Transactions;
/// Name of the fuzzed segment.
const SEGMENT: &str = "00000000000000000001.seg";
/// Time at which the seeds' segment was written. Nothing in it is expired.
const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let folder = scratch();
    let config = config(folder.path());
    let Some(slot) = lay_out(&config, data) else { return };
    let Ok((mut spool, recovered)) = Spool::open(&config, DESTINATION, NODE, EPOCH) else {
        // A segment of a later version.
        return;
    };
    assert_eq!(spool.records(), recovered.records);
    let mut found = 0;
    while let Some(unsent) = spool.next() {
        assert!(unsent.settled.is_empty() || unsent.settled.len() == unsent.batch.len());
        let settled = unsent.settled.iter().filter(|settled| **settled).count();
        found += u64::try_from(unsent.batch.len() - settled).unwrap_or_default();
        spool.settle(unsent.id);
    }
    let gone: u64 = spool.take_removed().iter().map(|gone| gone.records).sum();
    let before: u64 = recovered.records.iter().sum();
    assert_eq!(
        found + gone,
        before,
        "records found at the start are handed out or counted as gone"
    );
    assert_eq!(spool.records().iter().sum::<u64>(), 0);
    assert!(append(&mut spool), "a damaged spool takes new records");
    drop(spool);
    // Damage is counted once.
    let again = Spool::open(&config, DESTINATION, NODE, EPOCH);
    let (mut spool, recovered) = again.unwrap_or_else(|error| unreachable!("{error}"));
    assert_eq!(
        recovered.torn_records.iter().sum::<u64>(),
        0,
        "{recovered:?} in {}",
        slot.display()
    );
    assert_eq!(spool.next().map(|unsent| unsent.batch.len()), Some(2));
}

fn config(folder: &Path) -> SpoolConfig {
    SpoolConfig {
        directory: folder.to_path_buf(),
        max_bytes: 64 << 20,
        max_age: Duration::from_secs(1 << 40),
        when_full: WhenFull::DropOldest,
    }
}

/// Writes the input where the spool will find it; returns the path.
fn lay_out(config: &SpoolConfig, data: &[u8]) -> Option<PathBuf> {
    let (length, rest) = data.split_first_chunk::<LENGTH>()?;
    let (checkpoint, segment) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    // The spool creates its folders itself.
    drop(Spool::open(config, DESTINATION, NODE, EPOCH).ok()?);
    let slot = slot(config)?;
    let folder = slot.join(STREAM.name());
    fs::create_dir_all(&folder).ok()?;
    fs::write(folder.join(SEGMENT), segment).ok()?;
    if !checkpoint.is_empty() {
        fs::write(slot.join("checkpoint"), checkpoint).ok()?;
    }
    Some(slot)
}

/// Returns the folder of the destination's first slot.
fn slot(config: &SpoolConfig) -> Option<PathBuf> {
    let destination = fs::read_dir(&config.directory).ok()?.next()?.ok()?;
    Some(destination.path().join("0"))
}

fn append(spool: &mut Spool) -> bool {
    let mut batch = Batch::default();
    for id in 0..2 {
        batch.push(STREAM, id, |out| out.extend(b"{\"a\":1}\n"), |out| out.extend(b"key"));
    }
    spool.append(STREAM, &mut batch.iter(), false, EPOCH).is_ok()
}

/// A segment of three frames, with and without a checkpoint that marks one of them settled.
pub fn seeds() -> Vec<Vec<u8>> {
    [false, true].into_iter().filter_map(seed).collect()
}

fn seed(checkpoint: bool) -> Option<Vec<u8>> {
    let folder = scratch();
    let config = config(folder.path());
    let (mut spool, _) = Spool::open(&config, DESTINATION, NODE, EPOCH).ok()?;
    for _ in 0..3 {
        append(&mut spool).then_some(())?;
    }
    if checkpoint {
        let first = spool.next()?;
        spool.settle(first.id);
        spool.checkpoint(&[]).ok()?;
    }
    drop(spool);
    let slot = slot(&config)?;
    let segment = fs::read_dir(slot.join(STREAM.name())).ok()?.next()?.ok()?;
    let known = fs::read(slot.join("checkpoint")).unwrap_or_default();
    let mut data = u16::try_from(known.len()).ok()?.to_be_bytes().to_vec();
    data.extend(known);
    data.extend(fs::read(segment.path()).ok()?);
    Some(data)
}
