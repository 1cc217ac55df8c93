//! The commands. Each takes its arguments and returns an exit code, or an [`Exit`].

mod demo;
mod erase;

use crate::access::Access;
use crate::api::Service;
use crate::cli::{
    Cli, Command, ComputeArgs, ExportArgs, ExportFormat, ImportArgs, OutputFormat, PullArgs,
    ReconcileArgs, SampleArgs, ServeArgs,
};
use crate::compute;
use crate::dictionary::Dictionary;
use crate::engine::Engine;
use crate::error::KpiError;
use crate::import::again::{self, Again};
use crate::import::{self, Imported, undo};
use crate::input;
use crate::mapping::Mapping;
use crate::privacy::Policy;
use crate::pull::Puller;
use crate::pull::http::{download, without_secrets};
use crate::query::{self, Dialect};
use crate::reconcile::{self, Extent, Report, Tolerance};
use crate::rows::{Columns, text};
use crate::sample::{self, Plan};
use crate::sources::{Source, Sources};
use crate::store::{State, Store};
use crate::values::{Detail, Values};
use crate::{export, kafka, reference, removal, report, server, topic};
use clap::CommandFactory as _;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::{pages, print};
use dnscribe_config::log::{self, LogConfig};
use dnscribe_config::value::{LogFormat, LogLevel};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Store where neither `--data` nor a service manager names one.
const STATE_DIRECTORY: &str = "/var/lib/dnscribe-kpi";

/// Executes the command line.
///
/// # Errors
/// Message, remedy and exit code of the failure.
pub fn execute(cli: &Cli) -> Result<ExitCode, Exit> {
    start_log(cli.verbose);
    match &cli.command {
        Command::Schema(args) => return pages::schema(args).map(done),
        Command::Completions(args) => return pages::completions(args, Cli::command()).map(done),
        Command::Man(args) => return pages::man(args, Cli::command()).map(done),
        Command::Sample(args) => return sample(args).map(done),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::failed(format!("cannot start threads: {error}")))?;
    runtime.block_on(run(cli))
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LogLevel::Info,
        1 => LogLevel::Debug,
        _ => LogLevel::Trace,
    };
    log::start(LogConfig { format: LogFormat::Text, level });
}

