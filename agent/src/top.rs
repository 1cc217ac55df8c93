//! `dnscribe top`: a live view of records, as a terminal shows it.
//!
//! It reads published records and nothing else, wherever they come from: a capture in this process,
//! capture files, or records that another `dnscribe` wrote. One way: record → [`Model`] → list →
//! frame. All but the terminal itself is without clock, terminal or thread.

#![forbid(unsafe_code)]

mod model;
mod record;
mod text;

pub use model::{Model, Vantage};
