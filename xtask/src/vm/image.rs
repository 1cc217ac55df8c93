//! The guest's file system, all of it in memory: busybox, the agent, a DNS server and a client, with the
//! libraries that they have on this host or, for another architecture, in packages of Debian.

use super::kernel::Files;
use crate::debian::sysroot::Sysroot;
use crate::loaded;
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
/// Programs that the guest runs, beside the agent.
const PROGRAMS: [&str; 4] = ["busybox", "ip", "kdig", "knotd"];
/// Where they are in the guest. Busybox prefers its own, where it has one of that name.
const PLACE: &str = "programs";
/// Where its modules are.
const MODULES: &str = "modules";

/// Packs the file system for a kernel. `sysroot`: where programs are for an architecture that is not
/// this host's.
pub fn build(agent: &Path, kernel: &Files, sysroot: Option<&Sysroot>) -> Result<NamedTempFile> {
    let root = tempfile::tempdir()?;
    // Others than root go there, too.
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
    for folder in [PLACE, MODULES, "bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
        fs::create_dir(root.path().join(folder))?;
    }
    for program in PROGRAMS {
        let found = match sysroot {
            Some(sysroot) => sysroot.which(program),
            None => shell::which(program),
        };
        let file = found.with_context(|| format!("no program {program}"))?;
        copy_program(&root, &file, program, sysroot)?;
    }
    copy_program(&root, agent, "dnscribe", sysroot)?;
    // A debug build is mostly what only debuggers read.
    let packed = root.path().join(PLACE).join("dnscribe");
    let strip = sysroot.map_or_else(|| "strip".to_owned(), |it| it.tool("strip"));
    shell::output(Command::new(strip).arg(&packed)).context("the agent's binary")?;
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

/// Copies a program, and every library that the loader would give it.
fn copy_program(root: &TempDir, file: &Path, name: &str, sysroot: Option<&Sysroot>) -> Result<()> {
    fs::copy(file, root.path().join(PLACE).join(name))
        .with_context(|| format!("cannot copy {}", file.display()))?;
    for library in loaded::libraries(file, sysroot)? {
        let to = root.path().join(library.place.strip_prefix("/").unwrap_or(&library.place));
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap_or(root.path()))?;
            fs::copy(&library.file, &to).with_context(|| library.file.display().to_string())?;
        }
    }
    Ok(())
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
