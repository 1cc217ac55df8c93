//! Positions alone: a topic or source was read further, and nothing of it was to be added.

use super::Request;
use crate::error::KpiError;
use crate::store::{CommitKind, PositionCommit, Store};

/// Records how far a topic or source was read, if the store does not know it.
///
/// # Errors
/// The store cannot be written.
pub async fn record(store: &Store, request: &Request<'_>) -> Result<(), KpiError> {
    let commit = PositionCommit {
        source: request.source.to_owned(),
        name: request.name.to_owned(),
        offsets: request.offsets.clone(),
        last_messages: request.last_messages.clone(),
        position: request.position.clone(),
    };
    let mut state = store.state().await?;
    loop {
        // Who has read on meanwhile has recorded it.
        let has_moved = request.require_unmoved(&state).is_err();
        if has_moved || state.knows(&commit) {
            return Ok(());
        }
        if store.commit(&mut state, CommitKind::Position(commit.clone())).await? {
            return Ok(());
        }
        store.refresh(&mut state).await?;
    }
}
