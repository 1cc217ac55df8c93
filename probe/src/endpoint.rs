//! `/probe?target=…&module=…`: measures a target at once, for Prometheus, as blackbox_exporter does.
//!
//! A request names a module ([`Modules`]) and what the module lacks. The measurement runs in the runtime of the
//! program, not in the server's thread, and the number of measurements at a time is bounded. Results are those
//! of this request alone: neither schedule, memory nor sinks know of it.

use crate::config::modules::{AnswerCheck, AnswerCondition, Checks, Modules, TargetRequest};
use crate::measure::{Context, Skip, measure};
use crate::metrics::{metric, results};
use crate::target::Target;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use dnscribe_admin::exposition;
use dnscribe_admin::page::Page;
use dnscribe_record::{ProbeError, ProbeFields};
use results::LabeledResult;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use url::form_urlencoded;

/// Part of a scrape's time limit that is left to the network, as blackbox_exporter has it.
const SCRAPE_OFFSET: Duration = Duration::from_millis(500);

/// Time beyond its limit after which a measurement that has not ended is cut off.
const GRACE: Duration = Duration::from_secs(1);

/// Module of a request that names none, as blackbox_exporter has it.
const DEFAULT_MODULE: &str = "http_2xx";

/// Header with the time limit of a scrape in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// The endpoint. Clones share everything.
#[derive(Clone, Debug)]
pub struct ProbeEndpoint(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    runtime: Handle,
    settings: RwLock<(Arc<Modules>, Arc<Context>)>,
    permits: Semaphore,
    counters: [AtomicU64; 4],
}

/// Outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    /// Target or module are wrong.
    Refused,
    /// Too many requests at once.
    Busy,
}

impl Outcome {
    const ALL: [(Self, &str); 4] = [
        (Self::Success, "success"),
        (Self::Failure, "failure"),
        (Self::Refused, "refused"),
        (Self::Busy, "busy"),
    ];
}

impl ProbeEndpoint {
    /// Creates an endpoint that measures up to `max_concurrent` targets at a time, in `runtime`.
    #[must_use]
    pub fn new(
        runtime: Handle,
        modules: Modules,
        context: &Context,
        max_concurrent: usize,
    ) -> Self {
        Self(Arc::new(Shared {
            runtime,
            settings: RwLock::new((Arc::new(modules), Arc::new(context.for_requests()))),
            permits: Semaphore::new(max_concurrent.min(Semaphore::MAX_PERMITS)),
            counters: Default::default(),
        }))
    }

    /// Replaces the modules, and what all measurements need.
    pub fn configure(&self, modules: Modules, context: &Context) {
        let settings = (Arc::new(modules), Arc::new(context.for_requests()));
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Returns the route `/probe`.
    pub fn routes(&self) -> Router {
        Router::new().route("/probe", get(serve)).with_state(self.clone())
    }

    /// Returns the numbers of requests by outcome.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        Outcome::ALL.map(|(outcome, name)| {
            (name, self.0.counters[outcome as usize].load(Ordering::Relaxed))
        })
    }

    fn count(&self, outcome: Outcome) {
        self.0.counters[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What the parameters of a request say.
#[derive(Debug, Default, PartialEq, Eq)]
struct ProbeRequest {
    module: Option<String>,
    debug: bool,
    target: TargetRequest,
}

impl ProbeRequest {
    fn parse(query: &str, headers: &HeaderMap) -> Result<Self, String> {
        let mut request = Self::default();
        let target = &mut request.target;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "target" => target.target = value,
                "module" => request.module = Some(value),
                "hostname" => target.hostname = Some(value),
                "qname" => target.qname = Some(value),
                "qtype" => target.qtype = Some(value),
                "debug" => request.debug = value == "true",
                // As blackbox_exporter does: labels of the scrape may be among the parameters.
                _ => {}
            }
        }
        if let Some(seconds) = headers.get(SCRAPE_TIMEOUT) {
            target.timeout = scrape_limit(seconds.to_str().unwrap_or_default())?;
        }
        Ok(request)
    }
}

/// Returns the time limit for a measurement; absent where a scrape has too little time to have one.
fn scrape_limit(seconds: &str) -> Result<Option<Duration>, String> {
    let limit = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let limit = limit.ok_or_else(|| format!("\"{seconds}\" is not a number of seconds"))?;
    Ok(limit.checked_sub(SCRAPE_OFFSET).filter(|limit| !limit.is_zero()))
}

async fn serve(State(endpoint): State<ProbeEndpoint>, uri: Uri, headers: HeaderMap) -> Response {
    let settings = endpoint.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone();
    let (modules, context) = settings;
    let request = ProbeRequest::parse(uri.query().unwrap_or_default(), &headers);
    let completed = request.and_then(|request| {
        let module = request.module.as_deref().unwrap_or(DEFAULT_MODULE);
        modules.target(module, &request.target).map(|completed| (completed, request.debug))
    });
    let ((target, checks), debug) = match completed {
        Ok(completed) => completed,
        Err(why) => {
            endpoint.count(Outcome::Refused);
            return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response();
        }
    };
    let Ok(_permit) = endpoint.0.permits.try_acquire() else {
        endpoint.count(Outcome::Busy);
        let text = "too many requests at once: see probe_endpoint.max_concurrent\n";
        return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    };
    let target = Arc::new(target);
    let measured = Arc::clone(&target);
    let running = endpoint.0.runtime.spawn(async move { run(&context, &measured, &checks).await });
    // A client that goes away takes its measurement with it.
    let running = AbortOnDrop(running.abort_handle(), running);
    let Ok(found) = running.wait().await else {
        endpoint.count(Outcome::Failure);
        return (StatusCode::INTERNAL_SERVER_ERROR, "the measurement failed inside\n")
            .into_response();
    };
    let is_success = found.iter().all(|fields| fields.ok);
    endpoint.count(if is_success { Outcome::Success } else { Outcome::Failure });
    let metrics = page(&found);
    if debug {
        return describe(&target, &found, &metrics.into_text()).into_response();
    }
    exposition(&headers, metrics)
}

