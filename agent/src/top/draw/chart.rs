//! Curves of signs: a line in a list, and the chart above it.

use super::look::CURVE;
use super::{Look, Scene, span};
use crate::top::column::Tone;
use crate::top::model::{self, RECENT};
use crate::top::text;
use ratatui::text::{Line, Span};

/// Rows of the chart, its title included.
pub const ROWS: u16 = 7;

/// Columns beside the chart, for its scale.
const SCALE: usize = 8;

/// A curve of one row: the newest `columns` values, against the greatest of them.
#[must_use]
pub fn sparkline(look: Look, values: &[u32], columns: usize) -> String {
    let shown = &values[values.len().saturating_sub(columns)..];
    let greatest = shown.iter().copied().max().unwrap_or(0);
    let blank = columns - shown.len();
    let signs = shown.iter().map(|value| sign(look, *value, greatest, 1, 0));
    std::iter::repeat_n(' ', blank).chain(signs).collect()
}

/// The sign of a value in one of `rows` rows, counted from below. Whatever is not nothing is seen.
fn sign(look: Look, value: u32, greatest: u32, rows: u32, row: u32) -> char {
    let step = step(look, value, greatest, rows, row);
    look.heights().get(step).copied().unwrap_or(' ')
}

/// How far a value reaches into a row, in steps of [`Look::heights`].
fn step(look: Look, value: u32, greatest: u32, rows: u32, row: u32) -> usize {
    let whole = u64::try_from(look.heights().len()).map_or(1, |count| count - 1);
    let steps = (u64::from(value) * u64::from(rows) * whole).div_ceil(u64::from(greatest.max(1)));
    let left = steps.saturating_sub(u64::from(row) * whole).min(whole);
    usize::try_from(left).unwrap_or(0)
}

/// The chart of all queries, with those that failed in the colour of failures.
pub(super) fn lines(scene: &Scene<'_>, width: usize) -> Vec<Line<'static>> {
    let look = scene.look;
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
        span(look, Tone::Dim, " ".repeat(SCALE)),
        span(look, Tone::Dim, what),
    ])];
    let rows = u32::from(ROWS) - 1;
    for row in (0..rows).rev() {
        let scale = match row {
            0 => "0".to_owned(),
            _ if row == rows - 1 => text::count(u64::from(greatest)),
            _ => String::new(),
        };
        let mut spans = vec![span(look, Tone::Dim, format!("{scale:>7} "))];
        for (all, failed) in figures.history.iter().zip(&figures.failures) {
            spans.push(cell(look, (*all, *failed, greatest), (rows, row), per));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// One value's part of a row. Where a whole cell fails in part, failures stand on the paper of the
/// others; a cell that is not whole can have one colour only, that of the greater part.
fn cell(
    look: Look,
    (all, failed, greatest): (u32, u32, u32),
    (rows, row): (u32, u32),
    per: usize,
) -> Span<'static> {
    let total = step(look, all, greatest, rows, row);
    let failing = step(look, failed, greatest, rows, row);
    let is_whole = total + 1 == look.heights().len();
    let (height, style) = match failing {
        _ if is_whole && look.colour && failing > 0 && failing < total => {
            (failing, look.tone(Tone::Bad).bg(CURVE))
        }
        _ if failing * 2 >= total && failing > 0 => (total, look.tone(Tone::Bad)),
        _ => (total, look.curve()),
    };
    let sign = look.heights().get(height).copied().unwrap_or(' ');
    Span::styled(std::iter::repeat_n(sign, per).collect::<String>(), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNICODE: Look = Look { colour: true, unicode: true };
    const ASCII: Look = Look { colour: false, unicode: false };

    #[test]
    fn a_curve_shows_what_is_there() {
        assert_eq!(sparkline(UNICODE, &[0, 1, 4, 8], 4), " ▁▄█");
        assert_eq!(sparkline(ASCII, &[0, 1, 4, 8], 6), "   .=#");
        assert_eq!(sparkline(UNICODE, &[9, 1, 1_000_000], 2), "▁█", "a little is not nothing");
        assert_eq!(sparkline(UNICODE, &[0, 0], 2), "  ");
        assert_eq!(sparkline(UNICODE, &[u32::MAX, 1], 2), "█▁");
    }
}
