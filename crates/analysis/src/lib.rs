//! Findings made of many transactions: lookups, windows of metrics, and alerts.
//!
//! Input: [`view::TransactionView`]s. Output: lookups, windows and alerts for `record`.

pub mod attribution;
pub mod view;
pub mod lookup;
pub mod window;
pub mod detect;
#[cfg(test)]
mod heap;
