//! Programs on a terminal: tmux runs them, types for them and tells what they show.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a program may take to show what it is waited for.
const SOON: Duration = Duration::from_secs(30);

/// A terminal of its own, with a server of tmux of its own. Dropping it ends both.
#[derive(Debug)]
pub struct Terminal {
    folder: TempDir,
}

/// How a terminal is after a program was on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it shows the other screen, which programs draw on.
    pub other_screen: bool,
    /// Whether the cursor is to be seen.
    pub cursor: bool,
    /// Whether what is typed is shown, and given to programs line by line.
    pub cooked: bool,
}

impl Terminal {
    /// A terminal of so many columns and rows, on which `sh` runs `script`; it stays when that ends.
    pub fn start((columns, rows): (u16, u16), script: &str) -> Result<Self> {
        let terminal = Self { folder: tempfile::tempdir()? };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let script = format!("{script}\nsleep 1000");
        let mut command = terminal.command();
        command.args(["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, "sh"]);
        shell::output(command.args(["-c", &script]))?;
        // Later it would go by the terminal that watches, and there is none.
        terminal.tmux(&["set-option", "-g", "window-size", "manual"])?;
        Ok(terminal)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.path().join("socket"));
        // Not a terminal in the terminal of whoever runs the tests.
        command.env_remove("TMUX").env_remove("NO_COLOR");
        command.env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh");
        command
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let output = shell::output(self.command().args(words))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Presses keys, one after the other, as tmux calls them: `q`, `Enter`, `Escape`, `F1`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(|_| ())
    }

    /// Types a text.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(|_| ())
    }

    /// Makes the terminal as large as said.
    pub fn resize(&self, (columns, rows): (u16, u16)) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]).map(|_| ())
    }

    /// What is on the screen, a line for each row.
    pub fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the escape sequences of its colours.
    pub fn coloured(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen is as wanted; then what is on it.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let found = shell::wait_for(&format!("{what} on the screen"), SOON, || {
            last = self.text()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("the screen shows:\n{last}"))
    }

    /// The process that `sh` waits for.
    pub fn program(&self) -> Result<u32> {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = shell.trim();
        let path = format!("/proc/{shell}/task/{shell}/children");
        let children = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let first = children.split_whitespace().next().context("no program runs there")?;
        first.parse().with_context(|| path)
    }

    /// How the terminal is now.
    pub fn condition(&self) -> Result<Condition> {
        let format = "#{alternate_on} #{cursor_flag} #{pane_tty}";
        let told = self.tmux(&["display-message", "-p", format])?;
        let words: Vec<&str> = told.split_whitespace().collect();
        let [other, cursor, tty] = words[..] else { bail!("tmux says {told:?}") };
        let settings = shell::run(&["stty", "-F", tty, "-a"])?;
        let settings = String::from_utf8_lossy(&settings.stdout).into_owned();
        let is_set = |name: &str| settings.split_whitespace().any(|word| word == name);
        Ok(Condition {
            other_screen: other == "1",
            cursor: cursor == "1",
            cooked: is_set("icanon") && is_set("echo") && is_set("isig"),
        })
    }
}

impl Condition {
    /// A terminal on which nothing has happened.
    pub const USUAL: Self = Self { other_screen: false, cursor: true, cooked: true };
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only where the server is gone, which is what is wanted.
        let _ = self.tmux(&["kill-server"]);
    }
}
