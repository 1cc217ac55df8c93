//! `run --once`: one round of every target, and a table.

use super::engine::{Rounds, Signals};
use crate::config::Config;
use crate::measure::Round;
use crate::schedule::Repeat;
use crate::table;
use crate::verdict;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log::wants_color;
use dnscribe_delivery::SinkSpec;
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Measures every target once: 1 if any failed, or could not be measured.
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
    let rounds = in_order(&config, ended);
    if is_table {
        let stdout = std::io::stdout();
        let color = wants_color(&stdout);
        print(&table::render(&rounds, color))?;
        if !alerts.is_empty() {
            print(&format!("\n{}", verdict::render(&alerts, color)))?;
        }
    }
    pipeline.close(scheduler.probing(), config.drain_timeout, false)?;
    // What was not measured may be at fault.
    let was_good = |round: &Round| round.skipped.is_none() && round.found.iter().all(|one| one.ok);
    let is_good = !is_stopped && rounds.iter().all(was_good);
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

/// Returns the rounds in the order of the configuration, service by service.
fn in_order(config: &Config, mut ended: Vec<Round>) -> Vec<Round> {
    let targets = config.services.iter().flat_map(|service| &service.targets);
    let places: HashMap<_, _> =
        targets.enumerate().map(|(place, target)| (Arc::as_ptr(target), place)).collect();
    ended.sort_by_key(|round| places.get(&Arc::as_ptr(&round.target)).copied());
    ended
}
