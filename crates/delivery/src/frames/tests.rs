use super::*;
use crate::Sink as _;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

/// Frames that are the lines themselves. The disk has space for a number of bytes.
struct TestFormat {
    path: PathBuf,
    is_file: bool,
    space: usize,
}

struct Disk {
    file: File,
    space: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.space);
        if fits == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.space -= fits;
        self.file.write(&bytes[..fits])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for TestFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl FrameFormat for TestFormat {
    type Output = Disk;

    fn file(&self) -> Option<&Path> {
        self.is_file.then_some(&self.path)
    }

    fn open(&mut self, _: &Arc<SharedState>, _: Option<&File>) -> io::Result<Disk> {
        let file = fs::OpenOptions::new().append(true).create(true).open(&self.path)?;
        Ok(Disk { file, space: self.space })
    }

    fn file_of(output: &mut Disk) -> Option<&mut File> {
        Some(&mut output.file)
    }

    fn append_frame(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        out.extend(line);
        true
    }

    fn close(_: Disk) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    /// A file on a full disk has whole frames, as many as the ledger calls delivered.
    #[test]
    fn a_full_disk_leaves_whole_frames(
        batches in proptest::collection::vec(proptest::collection::vec(1..40_usize, 1..9), 1..5),
        space in 0..500_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let format = TestFormat { path: path.clone(), is_file: true, space };
        let mut sink = open("frames".into(), StreamSet::MESSAGES, format, None).unwrap();
        let (mut sizes, mut left) = (Vec::new(), space);
        for lengths in &batches {
            let mut batch = Batch::default();
            for length in lengths {
                batch.push(Stream::Messages, 1, |out| out.resize(out.len() + length, b'x'), |_| {});
            }
            sizes.extend(lengths);
            sink.offer(&Arc::new(batch));
        }
        prop_assert!(sink.flush(Duration::from_secs(30)));
        sink.close();
        let fitting: Vec<_> = sizes
            .iter()
            .take_while(|size: &&usize| left.checked_sub(**size).inspect(|rest| left = *rest).is_some())
            .collect();
        let counters = &sink.counters()["messages"];
        let dropped = (sizes.len() - fitting.len()) as u64;
        prop_assert_eq!((counters.delivered, counters.dropped["write_error"]), (fitting.len() as u64, dropped));
        let bytes: usize = fitting.into_iter().sum();
        prop_assert_eq!(fs::metadata(path).unwrap().len(), bytes as u64);
        prop_assert_eq!(sink.failure().is_some(), dropped > 0);
    }
}

/// A program that accepts connections, and does not read, does not accept messages again.
#[test]
fn a_program_recovers_once_it_takes_messages_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let format = TestFormat { path: folder.path().join("frames"), is_file: false, space: 0 };
    let mut writer = FrameWriter::new(format, None, None);
    let shared = SharedState::new(StreamSet::MESSAGES, REASONS);
    let frames = Frames { bytes: vec![b'x'; 9], ends: vec![9] };
    let mut write = |frames: &Frames, space, connected: Duration| {
        writer.format.space = space;
        writer.next_try = Instant::now().checked_sub(connected).unwrap();
        let written = writer.write(frames, &shared).map_err(|(_, error)| error.kind());
        (written, writer.failing_since.is_some())
    };
    assert_eq!(write(&frames, 0, Duration::ZERO), (Ok(false), true));
    assert_eq!(write(&frames, 20, Duration::ZERO), (Ok(true), true), "into its buffer");
    assert_eq!(write(&Frames::default(), 0, RECOVERED_AFTER), (Ok(true), true), "nothing written");
    assert_eq!(write(&frames, 0, RECOVERED_AFTER), (Ok(true), false));
}

