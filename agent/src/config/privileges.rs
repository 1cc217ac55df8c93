//! Section `privileges`: what the agent gives up once it captures.

use super::layer::{Layer, Over, layer};
use super::shape::text;
use super::value::{Drop, Name};
use serde::Deserialize;
use std::path::PathBuf;

layer! {
    /// Section `privileges`.
    PrivilegesLayer {
        /// What `run` gives up once it has attached: `auto`, all that can be, with a warning for the
        /// rest; `strict`, all, or it does not run; `off`, nothing.
        #[serde(deserialize_with = "text")]
        drop: Option<Drop> = default("auto"),
        /// The user that `run` becomes then where it was started as root, a name or a number; unless
        /// given `dnscribe` if there is one, else `nobody`.
        #[serde(deserialize_with = "text")]
        user: Option<Name> = example("dnscribe"),
    }
}

/// What the agent gives up once it captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Whether anything is given up, and what a failure means.
    pub drop: Drop,
    /// Who the agent becomes where it is root: the name of a user, or a number; where absent
    /// `dnscribe` if there is one, else `nobody`.
    pub user: Option<String>,
}

pub(super) fn resolve(layer: PrivilegesLayer) -> Privileges {
    Privileges { drop: layer.drop.unwrap_or(Drop::Auto), user: layer.user.map(|user| user.0) }
}

/// The files besides the configuration itself that are read whenever it is.
pub(super) fn secret_files(layer: &Layer) -> Vec<PathBuf> {
    let alertmanager = &layer.alertmanager;
    let others = [
        &layer.kafka.registry.password_file,
        &alertmanager.password_file,
        &alertmanager.bearer_token_file,
        &layer.privacy.key_file,
    ];
    let others = others.into_iter().flatten();
    layer.kafka.option_files.values().chain(others).cloned().collect()
}
