//! The view as plain text: all pages, for scripts and reports.

use super::draw::{Scene, Status, Theme, page};
use super::model::{Model, Span, Vantage};
use super::view::{Tab, View};
use ratatui::text::Line;

/// Lines of each list.
const ROWS: usize = 20;

/// Width in columns where the terminal's is unknown.
pub const WIDTH: u16 = 132;

/// Returns all pages as text.
pub fn text(model: &Model, source: &str, vantage: Vantage, span: Span, width: u16) -> String {
    let theme = Theme { colour: false, unicode: false };
    let status = Status { source: source.to_owned(), ended: true, ..Status::default() };
    let mut view = View::new(vantage, span);
    view.width = width;
    let mut text = String::new();
    for tab in Tab::ALL {
        view.open(tab);
        let scene = Scene { model, view: &view, status: &status, theme };
        let (head, body) = page(&scene, usize::from(width), ROWS);
        if tab == Tab::Resolvers {
            text.extend(head.iter().map(plain));
        }
        text.extend(["\n", tab.title(), "\n"]);
        text.extend(body.iter().map(plain));
    }
    text
}

/// Returns a line without styles, with its line end.
fn plain(line: &Line<'_>) -> String {
    let text: String = line.spans.iter().map(|span| &*span.content).collect();
    format!("{}\n", text.trim_end())
}
