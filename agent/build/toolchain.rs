//! Finds a toolchain for the eBPF programs. Used by the build script and by `cargo xtask setup`.
//!
//! Stable Rust has no `core` for the BPF target. Debian's rustc has a prebuilt one, and a rustup nightly with
//! `rust-src` can build it. Both link with bpf-linker, whose LLVM must be no older than the compiler's.

use std::cmp::Reverse;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's compiler (packages rustc-web and libstd-rust-web-dev-bpf).
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Debian's prebuilt `core`.
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
/// Nightly to install, and the first to try: the newest that is known to build with the LLVM of the bpf-linker that
/// `setup` installs (rustc 1.97, LLVM 22).
pub const NIGHTLY: &str = "nightly-2026-05-20";
/// Minor version of the oldest compiler that can build the programs.
const MIN_MINOR_VERSION: u32 = 90;

/// Complete toolchain for the programs.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    linker: PathBuf,
    /// Whether `core` must be built.
    build_core: bool,
}

/// Error: missing parts of the toolchain.
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

/// Compiler that may be usable.
#[derive(Clone, Debug)]
struct Compiler {
    rustc: PathBuf,
    cargo: PathBuf,
    build_core: bool,
    /// Minor version, such as 97 in 1.97, if known.
    release: Option<u32>,
    /// Major version of its LLVM, if known.
    llvm: Option<u32>,
}

/// Returns the usable toolchains, the best first: Debian's if complete, since it need not build `core`, then rustup's
/// nightlies, with the pinned one first. Compilers with a newer LLVM than bpf-linker's are left out. If linking
/// fails, the next toolchain may work: a statically linked bpf-linker does not show its LLVM version.
///
/// # Errors
/// Returns the missing parts.
pub fn find() -> Result<Vec<Toolchain>, Missing> {
    let linker = linker();
    let llvm = linker.as_deref().and_then(linked_llvm);
    let (usable, unusable): (Vec<_>, Vec<_>) =
        debian().into_iter().chain(nightlies()).partition(|compiler| is_usable(compiler, llvm));
    let mut missing = Vec::new();
    if linker.is_none() {
        missing.push("bpf-linker, in PATH or in cargo's bin directory".into());
    }
    if usable.is_empty() {
        missing.push(missing_compiler(&unusable, llvm));
    }
    let Some(linker) = linker.filter(|_| missing.is_empty()) else {
        return Err(Missing(missing));
    };
    Ok(usable
        .into_iter()
        .map(|Compiler { rustc, cargo, build_core, .. }| Toolchain {
            rustc,
            cargo,
            linker: linker.clone(),
            build_core,
        })
        .collect())
}

/// Describes the missing compiler, and why the installed ones are unusable.
fn missing_compiler(unusable: &[Compiler], llvm: Option<u32>) -> String {
    let required = format!(
        "a Rust compiler for BPF (a rustup nightly with rust-src, or {DEBIAN_RUSTC} with \
         {DEBIAN_CORE})"
    );
    if unusable.is_empty() {
        return required;
    }
    let found: Vec<String> = unusable.iter().map(ToString::to_string).collect();
    let llvm_limit =
        llvm.map_or_else(String::new, |llvm| format!(" with bpf-linker's LLVM {llvm} or older"));
    format!(
        "{required}, Rust 1.{MIN_MINOR_VERSION} or newer{llvm_limit}; there is only {}",
        found.join(", ")
    )
}

/// Returns whether a compiler is new enough for the programs, and its LLVM no newer than bpf-linker's. Unknown
/// versions are accepted.
fn is_usable(compiler: &Compiler, llvm: Option<u32>) -> bool {
    compiler.release.is_none_or(|release| release >= MIN_MINOR_VERSION)
        && compiler.llvm.zip(llvm).is_none_or(|(own, linker)| own <= linker)
}

/// Returns the major version of the LLVM that bpf-linker loads; none if it is linked statically.
fn linked_llvm(linker: &Path) -> Option<u32> {
    loaded_llvm(&output_of(Command::new("ldd").arg(linker))?)
}

