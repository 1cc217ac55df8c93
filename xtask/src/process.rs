//! Commands: cargo in the workspace, and programs that run as root.

use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, shell};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Variable that marks the process that [`become_root`] starts. It does not begin with `DNSCRIBE_`, because the
/// agent refuses unknown variables with that prefix.
const ELEVATED: &str = "XTASK_ELEVATED";

/// Returns a command for the cargo that runs xtask, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(environment::workspace()).env("CARGO_TARGET_DIR", environment::target());
    // Cargo sets these for xtask; they are wrong for what it builds. Build scripts also watch some of them (ring's does), and
    // would run again, with all that depends on them, each time a build follows one that was started without xtask.
    let is_of_package =
        |name: &str| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_package))
    {
        command.env_remove(name);
    }
    command
}

/// Returns a command that does the same with what other processes leave of the processors.
pub fn idle(command: &Command) -> Command {
    shell::started_by(&["chrt", "--idle", "0"], command)
}

/// Returns a command that builds and installs a tool from source. It overrides the tool's release profile: a
/// shorter build matters more than a faster tool.
pub fn install_tool(name: &str, version: &str) -> Command {
    let mut command = cargo();
    command.args(["install", name, "--version", version, "--locked", "--force"]);
    // In a temporary folder instead.
    command.env_remove("CARGO_TARGET_DIR");
    let profile = [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")];
    command.envs(profile.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)));
    command
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns a command that runs a program as root: directly if this process is root, else through sudo with this
/// environment.
pub fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(with_target(Command::new(program)));
    }
    if shell::which("sudo").is_none() {
        bail!("root is needed and sudo is not installed: run this as root");
    }
    let mut command = Command::new("sudo");
    command.args(["--preserve-env", "--"]).arg(program);
    Ok(with_target(command))
}

/// Tells a program where the target folder is: as another user, or started without cargo, it would look for it elsewhere.
fn with_target(mut command: Command) -> Command {
    command.env("CARGO_TARGET_DIR", environment::target());
    command
}

/// Replaces this process by the same command, run as root. Returns only if this process is root already.
pub fn become_root(why: &str) -> Result<()> {
    become_root_with(why, std::env::args_os().skip(1))
}

/// Does what [`become_root`] does, with other arguments.
pub fn become_root_with(why: &str, arguments: impl Iterator<Item = OsString>) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    crate::console::progress(&format!("{why} needs root: using sudo"));
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut again = as_root(program)?;
    Err(again.args(arguments).env(ELEVATED, "1").exec()).context("cannot start sudo")
}

/// Whether [`become_root`] started this process. Setup and build are then done already, as the user.
pub fn is_elevated() -> bool {
    std::env::var_os(ELEVATED).is_some()
}

/// Runs a command and kills it if it takes longer than `limit`. On some networks downloads hang instead of failing.
pub fn run_bounded(command: &mut Command, limit: Duration) -> Result<()> {
    let shown = shell::command_line(command);
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

/// First line that a command prints; `None` if it fails.
pub fn first_line(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
