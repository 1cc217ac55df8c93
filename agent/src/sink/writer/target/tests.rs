use super::super::tests::{batch, dropped, totals, two_streams};
use super::super::{Threaded, Writer, start};
use super::*;
use crate::sink::{Look, Sink};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread::sleep;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// A sink that writes to `out` in its own directory.
struct Bench {
    dir: TempDir,
    sink: Threaded,
    number: u64,
}

fn sink(path: &Path, rotation: Rotation) -> Threaded {
    let target = Target::at(path, rotation).unwrap().looking_always();
    start("file".into(), two_streams(), Look::Json, Writer::new(target, false)).unwrap()
}

impl Bench {
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
fn a_file_is_rotated_before_it_grows_too_large() {
    let mut bench = Bench::new(by_size(30));
    // Lines of 10 bytes, the fifth of 60, in one batch.
    bench.write(&[7, 7, 7, 7, 57, 7, 7]);
    let files = bench.rotated();
    assert_eq!(files.len(), 3);
    let found: Vec<_> = files.iter().map(|name| bench.numbers(name)).collect();
    assert_eq!(found, [vec![1, 2, 3], vec![4], vec![5]]);
    assert_eq!(bench.numbers("out"), [6, 7]);
    // The existing size counts.
    bench.sink = sink(&bench.at("out"), by_size(30));
    bench.write(&[7]);
    assert_eq!(bench.numbers("out"), [6, 7, 8]);
    bench.write(&[7]);
    assert_eq!(bench.numbers(&bench.rotated()[3]), [6, 7, 8]);
    assert_eq!(totals(&bench.sink), (2, 2, 0));
}

#[test]
fn a_file_is_rotated_when_it_is_old_and_not_empty() {
    let every = Some(Duration::from_millis(1500));
    let mut bench = Bench::new(Rotation { every, ..Rotation::default() });
    bench.write(&[1, 1]);
    sleep(Duration::from_millis(200));
    bench.write(&[1]);
    assert_eq!(bench.rotated().len(), 0, "too early");
    wait_for("the rotation", || bench.rotated().len() == 1);
    assert_eq!((bench.numbers(&bench.rotated()[0]), bench.numbers("out")), (vec![1, 2, 3], vec![]));
    sleep(Duration::from_secs(2));
    assert_eq!(bench.rotated().len(), 1, "an empty file is not rotated");
}

#[test]
fn the_oldest_files_beyond_the_count_are_removed_and_no_others() {
    let mut bench = Bench::new(Rotation { keep: Some(2), ..by_size(20) });
    let others = ["out.1", "out.20261120T073000Z", "outer.20261120T073000.000000000Z"];
    for name in others {
        fs::write(bench.at(name), "").unwrap();
    }
    bench.write(&[10; 9]);
    bench.close();
    let files: Vec<_> = bench.rotated().into_iter().filter(|name| name.contains('.')).collect();
    let ours: Vec<_> = files.iter().filter(|name| !others.contains(&name.as_str())).collect();
    let found: Vec<_> = ours.iter().map(|name| bench.numbers(name)).collect();
    assert_eq!((found, bench.numbers("out")), (vec![vec![7], vec![8]], vec![9]));
    assert!(others.iter().all(|name| bench.at(name).exists()));
}

#[test]
fn rotated_files_are_compressed() {
    let mut bench = Bench::new(Rotation { compress: true, ..by_size(20) });
    let root = rustix::process::geteuid().is_root();
    fs::set_permissions(bench.at("out"), fs::Permissions::from_mode(0o604)).unwrap();
    if root {
        std::os::unix::fs::chown(bench.at("out"), Some(1234), Some(1235)).unwrap();
    }
    bench.write(&[10, 10, 10]);
    wait_for("the compression", || bench.rotated().iter().all(|name| name.ends_with("Z.zst")));
    let files = bench.rotated();
    assert_eq!((bench.numbers(&files[0]), bench.numbers(&files[1])), (vec![1], vec![2]));
    for name in [&files[0], &files[1], "out"] {
        let found = fs::metadata(bench.at(name)).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o604, "{name}");
        assert!(!root || (found.uid(), found.gid()) == (1234, 1235), "{name}");
    }
}

#[test]
fn what_an_earlier_run_left_is_finished() {
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
    let mut bench = Bench { sink: sink(&at("out"), rotation), dir, number: 3 };
    let expected: Vec<_> = [1, 2, 3].map(|second| format!("{}.zst", stamp(second))).into();
    wait_for("the rest", || bench.rotated() == expected);
    let found: Vec<_> = expected.iter().flat_map(|name| bench.numbers(name)).collect();
    assert_eq!(found, [1, 2, 3]);
    bench.write(&[1]);
    assert_eq!(bench.numbers("out"), [4]);
}

