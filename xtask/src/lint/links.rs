//! Links between pages of the documentation: each relative link must lead to a file, and each anchor to a heading
//! of that file. Each page is a chapter of the site.

use anyhow::{Context as _, Result, bail};
use dnscribe_tests::{environment, site};
use std::fs;
use std::path::{Path, PathBuf};

/// Checks every page below `docs` and those that are found without it.
pub fn check() -> Result<()> {
    let root = environment::workspace();
    let mut pages = super::files(&root.join("docs"), "md")?;
    let others =
        ["README", "CHANGELOG", "CONTRIBUTING", "GOVERNANCE", "SECURITY", "examples/README"];
    pages.extend(others.map(|name| root.join(format!("{name}.md"))));
    let mut wrong = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        let folder = page.parent().unwrap_or(Path::new("."));
        for link in links(&text) {
            if !is_valid(&page, folder, link) {
                let page = page.strip_prefix(&root).unwrap_or(&page).display();
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("broken links:\n{}", wrong.join("\n"));
    }
    site::check_chapters()
}

/// Returns the targets of the Markdown links in a text, outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if !in_code {
            let targets = line.split("](").skip(1);
            found.extend(targets.filter_map(|rest| rest.split([')', ' ']).next()));
        }
    }
    found
}

/// Whether the target of a link exists. Links to other sites are not checked.
fn is_valid(page: &Path, folder: &Path, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, at)| (file, Some(at)));
    let target: PathBuf = if file.is_empty() { page.to_path_buf() } else { folder.join(file) };
    let Some(anchor) = anchor else { return target.exists() };
    let Ok(text) = fs::read_to_string(&target) else { return false };
    text.lines().filter_map(|line| line.strip_prefix('#')).any(|title| slug(title) == anchor)
}

/// Returns GitHub's anchor for a heading.
fn slug(title: &str) -> String {
    let title = title.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_and_anchors() {
        let text = "See [a](b.md#c-d), [e](f).\n```\n[g](h)\n```\n";
        assert_eq!(links(text), ["b.md#c-d", "f"]);
        assert_eq!(slug("## `ledger verify`, in short"), "ledger-verify-in-short");
    }
}
