//! `dnscribe ledger verify`: does the balance close?

use super::summary::print;
use crate::cli::VerifyArgs;
use crate::config::Config;
use crate::exit::Exit;
use crate::ledger::verify::{Verifier, read_ndjson};
use crate::log;
use crate::sink::kafka;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Reads the records back, prints the balance, fails where it does not close.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Exit> {
    let mut verifier = Verifier::default();
    let sink = if args.files.is_empty() {
        let config = Config::load(&args.sources())?;
        log::start(config.log);
        kafka::read_back(&config.kafka, &mut |record, place| verifier.record(record, place))
            .map_err(Exit::failed)?;
        Some("kafka")
    } else {
        for path in &args.files {
            read_file(&mut verifier, path)?;
        }
        None
    };
    let report = verifier.report(sink);
    print(&report.to_string())?;
    if report.closes() { Ok(()) } else { Err(Exit::failed("the balance does not close")) }
}

fn read_file(verifier: &mut Verifier, path: &Path) -> Result<(), Exit> {
    let name = path.display().to_string();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path)
            .map_err(|error| Exit::usage(format!("cannot open {name}: {error}")))?;
        Box::new(file)
    };
    read_ndjson(verifier, &name, &mut BufReader::with_capacity(1 << 20, input))
        .map_err(|error| Exit::usage(format!("cannot read {name}: {error}")))
}
