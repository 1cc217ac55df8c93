//! `dnscribe ledger verify`: checks whether the balance closes.

use super::records;
use super::stores::{self, Store, StoreUrl};
use crate::cli::VerifyArgs;
use dnscribe_agent::config::Config;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::input::decompressed;
use dnscribe_cli::print;
use dnscribe_config::log;
use dnscribe_config::log::LogConfig;
use dnscribe_config::value::{LogFormat, LogLevel, Output};
use dnscribe_delivery::kafka::{self, TimeSpan};
use dnscribe_delivery::{KafkaConfig, Stream};
use dnscribe_verify::{
    BalanceReport, Bounds, DEFAULT_MEMORY_BYTES, Findings, SortOptions, StoreLine, StreamLedgers,
    TempError, TopicCounter, TopicTotals, Verifier, is_of_job, read_ndjson,
};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Interval of progress lines.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Number of records between two checks of the clock.
const CHECK_RECORDS: u64 = 4096;

/// Reads the records back and prints the balance. Fails where it does not close.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Exit> {
    let temp = args.temp.clone().unwrap_or_else(std::env::temp_dir);
    if !temp.is_dir() {
        let problem = format!("{} is no folder for temporary files", temp.display());
        return Err(Exit::usage(problem).with_remedy("give one that is there: --temp DIR"));
    }
    let mut verifier =
        Verifier::new(SortOptions { temp_folder: temp, memory_bytes: DEFAULT_MEMORY_BYTES });
    let mut progress = Progress::start();
    let mut jobs = None;
    let sink = if args.files.is_empty() {
        jobs = read_topics(&mut verifier, &mut progress, args)?;
        Some(args.sink.as_deref().unwrap_or("kafka"))
    } else {
        log::start(LogConfig { format: LogFormat::Text, level: LogLevel::Info });
        for path in &args.files {
            read_file(&mut verifier, &mut progress, path)?;
        }
        args.sink.as_deref()
    };
    let mut result = Ok(());
    let report = verifier
        .report_with(sink, |report| {
            if let Some(jobs) = jobs {
                result = jobs.compare(report);
            }
        })
        .map_err(|error| Exit::failed(error.to_string()).with_remedy(TempError::REMEDY))?;
    result.map_err(Exit::failed)?;
    match args.output {
        Some(Output::Json) => print(&format!("{}\n", report.to_json()))?,
        _ => print(&report.to_string())?,
    }
    if report.closes() { Ok(()) } else { Err(Exit::failed("the balance does not close")) }
}

fn read_topics(
    verifier: &mut Verifier,
    progress: &mut Progress,
    args: &VerifyArgs,
) -> Result<Option<JobBalance>, Exit> {
    let config = Config::load(&args.sources())?;
    if config.kafka.brokers.is_empty() {
        let problem = "there is neither a file nor a broker to read from";
        return Err(Exit::usage(problem).with_remedy("name a FILE, --brokers or kafka.brokers"));
    }
    log::start(config.log);
    records::connecting(&config.kafka);
    let stores = stores::parse(&args.store)?;
    let jobs = JobBalance::read(&config, &stores, verifier).map_err(Exit::failed)?;
    let mut jobs = jobs;
    let gaps = kafka::read_back(&config.kafka, &mut |record, event_id, position| {
        progress.step(position);
        if let Some(jobs) = &mut jobs {
            jobs.ledgers.count(position.topic, position.partition, position.offset);
        }
        verifier.set_written(position.written);
        verifier.add_record(record, event_id, position)
    })
    .map_err(Exit::failed)?;
    for gap in gaps {
        if let Some(jobs) = &mut jobs {
            jobs.gaps.insert(gap.stream);
        }
        verifier.add_gap(gap.stream, gap.what);
    }
    Ok(jobs)
}

/// Topics of stream jobs, after `kafka.topic_prefix`.
const STREAM_LEDGER: &str = "dns.stream.ledger";
const FLEET_TOPIC: &str = "dns.fleet";

/// What stream jobs and stores say, for identities 6 and 7.
struct JobBalance {
    ledgers: StreamLedgers,
    /// Ledgers of the jobs after `outputs` were counted.
    later: StreamLedgers,
    outputs: Vec<OutputTopic>,
    /// Problems found while reading.
    problems: Vec<String>,
    kafka: KafkaConfig,
    tables: Vec<Table>,
    /// Streams of which records are gone.
    gaps: BTreeSet<Stream>,
    stores: Vec<Store>,
}

/// A topic that jobs write.
struct OutputTopic {
    name: String,
    /// Records of jobs.
    found: u64,
    /// Whether records of it or of the ledgers are gone.
    has_gaps: bool,
}

/// A table of a store and the topic that feeds it.
struct Table {
    /// Index of the store.
    store: usize,
    name: &'static str,
    topic: String,
    /// Stream of agents in the topic, if its records are counted with the others.
    stream: Option<Stream>,
    /// Records of the topic, if they are counted on their own.
    totals: TopicTotals,
    bounds: Bounds,
}

