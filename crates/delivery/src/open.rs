//! Opens sinks from the user's specifications and options. A reload keeps the sinks whose plans are
//! equal before and after.

use super::kafka::KafkaPlan;
use super::null::NullSink;
use super::otlp::OtlpPlan;
use super::spool::SpoolConfig;
use super::spooled::SpooledPlan;
use super::{
    AlertmanagerConfig, DnstapTarget, EvidenceLimits, KafkaConfig, OtlpConfig, OutputFormat,
    Rotation, Sink, SinkSpec, StreamSelection, StreamSet, alertmanager, dnstap, evidence, kafka,
    otlp, parquet, pcapng, writer,
};
use dnscribe_record::Labels;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt};
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
    /// The output format of files.
    pub files: OutputFormat,
    /// The node's name, for the headers of Kafka records.
    pub node: &'a str,
    /// The node's region, for records that a sink itself writes.
    pub region: Option<&'a str>,
    /// The node's labels, for these records too.
    pub labels: Option<&'a Labels>,
    /// How to reach Kafka.
    pub kafka: &'a KafkaConfig,
    /// How to reach Alertmanager. Required if a sink is `alertmanager`.
    pub alertmanager: Option<&'a AlertmanagerConfig>,
    /// How to reach servers of OTLP. `None`: the defaults.
    pub otlp: Option<&'a OtlpConfig>,
    /// Limits of a sink `evidence`.
    pub evidence: EvidenceLimits,
    /// How long Kafka and servers of OTLP may be unreachable after the start, and Alertmanager at any time, before the
    /// sink fails. `None`: without limit.
    pub server_patience: Option<Duration>,
    /// The disk spool for Kafka and OTLP. `None`: records wait in memory only.
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
            files: OutputFormat::Json,
            node,
            region: None,
            labels: None,
            kafka,
            alertmanager: None,
            otlp: None,
            evidence: EvidenceLimits::default(),
            server_patience: None,
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
    /// A directory that the sink fills does not allow listing, creating and renaming.
    #[error("cannot create files in {}: {error}", path.display())]
    Folder {
        /// The directory.
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
    /// The client of OTLP cannot be set up.
    #[error("cannot set up the client of OTLP: {0}")]
    Otlp(String),
    /// The sink's thread cannot be started.
    #[error("cannot start the thread of sink {name}: {error}")]
    Thread {
        /// The sink.
        name: String,
        /// The system's error.
        error: io::Error,
    },
}

/// A sink that is not open yet. Sinks opened from equal plans behave the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPlan {
    /// The kind's name in the ledger.
    pub kind: &'static str,
    pub(super) streams: StreamSet,
    destination: Destination,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Stdout(OutputFormat),
    File(PathBuf, OutputFormat, Rotation),
    Kafka(Box<KafkaPlan>),
    Otlp(Box<OtlpPlan>),
    /// Directory, node, and when files are complete.
    Parquet(PathBuf, String, Rotation),
    Dnstap(DnstapTarget, Option<Duration>),
    /// With the node's name.
    Pcapng(PathBuf, String),
    Evidence(PathBuf, String, EvidenceLimits),
    /// The configuration is `None` if it is incomplete.
    Alertmanager(Option<Box<AlertmanagerConfig>>, Option<Duration>),
    Null,
}

impl SinkPlan {
    /// Creates the plan of the sink `spec`, to be opened with the options `with`.
    #[must_use]
    pub fn new(spec: &SinkSpec, with: &OpenWith<'_>) -> Self {
        let patience = with.server_patience;
        let spooled = |name, destination| SpooledPlan {
            name,
            destination,
            node: with.node.into(),
            region: with.region.map(str::to_owned),
            labels: with.labels.cloned(),
            patience,
            spool: with.spool.cloned(),
        };
        let destination = match spec {
            SinkSpec::Stdout => Destination::Stdout(with.stdout),
            SinkSpec::File(path) => Destination::File(path.clone(), with.files, with.rotation),
            SinkSpec::Kafka => Destination::Kafka(Box::new(KafkaPlan {
                config: with.kafka.clone(),
                spooled: spooled("Kafka", kafka::destination(with.kafka)),
            })),
            SinkSpec::Otlp(target) => Destination::Otlp(Box::new(OtlpPlan {
                target: target.clone(),
                config: with.otlp.cloned().unwrap_or_default(),
                spooled: spooled("the OTLP server", spec.to_string()),
            })),
            SinkSpec::Alertmanager => {
                Destination::Alertmanager(with.alertmanager.cloned().map(Box::new), patience)
            }
            SinkSpec::Parquet(directory) => {
                Destination::Parquet(directory.clone(), with.node.into(), with.rotation)
            }
            SinkSpec::Dnstap(target) => Destination::Dnstap(target.clone(), patience),
            SinkSpec::Pcapng(path) => Destination::Pcapng(path.clone(), with.node.into()),
            SinkSpec::Evidence(directory) => {
                Destination::Evidence(directory.clone(), with.node.into(), with.evidence)
            }
            SinkSpec::Null => Destination::Null,
        };
        Self { kind: spec.kind(), streams: with.streams.for_sink(spec), destination }
    }

