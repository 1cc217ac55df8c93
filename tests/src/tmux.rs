//! Interactive programs on a terminal: tmux runs them, sends keys and returns the screen.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Time limit for the screen to show the expected content.
const SCREEN_LIMIT: Duration = Duration::from_mins(1);

/// A terminal in a tmux server of its own. Dropping it ends both.
#[derive(Debug)]
pub struct Terminal {
    folder: TempDir,
}

/// State of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalState {
    /// Whether the alternate screen is shown.
    pub alternate_screen: bool,
    /// Whether the cursor is visible.
    pub cursor: bool,
    /// Whether input is echoed and line-buffered.
    pub line_mode: bool,
}

impl Terminal {
    /// Creates a terminal of `columns` × `rows` on which `sh` runs `script`; it stays open when the
    /// script ends.
    pub fn start((columns, rows): (u16, u16), script: &str) -> Result<Self> {
        let terminal = Self { folder: tempfile::tempdir()? };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let script = format!("{script}\nsleep 1000");
        let mut command = terminal.command();
        command.args(["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, "sh"]);
        shell::output(command.args(["-c", &script]))?;
        // Otherwise tmux would use the size of an attached terminal, and there is none.
        terminal.tmux(&["set-option", "-g", "window-size", "manual"])?;
        Ok(terminal)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.path().join("socket"));
        // The tests may themselves run inside tmux.
        command.env_remove("TMUX").env_remove("NO_COLOR");
        command.env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh");
        command
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let output = shell::output(self.command().args(words))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Presses keys in order, by their tmux names: `q`, `Enter`, `Escape`, `F1`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(|_| ())
    }

    /// Types a text.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(|_| ())
    }

    /// Resizes the terminal.
    pub fn resize(&self, (columns, rows): (u16, u16)) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(|_| ())
    }

    /// Text on the screen, one line per row.
    pub fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Text on the screen with the escape sequences of its colours.
    pub fn coloured(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen satisfies a condition; returns its text.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let found = shell::wait_for(&format!("{what} on the screen"), SCREEN_LIMIT, || {
            last = self.text()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("the screen shows:\n{last}"))
    }

    /// Process that `sh` waits for.
    pub fn program(&self) -> Result<u32> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = shell.trim();
        let path = format!("/proc/{shell}/task/{shell}/children");
        let children = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let first = children.split_whitespace().next().context("no program runs there")?;
        first.parse().with_context(|| path)
    }

    /// Returns the current state of the terminal.
    pub fn state(&self) -> Result<TerminalState> {
        let format = "#{alternate_on} #{cursor_flag} #{pane_tty}";
        let answer = self.tmux(&["display-message", "-p", format])?;
        let words: Vec<&str> = answer.split_whitespace().collect();
        let [other, cursor, tty] = words[..] else {
            bail!("unexpected answer of tmux: {answer:?}")
        };
        let settings = shell::run(&["stty", "-F", tty, "-a"])?;
        let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
        let is_set = |name: &str| settings.split_whitespace().any(|word| word == name);
        Ok(TerminalState {
            alternate_screen: other == "1",
            cursor: cursor == "1",
            line_mode: is_set("icanon") && is_set("echo") && is_set("isig"),
        })
    }
}

impl TerminalState {
    /// State of a fresh terminal.
    pub const INITIAL: Self = Self { alternate_screen: false, cursor: true, line_mode: true };
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only if the server is gone already.
        let _ = self.tmux(&["kill-server"]);
    }
}
