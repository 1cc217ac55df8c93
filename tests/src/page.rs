//! What a page of the documentation tells its readers to run.

use crate::environment;
use anyhow::{Context as _, Result};
use std::fs;

/// Returns the text of `docs/NAME.md`.
pub fn read(name: &str) -> Result<String> {
    let file = environment::workspace().join(format!("docs/{name}.md"));
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// Returns the blocks of code in a language.
#[must_use]
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let parts = page.split(start.as_str()).skip(1);
    parts.filter_map(|part| Some(part.split_once("```")?.0)).collect()
}

/// Returns the commands of the blocks for a terminal, each on one line.
#[must_use]
pub fn commands(page: &str) -> Vec<String> {
    let joined = blocks(page, "console").concat().replace("\\\n", " ");
    joined.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Returns code within sentences, and words in italics, which name alerts and panels.
pub fn inline(page: &str) -> impl Iterator<Item = &str> {
    ["`", "*"].into_iter().flat_map(|mark| page.split(mark).skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "Run `a --b` or *c*:\n```console\n$ x \\\n    y\nout\n$ z\n```\n```promql\nup\n```\n";

    #[test]
    fn commands_are_joined_lines_after_a_prompt() {
        assert_eq!(commands(PAGE), ["x      y", "z"]);
        assert_eq!(blocks(PAGE, "promql"), ["up\n"]);
        assert_eq!(inline(PAGE).next(), Some("a --b"));
        assert!(inline(PAGE).any(|code| code == "c"));
    }
}
