//! Programs that `cargo xtask bench` measures with, one a binary in `src/bin`, and what they share.

pub mod cpu;
