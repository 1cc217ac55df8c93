//! Arguments of the helper processes, which `run` starts.

use clap::Args;
use dnscribe_config::log::LogConfig;
use dnscribe_config::value::{LogFormat, LogLevel};
use dnscribe_record::named_enum;

named_enum! {
    /// Task of a helper process.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum HelperTask: "a task", "give one of" {
        /// Reads `/proc` and receives ICMP errors.
        Processes = "processes",
        /// Opens files of the configuration.
        Files = "files",
    }
}

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

    /// Words of the command line for a configuration.
    #[must_use]
    pub fn words(task: HelperTask, user: Option<&str>, log: LogConfig) -> Vec<String> {
        let (format, level) = (log.format.to_string(), log.level.to_string());
        let task = task.to_string();
        let mut words = vec!["helper", &task, "--log-format", &format, "--log-level", &level];
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
        for (task, user) in [(HelperTask::Processes, None), (HelperTask::Files, Some("nobody"))] {
            let words = HelperArgs::words(task, user, log);
            let cli = Cli::try_parse_from([vec!["dnscribe".to_owned()], words].concat()).unwrap();
            let Command::Helper(args) = cli.command else { panic!("another command") };
            assert_eq!((args.task, args.user.as_deref(), args.log()), (task, user, log));
        }
    }
}
