//! The agent of dnscribe: all that runs as root. It depends on nothing that only reads records; `crates/dnscribe` joins
//! both to one program.
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
// What the operator says, and what runs.
pub mod config;
pub mod privilege;
pub mod session;
#[cfg(test)]
mod tests;

/// Version and revision of the program.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("DNSCRIBE_REVISION"), ")");
