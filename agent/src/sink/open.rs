//! From what the user wants to sinks that run.

use super::null::Null;
use super::spool::SpoolConfig;
use super::{KafkaConfig, Look, Sink, SinkSpec, StreamSet, kafka, writer};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// What the sinks are opened with.
#[derive(Clone, Debug)]
pub struct OpenWith<'a> {
    /// The streams that every sink gets; each kind's default where absent.
    pub streams: Option<StreamSet>,
    /// How stdout looks.
    pub stdout: Look,
    /// The node's name, for the headers of Kafka records.
    pub node: &'a str,
    /// The node's region, for the records that a sink makes itself.
    pub region: Option<&'a str>,
    /// How to reach Kafka.
    pub kafka: &'a KafkaConfig,
    /// Where records wait for Kafka; in memory only where absent.
    pub spool: Option<&'a SpoolConfig>,
}

/// Why a sink cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// stdout is closed.
    #[error("cannot use stdout: {error}")]
    Stdout {
        /// The system's error.
        error: io::Error,
    },
    /// The file cannot be opened or made.
    #[error("cannot open {} for appending: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// librdkafka refuses its settings, or cannot start.
    #[error("cannot set up the Kafka producer: {0}")]
    Kafka(String),
    /// No thread for the sink.
    #[error("cannot start the thread of sink {name}: {error}")]
    Thread {
        /// The sink.
        name: String,
        /// The system's error.
        error: io::Error,
    },
}

/// Opens the sinks in the order given. The second of a kind is named `file_2`, and so on.
pub fn open(specs: &[SinkSpec], with: &OpenWith<'_>) -> Result<Vec<Box<dyn Sink>>, SinkError> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let sinks = specs.iter().map(|spec| {
        let count = seen.entry(spec.kind()).or_insert(0);
        *count += 1;
        let name = match count {
            1 => spec.kind().to_owned(),
            more => format!("{}_{more}", spec.kind()),
        };
        open_one(spec, name, with)
    });
    sinks.collect()
}

fn open_one(
    spec: &SinkSpec,
    name: String,
    with: &OpenWith<'_>,
) -> Result<Box<dyn Sink>, SinkError> {
    let streams = with.streams.unwrap_or(spec.default_streams());
    Ok(match spec {
        SinkSpec::Stdout => Box::new(writer::stdout(name, streams, with.stdout)?),
        SinkSpec::File(path) => Box::new(writer::file(name, streams, path)?),
        SinkSpec::Kafka => {
            let OpenWith { node, region, kafka: config, spool, .. } = *with;
            Box::new(kafka::open(name, streams, kafka::With { node, region, config, spool })?)
        }
        SinkSpec::Null => Box::new(Null::new(name, streams)),
    })
}

/// Whether a file sink could be opened at `path`; leaves no new file behind.
pub fn probe_file(path: &std::path::Path) -> Result<(), SinkError> {
    let existed = path.symlink_metadata().is_ok();
    writer::open(path)
        .and_then(|_| if existed { Ok(()) } else { std::fs::remove_file(path) })
        .map_err(|error| SinkError::File { path: path.to_path_buf(), error })
}
