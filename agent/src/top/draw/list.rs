//! A list: titles, lines, what is chosen.

use super::chart::sparkline;
use super::{Scene, span};
use crate::top::column::{self, Column, Tone, columns};
use crate::top::list::{Entry, Listing, Query, Sort};
use crate::top::model::RECENT;
use crate::top::text;
use ratatui::text::{Line, Span};

/// Between two columns.
const GAP: usize = 1;
/// Before the first one, for the mark.
const MARK: usize = 2;
/// Names are seldom longer, and curves want room, too.
const LONGEST_LABEL: usize = 64;
/// Places likewise.
const LONGEST_PLACE: usize = 40;

/// The list that is shown.
pub(super) fn lines(
    scene: &Scene<'_>,
    entries: &[Entry],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let view = scene.view;
    let Some(listing) = view.listing() else { return Vec::new() };
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let chosen = view.chosen(&keys);
    let table = Table { scene, listing, sort: view.sort(), width };
    let rows = height.saturating_sub(1);
    let mut lines = table.lines(entries, Some(chosen), rows);
    if entries.is_empty() {
        lines.push(Line::from(span(scene.look, Tone::Dim, format!("  {}", nothing(scene)))));
    } else if let Some(other) = other(scene, entries)
        && lines.len() < height
    {
        lines.push(Line::from(span(scene.look, Tone::Dim, other)));
    }
    lines
}

/// Why the list is empty.
fn nothing(scene: &Scene<'_>) -> &'static str {
    let failing = scene.view.drills().last().is_some_and(|drill| drill.failing);
    if !scene.view.filter().is_empty() {
        "nothing matches the filter: Esc drops it"
    } else if failing {
        "nothing fails here, as far as is remembered: f shows all"
    } else if scene.view.drills().next().is_some() {
        "nothing is remembered of this side: v changes the side"
    } else if scene.model.records() == 0 {
        "no DNS yet"
    } else {
        "nothing from this side: v changes the side"
    }
}

/// What the list cannot show, for there was too much.
fn other(scene: &Scene<'_>, entries: &[Entry]) -> Option<String> {
    let Some(Listing::Group(group)) = scene.view.listing() else { return None };
    let other = scene.model.other(group, scene.view.vantage).queries();
    let hidden = other > 0 && scene.view.filter().is_empty() && !entries.is_empty();
    hidden.then(|| format!("  and {} queries of others since the start", text::group(other)))
}

/// What the chosen line leads to.
pub(super) fn preview(
    scene: &Scene<'_>,
    entries: &[Entry],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let Scene { view, model, look, .. } = *scene;
    let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let chosen = entries.get(view.chosen(&keys));
    let Some((entry, drill)) = chosen.and_then(|entry| Some((entry, view.next_drill(entry)?)))
    else {
        return Vec::new();
    };
    let listing = Listing::Facts(drill.by);
    let sort = Sort { column: Column::Count, descending: true };
    let query = Query {
        listing,
        narrowed: &drill.narrowed,
        failing: drill.failing,
        vantage: view.vantage,
        span: view.span,
        filter: "",
        sort,
    };
    let facts = query.lines(model);
    let title =
        format!(" {}: {}", entry.label, if drill.failing { "what fails" } else { "in detail" });
    let title = text::fit(&look.shown(&title), width, look.dots());
    let rule = "-".repeat(width.saturating_sub(Span::raw(title.as_str()).width() + 1));
    let mut lines = vec![Line::from(vec![
        Span::styled(title, look.title()),
        span(look, Tone::Dim, format!(" {rule}")),
    ])];
    let table = Table { scene, listing, sort, width };
    lines.extend(table.lines(&facts, None, height.saturating_sub(2)));
    if facts.is_empty() {
        let text = if drill.failing { "  nothing fails" } else { "  nothing is remembered" };
        lines.push(Line::from(span(look, Tone::Dim, text)));
    }
    lines
}

struct Table<'a> {
    scene: &'a Scene<'a>,
    listing: Listing,
    sort: Sort,
    width: usize,
}

