//! Finds the toolchain that builds the eBPF programs: a rustc that has `core` for the BPF target
//! (or its sources), and bpf-linker.

use crate::process::first_line;
use dnscribe_tests::shell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of bpf-linker that the project is built with.
pub const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that bpf-linker is built with; it reads the output of a rustc with this or an older
/// one.
pub const LLVM: u32 = 22;

/// A rustc that can build for BPF.
pub enum Compiler {
    /// A rustup nightly that has the sources of `core`.
    Nightly(String),
    /// A distribution's rustc that has `core` for BPF prebuilt.
    Prebuilt(PathBuf),
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nightly(name) => write!(f, "rustup toolchain {name} with rust-src"),
            Self::Prebuilt(rustc) => write!(f, "{} with core for BPF", rustc.display()),
        }
    }
}

/// The first compiler that can build for BPF.
pub fn compiler() -> Option<Compiler> {
    nightly().or_else(prebuilt)
}

/// Whether the right bpf-linker is there and runs.
pub fn has_linker() -> bool {
    let home = home("CARGO_HOME", ".cargo").join("bin/bpf-linker");
    let version = format!("bpf-linker {LINKER_VERSION}");
    shell::which("bpf-linker")
        .into_iter()
        .chain([home])
        .filter_map(|file| first_line(file.to_str()?, &["--version"]))
        .any(|line| line.trim() == version)
}

fn nightly() -> Option<Compiler> {
    let folder = home("RUSTUP_HOME", ".rustup").join("toolchains");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("nightly"))
        .filter(|name| {
            folder.join(name).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
        })
        .filter(|name| llvm(&folder.join(name).join("bin/rustc")).is_some_and(|llvm| llvm <= LLVM))
        .collect();
    names.sort();
    names.pop().map(Compiler::Nightly)
}

fn prebuilt() -> Option<Compiler> {
    let rustc = Path::new("/usr/bin/rustc");
    let root = first_line(rustc.to_str()?, &["--print", "sysroot"])?;
    let core = Path::new(&root).join("lib/rustlib/bpfel-unknown-none/lib");
    (core.is_dir() && llvm(rustc)? <= LLVM).then(|| Compiler::Prebuilt(rustc.to_path_buf()))
}

/// The major version of the LLVM in a rustc.
fn llvm(rustc: &Path) -> Option<u32> {
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    String::from_utf8(output.stdout)
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next()?.parse().ok())
}

fn home(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(default),
        PathBuf::from,
    )
}
