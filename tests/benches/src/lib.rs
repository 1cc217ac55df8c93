//! Code shared by the benchmark programs in `src/bin`, which `cargo xtask bench` runs.

pub mod cpu;
