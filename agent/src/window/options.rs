//! Which windows are told of.

use super::group::Grouping;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A kind of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One after the other, of ten seconds.
    TenSeconds,
    /// One after the other, of a minute.
    Minute,
    /// One after the other, of five minutes.
    FiveMinutes,
    /// Of a minute, one every ten seconds.
    Sliding,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::TenSeconds, Self::Minute, Self::FiveMinutes, Self::Sliding];

    /// As the configuration spells it: the length, and where windows slide, the step.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TenSeconds => "10s",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Sliding => "1m/10s",
        }
    }

    /// Length and step in panes of ten seconds.
    pub(super) const fn panes(self) -> (u64, u64) {
        match self {
            Self::TenSeconds => (1, 1),
            Self::Minute => (6, 6),
            Self::FiveMinutes => (30, 30),
            Self::Sliding => (6, 1),
        }
    }
}

/// What of the windows is written, and how long they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// How long after the end of a window its transactions may come: no less than the query timeout,
    /// after which alone an outcome is known.
    pub lateness: Duration,
    /// The kinds of window that are written.
    pub spans: KindSet,
    /// The groupings that are written.
    pub groupings: GroupingSet,
}

impl WindowOptions {
    /// Everything, for a query timeout of five seconds.
    pub const DEFAULT: Self =
        Self { lateness: Duration::from_secs(6), spans: KindSet::ALL, groupings: GroupingSet::ALL };
}

/// Something of a fixed list that the configuration names.
trait Choice: Copy + PartialEq + 'static {
    const ALL: &'static [Self];
    const WHAT: &'static str;
    fn spelled(self) -> &'static str;
}

impl Choice for Kind {
    const ALL: &'static [Self] = &Self::ALL;
    const WHAT: &'static str = "a window";

    fn spelled(self) -> &'static str {
        self.name()
    }
}

impl Choice for Grouping {
    const ALL: &'static [Self] = &Self::ALL;
    const WHAT: &'static str = "a grouping";

    fn spelled(self) -> &'static str {
        self.name()
    }
}

/// Why something is not a list of kinds of window, or of groupings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChoice {
    /// Something in the list is unknown.
    #[error("\"{given}\" is not {what}: choose from {known}")]
    Unknown {
        /// What was given.
        given: String,
        /// What it should be.
        what: &'static str,
        /// What there is.
        known: String,
    },
    /// The list is empty.
    #[error("no {0} given: name at least one, or leave the stream metrics out")]
    Empty(&'static str),
}

fn parse<T: Choice>(text: &str) -> Result<Vec<T>, BadChoice> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let one = |name: &str| {
        T::ALL.iter().copied().find(|known| known.spelled() == name).ok_or_else(|| {
            let known: Vec<_> = T::ALL.iter().map(|known| known.spelled()).collect();
            BadChoice::Unknown { given: name.into(), what: T::WHAT, known: known.join(", ") }
        })
    };
    let chosen = names.map(one).collect::<Result<Vec<_>, _>>()?;
    if chosen.is_empty() { Err(BadChoice::Empty(T::WHAT)) } else { Ok(chosen) }
}

/// A set of kinds of window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KindSet([bool; Kind::ALL.len()]);

impl KindSet {
    /// Every kind.
    pub const ALL: Self = Self([true; Kind::ALL.len()]);

    /// Whether a kind is in it.
    #[must_use]
    pub const fn contains(&self, kind: Kind) -> bool {
        self.0[kind as usize]
    }
}

impl FromStr for KindSet {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        let chosen = parse::<Kind>(text)?;
        Ok(Self(Kind::ALL.map(|kind| chosen.contains(&kind))))
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = Kind::ALL.into_iter().filter(|kind| self.contains(*kind));
        f.debug_set().entries(chosen.map(Kind::name)).finish()
    }
}

/// A set of groupings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GroupingSet([bool; Grouping::ALL.len()]);

impl GroupingSet {
    /// Every grouping.
    pub const ALL: Self = Self([true; Grouping::ALL.len()]);

    /// Whether a grouping is in it.
    #[must_use]
    pub const fn contains(&self, grouping: Grouping) -> bool {
        self.0[grouping as usize]
    }
}

impl FromStr for GroupingSet {
    type Err = BadChoice;

    fn from_str(text: &str) -> Result<Self, BadChoice> {
        let chosen = parse::<Grouping>(text)?;
        Ok(Self(Grouping::ALL.map(|grouping| chosen.contains(&grouping))))
    }
}

impl fmt::Debug for GroupingSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = Grouping::ALL.into_iter().filter(|grouping| self.contains(*grouping));
        f.debug_set().entries(chosen.map(Grouping::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_mistakes_are_told() {
        let set: KindSet = "10s, 1m/10s".parse().unwrap();
        assert!(set.contains(Kind::Sliding) && !set.contains(Kind::Minute));
        let error = "10s,2m".parse::<KindSet>().unwrap_err().to_string();
        assert_eq!(error, "\"2m\" is not a window: choose from 10s, 1m, 5m, 1m/10s");
        let groupings: GroupingSet = "node,pod".parse().unwrap();
        assert!(groupings.contains(Grouping::Pod) && !groupings.contains(Grouping::Zone));
        assert!(matches!("".parse::<GroupingSet>(), Err(BadChoice::Empty(_))));
    }
}