    /// The output format of the sink.
    pub(super) const fn output_format(&self) -> OutputFormat {
        match &self.destination {
            Destination::Stdout(format) | Destination::File(_, format, _) => format.rendered(),
            Destination::Null => OutputFormat::None,
            Destination::Kafka(_)
            | Destination::Otlp(_)
            | Destination::Parquet(..)
            | Destination::Dnstap(..)
            | Destination::Pcapng(..)
            | Destination::Evidence(..)
            | Destination::Alertmanager(..) => OutputFormat::Json,
        }
    }

    fn spool(&self) -> Option<&SpoolConfig> {
        match &self.destination {
            Destination::Kafka(plan) => plan.spooled.spool.as_ref(),
            Destination::Otlp(plan) => plan.spooled.spool.as_ref(),
            _ => None,
        }
    }

    /// Returns whether both sinks need the same exclusive resource: stdout, a file or a spool.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        match (&self.destination, &other.destination) {
            (Destination::Stdout(_), Destination::Stdout(_)) => true,
            (Destination::File(one, ..), Destination::File(other, ..)) => is_same_file(one, other),
            (Destination::Dnstap(one, _), Destination::Dnstap(other, _)) => one == other,
            (Destination::Parquet(one, ..), Destination::Parquet(other, ..))
            | (Destination::Pcapng(one, _), Destination::Pcapng(other, _))
            | (Destination::Evidence(one, ..), Destination::Evidence(other, ..)) => {
                is_same_file(one, other)
            }
            _ => {
                let spools = self.spool().zip(other.spool());
                spools.is_some_and(|(one, other)| is_same_file(&one.directory, &other.directory))
            }
        }
    }

    /// Opens the sink.
    ///
    /// # Errors
    /// Returns why its destination cannot be written, or why its settings are rejected.
    pub fn open(&self, name: String) -> Result<Box<dyn Sink>, SinkError> {
        let streams = self.streams;
        Ok(match &self.destination {
            Destination::Stdout(format) => Box::new(writer::stdout(name, streams, *format)?),
            Destination::File(path, format, rotation) => {
                Box::new(writer::file(name, streams, *format, path, *rotation)?)
            }
            Destination::Kafka(plan) => Box::new(kafka::open(name, streams, plan)?),
            Destination::Otlp(plan) => Box::new(otlp::open(name, streams, plan)?),
            Destination::Parquet(directory, node, rotation) => {
                Box::new(parquet::open(name, streams, directory, node, *rotation)?)
            }
            Destination::Dnstap(target, patience) => {
                Box::new(dnstap::open(name, streams, target, *patience)?)
            }
            Destination::Pcapng(path, node) => Box::new(pcapng::open(name, streams, path, node)?),
            Destination::Evidence(directory, node, limits) => {
                Box::new(evidence::open(name, streams, directory, node, *limits)?)
            }
            Destination::Alertmanager(config, patience) => {
                let missing = || SinkError::Alertmanager("alertmanager.urls is missing".to_owned());
                let config = config.as_ref().ok_or_else(missing)?;
                Box::new(alertmanager::open(name, streams, config, *patience)?)
            }
            Destination::Null => Box::new(NullSink::new(name, streams)),
        })
    }
}

/// Allocates names of sinks in the ledger: the kind, then `file_2`, `file_3` and so on.
#[derive(Debug, Default)]
pub struct SinkNames(BTreeSet<String>);

