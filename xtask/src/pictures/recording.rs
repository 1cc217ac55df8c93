//! Recordings of a terminal in asciicast v2, which `asciinema play` plays. They have the rows that changed, each as a whole, so
//! that nobody needs a terminal emulator to read them.

use super::screen;
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::tmux::Terminal;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

/// Interval at which the screen is read.
const POLL_INTERVAL: Duration = Duration::from_millis(80);
/// Time between two keys of a text that is typed.
const KEY_INTERVAL: Duration = Duration::from_millis(45);
/// Time limit for what a recording waits for.
const LIMIT: Duration = Duration::from_mins(1);
/// First output of a recording: the cursor is hidden, the screen empty.
const CLEAR: &str = "\x1b[?25l\x1b[2J";

/// Change of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// Rows that are different from now on, with their text and its escape sequences.
    pub rows: Vec<(usize, String)>,
}

/// A recorded session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Columns and rows of the screen.
    pub size: (u16, u16),
    /// What the session shows.
    pub title: String,
    /// Changes by time.
    pub changes: Vec<Change>,
    /// Time of the screen that stands for the whole session where nothing may move.
    pub poster_ms: u64,
}

impl Recording {
    /// Returns the recording as asciicast v2.
    pub fn write(&self) -> String {
        let header = json!({
            "version": 2, "width": self.size.0, "height": self.size.1, "title": self.title,
            "env": { "TERM": "xterm-256color" },
        });
        let mut cast = format!("{header}\n");
        let mut add = |at_ms: u64, kind: &str, data: &str| {
            let (time, data) = (seconds(at_ms), Value::from(data));
            // Writing to a String cannot fail.
            let _ = writeln!(cast, "[{time}, \"{kind}\", {data}]");
        };
        add(0, "o", CLEAR);
        let mut has_poster = false;
        for change in &self.changes {
            if change.at_ms > self.poster_ms && !has_poster {
                add(self.poster_ms, "m", "poster");
                has_poster = true;
            }
            let mut data = String::new();
            for (number, text) in &change.rows {
                let _ = write!(data, "\x1b[{};1H{text}\x1b[K", number + 1);
            }
            add(change.at_ms, "o", &data);
        }
        cast
    }

    /// Reads a recording that [`Self::write`] has written.
    ///
    /// # Errors
    /// The text is no such recording.
    pub fn parse(cast: &str) -> Result<Self> {
        let mut lines = cast.lines();
        let header: Value = serde_json::from_str(lines.next().context("an empty recording")?)?;
        ensure!(header["version"] == 2, "not an asciicast v2: {header}");
        let number = |value: &Value| -> Result<u16> {
            Ok(u16::try_from(value.as_u64().context("no size")?)?)
        };
        let mut recording = Self {
            size: (number(&header["width"])?, number(&header["height"])?),
            title: header["title"].as_str().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        for line in lines {
            let (time, kind, data): (Box<serde_json::value::RawValue>, String, String) =
                serde_json::from_str(line).with_context(|| line.to_owned())?;
            let at_ms = milliseconds(time.get()).with_context(|| line.to_owned())?;
            match kind.as_str() {
                "m" => recording.poster_ms = at_ms,
                "o" if data == CLEAR => {}
                "o" => recording.changes.push(Change { at_ms, rows: parse_rows(&data)? }),
                _ => bail!("an event of an unknown kind: {line}"),
            }
        }
        Ok(recording)
    }
}

/// Returns milliseconds as seconds.
fn seconds(at_ms: u64) -> String {
    format!("{}.{:03}", at_ms / 1000, at_ms % 1000)
}

/// Returns seconds with three decimals as milliseconds.
fn milliseconds(seconds: &str) -> Result<u64> {
    let (whole, part) = seconds.split_once('.').context("no decimals")?;
    ensure!(part.len() == 3, "not three decimals");
    Ok(whole.parse::<u64>()? * 1000 + part.parse::<u64>()?)
}

/// Splits an output into its rows.
fn parse_rows(data: &str) -> Result<Vec<(usize, String)>> {
    let mut rows = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let row = rest.strip_prefix("\x1b[").and_then(|row| row.split_once(";1H"));
        let (number, after) = row.with_context(|| format!("no row: {rest:?}"))?;
        let (text, after) = after.split_once("\x1b[K").context("a row without end")?;
        rows.push((number.parse::<usize>()?.saturating_sub(1), text.to_owned()));
        rest = after;
    }
    Ok(rows)
}

