//! Draws a frame from model and view; a pure function.

mod alerts;
mod chart;
mod head;
mod help;
mod list;
mod loss;
#[cfg(test)]
mod tests;
mod theme;

pub use theme::Theme;

use super::column::Tone;
use super::list::ListEntry;
use super::model::{Model, Span as Time, Vantage};
use super::view::{Tab, View};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Clear, Paragraph};
use std::ops::Range;

/// Least width and height of a frame.
pub const MIN_SIZE: (u16, u16) = (60, 10);

/// Least height of a screen with a chart above the list.
const CHART_MIN_HEIGHT: u16 = 30;
/// Least height of a screen with a preview below the list.
const PREVIEW_MIN_HEIGHT: u16 = 40;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// `hook cgroup at /`, `replay of a.pcap`, ...
    pub source: String,
    pub ended: bool,
    pub paused: bool,
    /// Log lines, the newest last.
    pub log: Vec<String>,
    /// Whether the newest log line is shown in the footer.
    pub log_is_new: bool,
}

#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub model: &'a Model,
    pub view: &'a View,
    pub status: &'a Status,
    pub theme: Theme,
    /// Whether this is a screen, where keys work.
    pub has_keys: bool,
}

/// Divides the screen for a list of `lines` into head, chart, body, preview and foot. Chart and preview may be empty.
fn parts(area: Rect, view: &View, lines: usize) -> [Rect; 5] {
    let is_list = view.listing().is_some();
    let has_chart = is_list && area.height >= CHART_MIN_HEIGHT;
    let has_preview = is_list && area.height >= PREVIEW_MIN_HEIGHT && view.drill().is_none();
    let chart_rows = if has_chart { chart::ROWS } else { 0 };
    let room = area.height.saturating_sub(head::ROWS + chart_rows + 1);
    let body_rows = if has_preview {
        u16::try_from(lines.saturating_add(3)).unwrap_or(room).clamp(room / 4, room / 5 * 3)
    } else {
        room
    };
    let rows = Layout::vertical([
        Constraint::Length(head::ROWS),
        Constraint::Length(chart_rows),
        Constraint::Length(body_rows),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]);
    rows.areas(area)
}

/// Sets the size of the screen in the view.
pub fn measure(area: Rect, view: &mut View) {
    view.width = area.width;
    let [_, _, body, ..] = parts(area, view, usize::MAX);
    view.page = usize::from(body.height.saturating_sub(2)).max(1);
}

/// Draws a frame. Returns how far a text can be scrolled.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) -> usize {
    let area = frame.area();
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        let (width, height) = MIN_SIZE;
        let text = format!("needs {width}x{height}: {}x{}", area.width, area.height);
        frame.render_widget(Paragraph::new(text), area);
        return scene.view.scroll;
    }
    let entries = scene.view.lines(scene.model);
    let [head, chart, body, preview, foot] = parts(area, scene.view, entries.len());
    lines(frame, head, head::lines(scene, usize::from(area.width)));
    if !chart.is_empty() {
        lines(frame, chart, chart::lines(scene, usize::from(area.width)));
    }
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let mut text = content(scene, &entries, width, height);
    let last = if scene.view.is_text() { text.len().saturating_sub(height) } else { 0 };
    text.drain(..scene.view.scroll.min(last));
    lines(frame, body, text);
    if !preview.is_empty() {
        let rows = usize::from(preview.height);
        lines(frame, preview, list::preview(scene, &entries, width, rows));
    }
    lines(frame, foot, vec![head::foot(scene, width)]);
    if scene.view.help {
        help(frame, scene.theme);
    }
    last
}

fn content(
    scene: &Scene<'_>,
    entries: &[ListEntry],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    match scene.view.tab {
        Tab::Alerts => alerts::lines(scene, width, height),
        Tab::Loss => loss::lines(scene),
        _ => list::lines(scene, entries, width, height),
    }
}

/// Lines of each list in plain text.
const PLAIN_ROWS: usize = 20;

/// Width of plain text in columns where the terminal's is unknown.
pub const WIDTH: u16 = 132;

/// Returns all pages as plain text, for scripts and reports.
pub fn plain_text(model: &Model, source: &str, vantage: Vantage, span: Time, width: u16) -> String {
    let theme = Theme { colour: false, unicode: false };
    let status = Status { source: source.to_owned(), ended: true, ..Status::default() };
    let mut view = View::new(vantage, span);
    view.width = width;
    let width = usize::from(width);
    let mut text = String::new();
    for tab in Tab::ALL.into_iter().filter(|tab| *tab != Tab::Uses || !model.uses.is_empty()) {
        view.open(tab);
        let scene = Scene { model, view: &view, status: &status, theme, has_keys: false };
        if tab == Tab::Resolvers {
            text.extend(head::lines(&scene, width).iter().take(2).map(plain));
        }
        text.extend(["\n", tab.title(), "\n"]);
        let body = content(&scene, &view.lines(model), width, PLAIN_ROWS + 1);
        text.extend(body.iter().map(plain));
    }
    text
}

/// Returns a line without styles, with its line end.
fn plain(line: &Line<'_>) -> String {
    let text: String = line.spans.iter().map(|span| &*span.content).collect();
    format!("{}\n", text.trim_end())
}

fn lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines), area);
}

/// Returns the places of the lines that fit around the selected one.
fn around(chosen: usize, lines: usize, rows: usize) -> Range<usize> {
    let first = chosen.saturating_sub(rows / 2).min(lines.saturating_sub(rows));
    first..lines.min(first + rows)
}

fn help(frame: &mut Frame<'_>, theme: Theme) {
    let text = Text::from(help::lines(theme));
    let size = |length: usize| Constraint::Length(u16::try_from(length).unwrap_or(u16::MAX));
    let area = frame.area().centered(size(text.width() + 2), size(text.height()));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).style(Theme::inverted()), area);
}

/// Creates a text with the style of a tone.
fn span(theme: Theme, tone: Tone, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), theme.tone(tone))
}
