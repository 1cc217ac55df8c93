//! Arguments of the privileged helper, which `run` starts.

use clap::Args;
use dnscribe_config::log::LogConfig;
use dnscribe_config::value::{LogFormat, LogLevel};

/// Arguments of the hidden command `dnscribe scout`.
#[derive(Clone, Debug, Args)]
pub struct HelperArgs {
    /// Become this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Write log lines as text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Least severe log lines that are written
    #[arg(long, value_name = "LEVEL")]
    pub log_level: LogLevel,
}

impl HelperArgs {
    /// Creates the arguments for a configuration.
    #[must_use]
    pub fn new(user: Option<&str>, log: LogConfig) -> Self {
        let LogConfig { format, level } = log;
        Self { user: user.map(str::to_owned), log_format: format, log_level: level }
    }

    /// Settings of the log.
    #[must_use]
    pub fn log(&self) -> LogConfig {
        LogConfig { format: self.log_format, level: self.log_level }
    }

    /// Words of the command line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let log = [
            ("--log-format", self.log_format.to_string()),
            ("--log-level", self.log_level.to_string()),
        ];
        let log = log.into_iter().flat_map(|(flag, word)| [flag.to_owned(), word]);
        let user = self.user.iter().flat_map(|user| ["--user".to_owned(), user.clone()]);
        std::iter::once("scout".to_owned()).chain(log).chain(user).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn reads_what_it_writes() {
        let log = LogConfig { format: LogFormat::Json, level: LogLevel::Debug };
        for user in [None, Some("nobody")] {
            let words = HelperArgs::new(user, log).words();
            let cli = Cli::try_parse_from([vec!["dnscribe".to_owned()], words].concat()).unwrap();
            let Command::Scout(args) = cli.command else { panic!("another command") };
            assert_eq!((args.user.as_deref(), args.log()), (user, log));
        }
    }
}
