//! Section `log`, and the log itself: on stderr or in memory.

mod background;

use crate::value::{LogFormat, LogLevel};
use background::Background;
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Environment variable of levels by module, for every dnscribe program.
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

/// Returns whether text on a stream may have colours: on a terminal, unless `NO_COLOR` is there and not empty
/// (no-color.org).
#[must_use]
pub fn wants_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Starts logging to stderr. [`VARIABLE`] wins over the configured level; it contains levels by module,
/// such as `info,dnscribe_agent::capture=debug`. A second call does nothing.
pub fn start(config: LogConfig) {
    let filter = filter(config.level);
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(|| StderrWriter)
        .with_ansi(wants_color(&io::stderr()));
    // An error means that logging was started before.
    let _ = match config.format {
        LogFormat::Text => lines.with_target(false).finish().with(filter).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().with(filter).try_init(),
    };
}

/// The thread that writes to stderr, once it is started.
static BACKGROUND: OnceLock<Background> = OnceLock::new();

/// From now on, a thread of its own writes the log to stderr: whoever logs does not wait for whoever reads it. Lines that
/// are written too slowly are lost, and their number is logged. A second call does nothing.
///
/// # Errors
/// The thread cannot be started. Then lines are written as before.
pub fn write_in_background() -> io::Result<()> {
    if BACKGROUND.get().is_none() {
        // Fails if another thread was faster.
        let _ = BACKGROUND.set(Background::start(io::stderr())?);
    }
    Ok(())
}

/// Waits, at most for `limit`, until all lines that were logged in the background are written.
pub fn flush(limit: Duration) {
    if let Some(background) = BACKGROUND.get() {
        background.flush(limit);
    }
}

/// Writes whole lines to stderr, in the background if that was started.
struct StderrWriter;

impl io::Write for StderrWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match BACKGROUND.get() {
            Some(background) => background.write(line),
            None => io::Write::write_all(&mut io::stderr(), line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging to memory, for a program that draws on the terminal.
#[must_use]
pub fn start_in_memory(config: LogConfig) -> Ring {
    let ring = Ring::default();
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(ring.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time();
    // An error means that logging was started before.
    let _ = lines.finish().with(filter(config.level)).try_init();
    ring
}

fn filter(level: LogLevel) -> Targets {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    if text.is_empty() {
        return default_filter(level);
    }
    text.parse().unwrap_or_else(|error| {
        let warning = format_args!("warning: {VARIABLE} is ignored, it is not valid: {error}\n");
        let _ = io::Write::write_fmt(&mut io::stderr(), warning);
        default_filter(level)
    })
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

/// Returns the filter for the log lines of dnscribe at `level`, and for those of libraries at a less verbose
/// one.
fn default_filter(level: LogLevel) -> Targets {
    let (own, others) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    // Warns of every answer that does not validate, which a record tells better.
    let validator = if level == LogLevel::Trace { others } else { LevelFilter::ERROR };
    // Reports each failed attempt, of which the agent logs the first in a row.
    let client = if level == LogLevel::Trace { others } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(others).with_target("dnscribe", own);
    targets.with_target("hickory_net", validator).with_target("kube_client", client)
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
        let (lines, is_new) = ring.lines(Duration::from_hours(1));
        assert!(is_new && lines.len() == RING_LINES);
        assert_eq!(lines[0], "INFO line 5 ");
    }

    #[test]
    fn libraries_log_less() {
        let filter = default_filter(LogLevel::Debug);
        assert!(filter.would_enable("dnscribe_delivery::kafka", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("rustls", &tracing::Level::INFO));
        assert!(filter.would_enable("rustls", &tracing::Level::WARN));
        assert!(!filter.would_enable("kube_client::client::builder", &tracing::Level::ERROR));
    }
}
