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
        assert_eq!((model.records, model.unreadable), (3, 0), "{size}");
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
    assert_eq!((model.records, model.unreadable), (1, 1));
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
    assert!(problem.to_string().contains("holds no records"), "{problem}");
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
    for text in ["one\n", "one", "{}\n"] {
        assert!(matches!(read(text), Err(FollowError::NoRecords(_))), "{text}");
    }
    for text in ["", "\n", &alert("a"), &format!("cut\n{}", alert("a"))] {
        assert!(read(text).is_ok(), "{text}");
    }
}
