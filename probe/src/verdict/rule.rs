//! Causes, rules, and the alerts that they give.

pub use dnscribe_baseline::Figure;
pub use dnscribe_record::Severity;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, named_enum};
use std::sync::Arc;

named_enum! {
    /// What makes a service fail.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Cause {
        /// Names do not resolve, at any resolver, or resolve to what they should not.
        Dns = "dns",
        /// Nameservers, delegation and glue of a zone contradict each other.
        Delegation = "delegation",
        /// Signatures do not validate.
        Dnssec = "dnssec",
        /// The server's certificate is not valid.
        Certificate = "certificate",
        /// The host can be reached, and its service does not work.
        Hosting = "hosting",
        /// The host cannot be reached.
        Path = "path",
        /// Some resolvers fail, or answer what the others and the authority do not.
        Resolver = "resolver",
    }
}

impl Cause {
    /// Rule of the verdict.
    #[must_use]
    pub const fn rule(self) -> Rule {
        match self {
            Self::Dns => Rule::VerdictDns,
            Self::Delegation => Rule::VerdictDelegation,
            Self::Dnssec => Rule::VerdictDnssec,
            Self::Certificate => Rule::VerdictCertificate,
            Self::Hosting => Rule::VerdictHosting,
            Self::Path => Rule::VerdictPath,
            Self::Resolver => Rule::VerdictResolver,
        }
    }
}

named_enum! {
    /// Rules of probes. Each has a page `docs/runbooks/NAME.md`, with hyphens for underscores.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Rule {
        /// A service fails because of DNS.
        VerdictDns = "verdict_dns",
        /// A service fails because of a delegation.
        VerdictDelegation = "verdict_delegation",
        /// A service fails because signatures do not validate.
        VerdictDnssec = "verdict_dnssec",
        /// A service fails because of its certificate.
        VerdictCertificate = "verdict_certificate",
        /// A service fails because of its host.
        VerdictHosting = "verdict_hosting",
        /// A service fails because its host cannot be reached.
        VerdictPath = "verdict_path",
        /// A service fails because of a resolver.
        VerdictResolver = "verdict_resolver",
        /// A certificate expires soon.
        CertificateExpiry = "certificate_expiry",
        /// Signatures of an answer end soon, and have not been renewed.
        SignatureExpiry = "signature_expiry",
        /// Answers are none of those known to be good.
        AnswerChanged = "answer_changed",
        /// The TTL of answers is another than before.
        TtlChanged = "ttl_changed",
        /// A certificate has another issuer than before.
        IssuerChanged = "issuer_changed",
        /// Resolvers answer one name differently.
        ResolverDisagreement = "resolver_disagreement",
        /// Nameservers of a zone have different serial numbers.
        SerialLag = "serial_lag",
        /// A target is far slower than usual.
        TargetLatency = "target_latency",
        /// What a probe found when another alert asked for it.
        ProbeResult = "probe_result",
    }
}

impl Rule {
    /// Cause that a verdict names; `None` of other rules.
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.rule() == self)
    }
}

/// What a condition or an alert is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// Service.
    pub service: Option<Arc<str>>,
    /// Target of the service.
    pub target: Option<String>,
    /// Resolver.
    pub resolver: Option<String>,
    /// Zone.
    pub zone: Option<String>,
    /// Name.
    pub qname: Option<String>,
}

impl Entity {
    /// Creates the entity of a whole service.
    #[must_use]
    pub fn service(name: &Arc<str>) -> Self {
        Self { service: Some(Arc::clone(name)), ..Self::default() }
    }
}

/// Writes the parts as `name=value`, separated by commas: `service=shop`.
impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            ("service", self.service.as_deref()),
            ("target", self.target.as_deref()),
            ("resolver", self.resolver.as_deref()),
            ("zone", self.zone.as_deref()),
            ("qname", self.qname.as_deref()),
        ];
        let mut comma = "";
        for (name, value) in parts {
            let Some(value) = value else { continue };
            write!(f, "{comma}{name}={value}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// A problem that holds now.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Rule that found it.
    pub rule: Rule,
    /// What it is about.
    pub entity: Entity,
    /// Registrable domain of the names that fail, or of all of the service, if they have one in common.
    pub zone: Option<String>,
    /// Severity.
    pub severity: Severity,
    /// Time since which it holds.
    pub started: Timestamp,
    /// One sentence for a reader.
    pub summary: String,
    /// What was measured, one line each; the decisive ones last.
    pub evidence: Vec<String>,
    /// Figures; the first one is decisive.
    pub figures: Vec<Figure>,
    /// Ids of the measurements' records.
    pub samples: Vec<EventId>,
}

/// One change of an alert, or a repetition of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Time of the decision.
    pub ts: Timestamp,
    /// What holds, or held last.
    pub condition: Condition,
    /// Previous severity, if it has just changed.
    pub previous: Option<Severity>,
    /// Time at which it was last found; `None` while it is firing.
    pub ended: Option<Timestamp>,
    /// Changes of the last hour that concern the service.
    pub changes: Vec<Arc<super::Change>>,
    /// Id of the alert that asked for the measurements.
    pub triggered_by: Option<EventId>,
}
