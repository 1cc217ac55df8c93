//! Builds and embeds the eBPF object.

fn main() {}
