//! Fuzz targets: everything in the agent that reads bytes from others.
//!
//! A target is a function of bytes that panics if an invariant is broken. libFuzzer drives it
//! (`cargo xtask fuzz`), and so do the tests: with inputs that once failed, and with millions of
//! mutated packets.

pub mod corpus;
pub mod harness;
pub mod mutate;
pub mod target;
pub mod test_packets;

pub use target::Target;
