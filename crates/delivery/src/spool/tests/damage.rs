//! Tests with damaged files.

use super::*;
use proptest::prelude::*;

/// Writes three frames of two, three and four records into one segment. Returns its path.
fn three_frames(config: &SpoolConfig) -> PathBuf {
    let (mut spool, _) = open(config);
    for ids in [1..3, 3..6, 6..10] {
        append(&mut spool, &batch(Stream::Transactions, ids, 100), false, time(1)).unwrap();
    }
    drop(spool);
    segments(&config.directory).remove(0)
}

/// Start and end of the frames of the only segment.
fn limits(config: &SpoolConfig) -> Vec<(usize, usize)> {
    let (spool, _) = open(config);
    let (_, segment) = spool.queues[Stream::Transactions as usize].segments().next().unwrap();
    let frames = segment.frames.iter().map(|frame| (frame.offset, frame.header.frame_bytes()));
    frames
        .map(|(start, bytes)| {
            (usize::try_from(start).unwrap(), usize::try_from(start + bytes).unwrap())
        })
        .collect()
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Whether a segment ends at the end of a frame or of its header: then a truncation is not
/// detectable.
fn ends_whole(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    format::scan(&file, length, true, None).unwrap().is_ok_and(|found| found.end == length)
}

fn cut(path: &Path, length: usize) {
    File::options().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

#[test]
fn counts_records_of_a_torn_end() {
    // Where the last frame is cut, and how many of its records are known.
    for (keep, torn_records) in [(0, 0), (39, 0), (40, 4), (200, 4)] {
        let dir = TempDir::new().unwrap();
        let config = config(dir.path(), 1 << 20);
        let path = three_frames(&config);
        let (last, _) = limits(&config)[2];
        cut(&path, last + keep);
        let (mut spool, recovered) = open(&config);
        assert_eq!(recovered.torn_bytes, keep as u64);
        assert_eq!(recovered.torn_records, only(Stream::Transactions, torn_records));
        assert_eq!(recovered.records, only(Stream::Transactions, 5));
        assert_eq!(drain(&mut spool), [1, 2, 3, 4, 5]);
        assert_eq!(spool.bytes(), bytes_on_disk(dir.path()));
        drop(spool);
        // Counted once.
        assert_eq!(open(&config).1.torn_bytes, 0);
    }
}

#[test]
fn loses_one_frame_to_a_corrupt_payload() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let path = three_frames(&config);
    let (_, end) = limits(&config)[1];
    flip(&path, end - 1);
    // Found at once in the newest segment, ...
    let (mut spool, recovered) = open(&config);
    assert_eq!(recovered.torn_records, only(Stream::Transactions, 3));
    assert_eq!(drain(&mut spool), [1, 2, 6, 7, 8, 9]);
    assert!(spool.take_removed().is_empty());
    drop(spool);
    assert_eq!(open(&config).1.torn_records, PerStream::default());

    // ... and when it is to be read in others.
    let dir = TempDir::new().unwrap();
    let config = super::config(dir.path(), 1 << 20);
    let path = three_frames(&config);
    put(&mut open(&config).0, Stream::Transactions, 10, 10).unwrap();
    flip(&path, end - 1);
    let (mut spool, recovered) = open(&config);
    assert_eq!(recovered.torn_records, PerStream::default());
    assert_eq!(drain(&mut spool), [1, 2, 6, 7, 8, 9, 10]);
    let gone = spool.take_removed();
    assert_eq!((gone.len(), gone[0].records), (1, 3));
    assert_eq!(gone[0].reason, DropReason::SpoolCorrupt);
}

#[test]
fn loses_the_rest_of_a_segment_to_a_corrupt_header() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let path = three_frames(&config);
    let (start, _) = limits(&config)[1];
    flip(&path, start + 9);
    let (mut spool, recovered) = open(&config);
    assert_eq!(recovered.torn_records, PerStream::default());
    assert!(recovered.torn_bytes > 300);
    assert_eq!(drain(&mut spool), [1, 2]);
    drop(spool);

    flip(&path, 3);
    let whole = path.metadata().unwrap().len();
    let (mut spool, recovered) = open(&config);
    assert_eq!((recovered.torn_bytes, spool.next().is_none()), (whole, true));
    assert!(segments(dir.path()).is_empty());
}

