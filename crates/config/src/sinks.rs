//! Sections `spool`, `file`, `metrics` and `health`, and the list of sinks.

use crate::ConfigError;
use crate::value::{
    Compress, Count, DiskBytes, FileFormat, Listen, PositiveSpan, RotateBytes, RotateEvery, Switch,
};
use dnscribe_delivery::spool::{SpoolConfig, WhenFull};
use dnscribe_delivery::{EvidenceLimits, KafkaConfig, Rotation, SinkSpec, StreamSet, is_same_file};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directory of state that outlives a service, where no service manager gives one, as the reference shows
/// it.
pub const STATE_DIRECTORY: &str = "/var/lib/dnscribe";

section! {
    /// Section `spool`.
    SpoolLayer {
        /// Whether records wait on disk; if not, they wait in memory only.
        text enabled: Option<Switch> = default(true),
        /// Directory of the spool. Where a service manager sets $STATE_DIRECTORY, the default is
        /// $STATE_DIRECTORY/spool.
        text directory: Option<PathBuf> = shown(format!("{STATE_DIRECTORY}/spool")),
        /// Size limit on disk: at least 1MiB.
        text max_bytes: Option<DiskBytes> = default(1 << 30),
        /// Age limit of records; older ones are dropped and counted.
        text max_age: Option<PositiveSpan> = default(Duration::from_hours(72)),
        /// Records that are dropped when the spool is full: drop_oldest or drop_newest, of the least
        /// important streams first.
        text when_full: Option<WhenFull> = default(WhenFull::DropOldest),
    }
}

section! {
    /// Section `file`.
    FileLayer {
        /// Streams that are written to files, where they differ from `streams`.
        joined streams: Option<StreamSet> = example("[messages, ledger]"),
        /// Format of records: json, or ecs, which is the Elastic Common Schema.
        text format: Option<FileFormat> = default(FileFormat::Json),
        /// Size at which a file is rotated: at least 64KiB. Default: no limit.
        text rotate_bytes: Option<RotateBytes> = example("100MiB"),
        /// Age at which a file is rotated: at least 1s. Default: no limit.
        text rotate_every: Option<RotateEvery> = example("24h"),
        /// Number of rotated files that are kept for each sink. Default: all.
        text keep: Option<Count> = example("10"),
        /// Compression of rotated files: zstd or none. Default: none.
        text compress: Option<Compress> = example("zstd"),
    }
}

section! {
    /// Section `evidence`.
    EvidenceLayer {
        /// Most bytes of messages in memory: at least 1MiB. The oldest go first.
        text memory: Option<DiskBytes> = default(EvidenceLimits::default().memory),
        /// Longest time that a message stays in memory: how far back a file reaches.
        text before: Option<PositiveSpan> = default(EvidenceLimits::default().before),
        /// Most files in the directory. The oldest are removed.
        text max_files: Option<Count> = default(EvidenceLimits::default().max_files),
    }
}

impl EvidenceLayer {
    /// Returns the limits of the sink.
    #[must_use]
    pub fn limits(&self) -> EvidenceLimits {
        EvidenceLimits {
            memory: self.memory().0,
            before: self.before().0,
            max_files: self.max_files().0,
        }
    }
}

section! {
    /// Section `metrics`.
    MetricsLayer {
        /// Address of /metrics, /healthz, /livez and /readyz: ADDR:PORT, or off.
        text listen: Option<Listen> = default(Listen::DEFAULT),
    }
}

section! {
    /// Section `health`.
    HealthLayer {
        /// Time for which /healthz reports a loss after it happened.
        text window: Option<PositiveSpan> = default(Duration::from_mins(1)),
    }
}

