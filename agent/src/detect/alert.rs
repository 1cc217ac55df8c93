//! What leaves the room: one change of one alert.

use super::finding::{Entity, Evidence, Level, Rule};
use crate::time::Timestamp;
use std::fmt;

/// Whether something is still wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is.
    Firing,
    /// It was.
    Resolved,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Firing, Self::Resolved];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One change of one alert, or a reminder of it.
///
/// What it is called by, outside, is `crate::record::Identity`'s to say: `alert_id` is made of the
/// node, `rule`, `entity` and `started`, and is the same in all alerts of an episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Its number among all of the capture, from 1.
    pub ordinal: u64,
    /// When it was decided, by the capture's clock.
    pub ts: Timestamp,
    /// What is wrong.
    pub rule: Rule,
    /// Whom it concerns.
    pub entity: Entity,
    /// Whether it still is.
    pub state: State,
    /// How bad it is; of what is over, how bad it was last.
    pub level: Level,
    /// How bad it was before, where that is what has changed.
    pub previous: Option<Level>,
    /// When it was first found.
    pub started: Timestamp,
    /// When it was last found, of what is over.
    pub ended: Option<Timestamp>,
    /// One sentence for a reader.
    pub summary: String,
    /// What shows it.
    pub evidence: Evidence,
    /// Other alerts that this one explains, and that were therefore not told.
    pub suppressed: u64,
}

/// Its parts as `name=value`, with commas between: `resolver=192.0.2.53,vantage=client`. Of all that a
/// node sees, `node`.
impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, value) in self.parts() {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        if first { f.write_str("node") } else { Ok(()) }
    }
}

impl Entity {
    /// The parts that are told apart, with the names that records have for them.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("resolver", self.resolver.as_deref()),
            ("zone", self.zone.as_deref()),
            ("qname", self.qname.as_deref()),
            ("process_name", self.process.as_deref()),
            ("pod", self.pod.as_deref()),
            ("client_ip", self.client.as_deref()),
            ("vantage", self.vantage.map(crate::pair::Vantage::name)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}
