//! When zones were first seen on this host, and the file in which that outlives the agent.

use dnscribe_analysis::first_seen::{FirstSeenCounts, FirstSeenTable};
use dnscribe_delivery::StateFile;
use dnscribe_record::time::Timestamp;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

const NAME: &str = "zones";

/// Time between two writes of the file: what a crash forgets.
const SAVE_INTERVAL: Duration = Duration::from_mins(5);

/// The table, and its file in a live capture.
pub struct FirstSeen {
    /// The zones.
    pub table: FirstSeenTable,
    file: Option<StateFile>,
    next_save: Timestamp,
}

impl FirstSeen {
    /// Creates an empty table, which has no file.
    #[must_use]
    pub fn in_memory(max_zones: usize) -> Self {
        let table = FirstSeenTable::new(max_zones);
        Self { table, file: None, next_save: Timestamp::default() }
    }

    /// Reads the file in a directory, at `now`. One that cannot be used is set aside, and a directory that cannot be written leaves the
    /// table without a file; both are logged.
    #[must_use]
    pub fn open(directory: &Path, max_zones: usize, now: Timestamp) -> Self {
        let mut opened = Self { next_save: now.plus(SAVE_INTERVAL), ..Self::in_memory(max_zones) };
        if let Err(error) = opened.read(directory, max_zones) {
            tracing::warn!(
                directory = %directory.display(), %error,
                "first times of zones are kept in memory only; make first_seen.directory writable"
            );
        }
        opened
    }

    fn read(&mut self, directory: &Path, max_zones: usize) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let path = directory.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => match FirstSeenTable::from_bytes(max_zones, &bytes) {
                Ok(table) => self.table = table,
                Err(why) => {
                    let aside = path.with_extension("corrupt");
                    fs::rename(&path, &aside)?;
                    tracing::warn!(
                        file = %path.display(), aside = %aside.display(), why,
                        "the file of first times of zones cannot be used and was set aside; every zone is new"
                    );
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = StateFile::start(path, "first times of zones")?;
        // Shows at once whether the directory can be written.
        file.write(self.table.to_bytes());
        self.file = Some(file);
        Ok(())
    }

    /// Has the file written, if that is due.
    pub fn expire(&mut self, now: Timestamp) {
        let Some(file) = self.file.as_mut().filter(|_| now >= self.next_save) else { return };
        self.next_save = now.plus(SAVE_INTERVAL);
        if !file.is_busy() {
            file.write(self.table.to_bytes());
        }
    }

    /// Writes the file and waits until it is on disk.
    pub fn close(&mut self) {
        if let Some(mut file) = self.file.take() {
            file.write(self.table.to_bytes());
            file.close();
        }
    }

    /// The counts, for `/metrics`.
    #[must_use]
    pub fn counts(&self) -> FirstSeenCounts {
        FirstSeenCounts {
            zones: self.table.domains,
            evicted: self.table.evicted,
            write_failures: self.file.as_ref().map_or(0, StateFile::failures),
        }
    }
}
