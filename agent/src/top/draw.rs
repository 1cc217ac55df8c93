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

fn parts(area: Rect, view: &View) -> Parts {
    let is_list = view.listing().is_some();
    let chart = is_list && area.height >= CHART_FROM;
    let preview = is_list && area.height >= PREVIEW_FROM && view.drills().next().is_none();
    let rows = Layout::vertical([
        Constraint::Length(head::ROWS),
        Constraint::Length(if chart { chart::ROWS } else { 0 }),
        Constraint::Fill(if preview { 3 } else { 1 }),
        Constraint::Fill(if preview { 2 } else { 0 }),
        Constraint::Length(1),
    ]);
    let [head, chart_area, body, preview_area, foot] = rows.areas(area);
    Parts {
        head,
        chart: chart.then_some(chart_area),
        body,
        preview: preview.then_some(preview_area),
        foot,
    }
}

/// Tells the view of the size of its screen.
pub fn measure(area: Rect, view: &mut View) {
    view.width = area.width;
    view.page = usize::from(parts(area, view).body.height.saturating_sub(2)).max(1);
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
    let Parts { head, chart, body, preview, foot } = parts(area, scene.view);
    lines(frame, head, head::lines(scene, usize::from(area.width)));
    if let Some(chart) = chart {
        lines(frame, chart, chart::lines(scene, usize::from(area.width)));
    }
    let (width, height) = (usize::from(body.width), usize::from(body.height));
    let text = match scene.view.tab() {
        Tab::Alerts => alerts::lines(scene, width, height),
        Tab::Loss => scrolled(loss::lines(scene), scene.view.scroll, height),
        _ => list::lines(scene, width, height),
    };
    lines(frame, body, text);
    if let Some(preview) = preview {
        lines(frame, preview, list::preview(scene, width, usize::from(preview.height)));
    }
    lines(frame, foot, vec![head::foot(scene, width)]);
    if scene.view.help {
        help(frame, scene.look);
    }
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
    let area = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).style(look.inverted()), area);
}

/// Text of a tone.
fn span(look: Look, tone: Tone, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), look.tone(tone))
}
