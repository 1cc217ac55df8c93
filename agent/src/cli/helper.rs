//! Arguments of the privileged helper, which `run` starts.

use clap::Args;
use dnscribe_config::log::LogConfig;
use dnscribe_config::value::{LogFormat, LogLevel};

/// Arguments of the hidden command `dnscribe helper`.
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
    /// Settings of the log.
    #[must_use]
    pub fn log(&self) -> LogConfig {
        LogConfig { format: self.log_format, level: self.log_level }
    }

    /// Words of the command line for a configuration.
    #[must_use]
    pub fn words(user: Option<&str>, log: LogConfig) -> Vec<String> {
        let (format, level) = (log.format.to_string(), log.level.to_string());
        let mut words = vec!["helper", "--log-format", &format, "--log-level", &level];
        words.extend(user.into_iter().flat_map(|user| ["--user", user]));
        words.into_iter().map(str::to_owned).collect()
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
            let words = HelperArgs::words(user, log);
            let cli = Cli::try_parse_from([vec!["dnscribe".to_owned()], words].concat()).unwrap();
            let Command::Helper(args) = cli.command else { panic!("another command") };
            assert_eq!((args.user.as_deref(), args.log()), (user, log));
        }
    }
}
