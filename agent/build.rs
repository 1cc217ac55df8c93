//! Builds the eBPF programs and names the object in `DNSCRIBE_EBPF_OBJECT` for the agent to embed.

#[path = "build/toolchain.rs"]
mod toolchain;

use flate2::Compression;
use flate2::write::GzEncoder;
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;
use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;

/// Variable with the path of an object that was built elsewhere, for packagers without the toolchain.
const PREBUILT: &str = "DNSCRIBE_EBPF_PREBUILT";

/// Commit of the source. Set by packagers who build without the repository.
const REVISION: &str = "DNSCRIBE_REVISION";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.parent().unwrap_or(Path::new(".")).to_path_buf();
    for path in ["src", "baseline", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join("agent-ebpf").join(path).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("agent-common/src").display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/toolchain.rs");
    println!("cargo::rustc-env={REVISION}={}", revision(&root));

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    match object(&root.join("agent-ebpf"), &out.join("target")) {
        Ok(object) => {
            let packed = out.join("dnscribe-ebpf.gz");
            if let Err(problem) = pack(&object, &packed) {
                println!("cargo::error=cannot pack {}: {problem}", object.display());
            }
            println!("cargo::rustc-env=DNSCRIBE_EBPF_OBJECT={}", packed.display());
            if env::var_os("CARGO_FEATURE_TESTING").is_some() {
                // Benchmarks read it at run time.
                let baseline = object.with_file_name("dnscribe-baseline");
                println!("cargo::rustc-env=DNSCRIBE_EBPF_BASELINE={}", baseline.display());
            }
        }
        Err(problem) => println!("cargo::error={problem}"),
    }
}

/// Compresses the object without DWARF, which is most of it. BTF stays.
fn pack(object: &Path, packed: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(object)?;
    let mut builder = Builder::read(&*bytes)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete =
            [".debug_", ".rel.debug_"].iter().any(|dwarf| name.starts_with(dwarf.as_bytes()));
    }
    // LLVM keeps section names in the symbol string table; the writer needs a separate table.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    let mut file = GzEncoder::new(File::create(packed)?, Compression::best());
    file.write_all(&bytes)?;
    file.finish()?;
    Ok(())
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

/// Builds the programs, and returns the path of the object.
///
/// # Errors
/// Returns the reason if the toolchain is incomplete or cargo cannot start.
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
    let mut failure = String::new();
    for toolchain in toolchain::find().map_err(|missing| missing.to_string())? {
        let output = toolchain
            .build(programs, target, triple, &architecture)
            .output()
            .map_err(|error| format!("cannot start cargo for the eBPF programs: {error}"))?;
        if output.status.success() {
            return Ok(target.join(triple).join("release/dnscribe-ebpf"));
        }
        let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
        let linking = output_text.contains("linking with");
        failure = format!("the eBPF programs do not build with {toolchain}:\n{output_text}");
        if !linking {
            break;
        }
    }
    // Cargo shows the stderr of a build script only if the script fails.
    eprintln!("{failure}");
    process::exit(1);
}
