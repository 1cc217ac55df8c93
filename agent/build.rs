//! Builds the eBPF programs and names the object in `DNSCRIBE_EBPF_OBJECT` for the agent to embed.

#[path = "build/toolchain.rs"]
mod toolchain;

use std::env;
use std::path::{Path, PathBuf};
use std::process;

/// Names an object that was built elsewhere, for packagers without the toolchain.
const PREBUILT: &str = "DNSCRIBE_EBPF_PREBUILT";

/// Commit of the source. Set by packagers who build without the repository.
const REVISION: &str = "DNSCRIBE_REVISION";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.parent().unwrap_or(Path::new(".")).to_path_buf();
    for place in ["src", "yardstick", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join("agent-ebpf").join(place).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("agent-common/src").display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/toolchain.rs");
    println!("cargo::rustc-env={REVISION}={}", revision(&root));

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    match object(&root.join("agent-ebpf"), &out.join("target")) {
        Ok(object) => {
            println!("cargo::rustc-env=DNSCRIBE_EBPF_OBJECT={}", object.display());
            // Beside it, and read at run time by a benchmark alone.
            let yardstick = object.with_file_name("dnscribe-yardstick");
            println!("cargo::rustc-env=DNSCRIBE_EBPF_YARDSTICK={}", yardstick.display());
        }
        Err(problem) => println!("cargo::error={problem}"),
    }
}

/// Returns the commit of the source, or `unknown` without a repository.
fn revision(root: &Path) -> String {
    println!("cargo::rerun-if-env-changed={REVISION}");
    if let Ok(revision) = env::var(REVISION) {
        return revision;
    }
    let git = |arguments: &[&str]| {
        let output = process::Command::new("git").arg("-C").arg(root).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let head = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(head.as_deref()) {
        // Cargo builds each time if a file is missing, so that only files that exist are named.
        let file = git(&["rev-parse", "--path-format=absolute", "--git-path", name]);
        if let Some(file) = file.filter(|file| Path::new(file).exists()) {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// Builds the programs and gives the path of the object.
fn object(programs: &Path, target: &Path) -> Result<PathBuf, String> {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    if let Some(object) = env::var_os(PREBUILT) {
        let object = PathBuf::from(object);
        println!("cargo::rerun-if-changed={}", object.display());
        return if object.is_file() {
            Ok(object)
        } else {
            Err(format!("{PREBUILT} names no file: {}", object.display()))
        };
    }
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| "x86_64".into());
    let little = env::var("CARGO_CFG_TARGET_ENDIAN").is_ok_and(|endian| endian == "little");
    let triple = if little { "bpfel-unknown-none" } else { "bpfeb-unknown-none" };
    let mut words = String::new();
    for toolchain in toolchain::find().map_err(|missing| missing.to_string())? {
        let output = toolchain
            .build(programs, target, triple, &architecture)
            .output()
            .map_err(|error| format!("cannot start cargo for the eBPF programs: {error}"))?;
        if output.status.success() {
            return Ok(target.join(triple).join("release/dnscribe-ebpf"));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let linking = said.contains("linking with");
        words = format!("the eBPF programs do not build with {toolchain}:\n{said}");
        if !linking {
            break;
        }
    }
    // Cargo shows what a build script says on stderr only where the script itself fails.
    eprintln!("{words}");
    process::exit(1);
}
