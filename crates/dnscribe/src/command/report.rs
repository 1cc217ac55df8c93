//! `dnscribe report`: what happened, as one HTML file.

use super::records;
use super::stores::{self, Store};
use super::top::names;
use crate::cli::ReportArgs;
use dnscribe_agent::config::Config;
use dnscribe_agent::pipeline::LEDGER_INTERVAL;
use dnscribe_agent::session::replay;
use dnscribe_agent::session::signals::Signals;
use dnscribe_agent::session::{Endpoint, Start};
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log;
use dnscribe_delivery::kafka;
use dnscribe_delivery::{Batch, KafkaConfig};
use dnscribe_view::report::{self, ReportModel, ReportSource, STREAMS, TimeSpan};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Name of the report's sink in the ledger.
const SINK: &str = "report";

/// Topic of changes, which are no stream of the agent.
const CHANGES: &str = "dns.changes";

/// A record may reach the brokers this long after the event: transactions wait for their timeout, windows for the
/// records of their time, and the spool for the brokers.
const DELIVERY: Duration = Duration::from_mins(15);

/// First byte of a file of records: no format of capture files begins with it.
const JSON_START: u8 = b'{';

/// Reads the input and writes the report.
pub(super) fn report(args: &ReportArgs) -> Result<(), Exit> {
    if args.output_file.is_none() && io::stdout().is_terminal() {
        return Err(Exit::usage("a report is an HTML file, and standard output is a terminal")
            .with_remedy("give a file by --output-file report.html"));
    }
    let span = args.span();
    if let (Some(from), Some(to)) = (span.from, span.to)
        && from >= to
    {
        return Err(Exit::usage(format!("the report would begin at {from}, and end before {to}"))
            .with_remedy("let --to be later than --from or --since"));
    }
    let sources = args.sources();
    let config = Config::load(&sources)?;
    log::start(config.log);
    let signals = Signals::listen()?;
    let (model, source) = if !args.store.is_empty() {
        of_stores(args, span, &signals)?
    } else if args.files.is_empty() {
        (
            of_topics(span, &config.kafka, &signals)?,
            format!("Kafka at {}", config.kafka.brokers.join(", ")),
        )
    } else {
        (of_files(args, span, config, &signals)?, names(&args.files))
    };
    if signals.stop() {
        return Err(Exit::failed("stopped before the input was read to its end"));
    }
    if model.unreadable().lines() > 0 {
        tracing::warn!("left out {}; read {} records", model.unreadable(), model.records());
    }
    let title = args.title.clone().unwrap_or_default();
    let html = report::render(&model, &ReportSource { title, source });
    match &args.output_file {
        None => print(&html),
        Some(path) => std::fs::write(path, html)
            .map_err(|error| Exit::failed(format!("cannot write {}: {error}", path.display()))),
    }
}

/// Reads stores. Returns also their names.
fn of_stores(
    args: &ReportArgs,
    span: TimeSpan,
    signals: &Signals,
) -> Result<(ReportModel, String), Exit> {
    let mut model = ReportModel::new(span);
    let mut names = Vec::new();
    for url in stores::parse(&args.store)? {
        let store = Store::connect(&url).map_err(Exit::failed)?;
        let mut take = |record: &[u8]| {
            model.line(record);
            !signals.stop()
        };
        store.records(span, &mut take).map_err(Exit::failed)?;
        names.push(store.name);
    }
    Ok((model, names.join(", ")))
}

fn of_files(
    args: &ReportArgs,
    span: TimeSpan,
    config: Config,
    signals: &Signals,
) -> Result<ReportModel, Exit> {
    let (mut of_records, mut captures) = (Vec::new(), Vec::new());
    if args.files.iter().filter(|path| *path == Path::new("-")).count() > 1 {
        return Err(Exit::usage("standard input is named twice").with_remedy("give - once"));
    }
    for path in &args.files {
        let mut input = records::open(path)?;
        let start = input.fill_buf().map_err(|error| records::unreadable(path, &error))?;
        match start.first() {
            // Opened once: it may be a pipe.
            Some(&JSON_START) => of_records.push((path, input)),
            Some(_) => captures.push(path),
            None => {}
        }
    }
    if let ([(records, _), ..], [other, ..]) = (&*of_records, &*captures) {
        return Err(Exit::usage(format!(
            "{} holds records, and {} does not",
            records.display(),
            other.display()
        ))
        .with_remedy("report records and captures apart, or make records of the captures: `dnscribe replay FILE --stream transactions,lookups,alerts,ledger -o json`"));
    }
    if captures.iter().any(|path| *path == Path::new("-")) {
        return Err(Exit::usage("a capture file on standard input cannot be reported")
            .with_remedy("name the file, or pipe records: `dnscribe replay - --stream transactions,lookups,alerts,ledger -o json | dnscribe report -`"));
    }
    if !captures.is_empty() {
        return of_captures(args, span, config, signals);
    }
    let mut model = ReportModel::new(span);
    let mut each = |line: &[u8]| model.line(line);
    for (path, input) in of_records {
        records::lines(path, input, signals, &mut each)?;
    }
    if model.records() == 0 && model.unreadable().lines() > 0 {
        let (name, unreadable) = (names(&args.files), model.unreadable());
        return Err(Exit::usage(format!("{name} holds no records to show, only {unreadable}"))
            .with_remedy("give files of `dnscribe run -o json`, or capture files"));
    }
    Ok(model)
}

/// Runs the pipeline of `replay` with the report as its only sink.
fn of_captures(
    args: &ReportArgs,
    span: TimeSpan,
    config: Config,
    signals: &Signals,
) -> Result<ReportModel, Exit> {
    let model = Arc::new(Mutex::new(ReportModel::new(span)));
    let shared = Arc::clone(&model);
    let take = move |batch: &Batch| {
        shared.lock().unwrap_or_else(PoisonError::into_inner).observe(batch);
    };
    let start = Start {
        sources: args.sources(),
        config,
        signals: signals.clone(),
        endpoint: Endpoint::default(),
        sinks: vec![dnscribe_delivery::observer(SINK, STREAMS.into_iter().collect(), take)?],
        ledger_every: LEDGER_INTERVAL,
        max_sleep: LEDGER_INTERVAL,
        summary: false,
        scope: None,
    };
    replay::files(&args.files, start, None)?;
    let mut model = model.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::replace(&mut *model, ReportModel::new(span)))
}

/// Reads the topics of all nodes.
fn of_topics(
    report: TimeSpan,
    config: &KafkaConfig,
    signals: &Signals,
) -> Result<ReportModel, Exit> {
    let span = kafka::TimeSpan {
        from: report.from.map(|from| from.minus(DELIVERY)),
        to: report.to.map(|to| to.plus(DELIVERY)),
    };
    let mut model = ReportModel::new(report);
    let topics = STREAMS.map(|stream| config.topic(stream).to_owned());
    let topics = topics.into_iter().chain([CHANGES.to_owned()]);
    records::topics(topics, span, config, signals, &mut |record| model.line(record))?;
    Ok(model)
}
