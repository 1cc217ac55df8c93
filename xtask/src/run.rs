//! `run`: sets up, builds, and replaces itself by a command of one of the programs.

use crate::process::{as_root, is_root};
use crate::{build, console, setup};
use anyhow::{Context as _, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Arguments of `run`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A command of dnscribe with its arguments, such as `trace -- curl https://example.com` or `replay FILE`; `probe` or `kpi`
    /// and a command of that program, `kpi` alone for its demo; or, after `--`, arguments of `dnscribe run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// A command of a program.
#[derive(Debug, PartialEq)]
struct Wanted<'a> {
    program: &'static str,
    command: Option<&'a str>,
    arguments: &'a [OsString],
}

impl<'a> Wanted<'a> {
    fn new(words: &'a [OsString]) -> Self {
        let command = words.first().and_then(|word| word.to_str());
        let (program, command, arguments) = match command.filter(|word| !word.starts_with('-')) {
            None => ("dnscribe", Some("run"), words),
            Some("probe") => ("dnscribe-probe", None, &words[1..]),
            Some("kpi") if words.len() == 1 => ("dnscribe-kpi", Some("demo"), &words[1..]),
            Some("kpi") => ("dnscribe-kpi", None, &words[1..]),
            command => ("dnscribe", command, &words[1..]),
        };
        Self { program, command, arguments }
    }

    /// Whether the command captures on this host. `top` with arguments mostly reads files, Kafka or a store.
    fn needs_root(&self) -> bool {
        match self.command {
            Some("run" | "trace" | "check") => true,
            Some("top") => self.arguments.is_empty(),
            _ => false,
        }
    }
}

/// Runs the command. Returns only if it fails.
pub fn main(args: &Args) -> Result<()> {
    let wanted = Wanted::new(&args.words);
    setup::install(&["build"])?;
    let binary = match wanted.program {
        "dnscribe" => build::first_build()?,
        other => build::program(other, "dev")?,
    };
    let mut command = if wanted.needs_root() {
        if !is_root() {
            console::progress("capturing needs root: using sudo");
        }
        as_root(&binary)?
    } else {
        Command::new(&binary)
    };
    let error = command.args(wanted.command.map(OsStr::new)).args(wanted.arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn words_are_a_command_of_a_program() {
        for (line, program, words, needs_root) in [
            ("", "dnscribe", "run", true),
            ("-- --sink kafka", "dnscribe", "run --sink kafka", true),
            (
                "trace -- curl -s https://a.example",
                "dnscribe",
                "trace -- curl -s https://a.example",
                true,
            ),
            ("top", "dnscribe", "top", true),
            ("top a.pcap", "dnscribe", "top a.pcap", false),
            ("replay a.pcap -o json", "dnscribe", "replay a.pcap -o json", false),
            ("probe explain a.example", "dnscribe-probe", "explain a.example", false),
            ("kpi", "dnscribe-kpi", "demo", false),
            ("kpi --help", "dnscribe-kpi", "--help", false),
        ] {
            let words_of_line = ["run"].into_iter().chain(line.split_whitespace());
            let parsed = Line::try_parse_from(words_of_line).unwrap().args;
            let wanted = Wanted::new(&parsed.words);
            let command = wanted.command.map(OsString::from);
            let all: Vec<_> =
                command.iter().chain(wanted.arguments).map(|word| word.to_str().unwrap()).collect();
            assert_eq!((wanted.program, all.join(" ").as_str()), (program, words), "{line}");
            assert_eq!(wanted.needs_root(), needs_root, "{line}");
        }
    }
}