/// Returns the settings of the spool, if it is on. Its default directory is below that of the variable
/// `STATE_DIRECTORY`, or below `state_directory`.
#[must_use]
pub fn spool(
    layer: &SpoolLayer,
    environment: &[(OsString, OsString)],
    state_directory: &str,
) -> Option<SpoolConfig> {
    let default_directory = || {
        let given = environment.iter().find(|(name, _)| name == "STATE_DIRECTORY");
        given.map_or_else(|| PathBuf::from(state_directory), |(_, path)| path.into()).join("spool")
    };
    layer.enabled().0.then(|| SpoolConfig {
        directory: layer.directory.clone().unwrap_or_else(default_directory),
        max_bytes: layer.max_bytes().0,
        max_age: layer.max_age().0,
        when_full: layer.when_full(),
    })
}

/// Checks the list of sinks. An empty one stands for Kafka if brokers are known, else for stdout.
///
/// # Errors
/// A sink has no brokers, or two write to one place.
pub fn sinks(given: Vec<SinkSpec>, kafka: &KafkaConfig) -> Result<Vec<SinkSpec>, ConfigError> {
    let wrong = |problem: String| Err(ConfigError::Invalid(problem));
    let has_brokers = !kafka.brokers.is_empty();
    if given.is_empty() {
        return Ok(vec![if has_brokers { SinkSpec::Kafka } else { SinkSpec::Stdout }]);
    }
    if given.contains(&SinkSpec::Kafka) && !has_brokers {
        let problem = "sinks: kafka needs brokers: give --brokers HOST:PORT or kafka.brokers";
        return wrong(problem.to_owned());
    }
    if given.iter().filter(|sink| sink.is_stdout()).count() > 1 {
        let problem = "sinks: stdout is given twice: records would be mixed; keep one of them";
        return wrong(problem.to_owned());
    }
    if given.iter().filter(|sink| matches!(sink, SinkSpec::Evidence(_))).count() > 1 {
        let problem =
            "sinks: evidence is given twice: an alert links to one file; keep one of them";
        return wrong(problem.to_owned());
    }
    for (number, first) in given.iter().enumerate() {
        let is_same = |second: &&SinkSpec| {
            let files = first.file().zip(second.file());
            files.is_some_and(|(first, second)| is_same_file(first, second))
        };
        if let Some(second) = given[number + 1..].iter().find(is_same) {
            return wrong(format!(
                "sinks: {first} and {second} are the same file: it would contain what both write; keep \
                 one of them"
            ));
        }
    }
    Ok(given)
}

/// Refuses sinks that write to one of the files that are read.
///
/// # Errors
/// A sink does.
pub fn refuse_inputs(sinks: &[SinkSpec], inputs: &[PathBuf]) -> Result<(), ConfigError> {
    for input in inputs {
        // A shell may have redirected it to a file.
        let is_stdin = input.as_os_str() == "-";
        let input = if is_stdin { Path::new("/dev/stdin") } else { input.as_path() };
        let is_same = |sink: &&SinkSpec| sink.file().is_some_and(|file| is_same_file(file, input));
        if let Some(sink) = sinks.iter().find(is_same) {
            return ConfigError::in_section(
                "sinks",
                format!(
                    "{sink} is a file that is read, and would be lost: give the sink another path"
                ),
            );
        }
    }
    Ok(())
}

/// Returns when files are rotated.
///
/// # Errors
/// Settings of rotated files are given, and files are not rotated.
pub fn rotation(file: &FileLayer) -> Result<Rotation, ConfigError> {
    let compress = file.compress == Some(Compress::Zstd);
    if file.rotate_bytes.is_none() && file.rotate_every.is_none() {
        let given = [("keep", file.keep.is_some()), ("compress", compress)];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(ConfigError::Invalid(format!(
                "file.{key} is for rotated files: give file.rotate_bytes or file.rotate_every too"
            )));
        }
    }
    Ok(Rotation {
        bytes: file.rotate_bytes.map(|size| size.0),
        every: file.rotate_every.map(|span| span.0),
        keep: file.keep.map(|count| count.0),
        compress,
    })
}
