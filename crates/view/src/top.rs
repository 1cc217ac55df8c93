//! `dnscribe top`: a live view of records on a terminal.
//!
//! It reads only published records: of a capture in this process, of capture files, or of another
//! `dnscribe`. The flow is record → [`Model`](model::Model) → list → frame. Only the screen uses a clock, a terminal or
//! threads.

mod column;
mod draw;
mod follow;
mod list;
mod model;
mod record;
mod screen;
mod shared;
mod text;
mod view;

pub use draw::{Theme, WIDTH, plain_text};
pub use follow::follow;
pub(crate) use model::{Counts, OutcomeKind, process_and_place, process_label};
pub use model::{Span, Vantage};
pub(crate) use record::{Transaction as TransactionView, schema_of};
pub use screen::{ScreenOptions, obstacle, show};
pub use shared::Shared;
pub use text::clean;

/// Name of the view's sink in the ledger.
pub const SINK: &str = "top";
