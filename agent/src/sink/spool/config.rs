//! What the operator says about the spool.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What the operator says about the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder of all spools of this host; made where it is missing.
    pub directory: PathBuf,
    /// The most that segments take on disk, in octets, for each running agent.
    pub max_bytes: u64,
    /// What is older goes.
    pub max_age: Duration,
    /// What goes first within a stream.
    pub when_full: WhenFull,
}

/// What goes first within a stream when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// What has waited longest.
    #[default]
    DropOldest,
    /// What comes last.
    DropNewest,
}

impl WhenFull {
    /// As the configuration spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
        }
    }
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a policy for a full spool: choose drop_oldest or drop_newest")]
pub struct BadWhenFull(String);

impl FromStr for WhenFull {
    type Err = BadWhenFull;

    fn from_str(text: &str) -> Result<Self, BadWhenFull> {
        [Self::DropOldest, Self::DropNewest]
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| BadWhenFull(text.into()))
    }
}
