//! Findings: a rule, the entity it concerns, a severity and evidence; and the interface of
//! detectors.

pub use dnscribe_baseline::{Baseline, Figure};
pub use dnscribe_record::Severity;

use super::{DetectOptions, HostFacts};
use crate::uses::Use;
use crate::view::TransactionView;
use crate::window::{Groups, Span};
use dnscribe_record::PodName;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::pair::Vantage;
use std::fmt;

dnscribe_record::named_enum! {
    /// Detection rules. Each has a page `docs/runbooks/NAME.md`, with hyphens for underscores.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Rule {
        /// Far more or far fewer queries than usual.
        QueryRate = "query_rate",
        /// Answers are far slower than usual.
        Latency = "latency",
        /// Far more NXDOMAIN than usual.
        Nxdomain = "nxdomain",
        /// Far more SERVFAIL than usual.
        Servfail = "servfail",
        /// Far more timeouts than usual.
        Timeout = "timeout",
        /// Too few queries succeed.
        SuccessRatio = "success_ratio",
        /// A resolver has stopped answering.
        ResolverDown = "resolver_down",
        /// A resolver goes down and recovers repeatedly.
        ResolverFlapping = "resolver_flapping",
        /// Data is carried in names.
        Tunnel = "tunnel",
        /// Many generated names that do not exist.
        Dga = "dga",
        /// Responses to one query contradict each other.
        Spoofing = "spoofing",
        /// Responses with guessed ids and ports.
        CachePoisoning = "cache_poisoning",
        /// Small queries that draw large responses.
        Amplification = "amplification",
        /// A client queries resolvers other than the expected ones.
        ResolverBypass = "resolver_bypass",
        /// A client uses encrypted DNS of other resolvers than the expected ones.
        EncryptedBypass = "encrypted_bypass",
        /// A process keeps connecting to an address long after its answer expired.
        StaleAddress = "stale_address",
        /// A process connects to addresses that no lookup gave.
        NoLookup = "no_lookup",
        /// A process looks up a name again and again, and never connects to it.
        UnusedAnswers = "unused_answers",
        /// A server's socket loses queries, because its receive buffer is full.
        ReceiveBuffer = "receive_buffer",
        /// Messages of a process are lost on this host.
        LocalLoss = "local_loss",
        /// The second query of A and AAAA from one socket is lost.
        ConntrackRace = "conntrack_race",
        /// A name or address that is on a list of indicators.
        Indicator = "indicator",
    }
}

impl Rule {
    /// Returns whether the rule compares with what is usual, and so has to learn that first.
    #[must_use]
    pub const fn has_baseline(self) -> bool {
        matches!(
            self,
            Self::QueryRate
                | Self::Latency
                | Self::Nxdomain
                | Self::Servfail
                | Self::Timeout
                | Self::SuccessRatio
        )
    }
}

/// Entity that a finding concerns. Rule and entity identify an alert. Absent parts are not
/// distinguished.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// Vantage from which the traffic was captured.
    pub vantage: Option<Vantage>,
    /// Configured name of the resolver, otherwise its address.
    pub resolver: Option<Box<str>>,
    /// Registrable domain.
    pub zone: Option<Box<str>>,
    /// Query name.
    pub qname: Option<Box<str>>,
    /// Name of the process.
    pub process: Option<Box<str>>,
    /// Pod as `namespace/name`, otherwise container id.
    pub pod: Option<Box<str>>,
    /// Address of the client.
    pub client: Option<Box<str>>,
}

/// Writes the parts as `name=value`, separated by commas (`resolver=192.0.2.53,vantage=client`), or
/// `node` if there are none.
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
    /// Returns all parts but the vantage, with their names.
    pub(super) fn texts(&self) -> [(&'static str, Option<&str>); 8] {
        let (pod, container) = PodName::or_container(self.pod.as_deref());
        [
            ("resolver", self.resolver.as_deref()),
            ("zone", self.zone.as_deref()),
            ("qname", self.qname.as_deref()),
            ("process", self.process.as_deref()),
            ("namespace", pod.map(|pod| pod.namespace)),
            ("pod", pod.map(|pod| pod.pod)),
            ("container", container.map(|container| container.id)),
            ("client_ip", self.client.as_deref()),
        ]
    }

    /// Returns the parts that are present, with their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let vantage = ("vantage", self.vantage.map(Vantage::name));
        let parts = self.texts().into_iter().chain([vantage]);
        parts.filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Evidence of a finding: a few items of each kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Values; the first one is decisive.
    pub figures: Vec<Figure>,
    /// Ids of some transactions, as in their records.
    pub samples: Vec<MessageId>,
    /// Some query names.
    pub qnames: Vec<Box<str>>,
    /// Some processes, as `comm[pid]` if the pid is known.
    pub processes: Vec<Box<str>>,
    /// Addresses of some clients.
    pub clients: Vec<Box<str>>,
    /// Some resolvers.
    pub resolvers: Vec<Box<str>>,
}

impl Evidence {
    /// Returns the fixed threshold of the decisive figure.
    #[must_use]
    pub fn limit(&self) -> Option<f64> {
        self.figures.first()?.threshold
    }
}

/// A condition that a rule has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Rule that found it.
    pub rule: Rule,
    /// Entity that it concerns.
    pub entity: Entity,
    /// Severity.
    pub level: Severity,
    /// One sentence for a reader, with the decisive figures.
    pub summary: String,
    /// Evidence of the condition.
    pub evidence: Evidence,
}

/// Evaluates one or more rules. Memory is bounded whatever the input.
pub trait Detector {
    /// The rules that it reports findings of, by which detectors are enabled and distinguished.
    fn rules(&self) -> &'static [Rule];

    /// Applies other options, and what is known of the host now.
    fn reconfigure(&mut self, _options: &DetectOptions, _facts: &HostFacts) {}

    /// The rules, and the settings that the detector has a copy of, as text.
    #[cfg(any(test, feature = "testing"))]
    fn settings_in_force(&self) -> String {
        format!("{:?}", self.rules())
    }

    /// Processes a transaction.
    fn observe(&mut self, _observation: &TransactionView<'_>) {}

    /// Processes a report about a connection of encrypted DNS. `resolver` is the configured name of
    /// the server, otherwise its address.
    fn connection(&mut self, _report: &ConnectionReport<'_>, _resolver: &str) {}

    /// Processes connections that are alike, each once.
    fn used(&mut self, _one: &Use) {}

    /// Processes a closed window of any length; a detector ignores those it does not use.
    fn window(&mut self, _span: &Span, _groups: &Groups) {}

    /// Passes every condition that holds at `now` to `each`, also those reported before. Called
    /// every ten seconds of the capture's clock.
    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding));
}
