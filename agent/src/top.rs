//! `dnscribe top`: a live view of records, as a terminal shows it.
//!
//! It reads published records and nothing else, wherever they come from: a capture in this process,
//! capture files, or records that another `dnscribe` wrote. One way: record → [`Model`] → list →
//! frame. All but the terminal itself is without clock, terminal or thread.

#![forbid(unsafe_code)]

mod column;
mod draw;
mod follow;
mod list;
mod model;
mod plain;
mod record;
mod screen;
mod shared;
mod text;
mod view;

pub use draw::Look;
pub use follow::{Problem, follow};
pub use model::{Model, Span, Vantage};
pub use plain::{WIDTH, text as plain_text};
pub use screen::{Wishes, obstacle, show};
pub use shared::Shared;

/// The name of the view's own sink in the ledger.
pub const SINK: &str = "top";
