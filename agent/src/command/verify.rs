//! `dnscribe ledger verify`: checks whether the balance closes.

use super::summary::print;
use crate::capture::decompress::decompressed;
use crate::cli::VerifyArgs;
use crate::cli::exit::Exit;
use crate::config::Config;
use crate::verify::{DEFAULT_MEMORY_BYTES, SortOptions, TempError, Verifier, read_ndjson};
use dnscribe_config::log;
use dnscribe_config::log::LogConfig;
use dnscribe_config::value::{LogFormat, LogLevel, Output};
use dnscribe_delivery::kafka;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read};
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
    let sink = if args.files.is_empty() {
        read_topics(&mut verifier, &mut progress, args)?;
        Some(args.sink.as_deref().unwrap_or("kafka"))
    } else {
        log::start(LogConfig { format: LogFormat::Text, level: LogLevel::Info });
        for path in &args.files {
            read_file(&mut verifier, &mut progress, path)?;
        }
        args.sink.as_deref()
    };
    let report = verifier
        .report(sink)
        .map_err(|error| Exit::failed(error.to_string()).with_remedy(TempError::REMEDY))?;
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
) -> Result<(), Exit> {
    let config = Config::load(&args.sources())?;
    if config.kafka.brokers.is_empty() {
        let problem = "there is neither a file nor a broker to read from";
        return Err(Exit::usage(problem).with_remedy("name a FILE, --brokers or kafka.brokers"));
    }
    log::start(config.log);
    let gaps = kafka::read_back(&config.kafka, &mut |record, event_id, place| {
        progress.step(place);
        verifier.add_record(record, event_id, place)
    })
    .map_err(Exit::failed)?;
    for gap in gaps {
        verifier.add_gap(gap.stream, gap.what);
    }
    Ok(())
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
