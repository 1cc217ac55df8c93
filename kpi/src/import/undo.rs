//! Imports that are taken back: their rows no longer count, and what was final with them is shown as restated.

use crate::error::KpiError;
use crate::input;
use crate::mapping::Mapping;
use crate::store::{CommitKind, ImportCommit, State, Store, UndoCommit};
use std::path::Path;

/// Imports of a name that are listed: the newest ones.
const CANDIDATES: usize = 10;

/// Takes back an import, which is named by its file or its SHA-256, and returns it.
///
/// # Errors
/// There is no such import, or the store cannot be written.
pub async fn undo(
    store: &Store,
    earlier: &str,
    mapping: Option<&Mapping>,
    reason: &str,
) -> Result<ImportCommit, KpiError> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(KpiError::Usage("--reason is empty: say why it is taken back".to_owned()));
    }
    let mut state = store.state().await?;
    loop {
        let import = find(&state, earlier, mapping, "--undo")?;
        let undo = UndoCommit { sha256: import.sha256.clone(), reason: reason.to_owned() };
        if store.commit(&mut state, CommitKind::Undo(undo)).await? {
            return Ok(import);
        }
        store.refresh(&mut state).await?;
    }
}

/// Finds the import that `option` names. Where the file or its map has changed since, imports of its name are listed, but none
/// is taken for it.
///
/// # Errors
/// There is no such import.
pub fn find(
    state: &State,
    earlier: &str,
    mapping: Option<&Mapping>,
    option: &str,
) -> Result<ImportCommit, KpiError> {
    let known = identity(earlier, mapping);
    if let Some((_, _, import)) = known.as_ref().ok().and_then(|known| state.imports.get(known)) {
        return Ok(import.as_ref().clone());
    }
    let file = Path::new(earlier).file_name().unwrap_or_default().to_string_lossy();
    let names = [file.into_owned(), format!("kafka:{earlier}"), earlier.to_owned()];
    let mut found: Vec<_> =
        state.imports.values().filter(|(_, _, import)| names.contains(&import.name)).collect();
    if found.is_empty() {
        known?;
        return Err(KpiError::Usage(format!("{option} {earlier}: no such import")));
    }
    found.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    let each = found.iter().take(CANDIDATES).map(|(_, at, import)| {
        format!("\n{} of {at}, {} rows accepted", import.sha256, import.accepted)
    });
    Err(KpiError::Usage(format!(
        "{option} {earlier}: no import of this content and --map; give the SHA-256 of one with this name:{}",
        each.collect::<String>()
    )))
}

/// Returns the SHA-256 by which an import is known: that of its file and map, or as it was given.
fn identity(text: &str, mapping: Option<&Mapping>) -> Result<String, KpiError> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash {
        return Ok(text.to_ascii_lowercase());
    }
    let sha256 = input::digest(Path::new(text))?.sha256;
    Ok(mapping.map_or(sha256.clone(), |mapping| mapping.identity(&sha256)))
}
