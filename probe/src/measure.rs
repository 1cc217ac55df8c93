//! Measurements: what one round of a target finds.

mod dns;
mod tcp;

use crate::dns::{Resolver, presentation};
use crate::target::{Target, TargetKind};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{ProbeError, ProbeFields};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all measurements need besides their target.
#[derive(Clone, Debug)]
pub struct Context {
    /// Vantage point, for records.
    pub site: String,
}

/// One round of a target.
#[derive(Clone, Debug)]
pub struct Round {
    /// What was measured.
    pub target: Arc<Target>,
    /// Time at which the round began.
    pub start: Timestamp,
    /// One measurement for each resolver, nameserver or address that was asked.
    pub found: Vec<ProbeFields>,
}

/// A stage of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name of the host is resolved.
    Resolve,
    /// A connection is made, or an echo request sent.
    Connect,
    /// The TLS handshake.
    Tls,
    /// HTTP requests and responses.
    Http,
    /// DNS queries and responses.
    Dns,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Dns => "dns",
        }
    }
}

/// Why a measurement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stage at which it failed.
    pub stage: Stage,
    /// Reason as one word: `timeout`, `refused`.
    pub reason: &'static str,
    /// Details for people.
    pub detail: Option<String>,
}

impl Failure {
    /// Creates a failure without details.
    #[must_use]
    pub const fn new(stage: Stage, reason: &'static str) -> Self {
        Self { stage, reason, detail: None }
    }

    /// Adds details for people.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<Failure> for ProbeError {
    fn from(failure: Failure) -> Self {
        Self {
            stage: failure.stage.name().to_owned(),
            reason: failure.reason.to_owned(),
            detail: failure.detail,
        }
    }
}

/// Runs one round of a target. Ends within the target's time limit.
pub async fn measure(context: &Context, target: &Arc<Target>) -> Round {
    let start = Timestamp::now();
    let found = match &target.kind {
        TargetKind::Dns(dns) => dns::measure(context, target, dns).await,
        TargetKind::Tcp(tcp) => vec![tcp::measure(context, target, tcp).await],
        _ => Vec::new(),
    };
    Round { target: Arc::clone(target), start, found }
}

/// Makes the round of a target that did not end by itself: all that it asks has failed for `reason`.
#[must_use]
pub fn cut_off(
    context: &Context,
    target: &Arc<Target>,
    start: Timestamp,
    reason: &'static str,
) -> Round {
    let stage = match &target.kind {
        TargetKind::Dns(_) | TargetKind::Authority(_) => Stage::Dns,
        TargetKind::Tcp(_) | TargetKind::Ping(_) => Stage::Connect,
        TargetKind::Tls(_) => Stage::Tls,
        TargetKind::Http(_) => Stage::Http,
    };
    let failed = || {
        let mut fields = begin(context, target);
        fields.duration_ms = milliseconds(Timestamp::now().since(start));
        fields.ok = false;
        fields.error = Some(Failure::new(stage, reason).into());
        fields
    };
    let found = match &target.kind {
        TargetKind::Dns(dns) => {
            let of_resolver = |resolver: &Arc<Resolver>| ProbeFields {
                resolver: Some(resolver.name.clone()),
                protocol: Some(resolver.protocol.name().to_owned()),
                qname: Some(presentation(&dns.name)),
                qtype: Some(dns.record_type.to_string()),
                ..failed()
            };
            dns.resolvers.iter().map(of_resolver).collect()
        }
        _ => vec![failed()],
    };
    Round { target: Arc::clone(target), start, found }
}

/// Begins the fields of a measurement, which is good until something fails.
fn begin(context: &Context, target: &Target) -> ProbeFields {
    ProbeFields {
        kind: target.kind.name().to_owned(),
        service: target.service.to_string(),
        target: target.name.clone(),
        site: context.site.clone(),
        ok: true,
        attempt: 1,
        ..ProbeFields::default()
    }
}

/// Ends a measurement that began at `start`.
fn finish(mut fields: ProbeFields, start: Instant, result: Result<(), Failure>) -> ProbeFields {
    fields.duration_ms = milliseconds(start.elapsed());
    if let Err(failure) = result {
        fields.ok = false;
        fields.error = Some(failure.into());
    }
    fields
}

/// Milliseconds, rounded to microseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
