//! Log lines, on stderr.

#![forbid(unsafe_code)]

use crate::config::LogConfig;
use crate::config::value::{LogFormat, LogLevel};
use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;

/// Starts logging. `DNSCRIBE_LOG` wins over the configured level with filters by module, such as
/// `info,dnscribe::sink=debug`.
///
/// Does nothing the second time.
pub fn start(config: LogConfig) {
    let filter = std::env::var("DNSCRIBE_LOG")
        .ok()
        .filter(|text| !text.is_empty())
        .and_then(|text| match EnvFilter::try_new(&text) {
            Ok(filter) => Some(filter),
            Err(error) => {
                eprintln!("warning: DNSCRIBE_LOG is not understood and left aside: {error}");
                None
            }
        })
        .unwrap_or_else(|| EnvFilter::new(directives(config.level)));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // An error means that there is a subscriber already.
    let _ = match config.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// Our own lines as wished; those of libraries when they matter.
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

    #[test]
    fn filters_are_understood() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            let level: LogLevel = level.parse().unwrap();
            assert!(EnvFilter::try_new(directives(level)).is_ok());
        }
    }
}
