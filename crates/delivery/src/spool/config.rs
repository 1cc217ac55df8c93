//! Settings of the spool.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Settings of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Directory of all spools of this host; created if missing.
    pub directory: PathBuf,
    /// Most bytes of segments on disk, for each running agent.
    pub max_bytes: u64,
    /// Older records are dropped.
    pub max_age: Duration,
    /// Which records of a stream are dropped first.
    pub when_full: WhenFull,
}

/// Which records of a stream are dropped first when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest records.
    #[default]
    DropOldest,
    /// New records.
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

/// A text is not a valid policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a policy for a full spool: choose drop_oldest or drop_newest")]
pub struct ParsePolicyError(String);

impl FromStr for WhenFull {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        [Self::DropOldest, Self::DropNewest]
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| ParsePolicyError(text.into()))
    }
}
