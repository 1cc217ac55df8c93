//! Tests with full and read-only disks. They must be allowed to mount a tmpfs.

use super::*;
use std::process::Command;

/// A tmpfs, unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    /// `None` if mounting is not permitted, which is an error in CI and as root.
    fn new(options: &str) -> Option<Self> {
        let disk = Self(TempDir::new().unwrap());
        if disk.mount(&["-t", "tmpfs", "-o", options, "tmpfs"]) {
            return Some(disk);
        }
        let must = crate::testing::is_ci() || rustix::process::geteuid().is_root();
        assert!(!must, "cannot mount a tmpfs");
        eprintln!("skipped, because mounting a tmpfs is not permitted");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let status = Command::new("mount").args(arguments).arg(self.path()).status();
        status.is_ok_and(|status| status.success())
    }

    fn remount(&self, options: &str) {
        assert!(self.mount(&["-o", &format!("remount,{options}")]), "cannot remount {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn is_io(result: &Result<FrameId, AppendError>, kind: ErrorKind) {
    assert!(matches!(result, Err(AppendError::Io(error)) if error.kind() == kind), "{result:?}");
}

#[test]
fn makes_space_on_a_full_disk_by_policy() {
    let Some(disk) = Disk::new("size=512k") else { return };
    // The limit is far above the size of the disk.
    let config = config(disk.path(), 64 << 20);
    let (mut spool, _) = open(&config);
    put(&mut spool, Stream::Ledger, 1, 20_000).unwrap();
    let mut id = 10;
    // Continues after the disk is full: one segment is removed at a time.
    let mut gone = Vec::new();
    let mut order = Vec::new();
    for _ in 0..8 {
        for _ in 0..6 {
            let stream = if id % 2 == 0 { Stream::Messages } else { Stream::Transactions };
            if put(&mut spool, stream, id, 30_000).is_ok() {
                order.push(id);
            }
            gone.extend(spool.take_removed());
            assert_eq!(spool.bytes(), bytes_on_disk(disk.path()));
            id += 1;
        }
    }
    assert!(gone.iter().any(|gone| gone.id.stream == Stream::Messages));
    assert!(gone.iter().all(|gone| gone.reason == DropReason::SpoolFull));
    let stored: u64 = spool.records().iter().sum();
    assert_eq!(stored + gone.iter().map(|gone| gone.records).sum::<u64>(), order.len() as u64 + 1);
    drop(spool);
    let (mut spool, recovered) = open(&config);
    assert_eq!((recovered.torn_bytes, recovered.records.iter().sum::<u64>()), (0, stored));
    assert_eq!(drain(&mut spool)[0], 1);
}

#[test]
fn recovers_after_others_filled_the_disk() {
    let Some(disk) = Disk::new("size=256k") else { return };
    let config = config(disk.path(), 64 << 20);
    let (mut spool, _) = open(&config);
    put(&mut spool, Stream::Ledger, 1, 1000).unwrap();
    let other = disk.path().join("other");
    let mut file = File::create(&other).unwrap();
    while io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    // More than the rest of the segment's last page, twice: nothing of it remains.
    let before = bytes_on_disk(disk.path());
    is_io(&put(&mut spool, Stream::Messages, 2, 8000), ErrorKind::StorageFull);
    is_io(&put(&mut spool, Stream::Messages, 3, 8000), ErrorKind::StorageFull);
    assert_eq!((spool.bytes(), bytes_on_disk(disk.path())), (before, before));
    drop(file);
    fs::remove_file(other).unwrap();
    put(&mut spool, Stream::Messages, 5, 8000).unwrap();
    assert_eq!(drain(&mut spool), [1, 5]);
}

#[test]
fn cuts_off_partly_written_frames() {
    let Some(disk) = Disk::new("size=256k") else { return };
    let config = SpoolConfig { when_full: WhenFull::DropNewest, ..config(disk.path(), 64 << 20) };
    let (mut spool, _) = open(&config);
    let mut stored = 0;
    while put(&mut spool, Stream::Messages, stored, 9000).is_ok() {
        stored += 1;
    }
    // tmpfs wrote a part; the segment ends where it did before.
    assert!(stored > 10);
    assert_eq!(spool.bytes(), bytes_on_disk(disk.path()));
    drop(spool);
    let (mut spool, recovered) = open(&config);
    assert_eq!(recovered.torn_bytes, 0);
    assert_eq!(drain(&mut spool), (0..stored).collect::<Vec<_>>());
}

#[test]
fn reads_from_a_read_only_disk() {
    let Some(disk) = Disk::new("size=1m") else { return };
    let config = config(disk.path(), 64 << 20);
    let (mut spool, _) = open(&config);
    put(&mut spool, Stream::Ledger, 1, 1000).unwrap();
    put(&mut spool, Stream::Ledger, 2, 1000).unwrap();
    put(&mut spool, Stream::Messages, 3, 1000).unwrap();
    // A file open for writing prevents the remount.
    let mut spool = {
        drop(spool);
        disk.remount("ro");
        open(&config).0
    };
    is_io(&put(&mut spool, Stream::Ledger, 4, 1000), ErrorKind::ReadOnlyFilesystem);
    let ids: Vec<FrameId> = std::iter::from_fn(|| spool.next()).map(|unsent| unsent.id).collect();
    assert_eq!(ids.len(), 3);
    for id in ids {
        spool.settle(id);
    }
    assert!(spool.checkpoint(&[]).is_err());
    assert_eq!(spool.records(), PerStream::default());
    assert_eq!(spool.bytes(), bytes_on_disk(disk.path()));
    disk.remount("rw");
    spool.expire(time(1));
    assert_eq!((spool.bytes(), bytes_on_disk(disk.path())), (0, 0));
    put(&mut spool, Stream::Ledger, 5, 1000).unwrap();
    assert_eq!(drain(&mut spool), [5]);
    assert!(spool.take_removed().is_empty());
    drop(spool);

    // A missing directory that cannot be created is an error with a remedy.
    disk.remount("ro");
    let error = Spool::open(&config, "elsewhere", NODE, time(0)).err().unwrap().to_string();
    assert!(error.contains("Read-only file system") && error.contains("writable"), "{error}");
}
