//! The guest's file system, all of it in memory: busybox, the agent, a DNS server and a client, with the
//! libraries that they have on this host.

use super::kernel::Files;
use anyhow::{Context as _, Result};
use dnscribe_tests::shell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::{NamedTempFile, TempDir};

const INIT: &str = include_str!("init.sh");
const KNOT: &str = include_str!("knot.conf");
const ZONE: &str = include_str!("vm.test.zone");
const USERS: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
/// Programs of this host that the guest runs, beside the agent.
const PROGRAMS: [&str; 4] = ["busybox", "ip", "kdig", "knotd"];
/// Where they are in the guest. Busybox prefers its own, where it has one of that name.
const PLACE: &str = "programs";
/// Where its modules are.
const MODULES: &str = "modules";

/// Packs the file system for a kernel.
pub fn build(agent: &Path, kernel: &Files) -> Result<NamedTempFile> {
    let root = tempfile::tempdir()?;
    // Others than root go there, too.
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
    for folder in [PLACE, MODULES, "bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir(root.path().join(folder))?;
    }
    for program in PROGRAMS {
        let file = shell::which(program).with_context(|| format!("no program {program}"))?;
        copy_program(&root, &file, program)?;
    }
    copy_program(&root, agent, "dnscribe")?;
    // A debug build is mostly what only debuggers read.
    let packed = root.path().join(PLACE).join("dnscribe");
    shell::output(Command::new("strip").arg(&packed)).context("the agent's binary")?;
    for (place, module) in kernel.modules.iter().enumerate() {
        // The guest loads them by the order of their names.
        fs::copy(module, root.path().join(MODULES).join(format!("{place}.ko")))?;
    }
    fs::write(root.path().join("etc/knot.conf"), KNOT)?;
    fs::write(root.path().join("etc/vm.test.zone"), ZONE)?;
    fs::write(root.path().join("etc/passwd"), USERS)?;
    let init = root.path().join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(root.path())
}

/// Copies a program, and every library that the loader would give it here.
fn copy_program(root: &TempDir, file: &Path, name: &str) -> Result<()> {
    fs::copy(file, root.path().join(PLACE).join(name))
        .with_context(|| format!("cannot copy {}", file.display()))?;
    // It fails where a program is linked statically.
    let told = Command::new("ldd").arg(file).output().context("cannot start ldd")?;
    for library in libraries(&String::from_utf8_lossy(&told.stdout)) {
        let to = root.path().join(library.strip_prefix("/").unwrap_or(&library));
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap_or(root.path()))?;
            fs::copy(&library, &to).with_context(|| library.display().to_string())?;
        }
    }
    Ok(())
}

/// The files that ldd tells of.
fn libraries(told: &str) -> Vec<PathBuf> {
    told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// An archive of a folder, as kernels unpack it.
fn pack(root: &Path) -> Result<NamedTempFile> {
    let names = shell::output(Command::new("find").arg(".").current_dir(root))?.stdout;
    let packed = NamedTempFile::new()?;
    let mut cpio = Command::new("busybox");
    cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(root);
    cpio.stdin(Stdio::piped()).stdout(packed.reopen()?).stderr(Stdio::null());
    let mut child = cpio.spawn().context("cannot start busybox")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(&names)?;
    drop(stdin);
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "`{}` failed ({status})", shell::shown(&cpio));
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_tells() {
        let told = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(told), expected);
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
