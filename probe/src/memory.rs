//! Memory of what was good: answers, certificates, issuers and serial numbers of each target, so that a change
//! is one against what is known, and not against the round before.
//!
//! A round comes in and leaves with `changed`, `previous_digest` and `issuer_changed`. Time is that of the
//! rounds. What is remembered is bounded for each target, and kept in one file ([`mod@file`]) across restarts.

pub mod file;
mod known;
mod subject;
mod ttl;

pub use known::LearningRules;
pub use subject::is_same_organization;

use crate::dns::presentation;
use crate::measure::Round;
use crate::target::Target;
use dnscribe_delivery::StateFile;
use dnscribe_record::ProbeFields;
use dnscribe_record::time::Timestamp;
use file::ReadError;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use subject::Subject;

/// Largest number of subjects that are remembered.
const MAX_SUBJECTS: usize = 1 << 17;

/// Largest number of announced changes that are remembered.
const MAX_ANNOUNCED: usize = 1024;

/// Settings of the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Directory of the file; in memory only where absent.
    pub directory: Option<PathBuf>,
    /// Whether the operator or the service manager named the directory. A single round uses no other.
    pub is_directory_given: bool,
    /// When something new is good.
    pub learning: LearningRules,
    /// Time after which a value, or a target, that was not seen is forgotten.
    pub forget_after: Duration,
    /// Shortest time between two writes of the file.
    pub save_interval: Duration,
}

/// What is remembered apart: one endpoint of one target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct SubjectKey {
    service: String,
    kind: String,
    target: String,
    /// Resolver, or nameserver and its address; empty where the target has one endpoint.
    endpoint: String,
}

impl SubjectKey {
    fn new(fields: &ProbeFields) -> Self {
        let endpoint = match (&fields.resolver, &fields.nameserver) {
            (_, Some(nameserver)) => {
                format!("{nameserver} {}", fields.address.as_deref().unwrap_or_default())
            }
            (Some(resolver), None) => resolver.clone(),
            (None, None) => String::new(),
        };
        Self {
            service: fields.service.clone(),
            kind: fields.kind.clone(),
            target: fields.target.clone(),
            endpoint,
        }
    }
}

/// A change that was announced by a `dns.change/1`: until it ends, what is new is reported once and good from
/// then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedChange {
    /// Service that is concerned.
    pub service: Option<String>,
    /// Zone: names asked for and hosts in it are concerned. Everything is where both are absent.
    pub zone: Option<String>,
    /// End of the announcement.
    pub ends: Timestamp,
}

impl AnnouncedChange {
    /// Returns whether the change concerns a target.
    fn covers(&self, target: &Target) -> bool {
        let is_service = self.service.as_deref() == Some(&*target.service);
        let is_zone = self.zone.as_deref().is_some_and(|zone| {
            let name = target.name_asked().map(|name| presentation(&name)).unwrap_or_default();
            name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
        });
        is_service || is_zone || self.service.is_none() && self.zone.is_none()
    }
}

/// Counters of the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounters {
    /// Subjects (endpoints of targets) remembered.
    pub subjects: u64,
    /// Values remembered: sets of answers, addresses, certificates, issuers, serial numbers.
    pub values: u64,
    /// Values forgotten because a subject had too many.
    pub evicted: u64,
    /// Measurements that were not compared because there were too many subjects.
    pub overflowed: u64,
    /// Writes of the file that failed.
    pub write_failures: u64,
}

/// Memory of all targets.
#[derive(Debug)]
pub struct Memory {
    config: MemoryConfig,
    subjects: HashMap<SubjectKey, Subject>,
    announced: Vec<AnnouncedChange>,
    file: Option<StateFile>,
    counters: MemoryCounters,
    /// Time of the last write; of the first round before that.
    saved: Option<Timestamp>,
}

impl Memory {
    /// Creates a memory with what its file holds. A file that cannot be read is set aside with a warning, and a
    /// directory that cannot be written leaves the memory without a file, with a warning too.
    #[must_use]
    pub fn open(config: MemoryConfig) -> Self {
        let mut memory = Self::in_memory(config);
        let Some(directory) = memory.config.directory.clone() else { return memory };
        match file::open(&directory) {
            Ok((file, subjects)) => {
                memory.subjects = subjects.into_iter().collect();
                memory.file = Some(file);
            }
            Err(error) => tracing::warn!(
                directory = %directory.display(), %error,
                "known answers are kept in memory only; make the directory writable or set memory.directory"
            ),
        }
        memory
    }

    fn in_memory(config: MemoryConfig) -> Self {
        let (subjects, announced, counters) = Default::default();
        Self { config, subjects, announced, file: None, counters, saved: None }
    }

    /// Replaces the settings; the directory stays the one that was opened.
    pub fn configure(&mut self, config: MemoryConfig) {
        self.config = config;
    }

    /// Compares a round with what is known, fills in what changed, and learns from results that are good.
    pub fn observe(&mut self, round: &mut Round) {
        let now = round.start;
        self.announced.retain(|change| change.ends > now);
        let announced = self.announced.iter().any(|change| change.covers(&round.target));
        for fields in &mut round.found {
            let room = self.subjects.len() < MAX_SUBJECTS;
            let subject = match self.subjects.entry(SubjectKey::new(fields)) {
                Slot::Occupied(slot) => slot.into_mut(),
                Slot::Vacant(slot) if room => slot.insert(Subject::default()),
                Slot::Vacant(_) => {
                    self.counters.overflowed += 1;
                    continue;
                }
            };
            self.counters.evicted += subject.observe(fields, now, &self.config.learning, announced);
        }
    }

    /// Takes note of an announced change.
    pub fn announce(&mut self, change: AnnouncedChange) {
        if self.announced.contains(&change) {
            return;
        }
        if self.announced.len() >= MAX_ANNOUNCED {
            self.announced.remove(0);
        }
        self.announced.push(change);
    }

    /// Forgets what was not seen for a long time, and has the file written by another thread, unless it was
    /// written shortly before.
    pub fn save_if_due(&mut self, now: Timestamp) {
        let saved = *self.saved.get_or_insert(now);
        if !saved.has_passed(self.config.save_interval, now) {
            return;
        }
        self.saved = Some(now);
        self.forget(now);
        let Some(file) = &mut self.file else { return };
        if !file.is_busy() {
            file.write(file::encode(&self.subjects));
        }
    }

    /// Writes the file and waits until it is on disk. The memory has no file from then on.
    pub fn close(&mut self, now: Timestamp) {
        self.forget(now);
        if let Some(mut file) = self.file.take() {
            file.write(file::encode(&self.subjects));
            file.close();
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let limit = now.minus(self.config.forget_after);
        self.subjects.retain(|_, subject| {
            subject.forget(limit);
            subject.last_round >= limit
        });
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> MemoryCounters {
        let values = self.subjects.values().map(Subject::values).sum::<usize>();
        MemoryCounters {
            subjects: self.subjects.len() as u64,
            values: values as u64,
            write_failures: self.file.as_ref().map_or(0, StateFile::failures),
            ..self.counters
        }
    }
}

/// Returns the error of a file that could not be read, for the log.
fn describe(error: &ReadError) -> String {
    match error {
        ReadError::Io(error) => error.to_string(),
        ReadError::Newer(version) => format!("its version {version} is newer than this program's"),
        ReadError::Corrupt(why) => format!("it is corrupt: {why}"),
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests;