/// A task that ends when this is dropped.
struct AbortOnDrop(tokio::task::AbortHandle, tokio::task::JoinHandle<Vec<ProbeFields>>);

impl AbortOnDrop {
    async fn wait(mut self) -> Result<Vec<ProbeFields>, tokio::task::JoinError> {
        (&mut self.1).await
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Measures a target, within its time limit, and applies the checks of its module.
async fn run(context: &Context, target: &Arc<Target>, checks: &Checks) -> Vec<ProbeFields> {
    // A round ends by itself, and says at which stage the time was up.
    let limited = tokio::time::timeout(target.timeout + GRACE, measure(context, target));
    let failed = |reason: &str, duration: Duration| {
        let (stage, reason, detail) = ("connect".to_owned(), reason.to_owned(), None);
        vec![ProbeFields {
            kind: target.kind.name().to_owned(),
            service: target.service.to_string(),
            target: target.name.clone(),
            duration_ms: crate::measure::milliseconds(duration),
            error: Some(ProbeError { stage, reason, detail }),
            ..ProbeFields::default()
        }]
    };
    let mut found = match limited.await {
        Ok(round) if round.found.is_empty() => {
            return failed(round.skipped.map_or("unsupported", Skip::name), Duration::ZERO);
        }
        Ok(round) => round.found,
        Err(_) => return failed("timeout", target.timeout),
    };
    for fields in &mut found {
        checks.apply(fields);
    }
    found
}

impl Checks {
    /// Changes a result according to these checks.
    fn apply(&self, fields: &mut ProbeFields) {
        let no_data = fields.error.as_ref().is_some_and(|error| error.reason == "no_data");
        if self.allow_no_data && no_data {
            fields.ok = true;
            fields.error = None;
        }
        if !fields.ok {
            return;
        }
        let tls = fields.tls_version.is_some();
        let failure = if self.tls.is_some_and(|expected| expected != tls) {
            Some(("http", if tls { "tls" } else { "no_tls" }))
        } else if !self.allows_version(fields.http_version.as_deref()) {
            Some(("http", "version"))
        } else {
            let lines = answer_lines(fields);
            let fails = self.answers.iter().any(|check| check.fails(&lines));
            fails.then_some(("dns", "answer_mismatch"))
        };
        if let Some((stage, reason)) = failure {
            fields.ok = false;
            let (stage, reason) = (stage.to_owned(), reason.to_owned());
            fields.error = Some(ProbeError { stage, reason, detail: None });
        }
    }

    fn allows_version(&self, version: Option<&str>) -> bool {
        self.http_versions.is_empty() || version.is_some_and(|it| self.http_versions.contains(&it))
    }
}

impl AnswerCheck {
    fn fails(&self, lines: &[String]) -> bool {
        let mut matches = lines.iter().map(|line| self.pattern.is_match(line));
        match self.fails_if {
            AnswerCondition::AnyMatches => matches.any(|is| is),
            AnswerCondition::AllMatch => !lines.is_empty() && matches.all(|is| is),
            AnswerCondition::AnyDiffers => matches.any(|is| !is),
            AnswerCondition::NoneMatches => !lines.is_empty() && !matches.any(|is| is),
        }
    }
}

/// Returns the answers as lines of a zone file, tabs between name, TTL, class, type and data. The TTL is the
/// smallest of all.
fn answer_lines(fields: &ProbeFields) -> Vec<String> {
    let name = fields.qname.as_deref().unwrap_or_default();
    let dot = if name.ends_with('.') { "" } else { "." };
    let (ttl, qtype) = (fields.min_ttl_seconds.unwrap_or(0), fields.qtype.as_deref());
    let head = format!("{name}{dot}\t{ttl}\tIN\t{}\t", qtype.unwrap_or_default());
    fields.answers.iter().map(|answer| format!("{head}{answer}")).collect()
}

/// Returns the results as metrics: without labels, unless a target has several endpoints.
fn page(found: &[ProbeFields]) -> Page {
    let mut page = Page::new(metric);
    let label = if found.len() == 1 { LabeledResult::bare } else { LabeledResult::new };
    results::write(&mut page, &found.iter().map(label).collect::<Vec<_>>());
    page
}

/// Describes a measurement for people.
fn describe(target: &Target, found: &[ProbeFields], metrics: &str) -> String {
    let mut text = format!(
        "Target: {} {}, time limit {:?}\n\nResults:\n",
        target.kind.name(),
        target.name,
        target.timeout
    );
    for fields in found {
        let json = serde_json::to_string_pretty(fields).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{json}");
    }
    text + "\nMetrics that would have been returned:\n" + metrics
}

#[cfg(test)]
mod tests;
