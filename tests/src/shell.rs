//! Running other programs, with errors that say what was run and what it answered.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A command as a person would type it, for messages.
#[must_use]
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command to its end without a standard input and returns what it wrote; an exit other
/// than 0 is an error that carries its standard error.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end(),
            String::from_utf8_lossy(&output.stdout).trim_end(),
        );
    }
    Ok(output)
}

/// As [`output`], of a program given as a list of words.
pub fn run(words: &[&str]) -> Result<Output> {
    let (program, arguments) = words.split_first().context("no program given")?;
    output(Command::new(program).args(arguments))
}

/// Runs a command whose output, all of it, goes to standard error; an exit other than 0 is an error.
pub fn pass_through(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Where a program is, by `PATH` and the places where Debian keeps programs for root.
#[must_use]
pub fn which(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) -> Result<()> {
    signal_pid(child.id(), signal)
}

/// Sends a signal to a process by its number.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(pid, signal).with_context(|| format!("cannot signal process {pid:?}"))
}

/// Asks for something every 20 ms until it is there; an error names what was waited for.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a child's end, for `limit` at most; past that it is killed and an error returned.
pub fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let ended = wait_for("the end of a process", limit, || Ok(child.try_wait()?));
    if ended.is_err() {
        end(child);
    }
    ended
}

/// Kills a child and reaps it; one that has ended already is only reaped.
pub fn end(child: &mut Child) {
    // Either call fails only where the child is gone, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}
