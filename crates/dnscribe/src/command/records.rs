//! Input of commands that only read records: files and topics.

use dnscribe_agent::session::signals::Signals;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::input::decompressed;
use dnscribe_delivery::KafkaConfig;
use dnscribe_delivery::kafka::{self, RecordDecoder, TimeSpan};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A file, opened and decompressed.
pub(super) type Input = BufReader<Box<dyn Read>>;

/// Opens a file; `-` is standard input.
pub(super) fn open(path: &PathBuf) -> Result<Input, Exit> {
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| unreadable(path, &error))?)
    };
    let input = decompressed(input).map_err(|error| unreadable(path, &error))?;
    Ok(BufReader::new(input))
}

/// The error of a file that cannot be read.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Exit {
    Exit::usage(format!("cannot read {}: {error}", path.display()))
}

/// Passes the lines of a file on, until a signal to stop.
pub(super) fn lines(
    path: &Path,
    mut input: Input,
    signals: &Signals,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), Exit> {
    let mut line = Vec::new();
    while !signals.stop() {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if line.trim_ascii().is_empty() => {}
            Ok(_) => each(&line),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::warn!("{} ends in mid data: its whole lines are used", path.display());
                break;
            }
            Err(error) => return Err(unreadable(path, &error)),
        }
    }
    Ok(())
}

/// Logs what is waited for: a broker that does not answer takes half a minute.
pub(super) fn connecting(config: &KafkaConfig) {
    tracing::info!("connecting to Kafka at {}", config.brokers.join(", "));
}

/// Passes the records of topics on, until a signal to stop. Topics that do not exist are named in the log.
pub(super) fn topics(
    names: impl IntoIterator<Item = String>,
    span: TimeSpan,
    config: &KafkaConfig,
    signals: &Signals,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), Exit> {
    connecting(config);
    let existing = kafka::topic_names(config).map_err(Exit::failed)?;
    let mut decoder = RecordDecoder::new(config);
    for topic in names {
        if !existing.contains(&topic) {
            tracing::info!("there is no topic {topic}");
            continue;
        }
        let gaps = kafka::read_topic(config, &topic, span, &mut |message| {
            if let Some(value) = message.value {
                each(decoder.decode(value)?);
            }
            Ok(if signals.stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        for gap in gaps.map_err(Exit::failed)? {
            tracing::warn!("{gap}");
        }
    }
    Ok(())
}
