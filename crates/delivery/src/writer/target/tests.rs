use super::super::tests::{batch, dropped, totals, two_streams};
use super::super::{ThreadedSink, Writer, start};
use super::*;
use crate::{OutputFormat, Sink, Stream};
use dnscribe_record::EcsEncoder;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread::sleep;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// A sink that writes to `out` in its own directory.
struct TestSink {
    dir: TempDir,
    sink: ThreadedSink,
    number: u64,
}

fn sink(path: &Path, rotation: Rotation) -> ThreadedSink {
    let mut target = Target::at(path, rotation).unwrap();
    if let Some(named) = &mut target.named {
        named.check_every = Duration::ZERO;
    }
    start("file".into(), two_streams(), OutputFormat::Json, Writer::new(target, false)).unwrap()
}

impl TestSink {
    fn new(rotation: Rotation) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(&dir.path().join("out"), rotation);
        Self { dir, sink, number: 0 }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Offers one batch of records with these sizes.
    fn offer(&mut self, sizes: &[usize]) {
        let sizes: Vec<_> = sizes.iter().map(|size| (0, *size)).collect();
        self.sink.offer(&batch(&sizes, &mut self.number));
    }

    /// Offers a batch and waits until it is written.
    fn write(&mut self, sizes: &[usize]) {
        self.offer(sizes);
        self.sink.flush(PATIENCE);
    }

    /// Reopens the file and waits until it is done.
    fn reopen(&mut self) {
        self.sink.reopen();
        sleep(Duration::from_millis(300));
    }

    /// Closes the sink and waits for its rotated files.
    fn close(&mut self) {
        self.sink.flush(PATIENCE);
        self.sink.close();
    }

    /// Names of the rotated files, oldest first.
    fn rotated(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.into_iter().filter(|name| name.starts_with("out.2")).collect()
    }

    /// The numbers of the records in a file. Every line must be whole.
    fn numbers(&self, name: &str) -> Vec<u64> {
        numbers(&self.at(name))
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    let mut octets = fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "zst") {
        octets = zstd::decode_all(octets.as_slice()).unwrap();
    }
    let text = String::from_utf8(octets).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let number = |line: &str| {
        let (number, rest) = line.split_once(' ').unwrap();
        assert!(rest.bytes().all(|octet| octet == b'x'), "{line}");
        number.parse().unwrap()
    };
    text.lines().map(number).collect()
}

fn by_size(bytes: u64) -> Rotation {
    Rotation { bytes: Some(bytes), ..Rotation::default() }
}

fn wait_for(what: &str, mut enough: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !enough() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn rotates_by_size() {
    let mut test = TestSink::new(by_size(30));
    // Lines of 10 bytes, the fifth of 60, in one batch.
    test.write(&[7, 7, 7, 7, 57, 7, 7]);
    let files = test.rotated();
    assert_eq!(files.len(), 3);
    let found: Vec<_> = files.iter().map(|name| test.numbers(name)).collect();
    assert_eq!(found, [vec![1, 2, 3], vec![4], vec![5]]);
    assert_eq!(test.numbers("out"), [6, 7]);
    // The existing size counts.
    test.sink = sink(&test.at("out"), by_size(30));
    test.write(&[7]);
    assert_eq!(test.numbers("out"), [6, 7, 8]);
    test.write(&[7]);
    assert_eq!(test.numbers(&test.rotated()[3]), [6, 7, 8]);
    assert_eq!(totals(&test.sink), (2, 2, 0));
}

#[test]
fn rotates_by_age_unless_empty() {
    let every = Some(Duration::from_millis(1500));
    let mut test = TestSink::new(Rotation { every, ..Rotation::default() });
    test.write(&[1, 1]);
    sleep(Duration::from_millis(200));
    test.write(&[1]);
    assert_eq!(test.rotated().len(), 0, "too early");
    // The new file comes just after the old one has its name.
    wait_for("the rotation", || test.rotated().len() == 1 && test.at("out").exists());
    assert_eq!((test.numbers(&test.rotated()[0]), test.numbers("out")), (vec![1, 2, 3], vec![]));
    sleep(Duration::from_secs(2));
    assert_eq!(test.rotated().len(), 1, "an empty file is not rotated");
}

#[test]
fn removes_only_the_oldest_rotated_files() {
    let mut test = TestSink::new(Rotation { keep: Some(2), ..by_size(20) });
    let others = ["out.1", "out.20261120T073000Z", "outer.20261120T073000.000000000Z"];
    for name in others {
        fs::write(test.at(name), "").unwrap();
    }
    test.write(&[10; 9]);
    test.close();
    let files: Vec<_> = test.rotated().into_iter().filter(|name| name.contains('.')).collect();
    let ours: Vec<_> = files.iter().filter(|name| !others.contains(&name.as_str())).collect();
    let found: Vec<_> = ours.iter().map(|name| test.numbers(name)).collect();
    assert_eq!((found, test.numbers("out")), (vec![vec![7], vec![8]], vec![9]));
    assert!(others.iter().all(|name| test.at(name).exists()));
}

#[test]
fn compresses_rotated_files() {
    let mut test = TestSink::new(Rotation { compress: true, ..by_size(20) });
    let root = rustix::process::geteuid().is_root();
    fs::set_permissions(test.at("out"), fs::Permissions::from_mode(0o604)).unwrap();
    if root {
        std::os::unix::fs::chown(test.at("out"), Some(1234), Some(1235)).unwrap();
    }
    test.write(&[10, 10, 10]);
    wait_for("the compression", || test.rotated().iter().all(|name| name.ends_with("Z.zst")));
    let files = test.rotated();
    assert_eq!((test.numbers(&files[0]), test.numbers(&files[1])), (vec![1], vec![2]));
    for name in [&files[0], &files[1], "out"] {
        let found = fs::metadata(test.at(name)).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o604, "{name}");
        assert!(!root || (found.uid(), found.gid()) == (1234, 1235), "{name}");
    }
}

