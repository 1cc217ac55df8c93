//! Runs other programs; errors include the command and its output.

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Formats a command as typed in a shell, for messages.
#[must_use]
pub fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns a path or another word as a shell reads it as one word, whatever characters it has.
#[must_use]
pub fn quote(word: impl AsRef<OsStr>) -> String {
    format!("'{}'", word.as_ref().to_string_lossy().replace('\'', r"'\''"))
}

/// Returns a command that runs `command` in the same process without the open files that this process
/// has inherited, such as the lock of `flock`: a program that goes on in the background must not keep
/// them open.
#[must_use]
pub fn without_descriptors(command: &Command) -> Command {
    const CLOSE: &str = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec \"$@\"";
    started_by(&["sh", "-c", CLOSE, "sh"], command)
}

/// Returns a command that passes `command` to the program in `words`, which starts it: with its arguments, its folder and its
/// variables.
#[must_use]
pub fn started_by(words: &[&str], command: &Command) -> Command {
    let mut starter = Command::new(words[0]);
    starter.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => starter.env(name, value),
            None => starter.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        starter.current_dir(folder);
    }
    starter
}

/// Runs a command without standard input and returns its output. A nonzero exit status is an error
/// with the command's standard error.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", command_line(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}{}",
            command_line(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end(),
            String::from_utf8_lossy(&output.stdout).trim_end(),
        );
    }
    Ok(output)
}

/// Like [`output`], for a program given as a list of words.
pub fn run(words: &[&str]) -> Result<Output> {
    let (program, arguments) = words.split_first().context("no program given")?;
    output(Command::new(program).args(arguments))
}

/// Runs a command whose output goes to standard error. A nonzero exit status is an error.
pub fn pass_through(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", command_line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", command_line(command));
    }
    Ok(())
}

/// Path of a program in `PATH` or in Debian's folders of root's programs.
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

/// Sends a signal to a process id.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(pid, signal).with_context(|| format!("cannot signal process {pid:?}"))
}

/// Polls every 20 ms until `check` returns a value; the error after `limit` contains `what`.
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
            bail!("timed out after {limit:?} while waiting for {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for the end of a child for at most `limit`; afterwards kills it and returns an error.
pub fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let ended = wait_for("the end of a process", limit, || Ok(child.try_wait()?));
    if ended.is_err() {
        end(child);
    }
    ended
}

/// Kills a child, if it still runs, and reaps it.
pub fn end(child: &mut Child) {
    // Either call fails only if the child is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_reads_quoted_words_as_they_are() {
        for word in
            ["plain", "/a/Ünï cödé x/dnscribe", "it's", "a\"b\\c", "$(echo no) `no` $HOME;&|*"]
        {
            let output = run(&["sh", "-c", &format!("printf %s {}", quote(word))]).unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
