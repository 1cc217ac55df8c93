//! `pictures`: makes the pictures of the documentation that need a running program: screenshots of `dnscribe top` and the session
//! of the README. Pictures that are drawn from files of the repository are rewritten by `bless`.

mod animation;
#[cfg(test)]
mod chart;
#[cfg(test)]
mod drawings;
mod palette;
mod recording;
mod scenario;
mod screen;
mod session;
mod svg;

use crate::process::{become_root, cargo};
use crate::{console, setup};
use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use dnscribe_tests::tmux::Terminal;
use dnscribe_tests::{environment, shell};
use scenario::{DEAD, Scenario};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Duration of traffic before the first screenshot: the charts are 60 seconds wide.
const WARM_UP: Duration = Duration::from_secs(75);
const SMALL: (u16, u16) = (80, 16);
/// Size for the page that lists the losses.
const TALL: (u16, u16) = (80, 28);
/// Least size with chart and preview.
const LARGE: (u16, u16) = (150, 40);

/// Arguments of `pictures`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pictures to make [default: all]
    #[arg(value_enum)]
    parts: Vec<Part>,
}

/// Pictures that are made together.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Screenshots of `dnscribe top`, in docs/top and docs/top.md
    Top,
    /// The session of the README, in docs/pictures
    Session,
}

/// Runs the command.
pub fn main(args: &Args) -> Result<()> {
    setup::install(&["pictures"])?;
    shell::pass_through(cargo().args(["build", "--package", "dnscribe"]))?;
    let binary = environment::target().join("debug/dnscribe");
    become_root("capturing")?;
    console::progress("pictures: generating traffic in a lab, some minutes");
    let scenario = Scenario::start()?;
    let parts = if args.parts.is_empty() { Part::value_variants() } else { args.parts.as_slice() };
    for part in parts {
        match part {
            Part::Top => take_screenshots(&scenario, &binary)?,
            Part::Session => session::record(&scenario, &binary)?,
        }
    }
    Ok(())
}

/// Takes the screenshots of `dnscribe top`.
fn take_screenshots(scenario: &Scenario, binary: &Path) -> Result<()> {
    let small = scenario.top(SMALL, binary)?;
    let tall = scenario.top(TALL, binary)?;
    let large = scenario.top(LARGE, binary)?;
    thread::sleep(WARM_UP);
    let screenshots: [(&str, &Terminal, &[&str]); 6] = [
        ("resolvers", &small, &[]),
        ("large", &large, &["t", "t", "End"]),
        ("failing", &small, &["/", DEAD, "Enter", "Enter"]),
        ("asking", &small, &["Enter"]),
        ("processes", &small, &["4"]),
        ("loss", &tall, &["7"]),
    ];
    for (name, terminal, keys) in screenshots {
        if !keys.is_empty() {
            terminal.press(keys)?;
        }
        // Until the frame after the one that handled the keys.
        thread::sleep(Duration::from_millis(1200));
        save(name, terminal)?;
    }
    for terminal in [&small, &tall, &large] {
        terminal.press(&["q"])?;
        terminal.wait_for("its own screen again", |text| !text.contains("dnscribe top"))?;
    }
    Ok(())
}

/// Writes a screenshot as SVG, and its text into the page.
fn save(name: &str, terminal: &Terminal) -> Result<()> {
    let folder = environment::workspace().join("docs/top");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.svg"));
    fs::write(&path, svg::render(&terminal.coloured()?, &format!("dnscribe top: {name}")))?;
    let page = environment::workspace().join("docs/top.md");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    fs::write(&page, replace_frame(&text, name, &terminal.text()?))?;
    console::progress(&format!("pictures: {name}"));
    Ok(())
}

/// Returns the page with `frame` in the text block after `<!-- frame NAME -->`; unchanged if there is no such
/// block.
fn replace_frame(page: &str, name: &str, frame: &str) -> String {
    let mark = format!("<!-- frame {name} -->\n```text\n");
    let Some((before, rest)) = page.split_once(&mark) else { return page.to_owned() };
    let Some((_, after)) = rest.split_once("```\n") else { return page.to_owned() };
    let lines: Vec<&str> = frame.lines().map(str::trim_end).collect();
    format!("{before}{mark}{}\n```\n{after}", lines.join("\n"))
}

/// Compares a file with what the present code makes, or writes it for `bless`.
///
/// # Errors
/// They differ.
#[cfg(test)]
fn golden(file: &Path, text: &str) -> Result<()> {
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        return fs::write(file, text).with_context(|| file.display().to_string());
    }
    let found = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    anyhow::ensure!(found == text, "{}: run `cargo xtask bless`", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_only_the_named_frame() {
        let page =
            "a\n<!-- frame x -->\n```text\nold\n```\nb\n<!-- frame y -->\n```text\nold\n```\n";
        let expected =
            "a\n<!-- frame x -->\n```text\nnew  1\n```\nb\n<!-- frame y -->\n```text\nold\n```\n";
        assert_eq!(replace_frame(page, "x", "new  1   \n"), expected);
        assert_eq!(replace_frame(page, "z", "new"), page);
    }
}
