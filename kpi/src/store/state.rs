//! What all commits together say.

use super::{
    Base, Commit, CommitKind, DeliveredCommit, EraseCommit, FactFile, ImportCommit, PositionCommit,
    ReopenCommit, Table, UndoCommit,
};
use crate::definition::Definition;
use crate::error::KpiError;
use crate::sources::Sources;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What all commits together say.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Number of the newest commit.
    pub number: u64,
    /// Imports by the SHA-256 of their content, with the number and time of their commits.
    pub imports: BTreeMap<String, (u64, jiff::Timestamp, Box<ImportCommit>)>,
    /// Values by day.
    pub days: BTreeMap<Date, DayState>,
    /// Next offset by partition, by the name of the import of a topic.
    pub offsets: BTreeMap<String, BTreeMap<i32, i64>>,
    /// End and hash of the newest message by partition, by the name of the import of a topic.
    pub last_messages: BTreeMap<String, BTreeMap<String, String>>,
    /// Up to where sources were pulled, by the names of the source and of the import.
    pub positions: BTreeMap<(String, String), String>,
    /// Time of the newest computation.
    pub computed_at: Option<jiff::Timestamp>,
    /// Number of the newest commit that is no import.
    pub decided: u64,
    /// What sources were declared at the newest computation.
    pub coverage: Coverage,
    /// Dictionary of the newest computation, if it has said its definitions.
    pub method: Option<Method>,
    /// What the next computation can go on from, if all values are those of one computation.
    pub base: Option<Base>,
    /// Days that sources were said to have delivered (`import --complete`), by their names.
    pub delivered: BTreeMap<String, BTreeSet<Date>>,
    /// Imports that were taken back, in the order of time.
    pub undone: Vec<Undone>,
    /// All erasures, in the order of time.
    pub erasures: Vec<Erasure>,
    /// File with what is known of all erased events.
    pub tombstones: Option<String>,
    /// Names of removals of files that were decided.
    pub removals: BTreeSet<String>,
    /// Files of imports that were taken back, as far as they were not removed.
    pub discarded: BTreeSet<String>,
    /// What was final on days that lost their facts with an import, until they are computed again.
    emptied: BTreeMap<Date, Vec<Reopening>>,
}

/// What the sources of a computation cover.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Types of events that KPIs need and no declared source has, or, where none is declared, that have never come.
    #[serde(alias = "types")]
    pub absent: BTreeSet<String>,
    /// Whether sources are declared: then a KPI needs all of its types, and else one of them.
    pub are_sources_declared: bool,
    /// First day that a running total counts, by KPI: the first on which each of its types has a declared source.
    #[serde(default)]
    pub openings: BTreeMap<String, Date>,
}

/// Dictionary that values were computed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// SHA-256 of its text.
    pub dictionary: String,
    /// Hash of the definition of each KPI.
    pub definitions: Arc<BTreeMap<String, String>>,
}

/// Final value of a KPI on a day.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    /// File with the rows of its measures.
    pub path: String,
    /// Number of the newest commit whose facts it has seen.
    pub snapshot: u64,
    /// Definition that it was computed with.
    pub definition: Arc<Definition>,
}

/// One time that a day was reopened.
#[derive(Clone, Debug, PartialEq)]
pub struct Reopening {
    /// When.
    pub at: jiff::Timestamp,
    /// Why, in the user's words.
    pub reason: String,
    /// What was final until then, by KPI.
    pub previous: BTreeMap<String, Frozen>,
}

/// Values of one day, and which of them are final.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayState {
    /// Newest file with the rows of all measures.
    pub current: String,
    /// Hashes of the definitions that this file was computed with, by KPI; former versions did not say them.
    pub definitions: Option<Arc<BTreeMap<String, String>>>,
    /// Final values by KPI.
    pub frozen: BTreeMap<String, Frozen>,
    /// All times that the day was reopened, in the order of time.
    pub reopened: Vec<Reopening>,
    /// Sources that are incomplete, with the reason.
    pub incomplete: BTreeMap<String, String>,
    /// Rejected rows of the day that wait for a correction.
    pub rejected: u64,
    /// When the day was computed last with a result that differs from the one before.
    pub as_of: Option<jiff::Timestamp>,
}

/// An import that was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Undone {
    /// SHA-256 by which the import was known.
    pub sha256: String,
    /// Name of the source.
    pub source: String,
    /// Name of the file or topic.
    pub name: String,
    /// Rows that counted.
    pub accepted: u64,
    /// When it was taken back.
    pub at: jiff::Timestamp,
    /// Why, in the user's words.
    pub reason: String,
}

