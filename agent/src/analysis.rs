//! Findings made of many transactions: lookups, windows of metrics, and alerts.
//!
//! Input: [`view::Observation`]s of transactions. Output: lookups, windows and alerts for `record`.

pub mod detect;
pub mod lookup;
pub mod view;
pub mod window;
