//! What the pages of the documentation tell their readers to run, and which test runs it.

mod executor;
mod kpi;
mod terminal;

use crate::environment;
use anyhow::{Context as _, Result};
pub use executor::{Executor, Row, executors};
pub use kpi::run_kpi_commands;
use std::fs;
pub use terminal::{End, Terminal};

/// A command that a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Name of the page, such as `README`, `docs/kafka` or `examples/README`.
    pub page: String,
    /// What follows the prompt, with the lines that continue it.
    pub text: String,
}

impl Command {
    /// Returns the text without the comment behind it.
    #[must_use]
    pub fn plain(&self) -> &str {
        self.text.split("  #").next().unwrap_or_default().trim_end()
    }
}

/// Returns the text of `docs/NAME.md`.
pub fn read(name: &str) -> Result<String> {
    read_file(&format!("docs/{name}"))
}

/// Returns the text of `NAME.md`.
fn read_file(name: &str) -> Result<String> {
    let file = environment::workspace().join(format!("{name}.md"));
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// Returns the blocks of code in a language.
#[must_use]
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let parts = page.split(start.as_str()).skip(1);
    parts.filter_map(|part| Some(part.split_once("```")?.0)).collect()
}

/// Returns the commands of the blocks for a terminal, each on one line: what follows the prompt of a user or of root, with the
/// lines that continue it.
#[must_use]
pub fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for block in blocks(page, "console") {
        let mut lines = block.lines();
        while let Some(line) = lines.next() {
            let prompt = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
            commands.extend(prompt.map(|first| joined(first, &mut lines)));
        }
    }
    commands
}

/// Returns the commands of the blocks that are scripts, without lines that are a comment.
fn script_commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for block in blocks(page, "sh") {
        let mut lines = block.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
        while let Some(line) = lines.next() {
            commands.push(joined(line, &mut lines));
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// Returns a command whose first line this is.
fn joined<'a>(first: &str, rest: &mut impl Iterator<Item = &'a str>) -> String {
    let mut text = first.to_owned();
    loop {
        let is_open = text.matches('\'').count() % 2 == 1;
        let start = match text.strip_suffix('\\') {
            Some(start) => start,
            None if is_open || text.ends_with('|') => text.as_str(),
            None => return text,
        };
        let Some(next) = rest.next() else { return text };
        text = format!("{start} {}", next.trim_start());
    }
}

/// Returns the commands of README and of the pages below `docs` and `examples` except the runbooks.
pub fn all() -> Result<Vec<Command>> {
    let mut pages =
        vec!["README".to_owned(), "CONTRIBUTING".to_owned(), "examples/README".to_owned()];
    let docs = environment::workspace().join("docs");
    for entry in fs::read_dir(&docs).with_context(|| docs.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.extend(name.strip_suffix(".md").map(|name| format!("docs/{name}")));
    }
    pages.sort();
    let mut all = Vec::new();
    for page in pages {
        let text = read_file(&page)?;
        let found = commands(&text).into_iter().chain(script_commands(&text));
        all.extend(found.map(|text| Command { page: page.clone(), text }));
    }
    Ok(all)
}

/// Returns code within sentences, and words in italics, which name alerts and panels.
pub fn inline(page: &str) -> impl Iterator<Item = &str> {
    ["`", "*"].into_iter().flat_map(|mark| page.split(mark).skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Run `a --b` or *c*:\n```console\n$ x \\\n    y\nout\n# z |\n    less\n$ jq 'a\n  b'\n```\n\
                        ```promql\nup\n```\n```sh\n# comment\na\nb |\n  c\n```\n";

    #[test]
    fn commands_are_joined_lines_after_a_prompt() {
        assert_eq!(commands(PAGE), ["x  y", "z | less", "jq 'a b'"]);
        assert_eq!(script_commands(PAGE), ["a", "b | c"]);
        assert_eq!(blocks(PAGE, "promql"), ["up\n"]);
        assert_eq!(inline(PAGE).next(), Some("a --b"));
        assert!(inline(PAGE).any(|code| code == "c"));
    }
}