impl JobBalance {
    /// Reads the ledgers of stream jobs, and the topics that only jobs and operators write; connects to
    /// the stores. None if there is no topic of stream ledgers and no store.
    fn read(
        config: &Config,
        stores: &[StoreUrl],
        verifier: &mut Verifier,
    ) -> Result<Option<Self>, String> {
        let kafka = config.kafka.clone();
        let name = |topic: &str| format!("{}{topic}", kafka.topic_prefix);
        let topics = kafka::topic_names(&kafka)?;
        let ledger_topic = name(STREAM_LEDGER);
        if !topics.contains(&ledger_topic) {
            if stores.is_empty() {
                return Ok(None);
            }
            return Err(format!("there is no topic {ledger_topic}: stores cannot be compared"));
        }
        let mut problems = Vec::new();
        let (mut ledgers, has_gaps) = read_ledgers(&kafka, &ledger_topic, &mut problems)?;
        let mut outputs = Vec::new();
        let written: Vec<String> = ledgers.outputs().into_iter().map(str::to_owned).collect();
        for topic in written.iter().filter(|output| topics.contains(*output)) {
            // Those of agents' streams are counted with the streams.
            let is_of_stream = Stream::ALL.iter().any(|stream| kafka.topic(*stream) == topic);
            let ledgers = (!is_of_stream).then_some(&mut ledgers);
            outputs.push(OutputTopic::count(&kafka, topic, has_gaps, ledgers)?);
        }
        let (later, _) = read_ledgers(&kafka, &ledger_topic, &mut Vec::new())?;
        let stores = stores.iter().map(Store::connect).collect::<Result<Vec<_>, _>>()?;
        let mut tables = Vec::new();
        for (index, store) in stores.iter().enumerate() {
            for table in store.tables() {
                let sink = store.sink(table);
                if ledgers.dropped(&sink).is_none() {
                    verifier.add_note(&format_args!("{}: no job writes {table}", store.name));
                    continue;
                }
                let expired = store.cutoffs(table)?;
                let bounds = Bounds {
                    expired_by_default: store.default_cutoffs(table, &expired),
                    expired,
                    recent: ledgers.recent(&sink),
                };
                let mut found = Table {
                    store: index,
                    name: table,
                    topic: String::new(),
                    stream: None,
                    totals: TopicTotals::default(),
                    bounds: bounds.clone(),
                };
                match *table {
                    stores::TRANSACTIONS => {
                        found.stream = Some(Stream::Transactions);
                        kafka.topic(Stream::Transactions).clone_into(&mut found.topic);
                        verifier.set_bounds(bounds);
                    }
                    other => {
                        found.topic = match other {
                            stores::FLEET => name(FLEET_TOPIC),
                            "dns_alerts" => kafka.topic(Stream::Alerts).to_owned(),
                            stores::USES => kafka.topic(Stream::Uses).to_owned(),
                            "dns_lookups" => kafka.topic(Stream::Lookups).to_owned(),
                            "dns_connections" => kafka.topic(Stream::Connections).to_owned(),
                            "dns_probes" | stores::PROBE_POINTS => {
                                kafka.topic(Stream::Probes).to_owned()
                            }
                            other => name(&other.replace('_', ".")),
                        };
                        let mut counter = verifier.topic_counter();
                        (counter.bounds, counter.grouping) = (bounds, store.grouping(table));
                        let is_counted = found.is_counted_alone(&kafka).then_some(&mut ledgers);
                        found.totals = count_topic(&kafka, &found.topic, counter, is_counted)?;
                    }
                }
                tables.push(found);
            }
        }
        let gaps = BTreeSet::new();
        Ok(Some(Self { ledgers, later, outputs, problems, kafka, tables, gaps, stores }))
    }

    /// Adds the comparisons to the report.
    fn compare(self, report: &mut BalanceReport) -> Result<(), String> {
        for problem in self.problems {
            report.problems.add(|| problem);
        }
        let streams = Stream::ALL.map(|stream| {
            (stream, self.kafka.topic(stream).to_owned(), self.gaps.contains(&stream))
        });
        let unreadable = self.tables.iter().map(|table| match table.stream {
            Some(_) => report.unreadable.get(&table.topic).map_or(0, Findings::count),
            None => table.totals.unreadable,
        });
        let unreadable: Vec<u64> = unreadable.collect();
        let totals = self.tables.iter().filter(|table| table.is_counted_alone(&self.kafka));
        let totals = totals.map(|table| (table.topic.clone(), table.totals));
        report.compare_jobs(&self.ledgers, totals.collect(), &streams);
        for OutputTopic { name, found, has_gaps } in self.outputs {
            report.compare_output(&name, found, &self.ledgers, &self.later, has_gaps);
        }
        let is_flowing = report.inputs.iter().any(|input| input.unread > 0);
        for (table, unreadable) in self.tables.iter().zip(unreadable) {
            let Some(store) = self.stores.get(table.store) else { continue };
            let (found, has_gaps) = match table.stream {
                Some(stream) => (report.total(stream), self.gaps.contains(&stream)),
                None => (table.totals.found, table.totals.has_gaps),
            };
            let until = table.bounds.recent.filter(|_| is_flowing);
            let expired = table.bounds.expired.get(&0).copied();
            let line = StoreLine {
                store: store.name.clone(),
                table: table.name.to_owned(),
                rows: store.rows(table.name, expired, until)?,
                expired: found.expired,
                dropped: self.ledgers.dropped(&store.sink(table.name)).unwrap_or_default(),
                unique: found.distinct - if is_flowing { found.recent } else { 0 },
                until,
            };
            if found.expired_by_default > 0 {
                report.notes.add(|| {
                    format!(
                        "{}, {}: {} windows count as expired by the default of timescaledb.retention: there are no \
                         rows of their steps",
                        line.store, line.table, found.expired_by_default
                    )
                });
            }
            // Those that arrived after the newest checkpoint may be among the unreadable.
            let inputs = report.inputs.iter().filter(|input| input.topic == table.topic);
            let unread = inputs.map(|input| input.unread).max().unwrap_or_default();
            let unreadable = unreadable.saturating_sub(unread);
            report.compare_rows(line, self.ledgers.left_out(&table.topic, unreadable), has_gaps);
        }
        Ok(())
    }
}

