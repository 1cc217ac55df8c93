//! The traced command: starting it, forwarding signals, waiting for its end.

use super::cgroup::CommandCgroup;
use dnscribe_agent::privilege::Account;
use dnscribe_cli::exit::Exit;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::thread;

/// Signals that are forwarded.
const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Exit code of shells for a command that was not found.
const NOT_FOUND: u8 = 127;

/// Exit code of shells for a command that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;

/// A running command.
#[derive(Debug)]
pub(super) struct TracedCommand {
    child: Child,
    forwarding: Handle,
}

impl TracedCommand {
    /// Starts a command in a cgroup, as another user if one is given, with this process's standard streams.
    ///
    /// # Errors
    /// Exit code 127: there is no such command; 126: it cannot be executed.
    pub(super) fn start(
        words: &[OsString],
        account: Option<&Account>,
        cgroup: &CommandCgroup,
    ) -> Result<Self, Exit> {
        let [program, arguments @ ..] = words else {
            return Err(Exit::usage("no command is given"));
        };
        // Before the command starts, so that no signal ends this program alone.
        let signals = Signals::new(FORWARDED)
            .map_err(|error| Exit::failed(format!("cannot listen for signals: {error}")))?;
        let mut command = Command::new(program);
        command.args(arguments);
        let cannot_move = |error| {
            let directory = cgroup.directory.display();
            Exit::cannot_capture(format!("cannot move this process to cgroup {directory}: {error}"))
                .with_remedy("run as root, outside of a cgroup whose controllers forbid processes")
        };
        let started = cgroup.inside(|| spawn(&mut command, account)).map_err(cannot_move)?;
        let child = started.map_err(|error| {
            let name = program.to_string_lossy();
            let mut exit = Exit::failed(format!("cannot run {name}: {error}"));
            exit.code = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            };
            exit
        })?;
        let forwarding = forward(signals, child.id())
            .map_err(|error| Exit::failed(format!("cannot forward signals: {error}")))?;
        Ok(Self { child, forwarding })
    }

    /// Waits for the end of the command, and stops forwarding signals.
    pub(super) fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.forwarding.close();
        status
    }
}

/// Returns the exit code of a shell for this status: 128 and the number of the signal, if one ended the command.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// Starts the command. The user is changed in a thread of its own, whose child the command is: other threads keep
/// theirs.
fn spawn(command: &mut Command, account: Option<&Account>) -> io::Result<Child> {
    let Some(account) = account else { return command.spawn() };
    thread::scope(|scope| {
        let started = thread::Builder::new().spawn_scoped(scope, || {
            account.enter()?;
            command.spawn()
        })?;
        started.join().map_err(|_| io::Error::other("the thread that starts it failed"))?
    })
}

/// Forwards signals to a process until the handle is closed. A file descriptor names the process, since its id may
/// be used again.
fn forward(mut signals: Signals, pid: u32) -> io::Result<Handle> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let handle = signals.handle();
    let work = move || {
        for number in signals.forever() {
            let from_keyboard = matches!(number, SIGINT | SIGQUIT) && is_in_foreground();
            if let Some(signal) = Signal::from_named_raw(number).filter(|_| !from_keyboard)
                && let Err(error) = pidfd_send_signal(&process, signal)
            {
                tracing::debug!("cannot forward signal {number}: {error}");
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(work)?;
    Ok(handle)
}

/// Returns whether this process is in the foreground of a terminal, which then sends signals of its keyboard to the
/// command as well: process group and foreground group of `proc_pid_stat(5)`.
fn is_in_foreground() -> bool {
    let Ok(text) = std::fs::read_to_string("/proc/self/stat") else { return false };
    let Some((_, fields)) = text.rsplit_once(')') else { return false };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    matches!((fields.get(2), fields.get(5)), (Some(group), Some(foreground)) if group == foreground)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_is_that_of_a_shell() {
        let run = |script: &str| Command::new("sh").args(["-c", script]).status().unwrap();
        assert_eq!(exit_code(run("exit 0")), 0);
        assert_eq!(exit_code(run("exit 41")), 41);
        assert_eq!(exit_code(run("kill -KILL $$")), 137);
    }
}
