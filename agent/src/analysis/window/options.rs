//! Settings of the windows, from the section `windows` of the configuration.

use super::group::Grouping;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

dnscribe_record::named_enum! {
    /// Kind of window.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum WindowKind {
        /// Ten seconds.
        TenSeconds = "10s",
        /// One minute.
        Minute = "1m",
        /// Five minutes.
        FiveMinutes = "5m",
        /// One minute, every ten seconds.
        Sliding = "1m/10s",
    }
}

impl WindowKind {
    /// Returns length and step in panes of ten seconds.
    pub(super) const fn panes(self) -> (u64, u64) {
        match self {
            Self::TenSeconds => (1, 1),
            Self::Minute => (6, 6),
            Self::FiveMinutes => (30, 30),
            Self::Sliding => (6, 1),
        }
    }
}

/// Which windows are exported, and when they are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// Time after the end of a window during which its transactions may arrive: at least the query
    /// timeout, after which outcomes are known.
    pub lateness: Duration,
    /// Kinds of window that are exported.
    pub spans: WindowKindSet,
    /// Groupings that are exported.
    pub groupings: GroupingSet,
}

impl WindowOptions {
    /// All windows, for a query timeout of five seconds.
    pub const DEFAULT: Self = Self {
        lateness: Duration::from_secs(6),
        spans: WindowKindSet::ALL,
        groupings: GroupingSet::ALL,
    };
}

/// A value from a fixed list, as in the configuration.
pub trait Choice: Copy + Eq + 'static {
    /// All values, at most eight.
    const ALL: &'static [Self];
    /// Description of a value for error messages.
    const WHAT: &'static str;

    /// Returns the name in the configuration.
    fn name(self) -> &'static str;
}

impl Choice for WindowKind {
    const ALL: &'static [Self] = &Self::ALL;
    const WHAT: &'static str = "a window";

    fn name(self) -> &'static str {
        self.name()
    }
}

impl Choice for Grouping {
    const ALL: &'static [Self] = &Self::ALL;
    const WHAT: &'static str = "a grouping";

    fn name(self) -> &'static str {
        self.name()
    }
}

/// Error in a list of window kinds or groupings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Unknown item.
    #[error("\"{given}\" is not {what}: choose from {known}")]
    Unknown {
        /// The item.
        given: String,
        /// What was expected.
        what: &'static str,
        /// The known items.
        known: String,
    },
    /// Empty list.
    #[error("no {0} given: name at least one, or leave the stream metrics out")]
    Empty(&'static str),
}

/// A set of choices, parsed from a comma-separated list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceSet<T> {
    /// Bit `n` is the `n`th of [`Choice::ALL`].
    bits: u8,
    choice: PhantomData<T>,
}

/// A set of window kinds.
pub type WindowKindSet = ChoiceSet<WindowKind>;
/// A set of groupings.
pub type GroupingSet = ChoiceSet<Grouping>;

impl<T: Choice> ChoiceSet<T> {
    /// Every choice.
    pub const ALL: Self = Self { bits: u8::MAX >> (8 - T::ALL.len()), choice: PhantomData };

    /// Returns whether the set contains `choice`.
    #[must_use]
    pub fn contains(&self, choice: T) -> bool {
        let index = T::ALL.iter().position(|known| *known == choice);
        index.is_some_and(|index| self.bits >> index & 1 == 1)
    }
}

impl<T: Choice> FromStr for ChoiceSet<T> {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let mut bits = 0;
        for given in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let index = T::ALL.iter().position(|known| known.name() == given).ok_or_else(|| {
                let known: Vec<_> = T::ALL.iter().map(|known| known.name()).collect();
                ChoiceError::Unknown { given: given.into(), what: T::WHAT, known: known.join(", ") }
            })?;
            bits |= 1 << index;
        }
        if bits == 0 {
            return Err(ChoiceError::Empty(T::WHAT));
        }
        Ok(Self { bits, choice: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_lists_and_reports_errors() {
        let set: WindowKindSet = "10s, 1m/10s".parse().unwrap();
        assert!(set.contains(WindowKind::Sliding) && !set.contains(WindowKind::Minute));
        let error = "10s,2m".parse::<WindowKindSet>().unwrap_err().to_string();
        assert_eq!(error, "\"2m\" is not a window: choose from 10s, 1m, 5m, 1m/10s");
        let groupings: GroupingSet = "node,pod".parse().unwrap();
        assert!(groupings.contains(Grouping::Pod) && !groupings.contains(Grouping::Zone));
        assert!(matches!("".parse::<GroupingSet>(), Err(ChoiceError::Empty(_))));
    }
}
