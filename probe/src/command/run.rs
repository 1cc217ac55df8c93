//! `dnscribe-probe run`: measures every target when it is due, or once.

mod endpoint;
mod engine;
mod on_demand;
mod once;
mod pipeline;
mod reload;

use crate::cli::RunArgs;
use crate::config::Config;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::service;
use dnscribe_config::log;
use dnscribe_config::value::RecordOutput;
use engine::Engine;
use std::process::ExitCode;

/// Runs the command.
pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Exit> {
    let sources = args.common.sources(args.output);
    let config = Config::load(&sources)?;
    log::start(config.log);
    service::allow_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Exit::failed(format!("cannot start: {error}")))?;
    let code = runtime.block_on(async {
        if args.once {
            // The table is for people, wherever it goes; records are asked for by `-o json`.
            let is_json = matches!(args.output, Some(RecordOutput::Json | RecordOutput::Ecs));
            return once::run(config, !is_json).await;
        }
        let engine = Engine::start(config, sources)?;
        Box::pin(engine.until_the_end()).await.map(|()| ExitCode::SUCCESS)
    });
    // Tasks that wait for a name of the system's resolver cannot be interrupted.
    runtime.shutdown_background();
    code
}