#[test]
fn completes_work_of_an_earlier_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let stamp = |second| format!("out.20261120T07300{second}.000000000Z");
    let packed = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    // Interrupted during compression, between its last two steps, and before it.
    fs::write(at(&stamp(1)), "1 x\n").unwrap();
    fs::write(at(&format!("{}.zst.tmp", stamp(1))), &packed("1 x\n")[..5]).unwrap();
    fs::write(at(&stamp(2)), "2 x\n").unwrap();
    fs::write(at(&format!("{}.zst", stamp(2))), packed("2 x\n")).unwrap();
    fs::write(at(&stamp(3)), "3 x\n").unwrap();
    fs::write(at(&format!("{}.zst.tmp", stamp(4))), "").unwrap();
    let rotation = Rotation { compress: true, ..by_size(20) };
    let mut test = TestSink { sink: sink(&at("out"), rotation), dir, number: 3 };
    let expected: Vec<_> = [1, 2, 3].map(|second| format!("{}.zst", stamp(second))).into();
    wait_for("the rest", || test.rotated() == expected);
    let found: Vec<_> = expected.iter().flat_map(|name| test.numbers(name)).collect();
    assert_eq!(found, [1, 2, 3]);
    test.write(&[1]);
    assert_eq!(test.numbers("out"), [4]);
}

#[test]
fn continues_after_a_failed_rotation() {
    let dir = tempfile::tempdir().unwrap();
    // With the timestamp, the name would be too long.
    let path = dir.path().join("o".repeat(250));
    let mut test = TestSink { sink: sink(&path, by_size(20)), dir, number: 0 };
    test.write(&[10, 10, 10]);
    test.write(&[10]);
    assert_eq!((numbers(&path), totals(&test.sink)), (vec![1, 2, 3, 4], (4, 4, 0)));
    assert_eq!(fs::read_dir(test.dir.path()).unwrap().count(), 1);
}

#[test]
fn keeps_writing_in_a_read_only_directory() {
    // Applies to this thread and those it starts: from here on root obeys permissions.
    caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_DAC_OVERRIDE).unwrap();
    let mut test = TestSink::new(by_size(20));
    let allow = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(test.dir.path(), allow(0o555)).unwrap();
    let refused = crate::probe_file(&test.at("out"), by_size(20)).unwrap_err().to_string();
    assert!(
        refused.contains("cannot rotate") && refused.contains("Permission denied"),
        "{refused}"
    );
    crate::probe_file(&test.at("out"), Rotation::default()).unwrap();
    test.write(&[10, 10]);
    assert_eq!((test.numbers("out"), test.rotated().len()), (vec![1, 2], 0));
    fs::set_permissions(test.dir.path(), allow(0o755)).unwrap();
    test.reopen();
    test.write(&[10]);
    assert_eq!((test.numbers(&test.rotated()[0]), test.numbers("out")), (vec![1, 2], vec![3]));
    assert_eq!(totals(&test.sink), (3, 3, 0));
}

