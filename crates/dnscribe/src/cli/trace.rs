//! `dnscribe trace`.

use super::{CommonArgs, PairingArgs};
use clap::{ArgGroup, Args};
use dnscribe_agent::capture::live::HookChoice;
use dnscribe_agent::config::layer::Layer;
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::value::{Listen, LogLevel, Output, PositiveSpan};
use dnscribe_delivery::SinkSpec;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_view::trace;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// `dnscribe trace`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    group = ArgGroup::new("subject").required(true).args(["command", "pid", "pod", "cgroup"]),
    after_help = "\
Examples:
  dnscribe trace -- curl -sS https://example.com     What curl asks, and where its seconds go
  dnscribe trace -u www-data -- php cron.php         Run the command as another user
  dnscribe trace -o json --output-file dns.json -- ./test.sh
  dnscribe trace --pid 4711 --duration 30s           A process that runs, with its children
  dnscribe trace --pod shop/web-1 --config /etc/dnscribe.yaml
  dnscribe trace --cgroup system.slice/nginx.service

The command keeps its standard input, output and error; the tree follows on standard error when it has
ended. Signals are forwarded to it. The exit code is the command's: 128 and the number of the signal that
ended it, 127 if it was not found, 126 if it cannot be executed."
)]
pub struct TraceArgs {
    /// Command to run and trace, with its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub command: Vec<OsString>,

    /// Trace a running process and its children, until it ends or Ctrl-C
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Trace a pod on this node, until Ctrl-C; needs the section kubernetes of the configuration
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub pod: Option<PodName>,

    /// Trace the processes of a cgroup, absolute or relative to the cgroup2 mount, until Ctrl-C
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Run the command as this user: name or number [default: the current user]
    #[arg(short, long, value_name = "USER", conflicts_with_all = ["pid", "pod", "cgroup"])]
    pub user: Option<String>,

    /// Print the tree as text or json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,

    /// Write the tree to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,

    /// Stop after this time, such as 30s; not for commands [default: when the process ends, or at Ctrl-C]
    #[arg(long, value_name = "DURATION", conflicts_with = "command")]
    pub duration: Option<PositiveSpan>,

    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Capture DNS on these ports [default: 53]
    #[arg(long, value_name = "LIST")]
    pub port: Option<PortSet>,

    #[command(flatten)]
    pub pairing: PairingArgs,

    /// Log more on stderr: debug; twice: trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl TraceArgs {
    /// Returns the sources of the configuration: those of `run` at the root cgroup, since resolvers on this host
    /// belong to the tree, with the trace as the only sink.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs {
            config: self.config.clone(),
            stream: Some(trace::STREAMS.into_iter().collect()),
            // Stands for the trace, since the sinks decide what the pipeline does.
            sink: vec![SinkSpec::Null],
            port: self.port.clone(),
            metrics_listen: Some(Listen(None)),
            pairing: self.pairing,
            verbose: self.verbose,
            ..CommonArgs::default()
        };
        let mut layer: Layer = common.layer();
        // Whatever `run` captures with.
        layer.capture.hook = Some(HookChoice::Cgroup);
        layer.capture.interfaces = Some(Vec::new());
        layer.duration = self.duration;
        // The command's own standard error is the same.
        layer.log.level = layer.log.level.or(Some(LogLevel::Warn));
        common.sources(Purpose::Live, layer)
    }
}

/// Namespace and name of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl FromStr for PodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').filter(|(namespace, name)| {
            !namespace.is_empty() && !name.is_empty() && !name.contains('/')
        });
        let (namespace, name) =
            parts.ok_or("give namespace and name, such as default/web-5d4f8c7b9-x2x7v")?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn parse(words: &[&str]) -> Result<TraceArgs, String> {
        let words = [&["dnscribe", "trace"], words].concat();
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Trace(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn leaves_the_arguments_to_the_command() {
        for words in [&["--", "curl", "-o", "json", "--pid"][..], &["curl", "-o", "json", "--pid"]]
        {
            let args = parse(words).unwrap();
            assert_eq!(args.command, ["curl", "-o", "json", "--pid"]);
            assert_eq!((args.output, args.pid), (None, None));
        }
        let args = parse(&["-o", "json", "curl", "-v"]).unwrap();
        assert_eq!((args.output, args.command.len()), (Some(Output::Json), 2));
    }

    #[test]
    fn needs_exactly_one_subject() {
        for words in
            [&[][..], &["--pid", "1", "curl"], &["--pid", "1", "--pod", "a/b"], &["--pid", "0"]]
        {
            assert!(parse(words).is_err(), "{words:?}");
        }
        assert!(parse(&["--user", "nobody", "--pid", "1"]).is_err(), "a user of no command");
        for bad in ["web", "/web", "shop/", "a/b/c"] {
            assert!(parse(&["--pod", bad]).is_err(), "{bad}");
        }
        let pod = parse(&["--pod", "shop/web-1"]).unwrap().pod.unwrap();
        assert_eq!((&*pod.namespace, &*pod.name), ("shop", "web-1"));
    }
}
