//! `/metrics`, `/healthz` and `/probe`; the first two answered by the task that owns the numbers.

use super::engine::Rounds;
use crate::config::Config;
use crate::endpoint::ProbeEndpoint;
use crate::measure::Context;
use crate::metrics::{MetricsSnapshot, VerdictMetric};
use crate::record;
use crate::verdict::{Rule, Severity};
use dnscribe_admin::health::{
    Check, CheckState, DeliveryHealth, DeliveryVitals, HealthReport, LossCounter,
};
use dnscribe_admin::page::Page;
use dnscribe_admin::{Phase, Request, Requests, Routes, Server};
use dnscribe_cli::exit::Exit;
use dnscribe_delivery::SinkSpec;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// The endpoint, if it is configured.
pub(super) struct Endpoint {
    serving: Option<Serving>,
}

struct Serving {
    server: Server,
    requests: Requests,
    /// Measures on request, if configured.
    probe: Option<ProbeEndpoint>,
    window: Duration,
    late: LossCounter,
    overruns: LossCounter,
    delivery: DeliveryHealth,
}

/// Logs the modules of a file of blackbox_exporter that cannot be used.
fn warn_of_modules(config: &Config) {
    for (name, why) in config.modules.left_out() {
        tracing::warn!("module {name} of modules_file cannot be used: {why}");
    }
}

impl Endpoint {
    /// Starts to serve, if configured. Notifies `requested` of each request.
    pub(super) fn start(
        config: &Config,
        context: &Context,
        requested: &Arc<Notify>,
    ) -> Result<Self, Exit> {
        let Some(listen) = config.metrics_listen else { return Ok(Self { serving: None }) };
        let requested = Arc::clone(requested);
        let probe = config.probe_requests.map(|requests| {
            warn_of_modules(config);
            ProbeEndpoint::new(Handle::current(), config.modules.clone(), context, requests)
        });
        let routes = probe.as_ref().map_or_else(Routes::new, ProbeEndpoint::routes);
        let wake = move || requested.notify_one();
        let (server, requests) = Server::start_with_routes(listen, routes, wake)?;
        tracing::info!("metrics at http://{}/metrics", server.address);
        let kafka = config.sinks.contains(&SinkSpec::Kafka);
        let spool = config.spool.as_ref().filter(|_| kafka).map(|spool| spool.max_bytes);
        let window = config.health_window;
        let delivery = DeliveryHealth::new("probe", window, spool);
        let (late, overruns) = Default::default();
        let serving = Serving { server, requests, probe, window, late, overruns, delivery };
        Ok(Self { serving: Some(serving) })
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        if let Some(serving) = &self.serving {
            serving.server.set_phase(phase);
        }
    }

    /// Uses the modules of another configuration from now on.
    pub(super) fn reload(&self, config: &Config, context: &Context) {
        let probe = self.serving.as_ref().and_then(|serving| serving.probe.as_ref());
        if let Some(probe) = probe {
            warn_of_modules(config);
            probe.configure(config.modules.clone(), context);
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
        let Some(serving) = &mut self.serving else { return };
        let counts = serving.probe.as_ref().map(ProbeEndpoint::counts);
        let counts = counts.as_ref().map_or(&[][..], |counts| &counts[..]);
        while let Some(request) = serving.requests.try_next() {
            match request {
                Request::Page(reply) => reply.send(page(rounds, counts)),
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
        let skipped = "rounds skipped because the last one still ran, or waited for limits";
        let overruns = check(&self.overruns, skipped);
        let mut report = HealthReport::of_pipeline(CheckState::Ok, "answers");
        report.0.push(Check::new("late", late, "increase limits, or give the probe more CPU"));
        let remedy = "use longer intervals or shorter timeouts, or increase limits";
        report.0.push(Check::new("overrun", overruns, remedy));
        report.0.extend(self.delivery.checks(now));
        report
    }
}

fn page(rounds: &Rounds, requests: &[(&'static str, u64)]) -> Page {
    let pipeline = &rounds.pipeline;
    let verdicts: Vec<_> = pipeline.verdicts.firing().filter_map(verdict_metric).collect();
    pipeline.metrics.render(&MetricsSnapshot {
        counters: &record::counters(&pipeline.router, rounds.scheduler.probing()),
        memory: pipeline.memory.counters(),
        open_breakers: rounds.scheduler.open_breakers() as u64,
        requests,
        verdicts: &verdicts,
        gauges: &pipeline.router.sinks.gauges(),
        spool_bytes: pipeline.router.sinks.fullest_spool_bytes(),
    })
}

/// Returns an alert that fires as a metric, if its rule is that of a cause.
fn verdict_metric((service, rule, severity): (&Arc<str>, Rule, Severity)) -> Option<VerdictMetric> {
    let cause = rule.cause()?.name().to_owned();
    let severity = severity.name().to_owned();
    Some(VerdictMetric { service: service.to_string(), cause, severity })
}
