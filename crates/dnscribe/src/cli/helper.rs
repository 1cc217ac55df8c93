//! Arguments of the helper processes, which `run` starts.

use clap::Args;
use dnscribe_agent::privilege::helper::HelperTask;
use dnscribe_config::log::LogConfig;
use dnscribe_config::value::{LogFormat, LogLevel};

/// Arguments of the hidden command `dnscribe helper`.
#[derive(Clone, Debug, Args)]
pub struct HelperArgs {
    /// What to do
    pub task: HelperTask,

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;
    use dnscribe_agent::privilege::helper;

    #[test]
    fn reads_what_it_writes() {
        let log = LogConfig { format: LogFormat::Json, level: LogLevel::Debug };
        for (task, user) in [(HelperTask::Processes, None), (HelperTask::Files, Some("nobody"))] {
            let words = helper::words(task, user, log);
            let cli = Cli::try_parse_from([vec!["dnscribe".to_owned()], words].concat()).unwrap();
            let Command::Helper(args) = cli.command else { panic!("another command") };
            assert_eq!((args.task, args.user.as_deref(), args.log()), (task, user, log));
        }
    }
}
