//! The site: pages of the documentation as HTML with a search, made by mdBook from `docs/`, and the check of its links.
//!
//! `docs/SUMMARY.md` lists the chapters: pages in `docs/`, and some outside of it, which it names with `../`. Both are copied to
//! one folder, where links to files that are no chapters lead to the repository.

use crate::{cache, environment, shell};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of mdBook, as in `tests/site/requirements.txt`.
const VERSION: &str = "0.5.4";
/// Folder of the pages in the workspace.
const PAGES: &str = "docs";
/// Folder of mdBook's settings, styles and scripts.
const SETTINGS: &str = "docs/site";
/// File with the chapters, in the folder of pages.
const SUMMARY: &str = "SUMMARY.md";
/// Branch of the repository that links lead to.
const BRANCH: &str = "main";

/// Downloads mdBook if it is missing, so that tests need not.
pub fn prepare() -> Result<()> {
    mdbook().map(drop)
}

/// Returns the program mdBook; downloads it if it is missing.
fn mdbook() -> Result<PathBuf> {
    let requirements = environment::workspace().join("tests/site/requirements.txt");
    let folder = cache::folder("mdbook", VERSION, |scratch| cache::python(scratch, &requirements))?;
    Ok(folder.join("bin/mdbook"))
}

/// Builds the site in a folder, whose content it replaces, and checks its links. Returns the number of pages.
///
/// # Errors
/// If mdBook fails, or a link leads nowhere; the error names all such links.
pub fn build(folder: &Path) -> Result<usize> {
    let root = environment::workspace();
    let sources = Sources::read(&root)?;
    let book = tempfile::tempdir()?;
    sources.write(book.path())?;
    let mut build = Command::new(mdbook()?);
    build.arg("build").arg(book.path()).arg("--dest-dir").arg(folder);
    shell::output(&mut build).context("cannot build the site")?;
    sources.correct_edit_links(folder)?;
    check(folder, &root, &sources.repository)
}

/// Checks that each page of the documentation is a chapter, once.
///
/// # Errors
/// If one is not; the error names all of them.
pub fn check_chapters() -> Result<()> {
    let sources = Sources::read(&environment::workspace())?;
    let mut wrong = Vec::new();
    let mut chapters = BTreeSet::new();
    for chapter in &sources.chapters {
        if !chapters.insert(chapter.as_str()) {
            wrong.push(format!("{chapter} is there twice"));
        } else if !sources.root.join(chapter).is_file() {
            wrong.push(format!("{chapter} does not exist"));
        }
    }
    for file in files(&sources.root.join(PAGES))? {
        let page = sources.relative(&file)?;
        let is_page = is_markdown(&page) && page != format!("{PAGES}/{SUMMARY}");
        if is_page && !chapters.contains(page.as_str()) {
            wrong.push(format!("{page} is missing"));
        }
    }
    ensure!(wrong.is_empty(), "{PAGES}/{SUMMARY}: {}", wrong.join(", "));
    Ok(())
}

/// What the site is made of. Paths of files are relative to the workspace, with `/`.
struct Sources {
    root: PathBuf,
    /// Address of the repository.
    repository: String,
    chapters: Vec<String>,
}

impl Sources {
    fn read(root: &Path) -> Result<Self> {
        let read =
            |path: PathBuf| fs::read_to_string(&path).with_context(|| path.display().to_string());
        let settings = read(root.join(SETTINGS).join("book.toml"))?;
        let repository = settings
            .lines()
            .find_map(|line| line.strip_prefix("git-repository-url = \"")?.strip_suffix('"'))
            .context("book.toml names no git-repository-url")?;
        let summary = read(root.join(PAGES).join(SUMMARY))?;
        let links = summary.lines().filter_map(|line| line.rsplit_once("](")?.1.strip_suffix(')'));
        let chapters = links.map(|link| resolve(&format!("{PAGES}/{SUMMARY}"), link)).collect();
        Ok(Self { root: root.to_path_buf(), repository: repository.to_owned(), chapters })
    }

    fn relative(&self, file: &Path) -> Result<String> {
        let path = file.strip_prefix(&self.root)?;
        Ok(path.to_str().with_context(|| path.display().to_string())?.to_owned())
    }