/// One time that data of persons were erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Erasure {
    /// When.
    pub at: jiff::Timestamp,
    /// Why, in the user's words.
    pub reason: String,
    /// Accounts and domains.
    pub subjects: usize,
    /// Rows of facts and refused ones that have lost their names.
    pub facts: u64,
    /// Rows that can no more be read as they came.
    pub raw_rows: u64,
}

impl Coverage {
    /// First day that a running total counts.
    #[must_use]
    pub fn opening(&self, kpi: &str) -> Date {
        self.openings.get(kpi).copied().unwrap_or(Date::MIN)
    }
}

impl State {
    /// Refuses to go on without sources where they were declared: rows would be taken unchecked, and what is missing would
    /// no longer be known.
    ///
    /// # Errors
    /// There are none, but the newest computation had some.
    pub fn require_sources(&self, sources: &Sources) -> Result<(), KpiError> {
        if self.coverage.are_sources_declared && !sources.are_declared() {
            let problem = "this store has declared sources: give their file with --config";
            return Err(KpiError::Usage(format!("{problem} (DNSCRIBE_KPI_CONFIG)")));
        }
        Ok(())
    }

    /// Adds a commit.
    pub(super) fn apply(&mut self, number: u64, commit: Commit) {
        self.number = number;
        match commit.kind {
            CommitKind::Import(import) => {
                if let Some(UndoCommit { sha256, reason }) = &import.again {
                    self.decided = number;
                    self.undo(sha256, commit.at, reason);
                }
                for path in import.paths() {
                    self.discarded.remove(path);
                }
                // Rows that were read again move no topic and no source back to where it was then.
                if import.again.is_none() {
                    self.move_to(PositionCommit::from(&*import));
                }
                self.imports.insert(import.sha256.clone(), (number, commit.at, import));
            }
            CommitKind::Compute(compute) => {
                self.computed_at = Some(commit.at);
                self.decided = number;
                self.coverage = compute.coverage;
                self.base = compute.base;
                let known = self.method.take().filter(|it| it.dictionary == compute.dictionary);
                let said = compute.method.map(Arc::new);
                let said =
                    said.map(|definitions| Method { dictionary: compute.dictionary, definitions });
                self.method = said.or(known);
                let method = self.method.as_ref().map(|method| &method.definitions);
                let shared = |(kpi, definition)| (kpi, Arc::new(definition));
                let definitions: BTreeMap<_, _> =
                    compute.definitions.into_iter().map(shared).collect();
                for (day, values) in compute.days {
                    let state = self.days.entry(day).or_default();
                    state.definitions = method.cloned();
                    if let Some(reopened) = self.emptied.remove(&day) {
                        state.reopened = reopened;
                    }
                    for kpi in values.finalised {
                        let Some(definition) = definitions.get(&kpi) else { continue };
                        state.frozen.entry(kpi).or_insert_with(|| Frozen {
                            path: values.path.clone(),
                            snapshot: compute.snapshot,
                            definition: Arc::clone(definition),
                        });
                    }
                    state.current = values.path;
                    state.incomplete = values.incomplete;
                    state.rejected = values.rejected;
                    state.as_of = Some(commit.at);
                }
            }
            CommitKind::Delivered(DeliveredCommit { source, day }) => {
                self.delivered.entry(source).or_default().insert(day);
            }
            CommitKind::Reopen(ReopenCommit { day, reason }) => {
                self.decided = number;
                self.reopen(day, commit.at, &reason);
            }
            CommitKind::Undo(UndoCommit { sha256, reason }) => {
                self.decided = number;
                self.undo(&sha256, commit.at, &reason);
            }
            CommitKind::Erase(erase) => {
                self.decided = number;
                self.erase(erase, commit.at);
            }
            CommitKind::Position(read) => self.move_to(read),
            CommitKind::Expire(expire) => {
                self.removals.insert(expire.removal);
                self.discarded.retain(|path| !expire.files.contains(path));
                for (_, _, import) in self.imports.values_mut() {
                    let Some(raw) = &mut import.raw else { continue };
                    raw.files.retain(|file| !expire.files.contains(&file.rows));
                }
            }
        }
    }

    /// Facts have other names from now on, and so the next computation reads all of them.
    fn erase(&mut self, erase: EraseCommit, at: jiff::Timestamp) {
        self.base = None;
        self.removals.insert(erase.removal);
        self.discarded.retain(|path| !erase.removed.contains(path));
        self.tombstones = erase.tombstones.or(self.tombstones.take());
        for (_, _, import) in self.imports.values_mut() {
            let facts = import.files.iter_mut().map(|file| &mut file.path);
            let raw = import.raw.iter_mut().flat_map(|raw| &mut raw.files);
            let raw = raw.flat_map(|file| [&mut file.rows, &mut file.keys]);
            for path in facts.chain(raw) {
                if let Some(new) = erase.replaced.get(path) {
                    new.clone_into(path);
                }
            }
        }
        let EraseCommit { reason, subjects, facts, raw_rows, .. } = erase;
        self.erasures.push(Erasure { at, reason, subjects, facts, raw_rows });
    }

