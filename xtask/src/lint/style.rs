//! Checks the part of docs/STYLE.md that a program can check: doc comments that do not stand alone, words of the
//! project's former private vocabulary, and names of types and in code that do not say what they name.

use anyhow::{Context as _, Result, bail};
use dnscribe_tests::environment;
use std::fs;

/// First words of a doc comment that lean on a neighbour or lack a noun.
const OPENINGS: [&str; 12] = [
    "As above",
    "As with",
    "Both of",
    "Nobody",
    "Of ",
    "So many",
    "Somebody",
    "That ",
    "The other",
    "The same",
    "Those ",
    "Whoever",
];

/// Words that comments must not use: the project's former private vocabulary.
const WORDS: [&str; 11] = [
    "blueprint",
    "courier",
    "courtesy",
    "crew",
    "newcomers",
    "rooms",
    "scribe",
    "shall",
    "told",
    "tray",
    "yardstick",
];

/// Names that types must not have: they do not say what the type is.
const TYPES: [&str; 26] = [
    "Asker",
    "Asks",
    "Bell",
    "Blueprint",
    "Book",
    "Caller",
    "Cargo",
    "Census",
    "Concerned",
    "Courier",
    "Courtesy",
    "Crew",
    "Desk",
    "Entry",
    "Hand",
    "Kept",
    "Meant",
    "Outlet",
    "Pen",
    "Rested",
    "Scribe",
    "Sight",
    "Told",
    "Tray",
    "Twins",
    "Untold",
];

/// Words that no name in code may contain: they say how, and not what.
const NAMES: [&str; 6] = ["carried", "fate", "look", "sight", "told", "untold"];

/// Folders with Rust files.
const FOLDERS: [&str; 9] =
    ["agent", "agent-common/src", "agent-ebpf", "crates", "fuzz", "kpi", "probe", "tests", "xtask"];

/// Checks every Rust file.
pub fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for folder in FOLDERS {
        for file in super::files(&environment::workspace().join(folder), "rs")? {
            if file.ends_with("lint/style.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let place = file.strip_prefix(environment::workspace()).unwrap_or(&file).display();
            wrong.extend(
                problems(&text).iter().map(|(line, what)| format!("{place}:{line}: {what}")),
            );
        }
    }
    if !wrong.is_empty() {
        bail!("against docs/STYLE.md, {} times:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

/// Returns the number of each line that breaks a rule, with a description.
fn problems(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_doc = false;
    let mut in_text = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
        if let Some(doc) = doc.filter(|_| !in_doc) {
            let opening = OPENINGS.iter().find(|opening| doc.starts_with(**opening));
            let said = |opening: &&str| format!("a doc comment begins with \"{}\"", opening.trim());
            found.extend(opening.map(|opening| (number + 1, said(opening))));
        }
        in_doc = doc.is_some();
        if let Some((_, comment)) = line.split_once("//") {
            let comment = comment.to_ascii_lowercase();
            let word = WORDS.iter().find(|word| has_word(&comment, word));
            found.extend(word.map(|word| {
                (number + 1, format!("\"{word}\" is no word of the project: see docs/STYLE.md"))
            }));
        }
        let code = if in_text { String::new() } else { code(line) };
        // A text goes on in the next line.
        in_text = line.ends_with('\\');
        let mut names = code.split(|c: char| !c.is_ascii_alphanumeric());
        let named = names.find(|name| NAMES.contains(name));
        found.extend(named.map(|name| (number + 1, format!("a name with \"{name}\""))));
        let defined = ["struct ", "enum ", "trait ", "type "].iter().find_map(|keyword| {
            let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            line.trim_start_matches("pub ").strip_prefix(keyword)
        });
        if let Some(defined) = defined {
            let name: String = defined.chars().take_while(char::is_ascii_alphanumeric).collect();
            if TYPES.contains(&&*name) {
                found.push((number + 1, format!("a type called `{name}`")));
            }
        }
    }
    found
}

/// Returns the code of a line, without texts and comments.
fn code(line: &str) -> String {
    let code = line.split_once("//").map_or(line, |(code, _)| code);
    code.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Whether a text contains `word` as a whole word.
fn has_word(text: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !is_letter(before.chars().next_back()) && !is_letter(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_openings_words_and_types() {
        let lines = |text: &str| problems(text).iter().map(|(line, _)| *line).collect::<Vec<_>>();
        assert_eq!(lines("/// The same, given.\nfn x() {}\n"), [1]);
        assert_eq!(lines("/// Returns the bytes.\n/// The same as before.\nfn x() {}\n"), [0; 0]);
        assert_eq!(lines("let a = 1; // what is told\n"), [1]);
        assert_eq!(lines("/// A pen.\npub struct Pen {\n"), [2]);
        assert_eq!(lines("fn first_look() {}\nlet lookup = \"a look\"; // look\n"), [1]);
        assert_eq!(lines("// untold_total stays\npub struct Pencil;\n"), [0; 0]);
    }
}
