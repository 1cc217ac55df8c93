//! Fuzz targets: everything in the agent that reads octets which others have written.
//!
//! A target is a function of octets that panics where a promise is broken. libFuzzer drives it
//! (`cargo xtask fuzz`), and so do the tests: with inputs that once broke something, and with
//! millions of mutated packets.

#![forbid(unsafe_code)]

pub mod corpus;
pub mod craft;
pub mod mutate;
pub mod rig;
pub mod target;

pub use target::Target;
