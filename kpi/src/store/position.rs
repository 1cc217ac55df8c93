//! How far topics and sources were read.

use super::{ImportCommit, State, by_partition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a topic or source was read, where nothing was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionCommit {
    /// Name of the source.
    pub source: String,
    /// Name of the topic, or of the import of the source.
    pub name: String,
    /// Topic: next offset by partition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "by_partition")]
    pub offsets: BTreeMap<i32, i64>,
    /// Topic: what an import has as its `last_messages`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_messages: BTreeMap<String, String>,
    /// Pull: up to where the source was read, or the version of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

impl From<&ImportCommit> for PositionCommit {
    fn from(import: &ImportCommit) -> Self {
        Self {
            source: import.source.clone(),
            name: import.name.clone(),
            offsets: import.offsets.clone(),
            last_messages: import.last_messages.clone(),
            position: import.position.clone(),
        }
    }
}

impl State {
    /// Returns whether a topic or source is known to have been read so far.
    #[must_use]
    pub fn knows(&self, read: &PositionCommit) -> bool {
        let PositionCommit { source, name, offsets, last_messages, position } = read;
        let place = (source.clone(), name.clone());
        (offsets.is_empty()
            || (self.offsets.get(name), self.last_messages.get(name))
                == (Some(offsets), Some(last_messages)))
            && (position.is_none() || self.positions.get(&place) == position.as_ref())
    }

    pub(super) fn move_to(&mut self, read: PositionCommit) {
        let PositionCommit { source, name, offsets, last_messages, position } = read;
        if !offsets.is_empty() {
            self.offsets.insert(name.clone(), offsets);
            self.last_messages.insert(name.clone(), last_messages);
        }
        if let Some(position) = position {
            self.positions.insert((source, name), position);
        }
    }
}
