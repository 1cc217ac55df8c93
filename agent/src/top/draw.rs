//! From model and view to a frame: a pure function of what it is given.

mod alerts;
mod chart;
mod head;
mod help;
mod list;
mod look;
mod loss;
#[cfg(test)]
mod tests;

pub use look::Look;

use super::column::Tone;
use super::list::Entry;
use super::model::Model;
use super::view::{Tab, View};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

/// The least that a frame needs.
pub const LEAST: (u16, u16) = (60, 10);

/// On screens so high there is a chart above the list.
const CHART_FROM: u16 = 30;
/// On screens so high there is, below the list, what the chosen line leads to.
const PREVIEW_FROM: u16 = 40;

/// What is known of where the records come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// `hook cgroup at /`, `replay of a.pcap`, ...
    pub source: String,
    /// Whether the source has no more to give.
    pub ended: bool,
    /// Whether the picture is held.
    pub paused: bool,
    /// Log lines, the newest last.
    pub log: Vec<String>,
    /// Whether the newest log line is news.
    pub log_is_new: bool,
}

/// What a frame shows.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is known.
    pub model: &'a Model,
    /// What is wanted.
    pub view: &'a View,
    /// Where it comes from.
    pub status: &'a Status,
    /// How it looks.
    pub look: Look,
}

/// The parts of a frame.
struct Parts {
    head: Rect,
    chart: Option<Rect>,
    body: Rect,
    preview: Option<Rect>,
    foot: Rect,
}

/// The parts for a list of so many lines: what it does not need is the preview's.
fn parts(area: Rect, view: &View, lines: usize) -> Parts {
    let is_list = view.listing().is_some();
    let has_chart = is_list && area.height >= CHART_FROM;
    let has_preview = is_list && area.height >= PREVIEW_FROM && view.drills().next().is_none();
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
    let [head, chart, body, preview, foot] = rows.areas(area);
    Parts {
        head,
        chart: has_chart.then_some(chart),
        body,
        preview: has_preview.then_some(preview),
        foot,
    }
}

/// Tells the view of the size of its screen.
pub fn measure(area: Rect, view: &mut View) {
    view.width = area.width;
    let rows = parts(area, view, usize::MAX).body.height;
    view.page = usize::from(rows.saturating_sub(2)).max(1);
}

/// Draws a frame.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (width, height) = LEAST;
        let text = format!("too small: {}x{} of {width}x{height}", area.width, area.height);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let entries = scene.view.lines(scene.model);
    let Parts { head, chart, body, preview, foot } = parts(area, scene.view, entries.len());
    lines(frame, head, head::lines(scene, usize::from(area.width)));
    if let Some(chart) = chart {
        lines(frame, chart, chart::lines(scene, usize::from(area.width)));
    }
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let text = match scene.view.tab() {
        Tab::Loss => scrolled(loss::lines(scene), scene.view.scroll, height),
        _ => content(scene, &entries, width, height),
    };
    lines(frame, body, text);
    if let Some(preview) = preview {
        let rows = usize::from(preview.height);
        lines(frame, preview, list::preview(scene, &entries, width, rows));
    }
    lines(frame, foot, vec![head::foot(scene, width)]);
    if scene.view.help {
        help(frame, scene.look);
    }
}

/// What the tab is for.
fn content(
    scene: &Scene<'_>,
    entries: &[Entry],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    match scene.view.tab() {
        Tab::Alerts => alerts::lines(scene, width, height),
        Tab::Loss => loss::lines(scene),
        _ => list::lines(scene, entries, width, height),
    }
}

/// The head and one page as text: what [`draw`] draws, without a screen and its styles.
pub fn page(
    scene: &Scene<'_>,
    width: usize,
    rows: usize,
) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let head = head::lines(scene, width).into_iter().take(2).collect();
    (head, content(scene, &scene.view.lines(scene.model), width, rows + 1))
}

fn lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines), area);
}

/// The lines from the first on that is to be shown; the last page at most.
fn scrolled(lines: Vec<Line<'_>>, first: usize, height: usize) -> Vec<Line<'_>> {
    let first = first.min(lines.len().saturating_sub(height));
    lines.into_iter().skip(first).collect()
}

fn help(frame: &mut Frame<'_>, look: Look) {
    let text = help::lines(look);
    let area = frame.area();
    let wide = text.iter().map(Line::width).max().unwrap_or(0);
    let size = |length: usize, most: u16| u16::try_from(length).unwrap_or(most).min(most);
    let (width, height) = (size(wide + 2, area.width), size(text.len(), area.height));
    let area = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).style(look.inverted()), area);
}

/// Text of a tone.
fn span(look: Look, tone: Tone, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), look.tone(tone))
}
