//! Runs commands of pages as their readers do: in a shell, in one folder, with our programs in `PATH`.

use super::Command;
use crate::{environment, shell};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Time limit for a command to print something, or to end.
const LIMIT: Duration = Duration::from_mins(3);

/// `sudo` for who is root already.
const SUDO: &str = "#!/bin/sh\nexec env \"$@\"\n";
/// What `cargo xtask run` does once all is built.
const CARGO: &str = r#"#!/bin/sh
[ "$1 $2" = "xtask run" ] || exit 99
shift 2
case ${1--} in
probe) shift; exec dnscribe-probe "$@" ;;
--) shift; exec dnscribe run "$@" ;;
-*) exec dnscribe run "$@" ;;
*) exec dnscribe "$@" ;;
esac
"#;

/// A folder and a shell in it.
#[derive(Debug)]
pub struct Terminal {
    folder: tempfile::TempDir,
    /// Words before those of the shell, such as those that enter a network namespace.
    pub prefix: Vec<String>,
    /// Names and addresses of pages, and what is here in their place.
    pub replacements: Vec<(String, String)>,
    /// Variables of the environment.
    pub variables: Vec<(String, String)>,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with one of these exit codes.
    Code(&'static [i32]),
    /// By Ctrl-C once it has printed something, with exit code 0.
    Interrupted,
    /// By Ctrl-C so long after its log says that it captures, with exit code 0.
    Silent(Duration),
}

impl Terminal {
    /// Creates the folder, with `examples/` in it, and `dnscribe`, `dnscribe-probe`, `sudo` and `cargo xtask run` in `PATH`.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Agents that have given up root write there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        let bin = folder.path().join("bin");
        fs::create_dir(&bin)?;
        // Tests of other programs do without these.
        for (name, program) in
            [("dnscribe", environment::binary()), ("dnscribe-probe", environment::probe_binary())]
        {
            if let Ok(program) = program {
                symlink(program, bin.join(name))?;
            }
        }
        for (name, text) in [("sudo", SUDO), ("cargo", CARGO)] {
            fs::write(bin.join(name), text)?;
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755))?;
        }
        symlink(environment::workspace().join("examples"), folder.path().join("examples"))?;
        Ok(Self { folder, prefix: Vec::new(), replacements: Vec::new(), variables: Vec::new() })
    }

    /// Adds a program to `PATH`.
    pub fn add_program(&self, program: &Path) -> Result<()> {
        let name = program.file_name().context("a program without a name")?;
        Ok(symlink(program, self.path("bin").join(name))?)
    }

    /// Path of a file in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file to the folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Returns a shell that runs a script in the folder.
    #[must_use]
    pub fn shell(&self, script: &str) -> std::process::Command {
        let words: Vec<&str> =
            self.prefix.iter().map(String::as_str).chain(["bash", "-c", script]).collect();
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).current_dir(self.folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", self.path("bin").display()));
        command.env("LC_ALL", "C.UTF-8").env("TERM", "xterm").env_remove("NO_COLOR");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Returns the command with what is here in place of the page's names.
    #[must_use]
    pub fn replaced(&self, command: &Command) -> String {
        let mut text = command.text.clone();
        for (name, here) in &self.replacements {
            text = text.replace(name, here);
        }
        text
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Errors
    /// If it ends in another way than it should, or is to be interrupted and prints nothing.
    pub fn run(&self, command: &Command, end: End) -> Result<String> {
        let text = self.replaced(command);
        let mut child = self.shell(&text).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = Shared::read(child.stdout.take());
        let errors = Shared::read(child.stderr.take());
        let ended = match end {
            End::Code(codes) => exits(&mut child, codes),
            End::Interrupted => self.interrupt(&mut child, || !output.text().trim().is_empty()),
            End::Silent(time) => self.interrupt(&mut child, || {
                let is_attached = errors.text().contains(" attached ");
                if is_attached {
                    thread::sleep(time);
                }
                is_attached
            }),
        };
        // Whatever else the command has started.
        end_group(&child);
        shell::end(&mut child);
        let (output, errors) = (output.finish(), errors.finish());
        ended.with_context(|| format!("{}: `{text}`\n{output}{errors}", command.page))?;
        Ok(output)
    }

    /// Interrupts our program, as Ctrl-C does, once the condition holds.
    fn interrupt(&self, child: &mut Child, is_ready: impl Fn() -> bool) -> Result<()> {
        shell::wait_for("its output", LIMIT, || {
            if let Some(status) = child.try_wait()? {
                bail!("it ended by itself ({status})");
            }
            Ok(is_ready().then_some(()))
        })?;
        let program = self.program(child)?.context("no program of ours runs")?;
        shell::signal_pid(program, Signal::INT)?;
        exits(child, &[0])
    }

    /// Returns the oldest process of our programs in the process group of a shell: others are its helpers.
    fn program(&self, shell: &Child) -> Result<Option<u32>> {
        let ours = ["bin/dnscribe", "bin/dnscribe-probe"]
            .map(|name| fs::canonicalize(self.path(name)).ok());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let pid = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            let is_ours =
                fs::read_link(path.join("exe")).is_ok_and(|exe| ours.contains(&Some(exe)));
            found.extend(pid.filter(|_| is_ours && group(&path) == Some(shell.id())));
        }
        Ok(found.into_iter().min())
    }
}

/// Waits until a command ends with one of these exit codes.
fn exits(child: &mut Child, codes: &[i32]) -> Result<()> {
    let status = shell::wait(child, LIMIT)?;
    ensure!(status.code().is_some_and(|code| codes.contains(&code)), "{status}");
    Ok(())
}

/// Process group of a process, by proc(5).
fn group(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(2)?.parse().ok()
}

/// Kills the processes of a shell's group.
fn end_group(shell: &Child) {
    let group = i32::try_from(shell.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It fails only where none is left.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Output that a thread reads.
struct Shared {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

impl Shared {
    fn read(source: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let shared = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 4096];
            let Some(mut source) = source else { return };
            while let Ok(length @ 1..) = source.read(&mut buffer) {
                let mut bytes = shared.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend(buffer.get(..length).unwrap_or_default());
            }
        });
        Self { bytes, thread }
    }

    /// Output so far.
    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until no process holds the pipe and returns the output.
    fn finish(self) -> String {
        let Self { bytes, thread } = self;
        // The thread does not panic.
        let _ = thread.join();
        let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
