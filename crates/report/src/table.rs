//! Tables that can be sorted and filtered.

use super::{Tone, format};
use dnscribe_record::number::to_f64;
use maud::{Markup, html};

/// A table. Rows stand in the order of their importance.
#[derive(Clone, Debug, Default)]
pub struct Table {
    id: String,
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    note: String,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    is_number: bool,
    is_long: bool,
}

impl Column {
    /// Creates a column of texts.
    #[must_use]
    pub fn text(name: &str) -> Self {
        Self { name: name.to_owned(), is_number: false, is_long: false }
    }

    /// Creates a column of texts that may be long, such as sentences and names.
    #[must_use]
    pub fn long(name: &str) -> Self {
        Self { is_long: true, ..Self::text(name) }
    }

    /// Creates a column of numbers.
    #[must_use]
    pub fn number(name: &str) -> Self {
        Self { is_number: true, ..Self::text(name) }
    }
}

/// A cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    /// Number by which rows are sorted; the text if none.
    value: Option<f64>,
    /// Length of a bar below the text: 0 to 1.
    share: Option<f64>,
    /// Name and address of a web page, behind the text.
    link: Option<(&'static str, String)>,
    tone: Tone,
}

impl Cell {
    /// Creates a cell with a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Adds a link to a web page behind the text; another address than one of HTTP is left out.
    #[must_use]
    pub fn link(mut self, name: &'static str, address: Option<&str>) -> Self {
        let address = address.filter(|address| {
            ["https://", "http://"].iter().any(|scheme| address.starts_with(scheme))
        });
        self.link = address.map(|address| (name, address.to_owned()));
        self
    }

    /// Creates a cell with a count.
    #[must_use]
    pub fn count(number: u64) -> Self {
        Self { value: Some(to_f64(number)), ..Self::text(format::count(number)) }
    }

    /// Creates a cell with a share of a whole, with a bar.
    #[must_use]
    pub fn share(part: u64, whole: u64) -> Self {
        let share = if whole == 0 { 0.0 } else { to_f64(part) / to_f64(whole) };
        Self {
            value: Some(share),
            share: Some(share).filter(|share| *share > 0.0),
            ..Self::text(format::percent(part, whole))
        }
    }

    /// Creates a cell with a duration in milliseconds, empty if there is none. It is sorted by whole nanoseconds: the last digits
    /// of a number depend on the program that has read it.
    #[must_use]
    pub fn milliseconds(value: Option<f64>) -> Self {
        value.map_or_else(Self::default, |value| Self {
            value: Some((value * 1e6).round() / 1e6),
            ..Self::text(format::milliseconds(value))
        })
    }

    /// Sets how bad the content is.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl Table {
    /// Creates an empty table. `id` is unique on the page.
    #[must_use]
    pub fn new(id: &str, caption: &str) -> Self {
        Self { id: id.to_owned(), caption: caption.to_owned(), ..Self::default() }
    }

    /// Sets the columns.
    #[must_use]
    pub fn columns(self, columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), ..self }
    }

    /// Adds a row with a cell for each column.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    /// Adds rows.
    #[must_use]
    pub fn rows<const N: usize>(mut self, rows: impl IntoIterator<Item = [Cell; N]>) -> Self {
        self.rows.extend(rows.into_iter().map(Vec::from));
        self
    }

    /// Sets the sentence below the table: what it leaves out.
    #[must_use]
    pub fn note(self, text: impl Into<String>) -> Self {
        Self { note: text.into(), ..self }
    }

    /// Returns whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table.
    #[must_use]
    pub fn render(&self) -> Markup {
        html! {
            // A region that scrolls must be reachable by keyboard.
            div.wide tabindex="0" role="region" aria-labelledby={ (self.id) "-caption" } {
                table data-sortable="" {
                    caption id={ (self.id) "-caption" } { (self.caption) }
                    thead { tr {
                        @for column in &self.columns {
                            th scope="col" class=[column.is_number.then_some("num")] { (column.name) }
                        }
                    } }
                    tbody { @for row in &self.rows { tr {
                        @for (cell, column) in row.iter().zip(&self.columns) { (cell.render(column)) }
                    } } }
                }
            }
            @if !self.note.is_empty() { p.note { (self.note) } }
        }
    }
}

impl Cell {
    fn render(&self, column: &Column) -> Markup {
        let tone = (self.tone != Tone::Plain).then(|| self.tone.name());
        let class = [column.is_number.then_some("num"), column.is_long.then_some("long"), tone];
        let class = class.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let class = Some(class).filter(|class| !class.is_empty());
        html! {
            td class=[class] data-sort=[self.value] {
                (self.text)
                @if let Some((name, address)) = &self.link {
                    " " a href=(address) { (name) }
                }
                @if let Some(share) = self.share {
                    span.bar style=(format!("width:{:.1}%", (share * 100.0).clamp(1.0, 100.0))) {}
                }
            }
        }
    }
}
