//! What other programs say of a fault: dig, delv, openssl, curl and ping.

use super::{FaultLab, output_of};
use anyhow::{Context as _, Result};

/// A command, and how its first telling line is found.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Command line.
    pub words: Vec<String>,
    /// Text in that line.
    pub telling: &'static str,
}

impl Peer {
    /// Creates a peer from a command line without quotes.
    #[must_use]
    pub fn new(command: &str, telling: &'static str) -> Self {
        Self { words: command.split(' ').map(str::to_owned).collect(), telling }
    }

    /// Creates a peer from a line for the shell.
    #[must_use]
    pub fn shell(line: &str, telling: &'static str) -> Self {
        Self { words: ["sh", "-c", line].map(str::to_owned).to_vec(), telling }
    }

    /// Runs the command on the lab's client and returns the telling line.
    ///
    /// # Errors
    /// No line is as expected: the error has all that the command wrote.
    pub fn run(&self, faults: &FaultLab) -> Result<String> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let output = output_of(&faults.lab, &words)?;
        let line = output.lines().find(|line| line.contains(self.telling));
        let line = line.with_context(|| {
            format!("`{}`: no line has \"{}\":\n{output}", self.words.join(" "), self.telling)
        })?;
        // The rest of the line may differ: times, numbers of queries, numbers of processes.
        let from = line.find(self.telling).unwrap_or_default();
        let line = line.get(from..).unwrap_or(line);
        let end = [", id: ", " after ", "error:num=", ", server: ", ":../"]
            .iter()
            .filter_map(|mark| line.find(mark))
            .min()
            .unwrap_or(line.len());
        Ok(faults.normalise(line.get(..end).unwrap_or(line)).trim().to_owned())
    }

    /// The command as a user types it.
    #[must_use]
    pub fn command(&self, faults: &FaultLab) -> String {
        let line = match self.words.as_slice() {
            [shell, _, line] if shell == "sh" => line.clone(),
            words => words.join(" "),
        };
        faults.normalise(&line)
    }
}
