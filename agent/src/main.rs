//! The `dnscribe` binary.

fn main() {}