impl Table<'_> {
    /// The titles, and as many lines as there is room for, those around the chosen one.
    fn lines(&self, entries: &[Entry], chosen: Option<usize>, rows: usize) -> Vec<Line<'static>> {
        let columns = self.columns(entries);
        let mut lines = vec![self.titles(&columns)];
        let first = chosen.map_or(0, |chosen| chosen.saturating_sub(rows / 2));
        let first = first.min(entries.len().saturating_sub(rows));
        for (place, entry) in entries.iter().enumerate().skip(first).take(rows) {
            let line = self.line(&columns, entry);
            if chosen == Some(place) {
                lines.push(self.chosen(line));
            } else {
                lines.push(line);
            }
        }
        lines
    }

    /// The line as the chosen one. Colours turned round would be read as something else, and are left
    /// out; a curve stays as it is.
    fn chosen(&self, line: Line<'static>) -> Line<'static> {
        let look = self.scene.look;
        let is_curve = |span: &Span<'_>| look.colour && span.style == look.curve();
        let spans = line
            .spans
            .into_iter()
            .map(|span| if is_curve(&span) { span } else { span.style(look.inverted()) });
        Line::from(spans.collect::<Vec<_>>())
    }

    /// The columns with their widths: what is left over goes to names, then to curves.
    fn columns(&self, entries: &[Entry]) -> Vec<(Column, usize)> {
        let screen = u16::try_from(self.width).unwrap_or(u16::MAX);
        let mut columns: Vec<(Column, usize)> =
            columns(self.listing, screen).into_iter().map(|one| (one, one.width())).collect();
        let used: usize = columns.iter().map(|(_, width)| width + GAP).sum();
        let mut left = self.width.saturating_sub(used + MARK);
        let longest = |of: fn(&Entry) -> &String| {
            entries.iter().map(|entry| of(entry).chars().count()).max().unwrap_or(0)
        };
        for (column, width) in &mut columns {
            let wanted = match column {
                Column::Label(_) => longest(|entry| &entry.label).min(LONGEST_LABEL),
                Column::Place | Column::Asker => longest(|entry| &entry.place).min(LONGEST_PLACE),
                _ => continue,
            };
            let more = wanted.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
        for (column, width) in &mut columns {
            let most = if *column == Column::History { RECENT } else { continue };
            let more = most.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
        // What still is left over keeps the numbers at the right edge.
        if let Some((_, width)) = columns.first_mut() {
            *width += left;
        }
        columns
    }

    fn titles(&self, columns: &[(Column, usize)]) -> Line<'static> {
        let look = self.scene.look;
        let mut text = " ".repeat(MARK);
        for (column, width) in columns {
            let sorted = *column == self.sort.column;
            let arrow = if sorted { look.arrow(self.sort.descending) } else { "" };
            let title = text::fit(column.title(), width - usize::from(sorted), look.dots());
            text.push_str(&padded(&format!("{title}{arrow}"), *width, column.is_number()));
            text.push_str(&" ".repeat(GAP));
        }
        Line::styled(text, look.tone(Tone::Plain).patch(look.title()))
    }

    fn line(&self, columns: &[(Column, usize)], entry: &Entry) -> Line<'static> {
        let look = self.scene.look;
        let whole = column::tone(entry);
        let mut spans = vec![span(look, whole, look.mark(whole))];
        for (column, width) in columns {
            if let (Column::History, Some(figures)) = (column, &entry.figures) {
                let curve = sparkline(look, &figures.history, *width);
                spans.push(Span::styled(curve, look.curve()));
            } else {
                let cell = text::fit(&look.shown(&column.text(entry)), *width, look.dots());
                let tone = column.tone(entry);
                spans.push(span(look, tone, padded(&cell, *width, column.is_number())));
            }
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        Line::from(spans)
    }
}

/// The text in so many columns.
fn padded(text: &str, columns: usize, to_the_right: bool) -> String {
    let blank = " ".repeat(columns.saturating_sub(Span::raw(text).width()));
    if to_the_right { format!("{blank}{text}") } else { format!("{text}{blank}") }
}
