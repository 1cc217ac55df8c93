//! Findings made of many transactions: lookups, windows of metrics, and alerts.
//!
//! Input: [`view::TransactionView`]s. Output: lookups, windows and alerts for `record`.

pub mod detect;
pub mod lookup;
pub mod view;
pub mod window;