/// Reads the ledgers of stream jobs; returns also whether the oldest are gone.
fn read_ledgers(
    kafka: &KafkaConfig,
    topic: &str,
    problems: &mut Vec<String>,
) -> Result<(StreamLedgers, bool), String> {
    let mut ledgers = StreamLedgers::default();
    let mut has_gaps = false;
    kafka::read_topic(kafka, topic, TimeSpan::default(), &mut |message| {
        has_gaps |= message.is_first && message.offset > 0;
        if let Some(Err(problem)) = message.value.map(|value| ledgers.add(value)) {
            problems.push(problem);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((ledgers, has_gaps))
}

impl OutputTopic {
    /// Counts the records of jobs in a topic, for `ledgers` too if given. `has_gaps` says whether
    /// ledger records are gone.
    fn count(
        kafka: &KafkaConfig,
        name: &str,
        has_gaps: bool,
        mut ledgers: Option<&mut StreamLedgers>,
    ) -> Result<Self, String> {
        let mut topic = Self { name: name.to_owned(), found: 0, has_gaps };
        kafka::read_topic(kafka, name, TimeSpan::default(), &mut |message| {
            topic.has_gaps |= message.is_first && message.offset > 0;
            if message.value.is_some_and(is_of_job) {
                topic.found += 1;
                if let Some(ledgers) = &mut ledgers {
                    ledgers.count(name, message.partition, message.offset);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(topic)
    }
}

impl Table {
    /// Returns whether the records of its topic are compared with a job's counters by themselves. Those
    /// of agents and probes are counted with the other streams; windows are what the job itself writes.
    fn is_counted_alone(&self, kafka: &KafkaConfig) -> bool {
        let is_of_stream = Stream::ALL.iter().any(|stream| kafka.topic(*stream) == self.topic);
        self.name != stores::FLEET && !is_of_stream
    }
}

/// Counts the records of a topic, for `ledgers` too if given; none if it does not exist.
fn count_topic(
    kafka: &KafkaConfig,
    topic: &str,
    mut counter: TopicCounter,
    mut ledgers: Option<&mut StreamLedgers>,
) -> Result<TopicTotals, String> {
    let failed = |error: std::io::Error| format!("cannot use temporary files: {error}");
    if !kafka::topic_names(kafka)?.contains(topic) {
        return counter.totals(false).map_err(failed);
    }
    let mut begins_late = false;
    kafka::read_topic(kafka, topic, TimeSpan::default(), &mut |message| {
        begins_late |= message.is_first && message.offset > 0;
        if let Some(value) = message.value {
            if let Some(ledgers) = &mut ledgers {
                ledgers.count(topic, message.partition, message.offset);
            }
            counter.add(value).map_err(failed)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    counter.totals(begins_late).map_err(failed)
}

fn read_file(verifier: &mut Verifier, progress: &mut Progress, path: &Path) -> Result<(), Exit> {
    let name = path.display().to_string();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path)
            .map_err(|error| Exit::usage(format!("cannot open {name}: {error}")))?;
        Box::new(file)
    };
    decompressed(input)
        .and_then(|input| {
            let mut input = BufReader::with_capacity(1 << 20, input);
            read_ndjson(verifier, &name, &mut input, |line| {
                progress.step(&format_args!("{name}:{line}"));
            })
        })
        .map_err(|error| Exit::usage(format!("cannot read {name}: {error}")))
}

/// Logs the progress of a long reading on stderr.
struct Progress {
    begin: Instant,
    logged: Instant,
    records: u64,
}

impl Progress {
    fn start() -> Self {
        let now = Instant::now();
        Self { begin: now, logged: now, records: 0 }
    }

    fn step(&mut self, place: &dyn Display) {
        self.records += 1;
        if !self.records.is_multiple_of(CHECK_RECORDS) || self.logged.elapsed() < LOG_INTERVAL {
            return;
        }
        self.logged = Instant::now();
        let elapsed = self.begin.elapsed().as_secs().max(1);
        let (records, each) = (self.records, self.records / elapsed);
        tracing::info!("{records} records read, {each} a second, now at {place}");
    }
}
