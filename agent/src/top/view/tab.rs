//! The pages of the view.

use crate::top::model::Group;

/// A page of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Resolvers.
    Resolvers,
    /// Registrable domains.
    Zones,
    /// Names.
    Names,
    /// Processes.
    Processes,
    /// Response codes.
    Rcodes,
    /// Alerts.
    Alerts,
    /// Losses, from the ledger.
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

    /// Title of the tab.
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

    /// Group that it lists; none for alerts and losses.
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