impl SinkNames {
    /// Creates an allocator in which `names` are in use.
    pub fn with_used<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(str::to_owned).collect())
    }

    /// Reserves `name`; `None` if it is in use.
    pub fn reserve(&mut self, name: &str) -> Option<String> {
        self.0.insert(name.to_owned()).then(|| name.to_owned())
    }

    /// Reserves the first free name of a kind.
    pub fn reserve_next(&mut self, kind: &str) -> String {
        let numbered = (2..).map(|number| format!("{kind}_{number}"));
        let mut names = std::iter::once(kind.to_owned()).chain(numbered);
        // The iterator is endless, so a name is always found.
        let name = names.find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
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
            plan.open(names.reserve_next(plan.kind))
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
    probe_access(parent_directory(&real))
        .map_err(|error| SinkError::Directory { path: path.to_path_buf(), error })
}

/// Checks whether a sink that fills a directory could write there, or create it. Leaves nothing new behind.
///
/// # Errors
/// Returns the error that opening the sink would meet.
pub fn probe_directory(directory: &Path) -> Result<(), SinkError> {
    let is_missing = |place: &&Path| !place.as_os_str().is_empty() && !place.exists();
    let missing = directory.ancestors().take_while(is_missing).last();
    let exists = missing.map_or(Some(directory), Path::parent);
    let exists = exists.filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Some file systems, such as /proc, let nobody create what they permit.
    let create = |missing: &Path| fs::create_dir(missing).and_then(|()| fs::remove_dir(missing));
    probe_access(exists)
        .and_then(|()| missing.map_or(Ok(()), create))
        .map_err(|error| SinkError::Folder { path: directory.to_path_buf(), error })
}

/// Creates a directory that a sink fills, if it is missing.
///
/// # Errors
/// It cannot be created, or files cannot be created there.
pub(super) fn create_directory(directory: &Path) -> Result<(), SinkError> {
    let failed = |error| SinkError::Folder { path: directory.to_path_buf(), error };
    DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(failed)?;
    probe_directory(directory)
}

/// Checks whether files can be listed, created and renamed in a directory.
fn probe_access(directory: &Path) -> io::Result<()> {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, directory, wanted, AtFlags::EACCESS)?)
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
    use crate::Stream;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_that_can_be_made_pass_and_are_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let relative = Path::new("of-a-test-that-makes-nothing");
        for directory in [&dir.path().join("a/b"), dir.path(), relative, &relative.join("b")] {
            assert!(probe_directory(directory).is_ok(), "{}", directory.display());
        }
        assert!(!dir.path().join("a").exists() && !relative.exists());
        fs::write(dir.path().join("file"), "").unwrap();
        for directory in [Path::new("/proc/x"), &dir.path().join("file/x")] {
            assert!(probe_directory(directory).is_err(), "{}", directory.display());
        }
    }

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

    #[test]
    fn compares_plans_by_behaviour() {
        let kafka = KafkaConfig::default();
        let file =
            |path: &str, with: &OpenWith<'_>| SinkPlan::new(&SinkSpec::File(path.into()), with);
        let usual = OpenWith::new("n", &kafka);
        assert_eq!(file("/tmp/a", &usual), file("/tmp/a", &usual));
        assert!(!file("/tmp/a", &usual).collides_with(&file("/tmp/b", &usual)));
        let general = Some(StreamSet::from_iter([Stream::Dlq]));
        let other = OpenWith {
            streams: StreamSelection { general, ..StreamSelection::default() },
            ..usual.clone()
        };
        assert_ne!(file("/tmp/a", &usual), file("/tmp/a", &other));
        assert!(file("/tmp/a", &usual).collides_with(&file("/tmp/./a", &other)));
        let stdout = |with: &OpenWith<'_>| SinkPlan::new(&SinkSpec::Stdout, with);
        assert_eq!(
            stdout(&usual),
            stdout(&OpenWith {
                rotation: Rotation { keep: Some(1), ..usual.rotation },
                ..usual.clone()
            }),
            "stdout is not rotated"
        );
    }

    #[test]
    fn allocates_each_name_once() {
        let mut names = SinkNames::with_used(["file", "file_3", "kafka"].into_iter());
        assert_eq!(names.reserve_next("file"), "file_2");
        assert_eq!(
            [names.reserve("file_3"), names.reserve("stdout")],
            [None, Some("stdout".to_owned())]
        );
        assert_eq!([names.reserve_next("file"), names.reserve_next("null")], ["file_4", "null"]);
    }
}
