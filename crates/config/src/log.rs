//! Section `log`, and the log itself: on stderr or in memory.

use crate::value::{LogFormat, LogLevel};
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Environment variable of filters by module, for every dnscribe program.
pub const VARIABLE: &str = "DNSCRIBE_LOG";

section! {
    /// Section `log`.
    LogLayer {
        /// Format of log lines: text or json.
        text format: Option<LogFormat> = default(LogFormat::Text),
        /// Least severe log lines that are written: error, warn, info, debug or trace.
        text level: Option<LogLevel> = default(LogLevel::Info),
    }
}

/// Settings of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Format of log lines.
    pub format: LogFormat,
    /// The least severe lines that are written.
    pub level: LogLevel,
}

/// Fills in the defaults.
#[must_use]
pub fn resolve(layer: &LogLayer) -> LogConfig {
    LogConfig { format: layer.format(), level: layer.level() }
}

/// Number of lines that a [`Ring`] keeps.
const RING_LINES: usize = 100;

/// Starts logging to stderr. [`VARIABLE`] wins over the configured level; it contains filters by module,
/// such as `info,dnscribe::sink=debug`. A second call does nothing.
pub fn start(config: LogConfig) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(config.level))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // An error means that logging was started before.
    let _ = match config.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// Starts logging to memory, for a program that draws on the terminal.
#[must_use]
pub fn start_in_memory(config: LogConfig) -> Ring {
    let ring = Ring::default();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(config.level))
        .with_writer(ring.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time();
    // An error means that logging was started before.
    let _ = lines.try_init();
    ring
}

fn filter(level: LogLevel) -> EnvFilter {
    std::env::var(VARIABLE)
        .ok()
        .filter(|text| !text.is_empty())
        .and_then(|text| match EnvFilter::try_new(&text) {
            Ok(filter) => Some(filter),
            Err(error) => {
                eprintln!("warning: {VARIABLE} is ignored, it is not valid: {error}");
                None
            }
        })
        .unwrap_or_else(|| EnvFilter::new(directives(level)))
}

/// The last log lines.
#[derive(Clone, Debug, Default)]
pub struct Ring(Arc<Mutex<VecDeque<(Instant, String)>>>);

impl Ring {
    fn kept(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the lines, newest last, and whether the newest is younger than `new`.
    #[must_use]
    pub fn lines(&self, new: Duration) -> (Vec<String>, bool) {
        let kept = self.kept();
        let is_new = kept.back().is_some_and(|(came, _)| came.elapsed() < new);
        (kept.iter().map(|(_, line)| line.clone()).collect(), is_new)
    }
}

/// Receives whole events, as the subscriber writes them.
impl io::Write for Ring {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut kept = self.kept();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if kept.len() == RING_LINES {
                kept.pop_front();
            }
            let line = line.trim().chars().map(|one| if one.is_control() { ' ' } else { one });
            kept.push_back((Instant::now(), line.collect()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Ring {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Returns the filter for the log lines of dnscribe's crates at `level`, and for those of libraries at a less verbose
/// one.
fn directives(level: LogLevel) -> String {
    let others = match level {
        LogLevel::Error => "error",
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug => "warn",
        LogLevel::Trace => "debug",
    };
    format!("{others},dnscribe={level}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn ring_keeps_the_last_lines() {
        let mut ring = Ring::default();
        for number in 0..RING_LINES + 5 {
            // In one call, as the subscriber writes.
            ring.write_all(format!(" INFO line {number}\u{1b}\n").as_bytes()).unwrap();
        }
        let (lines, is_new) = ring.lines(Duration::from_secs(3600));
        assert!(is_new && lines.len() == RING_LINES);
        assert_eq!(lines[0], "INFO line 5 ");
    }

    #[test]
    fn filters_are_valid() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            let level: LogLevel = level.parse().unwrap();
            assert!(EnvFilter::try_new(directives(level)).is_ok());
        }
    }
}
