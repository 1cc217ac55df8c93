//! Settings of the windows, from the section `windows` of the configuration.

use super::group::Grouping;
use dnscribe_record::{Named, UnknownName, named_enum};
use dnscribe_transaction::pair::QUERY_TIMEOUT;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

named_enum! {
    /// Kind of window.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum WindowKind: "a window" {
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
    /// Returns length and step in seconds.
    #[must_use]
    pub const fn seconds(self) -> (u64, u64) {
        let (length, step) = self.panes();
        (length * 10, step * 10)
    }

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
    /// All windows, for the default query timeout.
    pub const DEFAULT: Self = Self {
        lateness: QUERY_TIMEOUT.saturating_add(Duration::from_secs(1)),
        spans: WindowKindSet::ALL,
        groupings: GroupingSet::ALL.without(Grouping::ResolverZone),
    };
}

/// Error in a list of window kinds or groupings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Unknown item.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// Empty list.
    #[error("{0} is missing: name at least one, or leave the stream metrics out")]
    Empty(&'static str),
}

/// A set of choices, parsed from a comma-separated list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceSet<T> {
    /// Bit `n` is the `n`th of [`Named::CHOICES`].
    bits: u8,
    choice: PhantomData<T>,
}

/// A set of window kinds.
pub type WindowKindSet = ChoiceSet<WindowKind>;
/// A set of groupings.
pub type GroupingSet = ChoiceSet<Grouping>;

impl<T: Named + PartialEq> ChoiceSet<T> {
    /// Every choice.
    pub const ALL: Self = Self { bits: u8::MAX >> (8 - T::CHOICES.len()), choice: PhantomData };

    /// Returns whether the set contains `choice`.
    #[must_use]
    pub fn contains(&self, choice: T) -> bool {
        self.bits & Self::bit(choice) != 0
    }

    fn bit(choice: T) -> u8 {
        let index = T::CHOICES.iter().position(|known| *known == choice);
        index.map_or(0, |index| 1 << index)
    }
}

impl WindowKindSet {
    /// The shortest window of the set; one that slides only if there is no other.
    #[must_use]
    pub fn shortest(&self) -> WindowKind {
        // No set is empty.
        let mut kinds = WindowKind::ALL.into_iter();
        kinds.find(|kind| self.contains(*kind)).unwrap_or(WindowKind::TenSeconds)
    }
}

impl GroupingSet {
    /// Removes a grouping from the set.
    #[must_use]
    pub const fn without(self, grouping: Grouping) -> Self {
        Self { bits: self.bits & !(1 << grouping as u8), choice: PhantomData }
    }
}

impl<T: Named + PartialEq> FromStr for ChoiceSet<T> {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let mut bits = 0;
        for given in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            bits |= Self::bit(T::from_name(given)?);
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
