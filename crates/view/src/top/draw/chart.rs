//! Sparklines in lists, and the chart above them.

use super::theme::CURVE;
use super::{Scene, Theme, span};
use crate::top::column::Tone;
use crate::top::model::{self, RECENT};
use crate::top::text;
use ratatui::text::{Line, Span};

/// Rows of the chart, including its title.
pub const ROWS: u16 = 7;

/// Width of the chart's scale.
const SCALE: usize = 8;

/// Draws a sparkline of the newest `columns` values, relative to the greatest.
pub fn sparkline(theme: Theme, values: &[u32], columns: usize) -> String {
    let shown = &values[values.len().saturating_sub(columns)..];
    let greatest = shown.iter().copied().max().unwrap_or(0);
    let blank = columns - shown.len();
    let signs = shown.iter().map(|value| theme.height(step(theme, *value, greatest, (1, 0))));
    std::iter::repeat_n(' ', blank).chain(signs).collect()
}

/// Returns how far a value reaches into one of `rows` rows, counted from below, in steps of [`Theme::heights`]. Any
/// value above zero is visible.
fn step(theme: Theme, value: u32, greatest: u32, (rows, row): (u32, u32)) -> usize {
    let whole = u64::try_from(theme.heights().len()).map_or(1, |count| count - 1);
    let steps = (u64::from(value) * u64::from(rows) * whole).div_ceil(u64::from(greatest.max(1)));
    let left = steps.saturating_sub(u64::from(row) * whole).min(whole);
    usize::try_from(left).unwrap_or(0)
}

/// Draws the chart of all queries; failures have their own colour.
pub(super) fn lines(scene: &Scene<'_>, width: usize) -> Vec<Line<'static>> {
    let theme = scene.theme;
    let figures = scene.model.total(scene.view.vantage, scene.view.span);
    let per = (width.saturating_sub(SCALE) / RECENT).max(1);
    let greatest = figures.history.iter().copied().max().unwrap_or(0);
    let what = match scene.view.span {
        model::Span::Recent => {
            "queries per second, last 60 s; at the foot what failed, NXDOMAIN aside"
        }
        model::Span::Whole => "queries over all of the time",
    };
    let mut lines = vec![Line::from(vec![
        span(theme, Tone::Dim, " ".repeat(SCALE)),
        span(theme, Tone::Dim, what),
    ])];
    let rows = u32::from(ROWS) - 1;
    for row in (0..rows).rev() {
        let scale = match row {
            0 => "0".to_owned(),
            _ if row == rows - 1 => text::count(u64::from(greatest)),
            _ => String::new(),
        };
        let mut spans = vec![span(theme, Tone::Dim, format!("{scale:>7} "))];
        for (all, failed) in figures.history.iter().zip(&figures.failures) {
            spans.push(cell(theme, (*all, *failed, greatest), (rows, row), per));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// Draws one value's cell. In a full cell, failures are drawn on the colour of the others; a partial cell
/// has only one colour, that of the greater part.
fn cell(
    theme: Theme,
    (all, failed, greatest): (u32, u32, u32),
    row: (u32, u32),
    per: usize,
) -> Span<'static> {
    let total = step(theme, all, greatest, row);
    let failing = step(theme, failed, greatest, row);
    let is_whole = total + 1 == theme.heights().len();
    let (height, style) = match failing {
        _ if is_whole && theme.colour && failing > 0 && failing < total => {
            (failing, theme.tone(Tone::Bad).bg(CURVE))
        }
        _ if failing * 2 >= total && failing > 0 => (total, theme.tone(Tone::Bad)),
        _ => (total, theme.curve()),
    };
    Span::styled(theme.height(height).to_string().repeat(per), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Theme = Theme { colour: true, unicode: true };
    const ASCII: Theme = Theme { colour: false, unicode: false };

    #[test]
    fn a_curve_shows_what_is_there() {
        assert_eq!(sparkline(UNICODE, &[0, 1, 4, 8], 4), " ▁▄█");
        assert_eq!(sparkline(ASCII, &[0, 1, 4, 8], 6), "   .=#");
        assert_eq!(sparkline(UNICODE, &[9, 1, 1_000_000], 2), "▁█", "a little is not nothing");
        assert_eq!(sparkline(UNICODE, &[0, 0], 2), "  ");
        assert_eq!(sparkline(UNICODE, &[u32::MAX, 1], 2), "█▁");
    }
}
