//! `dnscribe policy`: network policies from the uses of connections.

use super::records;
use crate::cli::{PolicyCheckArgs, PolicyCommand, SuggestArgs, TopicsArgs};
use dnscribe_agent::config::Config;
use dnscribe_agent::session::signals::Signals;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::{log, yaml};
use dnscribe_delivery::{Stream, kafka};
use dnscribe_record::time::Timestamp;
use dnscribe_view::policy::{self, Destination, Policy, Refused, Uses, Verdict, WorkloadName};
use dnscribe_view::top::clean;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Refused destinations that are printed.
const SHOWN: usize = 50;

pub(super) fn policy(command: &PolicyCommand) -> Result<(), Exit> {
    match command {
        PolicyCommand::Suggest(args) => suggest(args),
        PolicyCommand::Check(args) => check(args),
    }
}

fn suggest(args: &SuggestArgs) -> Result<(), Exit> {
    let uses = read(&args.uses.records, &args.uses.topics)?;
    let selector: BTreeMap<_, _> = args.selector.iter().cloned().collect();
    if selector.len() < args.selector.len() {
        return Err(Exit::usage("--selector names a label twice"));
    }
    let selector = (!args.selector.is_empty()).then_some(&selector);
    if selector.is_some() && uses.workloads.len() > 1 {
        let names: Vec<String> =
            uses.workloads.keys().map(|name| format!("{name} ({})", name.kind)).collect();
        return Err(Exit::usage(format!(
            "--selector is for one workload, not for {}",
            names.join(", ")
        ))
        .with_remedy("choose one by --namespace and --workload, such as Deployment/web"));
    }
    let suggestion = policy::suggest(&uses, args.output, selector).map_err(|error| {
        Exit::failed(error.to_string()).with_remedy(
            "name labels of pods in kubernetes.labels of the agents, or give --selector KEY=VALUE",
        )
    })?;
    for warning in &suggestion.warnings {
        tracing::warn!("{}", clean(warning));
    }
    print(&suggestion.text)
}

fn check(args: &PolicyCheckArgs) -> Result<(), Exit> {
    let mut policies = Vec::new();
    for path in &args.policies {
        policies.extend(read_policies(path)?);
    }
    let uses = read(&args.records, &args.topics)?;
    let verdict = policy::check(&uses, &policies);
    print(&describe(&verdict, &policies))?;
    let refused = verdict.refusals();
    if refused > 0 {
        return Err(Exit::failed(format!(
            "{refused} of {} connections would be refused",
            verdict.connections
        )));
    }
    Ok(())
}

fn read_policies(path: &Path) -> Result<Vec<Policy>, Exit> {
    let refused = |problem: String| Exit::usage(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| records::unreadable(path, &error))?;
    let documents = yaml::documents(&text).map_err(|error| {
        let yaml::Place { line, column } = error.place;
        refused(format!("line {line}, column {column}: {error}"))
    })?;
    let mut policies = Vec::new();
    for document in &documents {
        policies.extend(Policy::read(document).map_err(|error| refused(error.to_string()))?);
    }
    Ok(policies)
}

fn read(files: &[PathBuf], topics: &TopicsArgs) -> Result<Uses, Exit> {
    let config = Config::load(&topics.sources())?;
    log::start(config.log);
    let signals = Signals::listen()?;
    let mut uses = Uses::default();
    let mut each = |line: &[u8]| uses.line(line);
    for path in files {
        records::lines(path, records::open(path)?, &signals, &mut each)?;
    }
    if files.is_empty() {
        let from = topics.since.map(|since| Timestamp::now().minus(since.0));
        let span = kafka::TimeSpan { from, to: None };
        let topic = config.kafka.topic(Stream::Uses).to_owned();
        records::topics([topic], span, &config.kafka, &signals, &mut each)?;
    }
    if signals.stop() {
        return Err(Exit::failed("stopped before the input was read to its end"));
    }
    if uses.unreadable.lines() > 0 {
        tracing::warn!("left out {}", uses.unreadable);
    }
    if uses.elsewhere > 0 {
        tracing::info!("{} connections are of processes outside of Kubernetes", uses.elsewhere);
    }
    if uses.masked > 0 {
        tracing::warn!(
            "left out {} connections of masked records, whose names, addresses or pods are not the real ones",
            uses.masked
        );
    }
    uses.choose(|WorkloadName { namespace, name, kind }| {
        topics.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && topics.workload.as_ref().is_none_or(|wanted| {
                wanted == name || wanted.split_once('/') == Some((&**kind, &**name))
            })
    });
    if uses.workloads.is_empty() {
        return Err(Exit::failed(format!(
            "no connection of such a workload among {} records of dns.use/1",
            uses.records
        ))
        .with_remedy(
            "agents need capture.connections and kubernetes; see --namespace and --workload",
        ));
    }
    Ok(uses)
}

fn describe(verdict: &Verdict, policies: &[Policy]) -> String {
    let Verdict { connections, allowed, undecided, refused, unselected } = verdict;
    let mut out = String::new();
    for Refused { workload, destination, count } in refused.iter().take(SHOWN) {
        let names: Vec<&str> = destination.names.iter().map(String::as_str).collect();
        let names = if names.is_empty() { "by no name".to_owned() } else { names.join(" or ") };
        let Destination { address, port, protocol, is_answered, .. } = destination;
        let note = if *is_answered { "" } else { "  nobody answered" };
        let names = clean(&names);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "refused {count:>8}  {workload}  {names}  {address} port {port}/{protocol}{note}"
        );
    }
    if refused.len() > SHOWN {
        let _ = writeln!(out, "and {} more destinations", refused.len() - SHOWN);
    }
    let names: Vec<&str> = policies.iter().map(|policy| &*policy.name).collect();
    let sum = verdict.refusals();
    let _ = writeln!(
        out,
        "{}: {allowed} of {connections} connections allowed, {sum} refused, {undecided} undecided; {unselected} of \
         workloads that no policy selects",
        names.join(", ")
    );
    out
}
