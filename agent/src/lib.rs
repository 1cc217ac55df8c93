//! dnscribe: every DNS message at the socket, with its process, exactly accounted for.
//!
//! Data flows one way, and the modules stand in the order of that flow. A module uses only modules above it,
//! and the crates below `crates/`; `cargo xtask lint` refuses the rest.

// The flow: packets become messages, transactions, findings and records.
pub mod capture;
pub mod enrich;
pub mod record;
pub mod health;
pub mod metrics;
pub mod pipeline;
// What the operator says and sees.
pub mod config;
pub mod trace;
pub mod cli;
pub mod privilege;
pub mod command;
#[cfg(test)]
mod tests;