/// Parses the version from `libLLVM.so.22.1 => …` or `libLLVM-19.so.1 => …`.
fn loaded_llvm(libraries: &str) -> Option<u32> {
    let (_, after) = libraries.split_once("libLLVM")?;
    let digits = after.trim_start_matches(['-', '.', 's', 'o']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Returns the path of bpf-linker, if installed.
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

fn debian() -> Option<Compiler> {
    let has_core = Path::new(DEBIAN_CORE)
        .read_dir()
        .ok()?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"));
    (has_core && Path::new(DEBIAN_RUSTC).is_file())
        .then(|| Compiler::new(DEBIAN_RUSTC.into(), outer_cargo(), false))
}

/// Returns the rustup nightlies with `rust-src`: the pinned one first, then the newest.
fn nightlies() -> Vec<Compiler> {
    let listed = output_of(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let mut found: Vec<(bool, Compiler)> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .filter_map(|name| Some((!name.starts_with(NIGHTLY), nightly(name)?)))
        .collect();
    found.sort_by_key(|(other, compiler)| (*other, Reverse(compiler.release)));
    found.into_iter().map(|(_, compiler)| compiler).collect()
}

fn nightly(name: &str) -> Option<Compiler> {
    let tool = |tool| {
        output_of(Command::new("rustup").args(["which", "--toolchain", name, tool]))
            .map(|path| PathBuf::from(path.trim()))
    };
    let (rustc, cargo) = (tool("rustc")?, tool("cargo")?);
    let core = rustc.parent()?.parent()?.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    core.is_file().then(|| Compiler::new(rustc, cargo, true))
}

impl Compiler {
    fn new(rustc: PathBuf, cargo: PathBuf, build_core: bool) -> Self {
        let output = output_of(Command::new(&rustc).arg("-vV")).unwrap_or_default();
        let (release, llvm) = versions(&output);
        Self { rustc, cargo, build_core, release, llvm }
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |version: Option<u32>| version.map_or_else(|| "?".into(), |v| v.to_string());
        write!(f, "{} (1.{}, LLVM {})", self.rustc.display(), known(self.release), known(self.llvm))
    }
}

/// Parses the minor version of rustc and the major version of LLVM from the output of `rustc -vV`.
fn versions(output: &str) -> (Option<u32>, Option<u32>) {
    let part = |name: &str, index: usize| {
        let version = output.lines().find_map(|line| line.strip_prefix(name))?;
        version.trim().split('.').nth(index)?.parse().ok()
    };
    (part("release:", 1), part("LLVM version:", 0))
}

/// Returns the output of a command, if it succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns whether a variable is set by the outer cargo, and would mislead the one started here.
fn is_outer_cargo_variable(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let keep = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_TERM_"];
    (name.starts_with("CARGO") && !keep.iter().any(|prefix| name.starts_with(prefix)))
        || matches!(&*name, "RUSTC" | "RUSTDOC" | "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTUP_TOOLCHAIN")
        || name.starts_with("RUSTC_")
}

impl Toolchain {
    /// Returns the command that builds the crate in `directory` into `target`, for programs that run on the architecture
    /// `machine`.
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
        for (name, _) in env::vars_os().filter(|(name, _)| is_outer_cargo_variable(name)) {
            command.env_remove(name);
        }
        command
            .current_dir(directory)
            .env("RUSTC", &self.rustc)
            // aya-ebpf and the programs use inline assembly, which is unstable for BPF.
            .env("RUSTC_BOOTSTRAP", "1")
            // With --target, these flags apply to the target's crates only.
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .args(["build", "--release", "--locked", "--target", triple, "--target-dir"])
            .arg(target);
        if self.build_core {
            command.arg("-Zbuild-std=core");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(release: u32, llvm: Option<u32>) -> Compiler {
        let (rustc, cargo) = ("rustc".into(), "cargo".into());
        Compiler { rustc, cargo, build_core: true, release: Some(release), llvm }
    }

    #[test]
    fn refuses_compilers_newer_than_the_linker() {
        assert!(is_usable(&compiler(97, Some(22)), Some(22)));
        assert!(is_usable(&compiler(95, Some(21)), Some(22)));
        assert!(!is_usable(&compiler(99, Some(23)), Some(22)));
        assert!(is_usable(&compiler(99, Some(23)), None));
        assert!(is_usable(&compiler(99, None), Some(22)));
        assert!(!is_usable(&compiler(80, Some(18)), Some(22)));
    }

    #[test]
    fn reads_compiler_versions() {
        let output = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nrelease: 1.97.0-nightly\n\
                    LLVM version: 22.1.4\n";
        assert_eq!(versions(output), (Some(97), Some(22)));
        assert_eq!(versions(""), (None, None));
    }

    #[test]
    fn reads_llvm_version_of_linker() {
        assert_eq!(loaded_llvm("\tlibLLVM.so.22.1 => /usr/lib/libLLVM.so.22.1"), Some(22));
        assert_eq!(loaded_llvm("\tlibLLVM-19.so.1 => /lib/libLLVM-19.so.1"), Some(19));
        assert_eq!(loaded_llvm("\tlibc.so.6 => /lib/libc.so.6"), None);
    }
}
