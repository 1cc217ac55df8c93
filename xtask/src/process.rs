//! Starting programs: cargo in the workspace, and others as root.

use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Marks the process that [`become_root`] starts. The agent refuses `DNSCRIBE_…` that it does not
/// know.
const ELEVATED: &str = "XTASK_ELEVATED";

/// The cargo that runs this, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(environment::workspace());
    // Set for xtask itself; for what it builds they are wrong.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// What installs a tool from its source. Waiting for it costs more than it saves by being fast:
/// its own release profile, link-time optimisation and all, is set aside.
pub fn install_tool(name: &str, version: &str) -> Command {
    let mut command = cargo();
    command.args(["install", name, "--version", version, "--locked", "--force"]);
    let quick = [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")];
    command.envs(quick.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)));
    command
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command as root: by itself where this process is, else through sudo with this environment.
pub fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if shell::which("sudo").is_none() {
        bail!("this needs root, and there is no sudo: run it as root");
    }
    let mut command = Command::new("sudo");
    command.args(["--preserve-env", "--"]).arg(program);
    Ok(command)
}

/// Runs the same command again as root, in place of this process; returns where it is root.
pub fn become_root(why: &str) -> Result<()> {
    become_root_with(why, std::env::args_os().skip(1))
}

/// As [`become_root`], with other arguments.
pub fn become_root_with(why: &str, arguments: impl Iterator<Item = OsString>) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    crate::say::progress(&format!("{why} needs root: using sudo"));
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut again = as_root(program)?;
    Err(again.args(arguments).env(ELEVATED, "1").exec()).context("cannot start sudo")
}

/// Whether this process is [`become_root`]'s: what comes before that call, setting up and
/// building, was done as the user.
pub fn elevated() -> bool {
    std::env::var_os(ELEVATED).is_some()
}

/// Runs a command and kills it when it takes longer than `limit`: on some networks a download
/// is not refused but hangs.
pub fn run_bounded(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = shell::shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let status = shell::wait(&mut child, limit).with_context(|| format!("`{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The first line that a command prints, where it succeeds.
pub fn first_line(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