#[test]
fn never_rotates_devices() {
    let mut null = sink(Path::new("/dev/null"), by_size(1));
    null.offer(&batch(&[(0, 5), (0, 5)], &mut 0));
    null.reopen();
    null.offer(&batch(&[(0, 5)], &mut 0));
    null.flush(PATIENCE);
    assert_eq!(totals(&null), (3, 3, 0));
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
}

#[test]
fn reopens_a_moved_file_on_request() {
    let mut test = TestSink::new(Rotation::default());
    fs::set_permissions(test.at("out"), fs::Permissions::from_mode(0o604)).unwrap();
    test.write(&[1, 1]);
    fs::rename(test.at("out"), test.at("old")).unwrap();
    test.reopen();
    assert!(test.at("out").exists(), "not only with the next record");
    test.write(&[1]);
    assert_eq!((test.numbers("old"), test.numbers("out")), (vec![1, 2], vec![3]));
    assert_eq!(test.at("out").metadata().unwrap().mode() & 0o7777, 0o604);
    // The file is unchanged, so it is appended to.
    test.reopen();
    test.write(&[1]);
    assert_eq!((test.numbers("out"), totals(&test.sink)), (vec![3, 4], (4, 4, 0)));
}

#[test]
fn keeps_a_file_that_cannot_be_reopened() {
    let mut test = TestSink::new(Rotation::default());
    fs::create_dir(test.at("logs")).unwrap();
    test.sink = sink(&test.at("logs/out"), Rotation::default());
    test.write(&[1]);
    fs::rename(test.at("logs"), test.at("gone")).unwrap();
    test.reopen();
    test.write(&[1]);
    assert_eq!(test.numbers("gone/out"), [1, 2]);
    fs::create_dir_all(test.at("logs/out")).unwrap();
    test.write(&[1]);
    assert_eq!(test.numbers("gone/out"), [1, 2, 3], "what is there now takes no records");
    fs::remove_dir(test.at("logs/out")).unwrap();
    test.write(&[1]);
    assert_eq!((test.numbers("gone/out"), test.numbers("logs/out")), (vec![1, 2, 3], vec![4]));
    assert_eq!((totals(&test.sink), dropped(&test.sink, "write_error")), ((4, 4, 0), 0));
}

#[test]
fn notices_a_moved_or_removed_file() {
    let mut test = TestSink::new(by_size(1000));
    test.write(&[1]);
    fs::rename(test.at("out"), test.at("old")).unwrap();
    test.write(&[1]);
    fs::remove_file(test.at("out")).unwrap();
    test.write(&[1]);
    fs::rename(test.at("out"), test.at("older")).unwrap();
    fs::write(test.at("out"), "0 x\n").unwrap();
    test.write(&[1]);
    let found = ["old", "older", "out"].map(|name| test.numbers(name));
    assert_eq!(found, [vec![1], vec![3], vec![0, 4]]);
}

