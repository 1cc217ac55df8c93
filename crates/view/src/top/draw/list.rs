//! Lists: titles, lines, selection.

use super::chart::sparkline;
use super::{Scene, Theme, around, span};
use crate::top::column::{self, Column, GAP, MARK, Tone, columns};
use crate::top::list::{ListEntry, Listing, Sort, keys};
use crate::top::model::{RECENT, Span as Time, Vantage};
use crate::top::text;
use crate::top::view::Tab;
use ratatui::text::{Line, Span};

/// Width limit of labels, so that sparklines have space.
const MAX_LABEL_WIDTH: usize = 64;
/// Width limit of places.
const MAX_PLACE_WIDTH: usize = 40;

pub(super) fn lines(
    scene: &Scene<'_>,
    entries: &[ListEntry],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let view = scene.view;
    let Some(listing) = view.listing() else { return Vec::new() };
    let table = Table { scene, listing, sort: view.sort(), width };
    let chosen = view.chosen(keys(entries));
    let mut lines = table.lines(entries, Some(chosen), height.saturating_sub(1));
    if entries.is_empty() {
        lines.push(Line::from(span(scene.theme, Tone::Dim, format!("  {}", nothing(scene)))));
    } else if let Some(other) = other(scene, entries)
        && lines.len() < height
    {
        lines.push(Line::from(span(scene.theme, Tone::Dim, other)));
    }
    lines
}