async fn run(cli: &Cli) -> Result<ExitCode, Exit> {
    let dictionary = || Dictionary::load(cli.dictionary.as_deref());
    let sources = || cli.config.as_deref().map_or_else(|| Ok(Sources::default()), Sources::read);
    match &cli.command {
        Command::Import(args) => {
            let sources = sources()?;
            import(&tidied(cli, &sources).await?, &sources, args).await
        }
        Command::Pull(args) => {
            let sources = sources()?;
            pull(&tidied(cli, &sources).await?, &sources, args).await
        }
        Command::Erase(args) => {
            erase::erase(&tidied(cli, &sources()?).await?, args).await.map(done)
        }
        Command::Rejected(args) => rejected(&open(cli)?, args.output).await.map(done),
        Command::Compute(args) => {
            let sources = sources()?;
            let store = tidied(cli, &sources).await?;
            compute(&store, &dictionary()?, &sources, args).await.map(done)
        }
        Command::Serve(args) => serve(cli, dictionary()?, args).await.map(done),
        Command::Demo(args) => demo::demo(cli, dictionary()?, args).await.map(done),
        Command::Reconcile(args) => reconcile(&open(cli)?, &dictionary()?, args).await,
        Command::Check(args) => check(&dictionary()?, &sources()?, args.output).await,
        Command::Report(args) => {
            let store = open(cli)?;
            let values = Values::load(&store, &store.state().await?, Detail::default()).await?;
            let html = report::html(&dictionary()?, &values)?;
            write(args.file.as_deref(), &html).map(done)
        }
        Command::Export(args) => export(cli, &dictionary()?, args).await.map(done),
        Command::Sample(_) | Command::Schema(_) | Command::Completions(_) | Command::Man(_) => {
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn open(cli: &Cli) -> Result<Store, KpiError> {
    let given = cli.data.clone().or_else(|| std::env::var("STATE_DIRECTORY").ok());
    Store::open(given.as_deref().unwrap_or(STATE_DIRECTORY))
}

/// Opens the store, and removes what is to be removed: what an interrupted command has left, and old rows as they came.
async fn tidied(cli: &Cli, sources: &Sources) -> Result<Store, KpiError> {
    let store = open(cli)?;
    if let Err(error) = removal::end_interrupted(&store).await {
        // Where the store cannot be read at all, that is all that is known.
        store.state().await?;
        tracing::error!("erased data may still be there, the next command tries again: {error}");
    }
    if let Err(error) = removal::expire(&store, sources.raw_days()).await {
        tracing::error!(
            "old rows are still kept as they came, the next command tries again: {error}"
        );
    }
    Ok(store)
}

/// Writes a file, or standard output.
fn write(file: Option<&Path>, text: &str) -> Result<(), Exit> {
    match file {
        None => print(text),
        Some(file) => std::fs::write(file, text)
            .map_err(|error| Exit::failed(format!("cannot write {}: {error}", file.display()))),
    }
}

async fn import(store: &Store, sources: &Sources, args: &ImportArgs) -> Result<ExitCode, Exit> {
    let policy = args.policy.as_deref().map(Policy::read).transpose()?.unwrap_or_default();
    let mapping = args.map.as_deref().map(Mapping::read).transpose()?;
    if let (Some(earlier), Some(reason)) = (&args.undo, &args.reason) {
        let undone = undo::undo(store, earlier, mapping.as_ref(), reason).await?;
        let (name, rows) = (&undone.name, undone.accepted);
        let topic = if undone.offsets.is_empty() {
            ""
        } else {
            "the topic's messages are read again only with --from-beginning\n"
        };
        return print(&format!(
            "{name}: {rows} rows taken back; `compute` counts without them\n{topic}"
        ))
        .map(done);
    }
    if let (Some(earlier), Some(reason)) = (&args.again, &args.reason) {
        let kept = (&policy, sources);
        let again = again::again(store, earlier, mapping.as_ref(), kept, reason).await?;
        print(&again_text(&again, args.output))?;
        if let Some(fewer) = again.before.checked_sub(again.commit.accepted).filter(|one| *one > 0)
        {
            tracing::warn!(
                "{}: {fewer} rows fewer are accepted than before: `dnscribe-kpi rejected` has the reason of each",
                again.commit.name
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let replaces = match &args.replaces {
        Some(earlier) => {
            let state = store.state().await?;
            Some(undo::find(&state, earlier, mapping.as_ref(), "--replaces")?.sha256)
        }
        None => None,
    };
    let kafka = (!args.brokers.is_empty()).then(|| kafka::config(&args.brokers)).transpose()?;
    if let (Some(topic), Some(kafka)) = (&args.topic, &kafka) {
        let text =
            match topic::import_topic(store, kafka, topic, &policy, sources, args.from_beginning)
                .await?
            {
                Some(imported) => import_text(topic, &imported, args.output),
                None => format!("{topic}: no new messages\n"),
            };
        print(&text)?;
    }
    let mut code = ExitCode::SUCCESS;
    for path in &args.files {
        let is_stdin = path == Path::new("-");
        let spooled = is_stdin.then(|| input::spooled(std::io::stdin())).transpose()?;
        let file = spooled.as_ref().map_or(path.as_path(), |file| file.path());
        let name = path.file_name().map_or("stdin".into(), |name| name.to_string_lossy());
        let name = if is_stdin { "stdin" } else { &*name };
        let request = import::Request {
            source: args.source.as_deref().unwrap_or(name),
            is_named: args.source.is_some(),
            mapping: mapping.as_ref(),
            dimension: args.dimension,
            replaces: replaces.clone(),
            dead_letters: kafka.as_ref(),
            ..import::Request::new(name, &policy, sources)
        };
        let imported = import::import(store, file, &request).await;
        let imported =
            imported.map_err(|error| if is_stdin { error.renamed(file, name) } else { error })?;
        let shown = path.display().to_string();
        print(&import_text(&shown, &imported, args.output))?;
        if let Some(problem) = import_problem(&imported, args) {
            tracing::warn!("{shown}: {problem}");
            code = ExitCode::FAILURE;
        }
    }
    if let (Some(day), Some(source)) = (args.complete, &args.source) {
        import::complete(store, sources, source, day).await?;
        if args.output == OutputFormat::Text {
            print(&format!("{source}: {day} is complete; `compute` takes it into account\n"))?;
        }
    }
    Ok(code)
}

/// Why a file does not count as it was meant to, and what to do.
fn import_problem(imported: &Imported, args: &ImportArgs) -> Option<String> {
    const REMEDY: &str = "`dnscribe-kpi rejected` has the reason of each";
    match imported {
        Imported::Already(commit) => {
            let wanted = args.source.as_ref().filter(|wanted| **wanted != commit.source)?;
            let earlier = &commit.source;
            Some(format!(
                "its rows are those of source {earlier}, not {wanted}: take them back with \
                 `import --undo {} --reason TEXT`, and import the file again",
                commit.sha256
            ))
        }
        Imported::Added(commit) if commit.rows > 0 && commit.accepted + commit.skipped == 0 => {
            Some(format!("no row was accepted: {REMEDY}"))
        }
        // A row of a table is of no day that could be marked.
        Imported::Added(commit) if args.dimension.is_some() && !commit.rejected.is_empty() => {
            let rejected: u64 = commit.rejected.values().sum();
            Some(format!(
                "{rejected} rows of the table were refused, and slices lack them: {REMEDY}"
            ))
        }
        Imported::Added(_) => None,
    }
}

/// Pulls sources. One that cannot be read does not keep the others away.
async fn pull(store: &Store, sources: &Sources, args: &PullArgs) -> Result<ExitCode, Exit> {
    let has = |source: &Source| args.names.is_empty() || args.names.contains(&source.name);
    let pulled = sources.iter().filter_map(|source| Some((source, source.pull.as_ref()?)));
    let pulled: Vec<_> = pulled.filter(|(source, _)| has(source)).collect();
    let is_missing = |name: &&String| !pulled.iter().any(|(source, _)| source.name == **name);
    if let Some(name) = args.names.iter().find(is_missing) {
        return Err(Exit::usage(format!("{name}: no source of this name has `pull`"))
            .with_remedy("give --config with its declaration"));
    }
    if pulled.is_empty() {
        return print("no source is declared with `pull`: nothing to fetch\n").map(done);
    }
    let policy = args.policy.as_deref().map(Policy::read).transpose()?.unwrap_or_default();
    let kafka = (!args.brokers.is_empty()).then(|| kafka::config(&args.brokers)).transpose()?;
    let is_restart = args.from_beginning;
    let dead_letters = kafka.as_ref();
    let puller = Puller { store, sources, policy: &policy, dead_letters, is_restart };
    let mut code = ExitCode::SUCCESS;
    for (source, pull) in pulled {
        let (mut has_new, mut printed) = (false, Ok(()));
        let mut each = |name: &str, imported: &Imported| {
            has_new = true;
            let result = print(&import_text(name, imported, args.output));
            printed = std::mem::replace(&mut printed, Ok(())).and(result);
        };
        let result = puller.pull(source, pull, &mut each).await;
        printed?;
        if !has_new && result.is_ok() && args.output == OutputFormat::Text {
            print(&format!("{}: nothing new\n", source.name))?;
        }
        if let Err(error) = result {
            tracing::error!("{}: {error}", source.name);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn again_text(again: &Again, output: OutputFormat) -> String {
    let Again { commit, is_changed, read, kept, .. } = again;
    let name = &commit.name;
    if output == OutputFormat::Json {
        let line = json!({
            "file": name, "source": commit.source, "sha256": commit.sha256, "changed": is_changed, "read": read,
            "kept": kept, "accepted": commit.accepted, "rejected": commit.rejected,
        });
        return format!("{line}\n");
    }
    let rejected: u64 = commit.rejected.values().sum();
    let result = if *is_changed {
        format!("{} accepted, {rejected} rejected; `compute` counts them", commit.accepted)
    } else {
        "nothing changed".to_owned()
    };
    let kept = match kept {
        0 => String::new(),
        _ => format!(", {kept} stay that can no more be read as they came"),
    };
    format!("{name}: {read} rows read again{kept}: {result}\n")
}

fn import_text(name: &str, imported: &Imported, output: OutputFormat) -> String {
    let (is_new, commit) = match imported {
        Imported::Added(commit) => (true, commit),
        Imported::Already(commit) => (false, commit),
    };
    let rejected: u64 = commit.rejected.values().sum();
    if output == OutputFormat::Json {
        let line = json!({
            "file": name, "source": commit.source, "sha256": commit.sha256, "new": is_new, "format": commit.format,
            "rows": commit.rows, "accepted": commit.accepted, "skipped": commit.skipped,
            "rejected": commit.rejected, "unknown_types": commit.unknown_types,
        });
        return format!("{line}\n");
    }
    if !is_new {
        return format!("{name}: imported before (source {}), nothing changed\n", commit.source);
    }
    let reasons = commit.rejected.iter().map(|(reason, count)| format!("{reason} {count}"));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    let reasons = if rejected > 0 { format!(" ({reasons})") } else { String::new() };
    let (rows, accepted) = (commit.rows, commit.accepted);
    let format = commit.format.map_or(String::new(), |format| format!(" ({})", format.name()));
    let mut page =
        format!("{name}{format}: {rows} rows, {accepted} accepted, {rejected} rejected{reasons}\n");
    if !commit.unknown_types.is_empty() {
        let types = commit.unknown_types.iter().map(|(kind, count)| format!("{kind} {count}"));
        let types = types.collect::<Vec<_>>().join(", ");
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{name}: no KPI counts events of these types: {types}");
    }
    page
}

async fn rejected(store: &Store, output: OutputFormat) -> Result<(), Exit> {
    let state = store.state().await?;
    let engine = Engine::open(store, &state).await?;
    let sql = "SELECT source, source_sha256, source_line, reason, detail, raw FROM rejected_raw ORDER BY 1, 2, 3";
    for batch in engine.query("rejected rows", sql).await? {
        let columns = Columns(&batch);
        let (sources, lines) = (columns.texts("source")?, columns.integers("source_line")?);
        let (reasons, details) = (columns.texts("reason")?, columns.texts("detail")?);
        let (raws, files) = (columns.texts("raw")?, columns.texts("source_sha256")?);
        let mut page = String::new();
        for row in 0..batch.num_rows() {
            let get = |array| text(array, row).unwrap_or_default();
            let (line, source, sha256) = (lines.value(row), get(&sources), get(&files));
            let name = state.imports.get(sha256).map_or(source, |(_, _, import)| &import.name);
            // Writing to a string cannot fail.
            let _ = if output == OutputFormat::Json {
                let value = json!({ "source": source, "file": name, "sha256": sha256, "line": line,
                    "reason": get(&reasons), "detail": get(&details), "raw": get(&raws) });
                writeln!(page, "{value}")
            } else {
                let source = if source == name { String::new() } else { format!("{source}: ") };
                let (reason, detail) = (get(&reasons), get(&details));
                writeln!(page, "{source}{name}, line {line}: {reason}: {detail}")
            };
        }
        print(&page)?;
    }
    Ok(())
}

async fn compute(
    store: &Store,
    dictionary: &Dictionary,
    sources: &Sources,
    args: &ComputeArgs,
) -> Result<(), Exit> {
    if let (Some(day), Some(reason)) = (args.reopen, &args.reason) {
        compute::reopen(store, sources, day, reason).await?;
    }
    let day = args.date.or(args.reopen);
    let request = compute::Request {
        from: day.or(args.from),
        to: day.or(args.to),
        is_final: args.is_final,
        from_all: args.all,
        memory: args.memory,
    };
    let outcome = compute::compute(store, dictionary, sources, request).await?;
    let Some((from, to, days)) = outcome.days else {
        return print("no facts: nothing to compute\n");
    };
    if args.output == OutputFormat::Json {
        let (read, facts) = outcome.facts;
        let line = json!({ "from": from, "to": to, "days": days, "facts": facts, "facts_read": read,
            "changed": outcome.changed,
            "finalised": outcome.finalised, "finished": outcome.finished, "incomplete": outcome.incomplete,
            "are_sources_declared": sources.are_declared() });
        return print(&format!("{line}\n"));
    }
    let incomplete = outcome.incomplete.len();
    let note = if sources.are_declared() {
        ""
    } else {
        "no sources are declared (--config): KPIs count without what has never come\n"
    };
    let compute::Outcome { changed, finalised, finished, facts: (read, facts), .. } = outcome;
    let frozen = if args.is_final {
        format!("{finalised} values became final; all values of {finished} days are\n")
    } else {
        String::new()
    };
    print(&format!(
        "{from} to {to}: {days} days, {changed} changed, {incomplete} incomplete; {read} of {facts} facts read\n{frozen}{note}"
    ))
}

async fn serve(cli: &Cli, dictionary: Dictionary, args: &ServeArgs) -> Result<(), Exit> {
    let is_loopback = args.listen.ip().is_loopback();
    let access = match (&args.tokens, args.no_auth) {
        (Some(tokens), _) => Access::read(tokens)?,
        (None, true) if is_loopback => Access::open(),
        (None, true) => {
            return Err(Exit::usage(format!(
                "--no-auth on {}: not a loopback address",
                args.listen
            ))
            .with_remedy("give --tokens FILE, or listen on 127.0.0.1"));
        }
        (None, false) => {
            return Err(Exit::usage("requests need tokens")
                .with_remedy("give --tokens FILE, or --no-auth on a loopback address"));
        }
    };
    dnscribe_cli::service::allow_open_files();
    let tls = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    if !is_loopback && tls.is_none() && !args.behind_proxy {
        return Err(Exit::usage(format!(
            "{} without TLS: tokens could be read on the way",
            args.listen
        ))
        .with_remedy("give --tls-cert and --tls-key, or --behind-proxy"));
    }
    let detail = Detail { time_zones: args.time_zones.clone(), days: args.parts };
    let service = Arc::new(Service::open(open(cli)?, dictionary, access, detail).await?);
    server::serve(service, args.listen, tls, stopped()?).await.map_err(Exit::from)
}

/// Returns when the process is asked to end.
fn stopped() -> Result<impl Future<Output = ()>, Exit> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| Exit::failed(error.to_string()))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            // Without a handler the signal ends the process at once.
            _ = tokio::signal::ctrl_c() => {}
        }
    })
}

async fn reconcile(
    store: &Store,
    dictionary: &Dictionary,
    args: &ReconcileArgs,
) -> Result<ExitCode, Exit> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(Exit::usage(format!("from {from} is after to {to}"))
            .with_remedy("give the first day as --from, and the last one as --to"));
    }
    let tolerance = Tolerance { absolute: args.tolerance, ratio: args.tolerance_ratio };
    let is_url = args.against.starts_with("http://") || args.against.starts_with("https://");
    let fetched = is_url.then(|| download(&args.against)).transpose()?;
    let file =
        fetched.as_ref().map_or_else(|| PathBuf::from(&args.against), |file| file.path().into());
    let extent =
        Extent { from: args.from, to: args.to, names: args.names.iter().cloned().collect() };
    let policy = args.policy.as_deref().map(Policy::read).transpose()?.unwrap_or_default();
    let report = reconcile::reconcile(store, dictionary, &file, &policy, tolerance, extent).await;
    let report = report.map_err(|error| {
        if is_url { error.renamed(&file, &without_secrets(&args.against)) } else { error }
    })?;
    if !args.brokers.is_empty() {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = if is_url { Some(without_secrets(&args.against)) } else { name };
        let source = args.source.clone().or(name).unwrap_or_default();
        let kafka = kafka::config(&args.brokers)?;
        reconcile::alert::send(store, &kafka, &source, &report, tolerance).await?;
    }
    if args.output == OutputFormat::Json {
        print(&format!("{}\n", json!(report)))?;
    } else {
        print(&reconciliation_text(&report))?;
    }
    Ok(if report.within_tolerance { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn reconciliation_text(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    for difference in &report.differences {
        let _ = writeln!(page, "{difference}");
    }
    for line in report.unreadable_lines() {
        let _ = writeln!(page, "{line}");
    }
    let Report { compared, not_compared, differences, extent, unreadable, .. } = report;
    let verdict = match (report.within_tolerance, not_compared) {
        (true, _) => "ok".to_owned(),
        (false, 1..) if differences.is_empty() && unreadable.is_empty() => format!(
            "agrees as far as it goes: {not_compared} of ours not compared: say by --from, --to and --has what the export must have"
        ),
        (false, _) if extent.names.is_empty() => {
            "no row could be read, so nothing is known".to_owned()
        }
        (false, _) => "beyond the tolerance".to_owned(),
    };
    let names = extent.names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { names } else { names + ": " };
    let days = extent.from.zip(extent.to).map(|(from, to)| format!("{from} to {to}, "));
    let _ = writeln!(
        page,
        "{}{names}{compared} compared, {} differences: {verdict}",
        days.unwrap_or_default(),
        differences.len()
    );
    page
}

async fn check(
    dictionary: &Dictionary,
    sources: &Sources,
    output: OutputFormat,
) -> Result<ExitCode, Exit> {
    let engine = Engine::empty().await?;
    let day = jiff::civil::date(2026, 1, 1);
    let mut problems = Vec::new();
    for measure in &dictionary.measures {
        let sql = query::measure(dictionary, measure, (day, day), Dialect::DataFusion)?;
        if let Err(error) = engine.plan(&format!("measure {}", measure.name), &sql).await {
            problems.push(error.to_string());
        }
    }
    // Types that no declared source delivers: their KPIs stay incomplete.
    let undelivered = |kpi| -> Vec<&str> {
        let types = dictionary.event_types(kpi).into_iter();
        let is_missing = |kind: &&str| !sources.iter().any(|source| source.delivers(kind));
        types.filter(|kind| sources.are_declared() && is_missing(kind)).collect()
    };
    let kpis = dictionary.kpis.iter();
    let lineage: Vec<_> = kpis
        .map(|kpi| {
            json!({ "kpi": kpi.name, "measures": kpi.measures(), "sources": dictionary.sources(kpi),
                "dimensions": dictionary.dimensions(kpi), "event_types": dictionary.event_types(kpi),
                "undelivered": undelivered(kpi) })
        })
        .collect();
    if output == OutputFormat::Json {
        print(&format!(
            "{}\n",
            json!({ "ok": problems.is_empty(), "problems": problems, "kpis": lineage })
        ))?;
    } else {
        let mut page = String::new();
        for kpi in &dictionary.kpis {
            let schemas = dictionary.sources(kpi).into_iter().collect::<Vec<_>>().join(", ");
            // Writing to a string cannot fail.
            let _ = writeln!(page, "ok    {}  {} <- {schemas}", kpi.name, kpi.formula());
            let missing = undelivered(kpi);
            if !missing.is_empty() {
                let missing = missing.join(", ");
                let _ = writeln!(page, "note  {}: no declared source delivers {missing}", kpi.name);
            }
        }
        for problem in &problems {
            let _ = writeln!(page, "fail  {problem}");
        }
        print(&page)?;
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

async fn export(cli: &Cli, dictionary: &Dictionary, args: &ExportArgs) -> Result<(), Exit> {
    let text = match args.format {
        ExportFormat::Dbt => export::dbt(dictionary),
        ExportFormat::Ossie => export::ossie(dictionary),
        ExportFormat::Markdown => reference::markdown(dictionary),
        ExportFormat::Prometheus => export::prometheus(dictionary),
        ExportFormat::Clickhouse => {
            let store = open(cli)?;
            let state: State = store.state().await?;
            let engine = Engine::open(&store, &state).await?;
            let (chain, kinds) = (engine.correction_chain().await?, engine.kinds().await?);
            export::clickhouse(dictionary, &store, &state, (args.from, args.to), chain, &kinds)?
        }
    };
    write(args.file.as_deref(), &text)
}

fn sample(args: &SampleArgs) -> Result<(), Exit> {
    let plan = Plan {
        seed: args.seed,
        from: args.from,
        days: i32::from(args.days),
        registrations: args.registrations,
        is_hostile: args.hostile,
    };
    let fail = |error: std::io::Error| Exit::failed(format!("cannot write the sample: {error}"));
    match &args.file {
        None => sample::write(
            plan,
            args.format,
            &mut std::io::BufWriter::new(std::io::stdout().lock()),
        )?,
        Some(path) => {
            let file = std::fs::File::create(path).map_err(fail)?;
            let mut out = std::io::BufWriter::new(file);
            sample::write(plan, args.format, &mut out)?;
            std::io::Write::flush(&mut out).map_err(fail)?;
        }
    }
    Ok(())
}
