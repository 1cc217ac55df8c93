//! Finds what building the eBPF programs takes. Used by the build script and by `cargo xtask setup`.
//!
//! Stable Rust has no `core` for the BPF target. Two ways around: Debian's rustc comes with a
//! prebuilt one, and a rustup nightly with `rust-src` can build it. Either links with bpf-linker,
//! whose LLVM must be no older than the compiler's.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's compiler (packages rustc-web and libstd-rust-web-dev-bpf).
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Debian's prebuilt `core`.
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// Everything that building the programs takes.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    linker: PathBuf,
    /// Whether `core` must be built too.
    build_core: bool,
}

/// What there is not.
#[derive(Clone, Debug)]
pub struct Missing(Vec<String>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the eBPF programs cannot be built here; run `cargo xtask setup`. Missing: {}",
            self.0.join("; ")
        )
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.rustc.display(), self.linker.display())
    }
}

/// The toolchains to use, the best first: Debian's where it is complete, since it need not build
/// `core`, then a rustup nightly. The next one is worth trying where linking fails: no one tells
/// which LLVM bpf-linker was built with.
///
/// # Errors
/// What is missing, in words for whoever has to install it.
pub fn find() -> Result<Vec<Toolchain>, Missing> {
    let linker = linker();
    let compilers: Vec<_> = debian().into_iter().chain(nightly()).collect();
    let mut missing = Vec::new();
    if compilers.is_empty() {
        missing.push(format!(
            "a Rust compiler for BPF (a rustup nightly with rust-src, or {DEBIAN_RUSTC} with \
             {DEBIAN_CORE})"
        ));
    }
    let Some(linker) = linker else {
        missing.insert(0, "bpf-linker, in PATH or in cargo's bin directory".into());
        return Err(Missing(missing));
    };
    if compilers.is_empty() {
        return Err(Missing(missing));
    }
    Ok(compilers
        .into_iter()
        .map(|(rustc, cargo, build_core)| Toolchain {
            rustc,
            cargo,
            linker: linker.clone(),
            build_core,
        })
        .collect())
}

/// Where bpf-linker is, if anywhere.
pub fn linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|directory| directory.join("bpf-linker"))
        .find(|candidate| candidate.is_file())
}

fn outer_cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

fn debian() -> Option<(PathBuf, PathBuf, bool)> {
    let has_core = Path::new(DEBIAN_CORE)
        .read_dir()
        .ok()?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"));
    (has_core && Path::new(DEBIAN_RUSTC).is_file())
        .then(|| (DEBIAN_RUSTC.into(), outer_cargo(), false))
}

fn nightly() -> Option<(PathBuf, PathBuf, bool)> {
    let listed = words(Command::new("rustup").args(["toolchain", "list"]))?;
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .find_map(|name| {
            let tool = |tool| {
                words(Command::new("rustup").args(["which", "--toolchain", name, tool]))
                    .map(|path| PathBuf::from(path.trim()))
            };
            let (rustc, cargo) = (tool("rustc")?, tool("cargo")?);
            let sysroot = rustc.parent()?.parent()?;
            sysroot
                .join("lib/rustlib/src/rust/library/core/src/lib.rs")
                .is_file()
                .then_some((rustc, cargo, true))
        })
}

/// What a command says, if it succeeds.
fn words(command: &mut Command) -> Option<String> {
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a variable is of the cargo that runs the build, and would mislead the one started here.
fn leaks(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let keep = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_"];
    (name.starts_with("CARGO") && !keep.iter().any(|prefix| name.starts_with(prefix)))
        || matches!(&*name, "RUSTC" | "RUSTDOC" | "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTUP_TOOLCHAIN")
        || name.starts_with("RUSTC_")
}

impl Toolchain {
    /// The command that builds the crate in `directory` into `target`, for programs that run on
    /// the given architecture.
    #[must_use]
    pub fn build(&self, directory: &Path, target: &Path, triple: &str, machine: &str) -> Command {
        let mut flags = OsString::from("-Clinker=");
        flags.push(&self.linker);
        for flag in ["-Clink-arg=--btf", "-Cdebuginfo=2", "--cfg"] {
            flags.push("\u{1f}");
            flags.push(flag);
        }
        flags.push(format!("\u{1f}bpf_target_arch=\"{machine}\""));

        let mut command = Command::new(&self.cargo);
        for (name, _) in env::vars_os().filter(|(name, _)| leaks(name)) {
            command.env_remove(name);
        }
        command
            .current_dir(directory)
            .env("RUSTC", &self.rustc)
            // aya-ebpf and the programs use inline assembly, not yet stable for BPF.
            .env("RUSTC_BOOTSTRAP", "1")
            // Not the plain RUSTFLAGS: with --target, these reach the target's crates alone.
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .args(["build", "--release", "--locked", "--target", triple, "--target-dir"])
            .arg(target);
        if self.build_core {
            command.arg("-Zbuild-std=core");
        }
        command
    }
}
