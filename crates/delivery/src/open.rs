//! Opens sinks from the user's specifications and options.

use super::plan::{SinkNames, SinkPlan};
use super::spool::SpoolConfig;
use super::{
    AlertmanagerConfig, KafkaConfig, OutputFormat, Rotation, Sink, SinkSpec, StreamSelection,
    writer,
};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options for opening sinks.
#[derive(Clone, Debug)]
pub struct OpenWith<'a> {
    /// The streams of each sink.
    pub streams: StreamSelection,
    /// When files are rotated.
    pub rotation: Rotation,
    /// The output format of stdout.
    pub stdout: OutputFormat,
    /// The node's name, for the headers of Kafka records.
    pub node: &'a str,
    /// The node's region, for records that a sink itself writes.
    pub region: Option<&'a str>,
    /// How to reach Kafka.
    pub kafka: &'a KafkaConfig,
    /// How to reach Alertmanager. Required if a sink is `alertmanager`.
    pub alertmanager: Option<&'a AlertmanagerConfig>,
    /// How long Kafka may be unreachable after the start, and Alertmanager at any time, before the
    /// sink fails. `None`: without limit.
    pub kafka_patience: Option<Duration>,
    /// The disk spool for Kafka. `None`: records wait in memory only.
    pub spool: Option<&'a SpoolConfig>,
}

impl<'a> OpenWith<'a> {
    /// The defaults for `node`: default streams, no rotation, no spool, JSON on stdout.
    #[must_use]
    pub fn new(node: &'a str, kafka: &'a KafkaConfig) -> Self {
        Self {
            streams: StreamSelection::default(),
            rotation: Rotation::default(),
            stdout: OutputFormat::Json,
            node,
            region: None,
            kafka,
            alertmanager: None,
            kafka_patience: None,
            spool: None,
        }
    }
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
    /// The file cannot be opened or created.
    #[error("cannot open {} for appending: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The directory of a file to be rotated does not allow listing, creating and renaming.
    #[error("cannot rotate {}: its directory cannot be read and written: {error}", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// librdkafka rejects its settings, or cannot start.
    #[error("cannot set up the Kafka producer: {0}")]
    Kafka(String),
    /// The Alertmanager client cannot be set up.
    #[error("cannot set up the client of Alertmanager: {0}")]
    Alertmanager(String),
    /// The sink's thread cannot be started.
    #[error("cannot start the thread of sink {name}: {error}")]
    Thread {
        /// The sink.
        name: String,
        /// The system's error.
        error: io::Error,
    },
}

/// Opens sinks in the given order. The second sink of a kind is named, for example, `file_2`.
///
/// # Errors
/// Returns the first error; sinks opened before it are closed.
pub fn open(specs: &[SinkSpec], with: &OpenWith<'_>) -> Result<Vec<Box<dyn Sink>>, SinkError> {
    let mut names = SinkNames::default();
    specs
        .iter()
        .map(|spec| {
            let plan = SinkPlan::new(spec, with);
            plan.open(names.reserve_next(plan.kind()))
        })
        .collect()
}

/// Checks whether a file sink could be opened at `path` and, if `rotation` is on, rotated. Leaves
/// no new file behind.
///
/// # Errors
/// Returns the error that opening or rotating would meet.
pub fn probe_file(path: &Path, rotation: Rotation) -> Result<(), SinkError> {
    let existed = path.symlink_metadata().is_ok();
    let regular = writer::open(path)
        .and_then(|file| Ok(file.metadata()?.is_file()))
        .and_then(|regular| if existed { Ok(()) } else { fs::remove_file(path) }.map(|()| regular))
        .map_err(|error| SinkError::File { path: path.to_path_buf(), error })?;
    if !rotation.is_on() || !regular {
        return Ok(());
    }
    // Rotated files are stored beside the file itself, not beside links to it.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, parent_directory(&real), wanted, AtFlags::EACCESS)
        .map_err(|error| SinkError::Directory { path: path.to_path_buf(), error: error.into() })
}

/// Returns whether two paths lead to the same file, also through links. The file need not exist
/// yet.
#[must_use]
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((file_identity(one), file_identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// The device and inode of a file; for a missing file those of its directory, and its name.
fn file_identity(path: &Path) -> io::Result<(u64, u64, Option<OsString>)> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::metadata(path) {
        Ok(file) => Ok((file.dev(), file.ino(), None)),
        Err(error) if missing(&error) => {
            if let Ok(target) = fs::read_link(path) {
                return file_identity(&parent_directory(path).join(target));
            }
            let directory = fs::metadata(parent_directory(path))?;
            Ok((directory.dev(), directory.ino(), path.file_name().map(Into::into)))
        }
        Err(error) => Err(error),
    }
}

/// The directory that contains `path`.
fn parent_directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn recognizes_a_file_under_other_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        assert!(is_same_file(&at("new"), &at("sub/../new")), "not yet made");
        assert!(!is_same_file(&at("new"), &at("sub/new")) && !is_same_file(&at("new"), &at("old")));
        symlink("new", at("link")).unwrap();
        symlink("link", at("link_2")).unwrap();
        assert!(is_same_file(&at("link_2"), &at("new")), "a link to nothing yet");
        fs::write(at("new"), "").unwrap();
        assert!(is_same_file(&at("link"), &at("new")));
        fs::hard_link(at("new"), at("hard")).unwrap();
        assert!(is_same_file(&at("hard"), &at("link_2")));
        assert!(is_same_file(&at("no/such"), &at("no/such")), "the same words");
    }
}
