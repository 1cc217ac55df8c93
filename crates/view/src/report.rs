//! `dnscribe report`: what happened, as one HTML file.
//!
//! Input: records as JSON, in any order. Output: a page with a summary in words, the timeline, tables by resolver,
//! zone, name and process, wasted lookups, losses, and examples. A state machine with bounded memory: the same records
//! give the same file.

mod connection;
mod evidence;
mod group;
mod incident;
mod model;
mod page;
mod record;
mod section;
mod timeline;
mod words;
#[cfg(test)]
mod tests;

pub use model::{ReportModel, STREAMS, TimeSpan};
pub use page::{ReportSource, render};
