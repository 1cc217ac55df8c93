//! `dnscribe-probe explain`: one round of a name or a service by hand, with the verdict.

use crate::cli::ExplainArgs;
use crate::config::{AdHoc, Config};
use crate::explain::{measure_name, measure_services};
use crate::measure::{Context, Round};
use crate::record::Recorder;
use crate::table;
use crate::target::{Contact, Service, TargetKind};
use crate::verdict::{self, Alert, Verdicts};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log;
use dnscribe_config::log::wants_color;
use dnscribe_delivery::{self as delivery, OutputFormat, SinkRouter, SinkSpec};
use dnscribe_record::privacy::Masker;
use dnscribe_record::time::Timestamp;
use hickory_proto::rr::Name;
use std::net::IpAddr;
use std::process::ExitCode;

/// Runs the command.
pub(super) fn explain(args: &ExplainArgs) -> Result<ExitCode, Exit> {
    let config = Config::load(&args.sources())?;
    log::start(config.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::failed(format!("cannot start: {error}")))?;
    let context = Context::new(config.site.clone(), config.trust.clone());
    let (services, rounds) = runtime.block_on(measured(&config, &context, args))?;
    let epoch = rounds.iter().map(|round| round.start).min().unwrap_or_else(Timestamp::now);
    let mut recorder =
        Recorder::new(config.node.clone(), config.region.clone(), config.labels.clone(), epoch);
    let is_json = config.stdout == OutputFormat::Json;
    let sinks: &[SinkSpec] = if is_json { &[SinkSpec::Stdout] } else { &[] };
    let masker = Masker::new(config.privacy.clone())
        .map_err(|why| Exit::failed(format!("the key of the pseudonyms {why}")))?;
    let mut router = SinkRouter::new(delivery::open(sinks, &config.open_with())?, masker, None);
    let ids: Vec<_> = rounds.iter().map(|round| recorder.export(&mut router, round)).collect();
    let alerts = Verdicts::once(Timestamp::now(), &config.rules, &services, rounds.iter().zip(ids));
    recorder.export_alerts(&mut router, &alerts, &config.rules.runbook_url);
    router.offer();
    router.flush(config.drain_timeout);
    router.close();
    if !is_json {
        print(&text(&rounds, &alerts))?;
    }
    let is_cause = |alert: &Alert| alert.condition.rule.cause().is_some();
    Ok(if alerts.iter().any(is_cause) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Measures the service of this name, else the name.
async fn measured(
    config: &Config,
    context: &Context,
    args: &ExplainArgs,
) -> Result<(Vec<Service>, Vec<Round>), Exit> {
    let configured = config.services.iter().find(|service| *service.name == *args.name);
    if let Some(service) = configured {
        let services = vec![service.clone()];
        let rounds = measure_services(context, &services).await;
        return Ok((services, rounds));
    }
    if args.name.parse::<IpAddr>().is_ok() || args.name.contains("://") {
        let why = format!("{} is no name of DNS: give one such as shop.example.com", args.name);
        return Err(Exit::usage(why));
    }
    let name = args.name.parse::<crate::config::DnsName>();
    let name: Name = name.map_err(|why| Exit::usage(why.to_string()))?.0;
    let mut ad_hoc: AdHoc = config.ad_hoc.clone();
    for resolver in &args.resolver {
        ad_hoc.add_resolver(&resolver.named());
    }
    let contact = args.contact.unwrap_or(Contact::Public);
    let (service, rounds) = measure_name(context, &ad_hoc, &name, contact).await?;
    Ok((vec![service], rounds))
}

/// Table of the measurements, and the verdict.
fn text(rounds: &[Round], alerts: &[Alert]) -> String {
    let color = wants_color(&std::io::stdout());
    let found = || rounds.iter().flat_map(|round| &round.found);
    let verdict = if alerts.is_empty() {
        let (all, failed) = (found().count(), found().filter(|fields| !fields.ok).count());
        match failed {
            0 => format!("No fault found in {all} measurements.\n"),
            _ => format!("No cause found; {failed} of {all} measurements failed.\n"),
        }
    } else {
        verdict::render(alerts, color)
    };
    // Nameservers that may not be contacted are left out, as hosts are.
    let is_shown = |round: &&Round| {
        let is_public =
            |kind: &TargetKind| matches!(kind, TargetKind::Authority(zone) if zone.public_only);
        round.skipped.is_none() || !is_public(&round.target.kind)
    };
    format!("{}\n{verdict}", table::render(rounds.iter().filter(is_shown), color))
}
