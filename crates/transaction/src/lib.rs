//! From packets to transactions: decoding, pairing and correlation, without I/O and without a clock.
//!
//! Each stage takes the type of the stage above it and gives its own; time is an argument.

pub mod packet;
pub mod decode;
pub mod pair;
pub mod encrypted;
pub mod correlate;
