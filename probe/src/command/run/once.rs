//! `run --once`: one round of every target, and a table.

use super::engine::{Rounds, Signals};
use crate::config::Config;
use crate::measure::{Round, Skip};
use crate::schedule::Repeat;
use crate::table;
use crate::verdict;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log::wants_color;
use dnscribe_delivery::SinkSpec;
use dnscribe_record::ProbeFields;
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Measures every target once: 1 if any failed.
pub(super) async fn run(config: Config, is_table: bool) -> Result<ExitCode, Exit> {
    if config.services.iter().all(|service| service.targets.is_empty()) {
        return Err(Exit::usage(
            "there is no target to measure: give services in the configuration",
        ));
    }
    // The table replaces the records on stdout.
    let is_table = is_table && config.sinks.contains(&SinkSpec::Stdout);
    let is_shown = |sink: &&SinkSpec| !(is_table && **sink == SinkSpec::Stdout);
    let sinks: Vec<_> = config.sinks.iter().filter(is_shown).cloned().collect();
    let mut signals = Signals::listen()?;
    let mut rounds = Rounds::new(&config, &sinks, Repeat::Once)?;
    let mut ended = Vec::new();
    let is_stopped = tokio::select! {
        () = all(&mut rounds, &mut ended) => false,
        () = signals.stop() => true,
    };
    if is_stopped {
        rounds.stop(Duration::ZERO).await;
    }
    let Rounds { scheduler, mut pipeline, .. } = rounds;
    let alerts = pipeline.judge();
    let is_measured = ended.iter().all(|round| round.skipped != Some(Skip::OpenFiles));
    let found = in_order(&config, ended);
    if is_table {
        let stdout = std::io::stdout();
        let color = wants_color(&stdout);
        print(&table::render(&found, color))?;
        if !alerts.is_empty() {
            print(&format!("\n{}", verdict::render(&alerts, color)))?;
        }
    }
    pipeline.close(scheduler.probing(), config.drain_timeout, false)?;
    let is_good = !is_stopped && is_measured && found.iter().all(|fields| fields.ok);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Runs all rounds to their end.
async fn all(rounds: &mut Rounds, ended: &mut Vec<Round>) {
    rounds.begin();
    while !rounds.scheduler.is_done() {
        ended.extend(rounds.next().await);
        rounds.begin();
        rounds.pipeline.router.offer();
    }
}

/// Returns the measurements in the order of the configuration, service by service.
fn in_order(config: &Config, mut ended: Vec<Round>) -> Vec<ProbeFields> {
    let targets = config.services.iter().flat_map(|service| &service.targets);
    let places: HashMap<_, _> =
        targets.enumerate().map(|(place, target)| (Arc::as_ptr(target), place)).collect();
    ended.sort_by_key(|round| places.get(&Arc::as_ptr(&round.target)).copied());
    ended.into_iter().flat_map(|round| round.found).collect()
}
