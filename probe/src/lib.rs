//! dnscribe-probe: is it DNS, the certificate, the path, or the host?
//!
//! Data flows one way, and the modules stand in the order of that flow: targets are measured when they are
//! due, measurements become records, and records become verdicts.

// What is asked, and how.
pub mod failure;
mod handshake;
pub mod name;
pub mod source;
pub mod special;
pub mod client_certificate;
pub mod revocation;
pub mod trust;
pub mod dns;
pub mod target;
pub mod measure;
pub mod schedule;
// What it means.
pub mod memory;
pub mod verdict;
// What becomes of it.
pub mod metrics;
pub mod table;
pub mod record;
// What the operator says.
pub mod config;
// What is measured on request.
pub mod endpoint;
// What is measured once: by hand, or because an alert asks for it.
pub mod explain;
pub mod trigger;
pub mod cli;
pub mod command;