#[test]
fn rejects_a_frame_at_a_wrong_offset() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let path = three_frames(&config);
    let (start, end) = limits(&config)[0];
    let bytes = fs::read(&path).unwrap();
    // As a file system may do with stale blocks.
    fs::write(&path, [&bytes[..end], &bytes[start..end], &bytes[end..]].concat()).unwrap();
    let (mut spool, recovered) = open(&config);
    assert!(recovered.torn_bytes > 0);
    assert_eq!(drain(&mut spool), [1, 2]);
}

#[test]
fn reports_frames_of_a_missing_segment() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path(), 1 << 20);
    let path = three_frames(&config);
    let (mut spool, _) = open(&config);
    fs::remove_file(path).unwrap();
    assert!(spool.next().is_none());
    let gone = spool.take_removed();
    assert_eq!(gone.iter().map(|gone| gone.records).sum::<u64>(), 9);
    assert!(gone.iter().all(|gone| gone.reason == DropReason::SpoolCorrupt));
    assert_eq!((spool.bytes(), spool.has_unsent()), (0, false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// After damage to one file, recovered records are unchanged, in order and unique, missing ones
    /// are counted, and a damaged checkpoint loses no record.
    #[test]
    fn counts_any_damage(
        frames in prop::collection::vec((1u128..5, 1usize..400, any::<bool>()), 1..12),
        file in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
        again in 0usize..3,
    ) {
        let dir = TempDir::new().unwrap();
        let config = config(dir.path(), 1 << 20);
        let mut given = Vec::new();
        let mut left = Vec::new();
        for (process, frames) in frames.chunks(frames.len().div_ceil(again + 1)).enumerate() {
            let (mut spool, _) = open(&config);
            let mut next = process as u128 * 1000 + 1;
            for (records, bytes, done) in frames {
                let ids = next..next + records;
                next += records;
                let batch = batch(Stream::Alerts, ids.clone(), *bytes);
                let id = append(&mut spool, &batch, true, time(1)).unwrap();
                given.extend(ids.clone());
                if *done { spool.settle(id) } else { left.extend(ids) }
            }
            spool.checkpoint(&[]).unwrap();
        }
        let mut files = segments(dir.path());
        let checkpoint = checkpoint_path(dir.path());
        files.extend(checkpoint.exists().then(|| checkpoint.clone()));
        prop_assume!(!files.is_empty());
        let file = file.get(&files);
        let place = place.index(fs::read(file).unwrap().len());
        if truncate { cut(file, place) } else { flip(file, place) }
        let cannot_be_seen = truncate && *file != checkpoint && ends_whole(file);

        let (mut spool, recovered) = open(&config);
        let mut back = Vec::new();
        while let Some(unsent) = spool.next() {
            for record in unsent.batch.iter() {
                let length = record.line.len() - 1;
                let same = batch(Stream::Alerts, [record.event_id], length);
                prop_assert_eq!(Some(record), same.iter().next());
                back.push(record.event_id);
            }
        }
        prop_assert!(back.is_sorted_by(|one, other| one < other), "{back:?} of {given:?}");
        if *file == checkpoint {
            prop_assert!(left.iter().all(|id| back.contains(id)));
            prop_assert!(back.iter().all(|id| given.contains(id)));
            prop_assert_eq!((recovered.torn_bytes, spool.take_removed().len()), (0, 0));
        } else {
            prop_assert!(back.iter().all(|id| left.contains(id)));
            let gone: u64 = spool.take_removed().iter().map(|gone| gone.records).sum();
            let counted = recovered.torn_records[Stream::Alerts as usize] + gone;
            let missing = (left.len() - back.len()) as u64;
            let seen = recovered.torn_bytes > 0 || cannot_be_seen;
            prop_assert!(counted == missing || counted < missing && seen);
        }
        prop_assert_eq!(spool.bytes(), bytes_on_disk(dir.path()));
    }
}
