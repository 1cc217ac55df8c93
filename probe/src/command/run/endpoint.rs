//! `/metrics` and `/healthz`, answered by the task that owns the numbers.

use super::engine::Rounds;
use crate::config::Config;
use crate::record;
use dnscribe_admin::health::{
    Check, CheckState, DeliveryHealth, DeliveryVitals, HealthReport, LossCounter,
};
use dnscribe_admin::metric::Metric;
use dnscribe_admin::text::Page;
use dnscribe_admin::{Phase, Request, Requests, Server, process, sinks};
use dnscribe_cli::exit::Exit;
use dnscribe_delivery::SinkSpec;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The endpoint, if it is configured.
pub(super) struct Endpoint {
    serving: Option<Serving>,
}

struct Serving {
    server: Server,
    requests: Requests,
    window: Duration,
    late: LossCounter,
    overruns: LossCounter,
    delivery: DeliveryHealth,
}

impl Endpoint {
    /// Starts to serve, if configured. Notifies `requested` of each request.
    pub(super) fn start(config: &Config, requested: &Arc<Notify>) -> Result<Self, Exit> {
        let Some(listen) = config.metrics_listen else { return Ok(Self { serving: None }) };
        let requested = Arc::clone(requested);
        let (server, requests) = Server::start(listen, move || requested.notify_one())?;
        tracing::info!("metrics at http://{}/metrics", server.address);
        let kafka = config.sinks.contains(&SinkSpec::Kafka);
        let spool = config.spool.as_ref().filter(|_| kafka).map(|spool| spool.max_bytes);
        let window = config.health_window;
        let delivery = DeliveryHealth::new("probe", window, spool);
        let (late, overruns) = Default::default();
        let serving = Serving { server, requests, window, late, overruns, delivery };
        Ok(Self { serving: Some(serving) })
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        if let Some(serving) = &self.serving {
            serving.server.set_phase(phase);
        }
    }

    /// Takes the numbers of this moment for the health report.
    pub(super) fn observe(&mut self, rounds: &Rounds) {
        let Some(serving) = &mut self.serving else { return };
        let (now, probing) = (Instant::now(), rounds.scheduler.probing());
        serving.late.observe(now, probing.late);
        serving.overruns.observe(now, probing.skipped.get("overrun").copied().unwrap_or(0));
        let all = &rounds.pipeline.router.sinks;
        let vitals =
            DeliveryVitals::new(&all.delivery(), all.fullest_spool_bytes(), all.failures());
        serving.delivery.observe(now, vitals);
    }

    /// Answers pending requests.
    pub(super) fn serve(&mut self, rounds: &Rounds) {
        self.observe(rounds);
        let Some(serving) = &self.serving else { return };
        while let Some(request) = serving.requests.try_next() {
            match request {
                Request::Page(reply) => reply.send(page(rounds)),
                Request::Health(reply) => reply.send(serving.report()),
            }
        }
    }
}

impl Serving {
    fn report(&self) -> HealthReport {
        let now = Instant::now();
        let check =
            |counter: &LossCounter, what| counter.check(now, self.window, CheckState::Warn, what);
        let late = check(&self.late, "rounds began late");
        let overruns = check(&self.overruns, "rounds skipped because the last one still ran");
        let mut report = HealthReport::of_pipeline(CheckState::Ok, "answers");
        report.0.push(Check::new("late", late, "increase limits, or give the probe more CPU"));
        report.0.push(Check::new("overrun", overruns, "use longer intervals or shorter timeouts"));
        report.0.extend(self.delivery.checks(now));
        report
    }
}

const COUNTERS: &str = "the schedule";

/// Metrics of the schedule.
static SCHEDULE: [Metric; 4] = [
    Metric::counter("dnscribe_probe_rounds_total", "rounds", "Rounds that were due, by outcome.")
        .labels(&[("outcome", "completed, or the reason why it was skipped")])
        .source(COUNTERS),
    Metric::counter(
        "dnscribe_probe_rounds_late_total",
        "rounds",
        "Rounds that began more than a second late.",
    )
    .source(COUNTERS),
    Metric::gauge(
        "dnscribe_probe_rounds_running",
        "rounds",
        "Rounds that run or wait for their turn.",
    )
    .source(COUNTERS),
    Metric::gauge(
        "dnscribe_probe_breakers_open",
        "endpoints",
        "Endpoints that count as unreachable.",
    )
    .source(COUNTERS),
];

fn describe(name: &str) -> Option<&'static Metric> {
    let all = SCHEDULE.iter().chain(sinks::METRICS).chain(process::METRICS);
    all.into_iter().find(|metric| metric.name == name)
}

fn page(rounds: &Rounds) -> String {
    let mut page = Page::new(describe);
    let counters = record::counters(&rounds.pipeline.router, rounds.scheduler.probing());
    if let Some(probing) = &counters.probing {
        let skipped = probing.skipped.iter().map(|(reason, count)| (reason.as_str(), *count));
        let outcomes = skipped.chain([("completed", probing.completed)]);
        page.by_label("dnscribe_probe_rounds_total", "outcome", outcomes);
        page.count("dnscribe_probe_rounds_late_total", probing.late);
        page.count("dnscribe_probe_rounds_running", probing.running);
    }
    page.count("dnscribe_probe_breakers_open", rounds.scheduler.open_breakers() as u64);
    sinks::write(&mut page, &rounds.pipeline.router.sinks.gauges());
    process::write(&mut page);
    page.into_text()
}
