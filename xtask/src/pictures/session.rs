//! The session at the top of the README: `trace` finds the resolver that costs four seconds, `top` the pod that asks it.

use super::recording::{Recorder, Recording};
use super::scenario::{DEAD, SITE, Scenario};
use super::{WARM_UP, animation};
use crate::console;
use anyhow::{Context as _, Result};
use dnscribe_tests::environment;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SIZE: (u16, u16) = (80, 17);
const TITLE: &str = "dnscribe trace finds the resolver that costs curl four seconds; dnscribe top finds \
                     the pod that asks it";

/// Recording, and the picture of it.
fn files() -> [PathBuf; 2] {
    let folder = environment::workspace().join("docs/pictures");
    [folder.join("session.cast"), folder.join("session.svg")]
}

/// Records the session and draws it.
pub fn record(scenario: &Scenario, binary: &Path) -> Result<()> {
    let recording = play(scenario, binary)?;
    let [cast, _] = files();
    fs::write(&cast, recording.write()).with_context(|| cast.display().to_string())?;
    let picture = draw()?;
    let [_, svg] = files();
    fs::write(&svg, picture).with_context(|| svg.display().to_string())?;
    console::progress("pictures: session");
    Ok(())
}

/// Returns the picture of the recording.
fn draw() -> Result<String> {
    let [cast, _] = files();
    let text = fs::read_to_string(&cast).with_context(|| cast.display().to_string())?;
    Ok(animation::render(&Recording::parse(&text)?))
}

fn play(scenario: &Scenario, binary: &Path) -> Result<Recording> {
    let (short, long) = (Duration::from_millis(800), Duration::from_secs(3));
    let terminal = scenario.shell(SIZE, binary)?;
    terminal.wait_for("a prompt", is_prompt)?;
    let mut recorder = Recorder::start(&terminal, SIZE, TITLE);
    recorder.run(short)?;
    recorder.type_text(&format!("dnscribe trace -- curl -sS http://{SITE}"))?;
    recorder.press("Enter")?;
    recorder.run_until("tree of the trace", |text| text.contains("curl (") && is_prompt(text))?;
    recorder.mark_poster();
    recorder.run(Duration::from_secs(6))?;
    recorder.type_text("dnscribe top")?;
    recorder.press("Enter")?;
    recorder.run_until("dead resolver", |text| text.contains(DEAD))?;
    recorder.run(short)?;
    // Its charts show the last minute.
    recorder.skip(WARM_UP);
    recorder.run(long)?;
    recorder.press("End")?;
    recorder.run(Duration::from_millis(1_500))?;
    recorder.press("Enter")?;
    recorder.run(long)?;
    recorder.press("Enter")?;
    recorder.run(long)?;
    let recording = recorder.finish();
    terminal.press(&["q"])?;
    terminal.wait_for("its own screen again", is_prompt)?;
    Ok(recording)
}

/// Returns whether the shell waits for a command.
fn is_prompt(text: &str) -> bool {
    text.lines().rfind(|line| !line.trim().is_empty()).is_some_and(|line| line.trim() == "#")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that the top of the README may have.
    const LIMIT: usize = 150_000;

    #[test]
    fn golden_session() {
        let [cast, svg] = files();
        let picture = draw().unwrap();
        super::super::golden(&svg, &picture).unwrap();
        assert!(picture.len() < LIMIT, "{} bytes", picture.len());
        let recording = Recording::parse(&fs::read_to_string(cast).unwrap()).unwrap();
        assert_eq!(recording.size.0, 80);
        let poster = format!("waiting for {DEAD}, which never answered");
        let says = |change: &super::super::recording::Change| {
            change.at_ms <= recording.poster_ms
                && change.rows.iter().any(|(_, text)| text.contains(&poster))
        };
        assert!(recording.changes.iter().any(says), "no {poster:?}");
        let last = recording.changes.last().unwrap();
        assert!(recording.poster_ms < last.at_ms);
    }
}