    /// Path of a file on the site; `None` if it is not there.
    fn place<'a>(&self, file: &'a str) -> Option<&'a str> {
        if self.chapters.iter().any(|chapter| chapter == file) {
            return Some(file.strip_prefix("docs/").unwrap_or(file));
        }
        let is_picture = !is_markdown(file) && self.root.join(file).is_file();
        file.strip_prefix("docs/").filter(|_| is_picture && !file.starts_with(SETTINGS))
    }

    /// Writes mdBook's input.
    fn write(&self, book: &Path) -> Result<()> {
        for file in files(&self.root.join(SETTINGS))? {
            fs::copy(&file, book.join(file.file_name().context("no name")?))?;
        }
        let pages = book.join(PAGES);
        let summary = format!("{PAGES}/{SUMMARY}");
        let mut all: BTreeSet<String> = self.chapters.iter().cloned().collect();
        for file in files(&self.root.join(PAGES))? {
            all.insert(self.relative(&file)?);
        }
        for file in &all {
            let place = if *file == summary { Some(SUMMARY) } else { self.place(file) };
            let Some(place) = place else { continue };
            let target = pages.join(place);
            fs::create_dir_all(target.parent().unwrap_or(&pages))?;
            let source = self.root.join(file);
            if is_markdown(file) {
                let text = fs::read_to_string(&source).with_context(|| file.clone())?;
                fs::write(&target, self.rewrite(file, &text))?;
            } else {
                fs::copy(&source, &target).with_context(|| file.clone())?;
            }
        }
        Ok(())
    }

    /// Returns a page with its links as they are on the site.
    fn rewrite(&self, page: &str, text: &str) -> String {
        let mut rewritten = String::with_capacity(text.len());
        let mut in_code = false;
        for line in text.split_inclusive('\n') {
            in_code ^= line.trim_start().starts_with("```");
            let mut parts = line.split("](");
            rewritten.push_str(parts.next().unwrap_or_default());
            for part in parts {
                let (link, rest) = part.split_at(part.find([')', ' ']).unwrap_or(part.len()));
                rewritten.push_str("](");
                rewritten.push_str(&if in_code { link.to_owned() } else { self.link(page, link) });
                rewritten.push_str(rest);
            }
        }
        rewritten
    }

    /// Returns a page's link as it is on the site.
    fn link(&self, page: &str, link: &str) -> String {
        if link.contains("://") || link.starts_with("mailto:") || link.starts_with('#') {
            return link.to_owned();
        }
        let (path, anchor) = link.find('#').map_or((link, ""), |place| link.split_at(place));
        let file = resolve(page, path);
        let folder_page = format!("{file}/README.md");
        let here = if page.ends_with(SUMMARY) { SUMMARY } else { self.place(page).unwrap_or(page) };
        if let Some(place) = self.place(&file).or_else(|| self.place(&folder_page)) {
            // mdBook renames these pages, and not the links to them.
            let place = match place.strip_suffix("README.md") {
                Some(folder) if here != SUMMARY => format!("{folder}index.md"),
                _ => place.to_owned(),
            };
            return format!("{}{place}{anchor}", "../".repeat(here.matches('/').count()));
        }
        let kind = if self.root.join(&file).is_dir() { "tree" } else { "blob" };
        format!("{}/{kind}/{BRANCH}/{file}{anchor}", self.repository)
    }

    /// Corrects the links for editing chapters that are not in the folder of pages.
    fn correct_edit_links(&self, site: &Path) -> Result<()> {
        let edit = format!("{}/edit/{BRANCH}/", self.repository);
        for chapter in self.chapters.iter().filter(|chapter| !chapter.starts_with("docs/")) {
            let page = site.join(html(chapter));
            let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
            let wrong = format!("{edit}docs/{chapter}");
            fs::write(&page, text.replace(&wrong, &format!("{edit}{chapter}")))?;
        }
        Ok(())
    }
}

/// Whether a file is a page.
fn is_markdown(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "md")
}

/// Returns the file of a chapter's page: that of a `README.md` is its folder's index.
fn html(place: &str) -> String {
    let stem = place.strip_suffix(".md").unwrap_or(place);
    match stem.strip_suffix("README") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("{folder}index.html"),
        _ => format!("{stem}.html"),
    }
}

