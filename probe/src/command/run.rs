//! `dnscribe-probe run`: measures every target when it is due, or once.

use crate::cli::RunArgs;
use crate::config::Config;
use crate::measure::{Context, measure};
use crate::record::{Recorder, offer};
use crate::table;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log;
use dnscribe_delivery::{self as delivery, OutputFormat, SinkSpec};
use dnscribe_record::ProbeFields;
use dnscribe_record::time::Timestamp;
use futures_util::future::join_all;
use std::io::IsTerminal as _;
use std::process::ExitCode;

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Exit> {
    let config = Config::load(&args.common.sources())?;
    log::start(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Exit::failed(format!("cannot start: {error}")))?;
    runtime.block_on(once(&config, args))
}

async fn once(config: &Config, args: &RunArgs) -> Result<ExitCode, Exit> {
    let epoch = Timestamp::now();
    let context = Context::new(config.site.clone(), config.trust.clone());
    let targets: Vec<_> = config.services.iter().flat_map(|service| &service.targets).collect();
    let rounds = targets.iter().map(|target| measure(&context, target));
    let rounds = join_all(rounds).await;
    let mut recorder =
        Recorder::new(config.node.clone(), config.region.clone(), config.labels.clone(), epoch);
    let is_table =
        args.common.output.is_none_or(|output| output.stdout_format() == OutputFormat::Text)
            && config.sinks.contains(&SinkSpec::Stdout);
    let specs: Vec<_> = config
        .sinks
        .iter()
        .filter(|sink| !(is_table && **sink == SinkSpec::Stdout))
        .cloned()
        .collect();
    let mut sinks = delivery::open(&specs, &config.open_with())?;
    for round in &rounds {
        offer(&mut sinks, &recorder.batch(round));
    }
    for sink in &mut sinks {
        sink.flush(config.drain_timeout);
        sink.close();
    }
    let found: Vec<ProbeFields> = rounds.into_iter().flat_map(|round| round.found).collect();
    if is_table {
        let stdout = std::io::stdout();
        print(&table::render(
            &found,
            stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        ))?;
    }
    Ok(if found.iter().all(|fields| fields.ok) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