/// Returns why the list is empty.
fn nothing(scene: &Scene<'_>) -> &'static str {
    let drill = scene.view.drill();
    if scene.view.tab == Tab::Uses && scene.model.uses.is_empty() {
        return "no connections yet: hook cgroup sees them, and records of the stream uses have them";
    }
    if !scene.view.filter().is_empty() {
        "nothing matches the filter: Esc drops it"
    } else if drill.is_some_and(|drill| drill.failing) {
        "nothing fails here, as far as is remembered: f shows all"
    } else if drill.is_some() {
        "nothing is remembered of this side: v changes the side"
    } else if scene.model.total(Vantage::All, Time::Whole).counts.sum() == 0 {
        "no DNS yet"
    } else if scene.has_keys {
        "nothing from this side: v changes the side"
    } else {
        "nothing from this side"
    }
}

/// Returns the line for evicted rows, if there are any.
fn other(scene: &Scene<'_>, entries: &[ListEntry]) -> Option<String> {
    let (other, what) = match scene.view.listing()? {
        Listing::Group(group) => {
            (scene.model.other(group, scene.view.vantage).queries(), "queries of others")
        }
        Listing::Destinations => (scene.model.uses.other, "connections to others"),
        Listing::Facts(_) | Listing::DestinationUsers => return None,
    };
    let hidden = other > 0 && scene.view.filter().is_empty() && !entries.is_empty();
    hidden.then(|| format!("  and {} {what} since the start", text::group(other)))
}

/// Returns the preview of the next level for the selected line.
pub(super) fn preview(
    scene: &Scene<'_>,
    entries: &[ListEntry],
    width: usize,
    height: usize,
) -> Vec<Line<'static>> {
    let Scene { view, model, theme, .. } = *scene;
    let chosen = entries.get(view.chosen(keys(entries)));
    let Some((entry, drill)) = chosen.and_then(|entry| Some((entry, view.next_drill(entry)?)))
    else {
        return Vec::new();
    };
    let sort = Sort { column: Column::Count, descending: true };
    let facts = view.query(Some(&drill), "", sort).lines(model);
    let title =
        format!(" {}: {}", entry.label, if drill.failing { "what fails" } else { "in detail" });
    let title = theme.fitted(&title, width);
    let rule = "-".repeat(width.saturating_sub(Span::raw(title.as_str()).width() + 1));
    let mut lines = vec![Line::from(vec![
        Span::styled(title, theme.title()),
        span(theme, Tone::Dim, format!(" {rule}")),
    ])];
    let Some(listing) = view.listing_of(Some(&drill)) else { return lines };
    let table = Table { scene, listing, sort, width };
    lines.extend(table.lines(&facts, None, height.saturating_sub(2)));
    if facts.is_empty() {
        let text = if drill.failing { "  nothing fails" } else { "  nothing is remembered" };
        lines.push(Line::from(span(theme, Tone::Dim, text)));
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
    /// Returns the titles, and the lines around the selected one that fit.
    fn lines(
        &self,
        entries: &[ListEntry],
        chosen: Option<usize>,
        rows: usize,
    ) -> Vec<Line<'static>> {
        let columns = self.columns(entries);
        let mut lines = vec![self.titles(&columns)];
        for place in around(chosen.unwrap_or(0), entries.len(), rows) {
            let line = self.line(&columns, &entries[place]);
            lines.push(if chosen == Some(place) { self.chosen(line) } else { line });
        }
        lines
    }

    /// Inverts the selected line. Colours would be misleading when inverted and are removed; the sparkline
    /// stays as it is.
    fn chosen(&self, line: Line<'static>) -> Line<'static> {
        let theme = self.scene.theme;
        let is_curve = |span: &Span<'_>| theme.colour && span.style == theme.curve();
        let spans = line
            .spans
            .into_iter()
            .map(|span| if is_curve(&span) { span } else { span.style(Theme::inverted()) });
        Line::from(spans.collect::<Vec<_>>())
    }

    /// Returns the columns with their widths. The remaining width goes to labels, then to sparklines.
    fn columns(&self, entries: &[ListEntry]) -> Vec<(Column, usize)> {
        let screen = u16::try_from(self.width).unwrap_or(u16::MAX);
        let mut columns: Vec<(Column, usize)> =
            columns(self.listing, screen).into_iter().map(|one| (one, one.layout().1)).collect();
        let used: usize = columns.iter().map(|(_, width)| width + GAP).sum();
        let mut left = self.width.saturating_sub(used + MARK);
        let longest = |of: fn(&ListEntry) -> &String| {
            entries.iter().map(|entry| of(entry).chars().count()).max().unwrap_or(0)
        };
        let mut widen = |wanted: &dyn Fn(Column) -> Option<usize>| {
            for (column, width) in &mut columns {
                let Some(wanted) = wanted(*column) else { continue };
                let more = wanted.saturating_sub(*width).min(left);
                *width += more;
                left -= more;
            }
        };
        widen(&|column| match column {
            Column::Label(_) => Some(longest(|entry| &entry.label).min(MAX_LABEL_WIDTH)),
            Column::Place | Column::Asker(_) => {
                Some(longest(|entry| &entry.place).min(MAX_PLACE_WIDTH))
            }
            _ => None,
        });
        widen(&|column| (column == Column::History).then_some(RECENT));
        // The rest keeps the numbers at the right edge.
        if let Some((_, width)) = columns.first_mut() {
            *width += left;
        }
        columns
    }

    fn titles(&self, columns: &[(Column, usize)]) -> Line<'static> {
        let theme = self.scene.theme;
        let mut text = " ".repeat(MARK);
        for (column, width) in columns {
            let sorted = *column == self.sort.column;
            let arrow = if sorted { theme.arrow(self.sort.descending) } else { "" };
            let title = theme.fitted(column.layout().0, width - usize::from(sorted));
            text.push_str(&padded(&format!("{title}{arrow}"), *width, column.is_number()));
            text.push_str(&" ".repeat(GAP));
        }
        Line::styled(text, theme.tone(Tone::Plain).patch(theme.title()))
    }

    fn line(&self, columns: &[(Column, usize)], entry: &ListEntry) -> Line<'static> {
        let theme = self.scene.theme;
        let whole = column::tone(entry);
        let mut spans = vec![span(theme, whole, whole.mark())];
        for (column, width) in columns {
            if let (Column::History, Some(figures)) = (column, &entry.figures) {
                let curve = sparkline(theme, &figures.history, *width);
                spans.push(Span::styled(curve, theme.curve()));
            } else {
                let cell = theme.fitted(&column.text(entry), *width);
                let tone = column.tone(entry);
                spans.push(span(theme, tone, padded(&cell, *width, column.is_number())));
            }
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        Line::from(spans)
    }
}

/// Pads a text to a width.
fn padded(text: &str, columns: usize, to_the_right: bool) -> String {
    let blank = " ".repeat(columns.saturating_sub(Span::raw(text).width()));
    if to_the_right { format!("{blank}{text}") } else { format!("{text}{blank}") }
}
