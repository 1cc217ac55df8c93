//! Flags of `dnscribe completions` and `dnscribe man`.

use clap::Args;
use clap_complete::Shell;

/// `dnscribe completions`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  dnscribe completions bash > /usr/share/bash-completion/completions/dnscribe
  dnscribe completions zsh > ~/.zfunc/_dnscribe")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `dnscribe man`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  dnscribe man | man -l -
  dnscribe man ledger verify > dnscribe-ledger-verify.1
  dnscribe man --list")]
pub struct ManArgs {
    /// The command, such as run or ledger verify; dnscribe itself without it
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,

    /// List the commands that have a page instead, one a line
    #[arg(long, conflicts_with = "command")]
    pub list: bool,
}
