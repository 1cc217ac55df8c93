//! The guest's file system, an initramfs: busybox, the agent, a DNS server and a client, with their libraries
//! from this host or, for another architecture, from Debian packages.

use super::kernel::KernelFiles;
use crate::debian::sysroot::Sysroot;
use crate::shared_libraries;
use anyhow::{Context as _, Result};
use dnscribe_tests::shell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::{NamedTempFile, TempDir};

const INIT: &str = include_str!("init.sh");
const KNOT: &str = include_str!("knot.conf");
const ZONE: &str = include_str!("vm.test.zone");
const USERS: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
/// Programs of the guest besides the agent.
const PROGRAMS: [&str; 4] = ["busybox", "ip", "kdig", "knotd"];
/// Folder of the programs in the guest. Busybox prefers its own applets if a name is in both.
const PROGRAMS_FOLDER: &str = "programs";
/// Folder of kernel modules in the guest.
const MODULES_FOLDER: &str = "modules";

/// Packs the file system for a kernel. `sysroot` has the programs of another architecture.
pub fn build(
    agent: &Path,
    kernel: &KernelFiles,
    sysroot: Option<&Sysroot>,
) -> Result<NamedTempFile> {
    let root = tempfile::tempdir()?;
    // Unprivileged users need access, too.
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
    for folder in
        [PROGRAMS_FOLDER, MODULES_FOLDER, "bin", "dev", "etc", "proc", "run", "sys", "tmp"]
    {
        fs::create_dir(root.path().join(folder))?;
    }
    for program in PROGRAMS {
        let found = match sysroot {
            Some(sysroot) => sysroot.which(program),
            None => shell::which(program),
        };
        let file = found.with_context(|| format!("{program} is not installed"))?;
        copy_program(&root, &file, program, sysroot)?;
    }
    copy_program(&root, agent, "dnscribe", sysroot)?;
    // Most of a debug build is debug information.
    let packed = root.path().join(PROGRAMS_FOLDER).join("dnscribe");
    let strip = sysroot.map_or_else(|| "strip".to_owned(), |it| it.tool("strip"));
    shell::output(Command::new(strip).arg(&packed)).context("cannot strip the agent's binary")?;
    for (number, module) in kernel.modules.iter().enumerate() {
        // The guest loads modules in the order of their names.
        fs::copy(module, root.path().join(MODULES_FOLDER).join(format!("{number}.ko")))?;
    }
    fs::write(root.path().join("etc/knot.conf"), KNOT)?;
    fs::write(root.path().join("etc/vm.test.zone"), ZONE)?;
    fs::write(root.path().join("etc/passwd"), USERS)?;
    let init = root.path().join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(root.path())
}

/// Copies a program with its shared libraries.
fn copy_program(root: &TempDir, file: &Path, name: &str, sysroot: Option<&Sysroot>) -> Result<()> {
    fs::copy(file, root.path().join(PROGRAMS_FOLDER).join(name))
        .with_context(|| format!("cannot copy {}", file.display()))?;
    for library in shared_libraries::find(file, sysroot)? {
        let to =
            root.path().join(library.load_path.strip_prefix("/").unwrap_or(&library.load_path));
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap_or(root.path()))?;
            fs::copy(&library.file, &to).with_context(|| library.file.display().to_string())?;
        }
    }
    Ok(())
}

/// Packs a folder as a cpio archive, which the kernel unpacks.
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
    anyhow::ensure!(status.success(), "`{}` failed ({status})", shell::command_line(&cpio));
    Ok(packed)
}
