//! Removal of files that no commit needs any more, in a way that a crash cannot leave some of them unnoticed.
//!
//! A removal is announced by a file that names what is to be removed, then a commit decides it, then the files go, and then the
//! announcement. The next command ends what a crash has interrupted; without the commit nothing is removed.

use crate::error::KpiError;
use crate::input::hex;
use crate::raw::{KEYS, ROWS, random};
use crate::store::{CommitKind, ExpireCommit, State, Store};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};

/// Folder of announcements.
const FOLDER: &str = "removing";
/// Age in microseconds from which on a file that no commit names is not that of a command at work.
const ABANDONED_US: i64 = 86_400_000_000;
/// Length of a day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// Files that are to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Name, by which a commit decides the removal.
    pub name: String,
    /// Paths.
    pub files: BTreeSet<String>,
}

impl Removal {
    /// Announces the removal of files.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn announce(store: &Store, files: BTreeSet<String>) -> Result<Self, KpiError> {
        let removal = Self { name: hex(&random::<16>()?), files };
        let path = removal.path();
        let text = serde_json::to_vec(&removal).map_err(|error| KpiError::write(&path, &error))?;
        store.write(&path, text).await?;
        Ok(removal)
    }

    fn path(&self) -> String {
        format!("{FOLDER}/{}.json", self.name)
    }

    /// Takes back the announcement.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn cancel(&self, store: &Store) -> Result<(), KpiError> {
        store.delete(&self.path()).await
    }

    /// Removes the files, except those that `state` needs, and the announcement.
    ///
    /// # Errors
    /// One of them cannot be removed; the next command tries again.
    pub async fn end(&self, store: &Store, state: &State) -> Result<(), KpiError> {
        let needed = state.paths();
        for path in self.files.iter().filter(|path| !needed.contains(path.as_str())) {
            store.delete(path).await?;
        }
        self.cancel(store).await
    }
}

/// Ends removals that were decided and interrupted. Returns whether there were any.
///
/// # Errors
/// A file cannot be removed: it still has what was to be erased.
pub async fn end_interrupted(store: &Store) -> Result<bool, KpiError> {
    let announced = store.list(FOLDER).await?;
    if announced.is_empty() {
        return Ok(false);
    }
    let mut ended = false;
    let now = crate::clock::now().as_microsecond();
    for file in announced {
        let path = store.path_of(&file.location);
        let Some(bytes) = store.read_if_there(&path).await? else { continue };
        let removal: Removal =
            serde_json::from_slice(&bytes).map_err(|error| KpiError::store(&path, &error))?;
        // The commit may be younger than the announcement.
        let state = store.state().await?;
        if state.removals.contains(&removal.name) {
            removal.end(store, &state).await?;
            tracing::warn!(
                "a removal was interrupted: its {} files are removed now",
                removal.files.len()
            );
            ended = true;
        } else if now - file.last_modified.timestamp_micros() > ABANDONED_US {
            removal.cancel(store).await?;
        } else {
            tracing::warn!("an erasure or removal is at work, or has failed before it took effect");
        }
    }
    Ok(ended)
}

/// Paths of files of a folder that no commit names, and whether each is old enough to be of no command at work.
///
/// # Errors
/// The folder cannot be listed.
pub async fn orphans(
    store: &Store,
    state: &State,
    folder: &str,
) -> Result<Vec<(String, bool)>, KpiError> {
    let needed: HashSet<_> = state.paths().into_iter().map(|path| store.location(path)).collect();
    let now = crate::clock::now().as_microsecond();
    let files = store.list(folder).await?.into_iter();
    let files = files.filter(|file| !needed.contains(&file.location)).map(|file| {
        let is_old = now - file.last_modified.timestamp_micros() > ABANDONED_US;
        (store.path_of(&file.location), is_old)
    });
    Ok(files.collect())
}

/// Removes rows as they came that are older than `keep_days`, and those of imports that were taken back. Returns the number of files.
///
/// # Errors
/// The store cannot be written.
pub async fn expire(store: &Store, keep_days: u16) -> Result<usize, KpiError> {
    let earliest = crate::clock::now().as_microsecond() - i64::from(keep_days) * DAY_US;
    let mut state = store.state().await?;
    loop {
        let imports = state.imports.values().filter_map(|(_, _, import)| import.raw.as_ref());
        let old = imports.filter(|raw| raw.imported_us <= earliest).flat_map(|raw| &raw.files);
        let mut files: BTreeSet<String> =
            old.flat_map(|file| [file.rows.clone(), file.keys.clone()]).collect();
        let is_raw = |path: &&String| {
            [ROWS, KEYS].iter().any(|folder| path.split('/').next() == Some(*folder))
        };
        files.extend(state.discarded.iter().filter(is_raw).cloned());
        if files.is_empty() {
            return Ok(0);
        }
        for folder in [ROWS, KEYS] {
            let orphans = orphans(store, &state, folder).await?.into_iter();
            files.extend(orphans.filter_map(|(path, is_old)| is_old.then_some(path)));
        }
        let removal = Removal::announce(store, files).await?;
        let (name, files) = (removal.name.clone(), removal.files.clone());
        let expire = ExpireCommit { files, removal: name };
        if store.commit(&mut state, CommitKind::Expire(expire)).await? {
            removal.end(store, &state).await?;
            return Ok(removal.files.len());
        }
        removal.cancel(store).await?;
        store.refresh(&mut state).await?;
    }
}