    fn reopen(&mut self, day: Date, at: jiff::Timestamp, reason: &str) {
        let has_final = |state: &&mut DayState| !state.frozen.is_empty();
        let Some(state) = self.days.get_mut(&day).filter(has_final) else { return };
        let previous = std::mem::take(&mut state.frozen);
        state.reopened.push(Reopening { at, reason: reason.to_owned(), previous });
    }

    fn undo(&mut self, sha256: &str, at: jiff::Timestamp, reason: &str) {
        let Some((_, _, import)) = self.imports.remove(sha256) else { return };
        self.base = None;
        self.discarded.extend(import.paths().map(str::to_owned));
        let days: BTreeSet<Date> = import.files.iter().filter_map(|file| file.day).collect();
        for day in &days {
            self.reopen(*day, at, reason);
        }
        // Who said that a day is complete had seen rows that are gone. Days of a source may be those of another time zone.
        let near = |day: &Date| [day.yesterday().ok(), Some(*day), day.tomorrow().ok()];
        let near: BTreeSet<Date> = days.iter().flat_map(near).flatten().collect();
        for name in import.systems.iter().chain([&import.source]) {
            if let Some(said) = self.delivered.get_mut(name) {
                said.retain(|day| !near.contains(day));
            }
        }
        // Days before the first fact and after the last have no values, unless these are final.
        let span = self.span();
        let stays = |day: Date, state: &DayState| {
            let is_within = span.is_some_and(|(first, last)| day >= first && day <= last);
            is_within || !state.frozen.is_empty()
        };
        let (days, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.days).into_iter().partition(|(day, state)| stays(*day, state));
        self.days = days;
        let gone = gone.into_iter().map(|(day, state)| (day, state.reopened));
        self.emptied.extend(gone.filter(|(_, reopened)| !reopened.is_empty()));
        self.undone.push(Undone {
            sha256: import.sha256,
            source: import.source,
            name: import.name,
            accepted: import.accepted,
            at,
            reason: reason.to_owned(),
        });
    }

    /// Whether a KPI is final on some day, or was before the day was reopened.
    #[must_use]
    pub fn was_final(&self, kpi: &str) -> bool {
        let reopened = self.days.values().map(|day| &day.reopened).chain(self.emptied.values());
        let mut reopened = reopened.flatten();
        self.days.values().any(|day| day.frozen.contains_key(kpi))
            || reopened.any(|reopening| reopening.previous.contains_key(kpi))
    }

    /// Paths of all files of imports that count, and of what is known of erased events.
    #[must_use]
    pub fn paths(&self) -> BTreeSet<&str> {
        let imports = self.imports.values().flat_map(|(_, _, import)| import.paths());
        imports.chain(self.tombstones.as_deref()).collect()
    }

    /// Files of a table.
    pub fn files(&self, table: Table) -> impl Iterator<Item = &FactFile> {
        self.numbered_files(table).map(|(_, file)| file)
    }

    /// Files of a table, each with the number of its import's commit.
    pub fn numbered_files(&self, table: Table) -> impl Iterator<Item = (u64, &FactFile)> {
        let files = self.imports.values();
        let files =
            files.flat_map(|(number, _, import)| import.files.iter().map(|file| (*number, file)));
        files.filter(move |(_, file)| file.table == table)
    }

    /// Rows that imports have refused, corrected ones included.
    #[must_use]
    pub fn rejected_rows(&self) -> u64 {
        self.imports.values().flat_map(|(_, _, import)| import.rejected.values()).sum()
    }

    /// Rows of all facts.
    #[must_use]
    pub fn fact_rows(&self) -> u64 {
        let files = self.imports.values().flat_map(|(_, _, import)| &import.files);
        files.map(|file| file.rows).sum()
    }

    /// First and last day with facts.
    #[must_use]
    pub fn span(&self) -> Option<(Date, Date)> {
        let days = self.rows_by_day();
        Some((*days.first_key_value()?.0, *days.last_key_value()?.0))
    }

    /// Rows of the facts of each day, duplicates included.
    #[must_use]
    pub fn rows_by_day(&self) -> BTreeMap<Date, u64> {
        let mut rows = BTreeMap::new();
        for file in self.imports.values().flat_map(|(_, _, import)| &import.files) {
            if let Some(day) = file.day {
                *rows.entry(day).or_default() += file.rows;
            }
        }
        rows
    }
}
