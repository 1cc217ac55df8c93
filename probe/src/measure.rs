//! Measurements: what one round of a target finds.

mod authority;
mod dns;
mod tcp;

pub use crate::failure::{Failure, Stage};

use crate::dns::Validators;
use crate::target::{Target, TargetKind};
use crate::trust::Trust;
use dnscribe_record::ProbeFields;
use dnscribe_record::time::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all measurements need besides their target.
#[derive(Clone, Debug)]
pub struct Context {
    /// Vantage point, for records.
    pub site: String,
    /// Roots of certificates and trust anchors.
    pub trust: Trust,
    /// Validators of DNSSEC, one for each resolver.
    pub validators: Validators,
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

/// Runs one round of a target. Ends within the target's time limit.
pub async fn measure(context: &Context, target: &Arc<Target>) -> Round {
    let start = Timestamp::now();
    let found = match &target.kind {
        TargetKind::Dns(dns) => dns::measure(context, target, dns).await,
        TargetKind::Authority(authority) => authority::measure(context, target, authority).await,
        TargetKind::Tcp(tcp) => vec![tcp::measure(context, target, tcp).await],
        _ => Vec::new(),
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
