//! Measurements: what one round of a target finds.

mod authority;
mod dialogue;
mod dns;
mod host;
mod http;
mod ping;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;

pub use crate::failure::{Failure, Stage};

use crate::dns::{CacheLimits, RETRY_PAUSE, Resolver, Validators, presentation, type_name};
use crate::failure::{OPEN_FILES, is_transient};
use crate::target::{Target, TargetKind};
use crate::trust::Trust;
use dnscribe_record::ProbeFields;
use dnscribe_record::time::Timestamp;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

/// Length limit of the detail of a failure.
const MAX_DETAIL_CHARS: usize = 1000;

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

impl Context {
    /// Creates what measurements need. Validators share their caches for as long as the context lives.
    #[must_use]
    pub fn new(site: String, trust: Trust) -> Self {
        Self { site, trust, validators: Validators::new(CacheLimits::CONFIGURED) }
    }

    /// Returns the same with caches of its own, for targets that others ask for.
    #[must_use]
    pub fn for_requests(&self) -> Self {
        Self { validators: Validators::new(CacheLimits::REQUESTED), ..self.clone() }
    }
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
    /// Why nothing was measured; `found` is empty then.
    pub skipped: Option<Skip>,
    /// IPv6 addresses of nameservers that were not asked, because this host has no route to them.
    pub unrouted: u64,
}

/// Why a round was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// This host does not permit the measurement; the remedy has been logged.
    Unsupported,
    /// This process may not open more files.
    OpenFiles,
}

impl Skip {
    /// Reason of a skipped round in the ledger.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::OpenFiles => OPEN_FILES,
        }
    }
}

/// Runs one round of a target. Ends within the target's time limit.
pub async fn measure(context: &Context, target: &Arc<Target>) -> Round {
    let start = Timestamp::now();
    let mut unrouted = 0;
    let found = repeat(context, target, &mut unrouted).await.and_then(unless_files_were_short);
    let (found, skipped) =
        found.map_or_else(|skip| (Vec::new(), Some(skip)), |found| (found, None));
    Round { target: Arc::clone(target), start, found, skipped, unrouted }
}

/// Returns what was found, unless this process lacked files for a part of it: that says nothing of the target.
fn unless_files_were_short(found: Vec<ProbeFields>) -> Result<Vec<ProbeFields>, Skip> {
    static WARNING: Once = Once::new();
    let mut errors = found.iter().filter_map(|fields| fields.error.as_ref());
    if errors.all(|error| error.reason != OPEN_FILES) {
        return Ok(found);
    }
    WARNING.call_once(|| {
        tracing::warn!("too many open files: raise LimitNOFILE of the unit, or ulimit -n");
    });
    Err(Skip::OpenFiles)
}

/// Measures a target, and again while it fails without a response and attempts and time are left. Targets that ask
/// several servers repeat their queries themselves.
async fn repeat(
    context: &Context,
    target: &Target,
    unrouted: &mut u64,
) -> Result<Vec<ProbeFields>, Skip> {
    let start = Instant::now();
    let mut found = measure_once(context, target, unrouted).await?;
    let is_single =
        matches!(target.kind, TargetKind::Tcp(_) | TargetKind::Tls(_) | TargetKind::Http(_));
    let attempts = if is_single { target.retries.saturating_add(1) } else { 1 };
    for attempt in 2..=attempts {
        let mut errors = found.iter().filter_map(|fields| fields.error.as_ref());
        let is_transient = errors.any(|error| is_transient(&error.stage, &error.reason));
        if !is_transient || start.elapsed() + RETRY_PAUSE >= target.timeout {
            break;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        let timeout = target.timeout.saturating_sub(start.elapsed());
        let again = Target { timeout, ..target.clone() };
        let later = measure_once(context, &again, unrouted).await?;
        // A reason says more than a time limit that was cut short.
        if !later.iter().any(has_timed_out) {
            found = later;
        }
        for fields in &mut found {
            fields.attempt = attempt;
            fields.duration_ms = milliseconds(start.elapsed());
        }
    }
    Ok(found)
}

fn has_timed_out(fields: &ProbeFields) -> bool {
    fields.error.as_ref().is_some_and(|error| error.reason.ends_with("timeout"))
}

async fn measure_once(
    context: &Context,
    target: &Target,
    unrouted: &mut u64,
) -> Result<Vec<ProbeFields>, Skip> {
    let one = |fields| Ok(vec![fields]);
    match &target.kind {
        TargetKind::Dns(dns) => Ok(dns::measure(context, target, dns).await),
        TargetKind::Authority(authority) => {
            Box::pin(authority::measure(context, target, authority, unrouted)).await
        }
        TargetKind::Tcp(tcp) => one(tcp::measure(context, target, tcp).await),
        TargetKind::Tls(tls) => one(tls::measure(context, target, tls).await),
        TargetKind::Http(http) => one(Box::pin(http::measure(context, target, http)).await),
        TargetKind::Ping(ping) => ping::measure(context, target, ping).await.and_then(one),
    }
}

/// Makes the round of a target that did not end by itself: all that it asks has failed for `reason`, `duration` after
/// `start`.
#[must_use]
pub fn cut_off(
    context: &Context,
    target: &Arc<Target>,
    (start, duration): (Timestamp, Duration),
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
        fields.duration_ms = milliseconds(duration);
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
                qtype: Some(type_name(dns.record_type).into_owned()),
                ..failed()
            };
            dns.resolvers.iter().map(of_resolver).collect()
        }
        _ => vec![failed()],
    };
    Round { target: Arc::clone(target), start, found, skipped: None, unrouted: 0 }
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
    if let Err(mut failure) = result {
        failure.detail = failure.detail.as_deref().map(printable);
        fields.ok = false;
        fields.attempt = fields.attempt.max(failure.attempts);
        fields.error = Some(failure.into());
    }
    fields
}

/// Clips a text and replaces its control characters: servers decide what stands in it.
fn printable(text: &str) -> String {
    let replace = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
    text.chars().map(replace).take(MAX_DETAIL_CHARS).collect()
}

/// Milliseconds, rounded to microseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Adds a duration to a time in milliseconds that several steps share.
fn add_milliseconds(sum: &mut Option<f64>, duration: Duration) {
    *sum = Some(sum.unwrap_or_default() + milliseconds(duration));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_round_without_files_is_skipped() {
        let fields = |number: i32| {
            let error = std::io::Error::from_raw_os_error(number);
            let failure = Failure::io(Stage::Connect, &error);
            vec![ProbeFields { error: Some(failure.into()), ..ProbeFields::default() }]
        };
        for errno in [Errno::MFILE, Errno::NFILE] {
            let found = unless_files_were_short(fields(errno.raw_os_error()));
            assert_eq!(found.unwrap_err(), Skip::OpenFiles);
        }
        assert!(unless_files_were_short(fields(Errno::CONNREFUSED.raw_os_error())).is_ok());
    }
}
