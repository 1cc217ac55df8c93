use super::*;
use std::io::Write as _;
use std::sync::Arc;

fn alert(name: &str) -> String {
    format!("{{\"schema\":\"dns.alert/1\",\"ts\":\"2026-11-20T07:30:00Z\",\"rule\":\"{name}\"}}\n")
}

fn records(shared: &Shared) -> u64 {
    shared.read(|model| model.records)
}

fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !yes() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lines_come_in_any_portions() {
    let text = [alert("a"), "\n".to_owned(), alert("b"), alert("c")].concat();
    for size in 1..40 {
        let mut lines = Lines::default();
        let mut model = Model::default();
        text.as_bytes().chunks(size).for_each(|chunk| lines.take(chunk, &mut model));
        assert_eq!((model.records, model.unreadable.lines()), (3, 0), "{size}");
    }
}

#[test]
fn a_line_without_end_fills_no_memory() {
    let mut lines = Lines::default();
    let mut model = Model::default();
    let portion = vec![b'x'; CHUNK_BYTES];
    for _ in 0..=MAX_LINE / CHUNK_BYTES * 2 {
        lines.take(&portion, &mut model);
        assert!(lines.rest.capacity() <= MAX_LINE * 2);
    }
    lines.take(format!("\n{}", alert("a")).as_bytes(), &mut model);
    assert_eq!((model.records, model.unreadable.lines()), (1, 1));
}

#[test]
fn a_file_is_followed_when_it_grows_is_cut_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dns.ndjson");
    std::fs::write(&path, alert("a")).unwrap();
    let shared = Arc::new(Shared::default());
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (path, shared, stop) = (path.clone(), Arc::clone(&shared), Arc::clone(&stop));
        thread::spawn(move || follow(&path, &shared, true, &stop))
    };
    until("the first record", || records(&shared) == 1);
    let mut file = File::options().append(true).open(&path).unwrap();
    // A record in two writes.
    let grown = alert("b");
    file.write_all(&grown.as_bytes()[..20]).unwrap();
    thread::sleep(PAUSE);
    file.write_all(&grown.as_bytes()[20..]).unwrap();
    until("what was appended", || records(&shared) == 2);
    file.set_len(0).unwrap();
    thread::sleep(PAUSE * 5);
    file.write_all(alert("c").as_bytes()).unwrap();
    until("what came after the cut", || records(&shared) == 3);
    std::fs::rename(&path, dir.path().join("dns.ndjson.1")).unwrap();
    std::fs::write(&path, alert("d")).unwrap();
    until("what came in the new file", || records(&shared) == 4);
    stop.store(true, Ordering::Relaxed);
    reader.join().unwrap().unwrap();
}

/// What was appended just before a rotation, what the writer still appends to the old file, and what it left unfinished.
#[test]
fn nothing_is_lost_at_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dns.ndjson");
    let (shared, stop) = (Shared::default(), AtomicBool::new(false));
    let mut old = File::create(&path).unwrap();
    let mut tail = Tail { path: path.clone(), file: File::open(&path).unwrap() };
    let mut lines = Lines::default();
    lines.read(&mut tail.file, &shared, &stop, false).unwrap();
    old.write_all(alert("a").as_bytes()).unwrap();
    std::fs::rename(&path, dir.path().join("dns.ndjson.1")).unwrap();
    let mut new = File::create(&path).unwrap();
    tail.turn(&mut lines, &shared, &stop).unwrap();
    old.write_all(format!("{}{{\"schema\":", alert("b")).as_bytes()).unwrap();
    new.write_all(alert("c").as_bytes()).unwrap();
    tail.turn(&mut lines, &shared, &stop).unwrap();
    lines.read(&mut tail.file, &shared, &stop, false).unwrap();
    assert_eq!(shared.read(|model| (model.records, model.unreadable.lines())), (3, 1));
    // An unfinished line is none with what follows after a cut.
    new.write_all(b"{\"schema\":").unwrap();
    lines.read(&mut tail.file, &shared, &stop, false).unwrap();
    new.set_len(0).unwrap();
    tail.turn(&mut lines, &shared, &stop).unwrap();
    new.seek(SeekFrom::Start(0)).unwrap();
    new.write_all(alert("d").as_bytes()).unwrap();
    lines.read(&mut tail.file, &shared, &stop, false).unwrap();
    assert_eq!(shared.read(|model| (model.records, model.unreadable.lines())), (4, 2));
}

#[test]
fn compressed_files_are_read_to_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dns.ndjson.zst");
    let packed = zstd::encode_all((alert("a") + &alert("b")).as_bytes(), 0).unwrap();
    std::fs::write(&path, packed).unwrap();
    let shared = Shared::default();
    follow(&path, &shared, true, &AtomicBool::new(false)).unwrap();
    assert_eq!(records(&shared), 2);
}

#[test]
fn what_holds_no_records_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("passwd");
    std::fs::write(&path, "root:x:0:0\n".repeat(100)).unwrap();
    let problem = follow(&path, &Shared::default(), true, &AtomicBool::new(false)).unwrap_err();
    assert!(problem.to_string().contains("holds no records to show, only 100 lines"), "{problem}");
    assert!(
        follow(Path::new("/no/such"), &Shared::default(), true, &AtomicBool::new(false)).is_err()
    );
}

#[test]
fn what_has_no_records_is_refused_however_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        follow(&path, &Shared::default(), false, &AtomicBool::new(false))
    };
    for text in ["one\n", "one", "{}\n", "{\"schema\":\"dns.alert/2\"}\n"] {
        assert!(matches!(read(text), Err(FollowError::NoRecords { .. })), "{text}");
    }
    for text in
        ["", "\n", &alert("a"), &format!("cut\n{}", alert("a")), &format!("\u{feff}{}", alert("a"))]
    {
        assert!(read(text).is_ok(), "{text}");
    }
}