/// Records what a terminal shows while keys are pressed.
pub struct Recorder<'a> {
    terminal: &'a Terminal,
    recording: Recording,
    rows: Vec<String>,
    start: Instant,
    skipped: Duration,
}

impl<'a> Recorder<'a> {
    /// Starts a recording of a terminal of this size.
    pub fn start(terminal: &'a Terminal, size: (u16, u16), title: &str) -> Self {
        let recording = Recording { size, title: title.to_owned(), ..Recording::default() };
        let (start, skipped) = (Instant::now(), Duration::ZERO);
        Self { terminal, recording, rows: Vec::new(), start, skipped }
    }

    /// Milliseconds of the recording so far.
    fn now_ms(&self) -> u64 {
        let elapsed = self.start.elapsed().saturating_sub(self.skipped);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Reads the screen and records the rows that have changed.
    fn poll(&mut self) -> Result<()> {
        let at_ms = self.now_ms();
        let found: Vec<String> =
            screen::rows(&self.terminal.coloured()?).iter().map(screen::write_row).collect();
        self.rows.resize(self.rows.len().max(found.len()), String::new());
        let mut rows = Vec::new();
        for (number, old) in self.rows.iter_mut().enumerate() {
            let new = found.get(number).cloned().unwrap_or_default();
            if *old != new {
                rows.push((number, new.clone()));
                *old = new;
            }
        }
        if !rows.is_empty() {
            self.recording.changes.push(Change { at_ms, rows });
        }
        Ok(())
    }

    /// Records for some time.
    pub fn run(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.poll()?;
            thread::sleep(POLL_INTERVAL);
        }
        self.poll()
    }

    /// Leaves out what happens for some time.
    pub fn skip(&mut self, duration: Duration) {
        thread::sleep(duration);
        self.skipped += duration;
    }

    /// Types a text, as someone does who knows it.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        for character in text.chars() {
            self.terminal.type_text(&character.to_string())?;
            self.run(KEY_INTERVAL)?;
        }
        Ok(())
    }

    /// Presses a key, by its tmux name.
    pub fn press(&mut self, key: &str) -> Result<()> {
        self.terminal.press(&[key])
    }

    /// Records until the screen satisfies a condition.
    pub fn run_until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let end = Instant::now() + LIMIT;
        loop {
            self.poll()?;
            let text = self.terminal.text()?;
            if wanted(&text) {
                return self.poll();
            }
            ensure!(Instant::now() < end, "no {what} on the screen:\n{text}");
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Chooses the present screen for where nothing may move.
    pub fn mark_poster(&mut self) {
        self.recording.poster_ms = self.now_ms();
    }

    /// Ends the recording.
    pub fn finish(self) -> Recording {
        self.recording
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_recordings_read_back() {
        let change = |at_ms, rows: &[(usize, &str)]| Change {
            at_ms,
            rows: rows.iter().map(|(number, text)| (*number, (*text).to_owned())).collect(),
        };
        let recording = Recording {
            size: (80, 18),
            title: "a title".into(),
            changes: vec![
                change(0, &[(0, "#")]),
                change(1_080, &[(0, "# \x1b[0;1mls\x1b[0m"), (2, "")]),
                change(12_345, &[(1, "ü")]),
            ],
            poster_ms: 2_000,
        };
        let cast = recording.write();
        assert_eq!(Recording::parse(&cast).unwrap(), recording);
        assert!(cast.contains("\n[2.000, \"m\", \"poster\"]\n[12.345, \"o\", "), "{cast}");
        assert!(Recording::parse("{\"version\": 1}").is_err());
    }
}
