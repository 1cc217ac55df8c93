//! Views of published records: the live screen of `dnscribe top` ([`top`]), the report of an incident as one HTML
//! file ([`report`]), the tree of `dnscribe trace` ([`trace`]), and network policies ([`policy`]). They read records only, wherever these come from: a capture in the same process, files, Kafka or
//! a store.
//!
//! ```
//! use dnscribe_view::report::{ReportModel, ReportSource, TimeSpan, render};
//!
//! let model = ReportModel::new(TimeSpan::default());
//! let html = render(&model, &ReportSource { title: "Monday".to_owned(), source: "monday.ndjson".to_owned() });
//! assert!(html.contains("Monday"));
//! ```

pub mod policy;
pub mod report;
pub mod top;
pub mod trace;
mod unreadable;

pub use unreadable::Unreadable;