#[test]
fn rotates_beside_the_target_of_a_link() {
    let mut test = TestSink::new(Rotation::default());
    for name in ["one", "two"] {
        fs::create_dir(test.at(name)).unwrap();
        symlink(test.at(name).join("out"), test.at(&format!("to_{name}"))).unwrap();
    }
    fs::rename(test.at("to_one"), test.at("link")).unwrap();
    test.sink = sink(&test.at("link"), by_size(20));
    test.write(&[10, 10]);
    fs::rename(test.at("to_two"), test.at("link")).unwrap();
    test.write(&[10, 10]);
    assert!(test.at("link").is_symlink());
    for (name, last) in [("one", 2), ("two", 4)] {
        let files: BTreeSet<_> =
            fs::read_dir(test.at(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        let found: Vec<_> = files.iter().map(|path| numbers(path)).collect();
        assert_eq!(found, [vec![last], vec![last - 1]], "{files:?}");
    }
}

#[test]
fn writes_whole_lines_after_truncation() {
    let mut test = TestSink::new(by_size(40));
    test.write(&[10, 10]);
    fs::copy(test.at("out"), test.at("copy")).unwrap();
    File::options().write(true).open(test.at("out")).unwrap().set_len(0).unwrap();
    test.write(&[10, 10]);
    assert_eq!((test.numbers("copy"), test.numbers("out")), (vec![1, 2], vec![3, 4]));
    assert_eq!(test.rotated().len(), 0, "the size is that of the file");
}

/// An event between two batches.
#[derive(Clone, Debug)]
enum FileEvent {
    Offer(Vec<usize>),
    Reopen,
    /// Moved by another process, with or without a signal, with or without a new file in place.
    Move {
        tells: bool,
        makes: bool,
    },
    /// logrotate's `copytruncate`, at a moment without records.
    CopyTruncate,
    Restart,
}

fn file_event() -> impl Strategy<Value = FileEvent> {
    prop_oneof![
        6 => prop::collection::vec(0_usize..200, 0..12).prop_map(FileEvent::Offer),
        1 => Just(FileEvent::Reopen),
        2 => any::<(bool, bool)>().prop_map(|(tells, makes)| FileEvent::Move { tells, makes }),
        1 => Just(FileEvent::CopyTruncate),
        1 => Just(FileEvent::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// All files together contain every record once, in order, and every line is whole.
    #[test]
    fn keeps_every_record_once_in_all_files(
        events in prop::collection::vec(file_event(), 1..30),
        bytes in prop::option::of(50_u64..2000),
        compress in any::<bool>(),
    ) {
        let rotation = Rotation { bytes, compress, ..Rotation::default() };
        let mut test = TestSink::new(rotation);
        let mut written = 0;
        for (turn, file_event) in events.into_iter().enumerate() {
            match file_event {
                FileEvent::Offer(sizes) => test.offer(&sizes),
                FileEvent::Reopen => test.sink.reopen(),
                FileEvent::Move { tells, makes } => {
                    // Also while records are being written.
                    let moved = fs::rename(test.at("out"), test.at(&format!("moved.{turn}")));
                    // The file is missing during rotation, and after an earlier move.
                    let missing = |error: &io::Error| error.kind() == ErrorKind::NotFound;
                    prop_assert!(moved.as_ref().err().is_none_or(missing), "{moved:?}");
                    if makes {
                        File::options().create(true).append(true).open(test.at("out")).unwrap();
                    }
                    if tells {
                        test.sink.reopen();
                    }
                }
                FileEvent::CopyTruncate => {
                    test.sink.flush(PATIENCE);
                    if test.at("out").exists() {
                        fs::copy(test.at("out"), test.at(&format!("copy.{turn}"))).unwrap();
                        File::options().write(true).open(test.at("out")).unwrap().set_len(0).unwrap();
                    }
                }
                FileEvent::Restart => {
                    test.close();
                    let (records, delivered, _) = totals(&test.sink);
                    prop_assert_eq!(records, delivered);
                    written += delivered;
                    test.sink = sink(&test.at("out"), rotation);
                }
            }
            totals(&test.sink);
        }
        test.close();
        let (records, delivered, _) = totals(&test.sink);
        prop_assert_eq!(records, delivered);
        prop_assert_eq!(written + delivered, test.number);
        let mut found = Vec::new();
        for entry in fs::read_dir(test.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            prop_assert!(path.extension().is_none_or(|extension| extension != "tmp"));
            let numbers = numbers(&path);
            if let (Some(bytes), true) = (bytes, test.number > 0) {
                let size = numbers.len();
                let own = path.file_name().unwrap().to_str().unwrap().starts_with("out");
                prop_assert!(size <= 1 || !own || size as u64 * 3 <= bytes, "{size} records");
            }
            found.push(numbers);
        }
        // Each file is a run of consecutive records; together they are all records.
        found.retain(|numbers| !numbers.is_empty());
        found.sort();
        prop_assert_eq!(found.concat(), (1..=test.number).collect::<Vec<_>>());
    }
}

#[test]
fn a_line_that_a_crash_has_cut_is_no_part_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records");
    let whole = "{\"schema\":\"dns.message/1\"}\n";
    let line =
        br#"{"schema":"dns.message/1","event_id":"00","ts":"2026-11-26T10:00:00Z","node":"n"}"#;
    let mut document = Vec::new();
    EcsEncoder::default().write(Stream::Messages, line, &mut document).unwrap();
    let document = format!("{}\n", String::from_utf8(document).unwrap());
    for (before, after) in [
        (String::new(), String::new()),
        (whole.to_owned(), whole.to_owned()),
        (format!("{whole}{{\"schema\":\"dns.m"), whole.to_owned()),
        ("{\"schema\":\"dns".to_owned(), String::new()),
        (format!("{whole}{{\"sch"), whole.to_owned()),
        (format!("{document}{}", &document[..60]), document.clone()),
        (format!("{document}{}", &document[..3]), document.clone()),
        // Not ours to remove.
        (format!("{whole}text"), format!("{whole}text\n")),
    ] {
        fs::write(&path, &before).unwrap();
        let mut target = Target::at(&path, Rotation::default()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), after, "{before}");
        target.write(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{after}next\n"));
    }
}