/// A program that read, had nothing to read, and ends much later is waited for from then on.
#[test]
fn patience_begins_anew_once_a_program_has_read() {
    for (connected, expected) in
        [(Duration::ZERO, Err(ErrorKind::StorageFull)), (RECOVERED_AFTER, Ok(false))]
    {
        let folder = tempfile::tempdir().unwrap();
        let format = TestFormat { path: folder.path().join("frames"), is_file: false, space: 0 };
        let mut writer = FrameWriter::new(format, None, Some(Duration::ZERO));
        let shared = SharedState::new(StreamSet::MESSAGES, REASONS);
        let frames = Frames { bytes: vec![b'x'; 9], ends: vec![9] };
        let mut write = |space, connected: Duration| {
            writer.format.space = space;
            writer.next_try = Instant::now().checked_sub(connected).unwrap();
            writer.write(&frames, &shared).map_err(|(_, error)| error.kind())
        };
        assert_eq!(write(0, Duration::ZERO), Ok(false));
        assert_eq!(write(9, Duration::ZERO), Ok(true));
        assert_eq!(write(0, connected), expected);
    }
}

/// A file that was moved or removed is not written any more: after a signal, and without one after a while.
#[test]
fn a_file_that_was_moved_or_removed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["frames", "moved"].map(|name| folder.path().join(name));
    let format = TestFormat { path: path.clone(), is_file: true, space: 99 };
    let mut sink = open("frames".into(), StreamSet::MESSAGES, format, None).unwrap();
    let mut write = |letter: u8| {
        let mut batch = Batch::default();
        batch.push(Stream::Messages, 1, |out| out.push(letter), |_| {});
        sink.reopen();
        sink.offer(&Arc::new(batch));
        assert!(sink.flush(Duration::from_secs(30)));
    };
    write(b'a');
    write(b'b');
    fs::rename(&path, &moved).unwrap();
    write(b'c');
    assert_eq!(fs::read(&moved).unwrap(), b"ab");
    assert_eq!(fs::read(&path).unwrap(), b"c");
    fs::remove_file(&path).unwrap();
    write(b'd');
    assert_eq!(fs::read(&path).unwrap(), b"d");

    let mut format = TestFormat { path: path.clone(), is_file: true, space: 99 };
    let shared = SharedState::new(StreamSet::MESSAGES, REASONS);
    let output = Some(format.open(&shared, None).unwrap());
    let mut writer = FrameWriter::new(format, output, None);
    fs::remove_file(&path).unwrap();
    writer.follow_its_name(&shared);
    assert!(path.exists());
}

/// `copytruncate` of logrotate, also to a length of its own: each file has a beginning, and no hole.
#[test]
fn a_truncated_file_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let streams = StreamSet::MESSAGES;
    let dnstap = crate::DnstapTarget::File(at("dnstap"));
    let sinks = [
        ("dnstap", crate::dnstap::open("dnstap".into(), streams, &dnstap, None).unwrap()),
        ("pcapng", crate::pcapng::open("pcapng".into(), streams, &at("pcapng"), "n").unwrap()),
    ];
    let line = crate::testing::message_line(&serde_json::json!({})).to_string();
    for (name, mut sink) in sinks {
        let mut write = || {
            let mut batch = Batch::default();
            batch.push(Stream::Messages, 1, |out| out.extend(line.as_bytes()), |_| {});
            sink.offer(&Arc::new(batch));
            assert!(sink.flush(Duration::from_secs(30)));
            fs::read(at(name)).unwrap()
        };
        let whole = write();
        for left in [0, 9] {
            fs::OpenOptions::new().write(true).open(at(name)).unwrap().set_len(left).unwrap();
            assert_eq!(write(), whole, "{name}, {left} left");
        }
        assert_eq!(sink.counters()["messages"].delivered, 3);
    }
}

/// Also where it was not opened to append, as what redirects standard output.
#[test]
fn finds_that_a_file_was_truncated() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"frames").unwrap();
    assert!(!is_truncated(&mut file).unwrap());
    file.set_len(0).unwrap();
    assert!(is_truncated(&mut file).unwrap());
}