/// Returns the file that a link on a page leads to.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns every file below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Checks the links between the pages of a built site, and those to the repository. Returns the number of pages.
///
/// # Errors
/// If a link leads nowhere; the error names all such links.
fn check(site: &Path, root: &Path, repository: &str) -> Result<usize> {
    let mut pages: BTreeMap<String, String> = BTreeMap::new();
    for file in files(site)? {
        if file.extension().is_some_and(|extension| extension == "html") {
            let name = file.strip_prefix(site)?.to_str().context("the name of a page")?.to_owned();
            pages.insert(name, fs::read_to_string(&file)?);
        }
    }
    let anchors: BTreeMap<&str, BTreeSet<String>> = pages
        .iter()
        .map(|(page, text)| (page.as_str(), attributes(text, "id").collect()))
        .collect();
    let has_anchor =
        |page: &str, anchor: &str| anchors.get(page).is_some_and(|all| all.contains(anchor));
    let mut wrong = Vec::new();
    for (page, text) in &pages {
        for link in attributes(text, "href").chain(attributes(text, "src")) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let is_valid = if let Some(file) = path.strip_prefix(repository) {
                // `/blob/main/FILE`; `/edit/…` and `/tree/…` are alike.
                file.splitn(4, '/').nth(3).is_none_or(|file| root.join(file).exists())
            } else if path.contains(':') {
                true
            } else {
                let file = if path.is_empty() { page.clone() } else { resolve(page, path) };
                let is_file = site.join(&file).is_file();
                is_file && (anchor.is_empty() || has_anchor(&file, anchor))
            };
            if !is_valid {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("dead links:\n{}", wrong.join("\n"));
    }
    Ok(pages.len())
}

/// Returns the values of an attribute in a page, without escapes.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let start = format!(" {name}=\"");
    let values: Vec<&str> =
        html.split(&start).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    values.into_iter().map(|value| decode(&value.replace("&amp;", "&")))
}

/// Decodes `%C3%A4` in an address.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = text_of(tail).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the first two bytes as text.
fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.get(..2)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let chapters = ["docs/README.md", "docs/a.md", "docs/b/README.md", "docs/b/c.md", "D.md"];
        Sources {
            root: environment::workspace(),
            repository: "https://git.example/x".to_owned(),
            chapters: chapters.map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn links_lead_to_chapters_or_to_the_repository() {
        let links = [
            ("docs/a.md", "b/c.md#d", "b/c.md#d"),
            ("docs/b/c.md", "../a.md", "../a.md"),
            ("docs/b/c.md", "README.md", "../b/index.md"),
            ("docs/a.md", "b", "b/index.md"),
            ("docs/SUMMARY.md", "b/README.md", "b/README.md"),
            ("docs/a.md", "../D.md#e", "D.md#e"),
            ("D.md", "docs/b/c.md", "b/c.md"),
            ("docs/b/c.md", "../../D.md", "../D.md"),
            ("docs/a.md", "../schemas", "https://git.example/x/tree/main/schemas"),
            ("docs/a.md", "../LICENSE-MIT", "https://git.example/x/blob/main/LICENSE-MIT"),
            ("docs/a.md", "#here", "#here"),
            ("docs/a.md", "https://other.example/", "https://other.example/"),
        ];
        for (page, link, expected) in links {
            assert_eq!(sources().link(page, link), expected, "{page}: {link}");
        }
    }

    #[test]
    fn code_is_left_alone() {
        let text = "[x](../D.md) [y](b)\n```\n[x](../D.md)\n```\n";
        let expected = "[x](D.md) [y](b/index.md)\n```\n[x](../D.md)\n```\n";
        assert_eq!(sources().rewrite("docs/a.md", text), expected);
    }

    #[test]
    fn finds_dead_links() {
        let site = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(site.path().join(name), text).unwrap();
        write(
            "a.html",
            "<a href=\"b.html#one\"></a><a href=\"https://git.example/x/blob/main/README.md\"></a>",
        );
        write("b.html", "<h1 id=\"one\"></h1><a href=\"https://other.example/\"></a>");
        let check = || check(site.path(), &environment::workspace(), "https://git.example/x");
        assert_eq!(check().unwrap(), 2);
        write(
            "c.html",
            "<a href=\"b.html#two\"></a><img src=\"d.svg\"><a href=\"https://git.example/x/tree/main/none\"></a>",
        );
        let error = check().unwrap_err().to_string();
        assert_eq!(error.lines().count(), 4, "{error}");
    }
}
