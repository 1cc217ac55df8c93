//! Findings made of many transactions: lookups and what used them, windows of metrics, and alerts.
//!
//! Input: [`view::TransactionView`]s. Output: lookups, uses, windows and alerts for `record`.

pub mod attribution;
pub mod first_seen;
pub mod indicators;
pub mod losses;
pub mod path;
pub mod view;
pub mod lookup;
pub mod uses;
pub mod window;
pub mod detect;
#[cfg(test)]
#[path = "testing.rs"]
mod heap;