#[test]
fn a_rotation_that_fails_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // With the timestamp, the name would be too long.
    let path = dir.path().join("o".repeat(250));
    let mut bench = Bench { sink: sink(&path, by_size(20)), dir, number: 0 };
    bench.write(&[10, 10, 10]);
    bench.write(&[10]);
    assert_eq!((numbers(&path), totals(&bench.sink)), (vec![1, 2, 3, 4], (4, 4, 0)));
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 1);
}

#[test]
fn in_a_directory_that_cannot_be_written_the_file_grows_on() {
    // Applies to this thread and those it starts: from here on root obeys permissions.
    caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_DAC_OVERRIDE).unwrap();
    let mut bench = Bench::new(by_size(20));
    let allow = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(bench.dir.path(), allow(0o555)).unwrap();
    let refused = crate::sink::probe_file(&bench.at("out"), by_size(20)).unwrap_err().to_string();
    assert!(
        refused.contains("cannot rotate") && refused.contains("Permission denied"),
        "{refused}"
    );
    crate::sink::probe_file(&bench.at("out"), Rotation::default()).unwrap();
    bench.write(&[10, 10]);
    assert_eq!((bench.numbers("out"), bench.rotated().len()), (vec![1, 2], 0));
    fs::set_permissions(bench.dir.path(), allow(0o755)).unwrap();
    bench.reopen();
    bench.write(&[10]);
    assert_eq!((bench.numbers(&bench.rotated()[0]), bench.numbers("out")), (vec![1, 2], vec![3]));
    assert_eq!(totals(&bench.sink), (3, 3, 0));
}

#[test]
fn what_is_no_regular_file_is_left_alone() {
    let mut null = sink(Path::new("/dev/null"), by_size(1));
    null.offer(&batch(&[(0, 5), (0, 5)], &mut 0));
    null.reopen();
    null.offer(&batch(&[(0, 5)], &mut 0));
    null.flush(PATIENCE);
    assert_eq!(totals(&null), (3, 3, 0));
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
}

#[test]
fn a_file_moved_away_is_reopened_when_asked() {
    let mut bench = Bench::new(Rotation::default());
    fs::set_permissions(bench.at("out"), fs::Permissions::from_mode(0o604)).unwrap();
    bench.write(&[1, 1]);
    fs::rename(bench.at("out"), bench.at("old")).unwrap();
    bench.reopen();
    assert!(bench.at("out").exists(), "not only with the next record");
    bench.write(&[1]);
    assert_eq!((bench.numbers("old"), bench.numbers("out")), (vec![1, 2], vec![3]));
    assert_eq!(bench.at("out").metadata().unwrap().mode() & 0o7777, 0o604);
    // The file is unchanged, so it is appended to.
    bench.reopen();
    bench.write(&[1]);
    assert_eq!((bench.numbers("out"), totals(&bench.sink)), (vec![3, 4], (4, 4, 0)));
}

#[test]
fn a_file_that_cannot_be_reopened_is_kept() {
    let mut bench = Bench::new(Rotation::default());
    fs::create_dir(bench.at("logs")).unwrap();
    bench.sink = sink(&bench.at("logs/out"), Rotation::default());
    bench.write(&[1]);
    fs::rename(bench.at("logs"), bench.at("gone")).unwrap();
    bench.reopen();
    bench.write(&[1]);
    assert_eq!(bench.numbers("gone/out"), [1, 2]);
    fs::create_dir_all(bench.at("logs/out")).unwrap();
    bench.write(&[1]);
    assert_eq!(bench.numbers("gone/out"), [1, 2, 3], "what is there now takes no records");
    fs::remove_dir(bench.at("logs/out")).unwrap();
    bench.write(&[1]);
    assert_eq!((bench.numbers("gone/out"), bench.numbers("logs/out")), (vec![1, 2, 3], vec![4]));
    assert_eq!((totals(&bench.sink), dropped(&bench.sink, "write_error")), ((4, 4, 0), 0));
}

#[test]
fn a_file_moved_or_removed_without_a_word_is_noticed() {
    let mut bench = Bench::new(by_size(1000));
    bench.write(&[1]);
    fs::rename(bench.at("out"), bench.at("old")).unwrap();
    bench.write(&[1]);
    fs::remove_file(bench.at("out")).unwrap();
    bench.write(&[1]);
    fs::rename(bench.at("out"), bench.at("older")).unwrap();
    fs::write(bench.at("out"), "0 x\n").unwrap();
    bench.write(&[1]);
    let found = ["old", "older", "out"].map(|name| bench.numbers(name));
    assert_eq!(found, [vec![1], vec![3], vec![0, 4]]);
}

