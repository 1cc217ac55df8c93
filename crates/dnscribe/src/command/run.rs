//! `dnscribe run`: live capture until it is stopped.

use crate::cli::RunArgs;
use dnscribe_agent::session::{Prepared, run};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::service;

/// Captures until a signal, the end of the duration, or the failure of the last sink. `settle` is called once
/// threads may start.
pub(super) fn run(args: &RunArgs, settle: fn()) -> Result<(), Exit> {
    let prepared = Prepared::new(args.sources())?;
    let wants_pods = !(args.owner.namespace.is_empty() && args.owner.pod.is_empty());
    if wants_pods && prepared.config.kubernetes.is_none() {
        return Err(Exit::usage(
            "--namespace and --pod need the names of pods, which this agent does not ask for",
        )
        .with_remedy("set kubernetes.enabled: true, and kubernetes.kubeconfig outside of a pod"));
    }
    service::allow_open_files();
    run::run(prepared, settle)
}
