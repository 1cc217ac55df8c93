//! Imports that are taken back: their rows no longer count, and what was final with them is shown as restated.

use crate::error::KpiError;
use crate::input;
use crate::mapping::Mapping;
use crate::store::{CommitKind, ImportCommit, State, Store, UndoCommit};
use std::path::Path;

/// Takes back an import, which is named by its file or its SHA-256, and returns it.
///
/// # Errors
/// There is no such import, or there are several, or the store cannot be written.
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
        let import = find(&state, earlier, mapping)?;
        let undo = UndoCommit { sha256: import.sha256.clone(), reason: reason.to_owned() };
        if store.commit(&mut state, CommitKind::Undo(undo)).await? {
            return Ok(import);
        }
        store.refresh(&mut state).await?;
    }
}

/// Finds an import by its identity, else by the name and length of its file: a map may have been mended meanwhile.
fn find(state: &State, earlier: &str, mapping: Option<&Mapping>) -> Result<ImportCommit, KpiError> {
    let identity = identity(earlier, mapping)?;
    if let Some((_, _, import)) = state.imports.get(&identity) {
        return Ok(import.as_ref().clone());
    }
    let path = Path::new(earlier);
    let bytes = path.exists().then(|| input::digest(path)).transpose()?.map(|digest| digest.bytes);
    let name = path.file_name().map(|name| name.to_string_lossy());
    let imports = state.imports.values().map(|(_, at, import)| (at, import));
    let found: Vec<_> = imports
        .filter(|(_, import)| {
            Some(import.bytes) == bytes && Some(import.name.as_str()) == name.as_deref()
        })
        .collect();
    match found.as_slice() {
        [] => Err(KpiError::Usage(format!("--undo {earlier}: no such import"))),
        [(_, import)] => Ok(import.as_ref().clone()),
        several => {
            let each = several.iter().map(|(at, import)| format!("{} of {at}", import.sha256));
            let each = each.collect::<Vec<_>>().join(", ");
            Err(KpiError::Usage(format!("--undo {earlier}: several imports: name one of {each}")))
        }
    }
}

/// Returns the SHA-256 by which an import is known: that of its file and map, or as it was given.
///
/// # Errors
/// The file cannot be read.
pub fn identity(text: &str, mapping: Option<&Mapping>) -> Result<String, KpiError> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash {
        return Ok(text.to_ascii_lowercase());
    }
    let sha256 = input::digest(Path::new(text))?.sha256;
    Ok(mapping.map_or(sha256.clone(), |mapping| mapping.identity(&sha256)))
}
