//! When zones were first seen on this host, and the file in which that outlives the agent.

use crate::config::FirstSeenConfig;
use dnscribe_analysis::first_seen::FirstSeenTable;
use dnscribe_delivery::StateFile;
use dnscribe_record::time::Timestamp;
use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

const NAME: &str = "zones";

/// Time between two writes of the file: what a crash forgets.
const SAVE_INTERVAL: Duration = Duration::from_mins(5);

/// Counts of the zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstSeenCounts {
    /// Zones that are remembered.
    pub zones: u64,
    /// Zones that were forgotten for others.
    pub evicted: u64,
    /// Writes of the file that failed.
    pub write_failures: u64,
}

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
    pub fn in_memory(config: &FirstSeenConfig) -> Self {
        let table = FirstSeenTable::new(config.max_zones);
        Self { table, file: None, next_save: Timestamp::default() }
    }

    /// Reads the file, at `now`. One that cannot be used is set aside, and a directory that cannot be written leaves the
    /// table without a file; both are logged.
    #[must_use]
    pub fn open(config: &FirstSeenConfig, now: Timestamp) -> Self {
        let mut opened = Self { next_save: now.plus(SAVE_INTERVAL), ..Self::in_memory(config) };
        if let Err(error) = opened.read(config) {
            tracing::warn!(
                directory = %config.directory.display(), %error,
                "first times of zones are kept in memory only; make first_seen.directory writable"
            );
        }
        opened
    }

    fn read(&mut self, config: &FirstSeenConfig) -> io::Result<()> {
        fs::create_dir_all(&config.directory)?;
        let path = config.directory.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => match FirstSeenTable::from_bytes(config.max_zones, &bytes) {
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