#[test]
fn where_the_path_is_a_link_files_are_rotated_where_it_leads() {
    let mut bench = Bench::new(Rotation::default());
    for name in ["one", "two"] {
        fs::create_dir(bench.at(name)).unwrap();
        symlink(bench.at(name).join("out"), bench.at(&format!("to_{name}"))).unwrap();
    }
    fs::rename(bench.at("to_one"), bench.at("link")).unwrap();
    bench.sink = sink(&bench.at("link"), by_size(20));
    bench.write(&[10, 10]);
    fs::rename(bench.at("to_two"), bench.at("link")).unwrap();
    bench.write(&[10, 10]);
    assert!(bench.at("link").is_symlink());
    for (name, last) in [("one", 2), ("two", 4)] {
        let files: BTreeSet<_> =
            fs::read_dir(bench.at(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        let found: Vec<_> = files.iter().map(|path| numbers(path)).collect();
        assert_eq!(found, [vec![last], vec![last - 1]], "{files:?}");
    }
}

#[test]
fn a_file_that_others_truncate_has_whole_lines() {
    let mut bench = Bench::new(by_size(40));
    bench.write(&[10, 10]);
    fs::copy(bench.at("out"), bench.at("copy")).unwrap();
    File::options().write(true).open(bench.at("out")).unwrap().set_len(0).unwrap();
    bench.write(&[10, 10]);
    assert_eq!((bench.numbers("copy"), bench.numbers("out")), (vec![1, 2], vec![3, 4]));
    assert_eq!(bench.rotated().len(), 0, "the size is that of the file");
}

/// An event between two batches.
#[derive(Clone, Debug)]
enum Deed {
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

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => prop::collection::vec(0_usize..200, 0..12).prop_map(Deed::Offer),
        1 => Just(Deed::Reopen),
        2 => any::<(bool, bool)>().prop_map(|(tells, makes)| Deed::Move { tells, makes }),
        1 => Just(Deed::CopyTruncate),
        1 => Just(Deed::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// All files together contain every record once, in order, and every line is whole.
    #[test]
    fn all_files_together_hold_every_record_once(
        deeds in prop::collection::vec(deed(), 1..30),
        bytes in prop::option::of(50_u64..2000),
        compress in any::<bool>(),
    ) {
        let rotation = Rotation { bytes, compress, ..Rotation::default() };
        let mut bench = Bench::new(rotation);
        let mut written = 0;
        for (turn, deed) in deeds.into_iter().enumerate() {
            match deed {
                Deed::Offer(sizes) => bench.offer(&sizes),
                Deed::Reopen => bench.sink.reopen(),
                Deed::Move { tells, makes } => {
                    // Also while records are being written.
                    let moved = fs::rename(bench.at("out"), bench.at(&format!("moved.{turn}")));
                    // The file is missing during rotation, and after an earlier move.
                    let missing = |error: &io::Error| error.kind() == ErrorKind::NotFound;
                    prop_assert!(moved.as_ref().err().is_none_or(missing), "{moved:?}");
                    if makes {
                        File::options().create(true).append(true).open(bench.at("out")).unwrap();
                    }
                    if tells {
                        bench.sink.reopen();
                    }
                }
                Deed::CopyTruncate => {
                    bench.sink.flush(PATIENCE);
                    if bench.at("out").exists() {
                        fs::copy(bench.at("out"), bench.at(&format!("copy.{turn}"))).unwrap();
                        File::options().write(true).open(bench.at("out")).unwrap().set_len(0).unwrap();
                    }
                }
                Deed::Restart => {
                    bench.close();
                    let (records, delivered, _) = totals(&bench.sink);
                    prop_assert_eq!(records, delivered);
                    written += delivered;
                    bench.sink = sink(&bench.at("out"), rotation);
                }
            }
            totals(&bench.sink);
        }
        bench.close();
        let (records, delivered, _) = totals(&bench.sink);
        prop_assert_eq!(records, delivered);
        prop_assert_eq!(written + delivered, bench.number);
        let mut found = Vec::new();
        for entry in fs::read_dir(bench.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            prop_assert!(path.extension().is_none_or(|extension| extension != "tmp"));
            let numbers = numbers(&path);
            if let (Some(bytes), true) = (bytes, bench.number > 0) {
                let size = numbers.len();
                let own = path.file_name().unwrap().to_str().unwrap().starts_with("out");
                prop_assert!(size <= 1 || !own || size as u64 * 3 <= bytes, "{size} records");
            }
            found.push(numbers);
        }
        // Each file is a run of consecutive records; together they are all records.
        found.retain(|numbers| !numbers.is_empty());
        found.sort();
        prop_assert_eq!(found.concat(), (1..=bench.number).collect::<Vec<_>>());
    }
}
