//! The pages of the view.

use crate::top::model::Group;

/// A page of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Who was asked.
    Resolvers,
    /// Registrable domains.
    Zones,
    /// Names.
    Names,
    /// Who asked.
    Processes,
    /// How it ended.
    Rcodes,
    /// What is wrong.
    Alerts,
    /// What was not seen, and where it went.
    Loss,
}

impl Tab {
    /// Every tab, in the order of their keys.
    pub const ALL: [Self; 7] = [
        Self::Resolvers,
        Self::Zones,
        Self::Names,
        Self::Processes,
        Self::Rcodes,
        Self::Alerts,
        Self::Loss,
    ];

    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Resolvers => "Resolvers",
            Self::Zones => "Zones",
            Self::Names => "Names",
            Self::Processes => "Processes",
            Self::Rcodes => "Rcodes",
            Self::Alerts => "Alerts",
            Self::Loss => "Loss",
        }
    }

    /// What it groups by; alerts and loss are no groups.
    #[must_use]
    pub const fn group(self) -> Option<Group> {
        match self {
            Self::Resolvers => Some(Group::Resolver),
            Self::Zones => Some(Group::Zone),
            Self::Names => Some(Group::Name),
            Self::Processes => Some(Group::Process),
            Self::Rcodes => Some(Group::Outcome),
            Self::Alerts | Self::Loss => None,
        }
    }
}
