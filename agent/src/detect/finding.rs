//! What detectors say.

use crate::connection::Report;
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::Vantage;
use crate::time::Timestamp;
use crate::window::{Groups, Span};

/// What can be wrong. Each has a page `docs/runbooks/NAME.md`, underscores as hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Far more, or far fewer, queries than usual.
    QueryRate,
    /// Answers come far more slowly than usual.
    Latency,
    /// Far more NXDOMAIN than usual.
    Nxdomain,
    /// Far more SERVFAIL than usual.
    Servfail,
    /// Far more timeouts than usual.
    Timeout,
    /// Too few queries get an answer, whatever is usual.
    SuccessRatio,
    /// A resolver answers nothing any more.
    ResolverDown,
    /// A resolver goes down and comes back again and again.
    ResolverFlapping,
    /// Data is carried in names.
    Tunnel,
    /// A burst of names made by an algorithm, that do not exist.
    Dga,
    /// Responses contradict each other, or race the true one.
    Spoofing,
    /// Many responses try ids and ports at random.
    CachePoisoning,
    /// Small queries from many, or for one, that draw large responses.
    Amplification,
    /// Resolvers answer one name differently.
    ResolverDrift,
    /// A process asks others than the configured resolvers.
    ResolverBypass,
    /// A process uses encrypted DNS that is not the configured resolvers'.
    EncryptedBypass,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 16] = [
        Self::QueryRate,
        Self::Latency,
        Self::Nxdomain,
        Self::Servfail,
        Self::Timeout,
        Self::SuccessRatio,
        Self::ResolverDown,
        Self::ResolverFlapping,
        Self::Tunnel,
        Self::Dga,
        Self::Spoofing,
        Self::CachePoisoning,
        Self::Amplification,
        Self::ResolverDrift,
        Self::ResolverBypass,
        Self::EncryptedBypass,
    ];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueryRate => "query_rate",
            Self::Latency => "latency",
            Self::Nxdomain => "nxdomain",
            Self::Servfail => "servfail",
            Self::Timeout => "timeout",
            Self::SuccessRatio => "success_ratio",
            Self::ResolverDown => "resolver_down",
            Self::ResolverFlapping => "resolver_flapping",
            Self::Tunnel => "tunnel",
            Self::Dga => "dga",
            Self::Spoofing => "spoofing",
            Self::CachePoisoning => "cache_poisoning",
            Self::Amplification => "amplification",
            Self::ResolverDrift => "resolver_drift",
            Self::ResolverBypass => "resolver_bypass",
            Self::EncryptedBypass => "encrypted_bypass",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Level {
    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Whom it concerns; with the rule, what an alert is known by. What is absent is not told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// The side that it was seen from.
    pub vantage: Option<Vantage>,
    /// A resolver's name, else its address.
    pub resolver: Option<Box<str>>,
    /// A registrable domain.
    pub zone: Option<Box<str>>,
    /// A name asked for.
    pub qname: Option<Box<str>>,
    /// A process's name.
    pub process: Option<Box<str>>,
    /// A pod, or a container's id.
    pub pod: Option<Box<str>>,
    /// A client's address.
    pub client: Option<Box<str>>,
}

/// What is usual, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// The usual value.
    pub mean: f64,
    /// A standard deviation, estimated robustly.
    pub deviation: f64,
    /// How many deviations the value is from the mean: its z-score.
    pub z: f64,
    /// How many spans of time that is known from.
    pub samples: u64,
    /// Whether it is what is usual at this hour of the week.
    pub seasonal: bool,
}

/// A number that a finding rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it measures, with its unit: `timeout_ratio`, `latency_p95_ms`.
    pub name: &'static str,
    /// The value found.
    pub value: f64,
    /// What it was compared with, where that is a fixed number.
    pub threshold: Option<f64>,
    /// What is usual, where that was compared with.
    pub baseline: Option<Baseline>,
}

/// What one can look at: a few of each, never all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The numbers, the decisive first.
    pub figures: Vec<Figure>,
    /// Some transactions; their records have these ids.
    pub samples: Vec<MessageId>,
    /// Some names.
    pub qnames: Vec<Box<str>>,
    /// Some processes, `comm[pid]` where the pid is known.
    pub processes: Vec<Box<str>>,
    /// Some clients' addresses.
    pub clients: Vec<Box<str>>,
    /// Some resolvers.
    pub resolvers: Vec<Box<str>>,
}

impl Evidence {
    /// What the decisive figure was compared with, where that is a fixed number.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        self.figures.first()?.threshold
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What is wrong.
    pub rule: Rule,
    /// Whom it concerns.
    pub entity: Entity,
    /// How bad it is.
    pub level: Level,
    /// One sentence for a reader, with the figures that matter.
    pub summary: String,
    /// What shows it.
    pub evidence: Evidence,
}

/// Looks for something that is wrong. Every part is optional but [`Self::evaluate`]; memory is
/// bounded whatever comes.
pub trait Detector {
    /// Takes a transaction.
    fn observe(&mut self, _observation: &Observation<'_>) {}

    /// Takes a report of a connection of encrypted DNS, with the resolver's name, else its address.
    fn connection(&mut self, _report: &Report<'_>, _resolver: &str) {}

    /// Takes a window that was closed, of any length: a detector takes those it wants.
    fn window(&mut self, _span: &Span, _groups: &Groups) {}

    /// Gives all that is wrong at `now`, again each time while it is; called every ten seconds of
    /// the capture's clock.
    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding));
}
