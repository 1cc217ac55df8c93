//! What a program for another architecture is built with and loads: packages of Debian, unpacked below
//! the target folder and nothing more. This host's packages stay as they are.

use super::{Apt, files, has_extension};
use crate::architecture::Architecture;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{cache, shell};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the agent is linked with.
const LIBRARIES: &[&str] = &["libc6-dev", "libssl-dev", "libzstd-dev", "zlib1g-dev"];
/// What a guest runs beside the agent.
const PROGRAMS: &[&str] = &["busybox-static", "iproute2", "knot", "knot-dnsutils"];

/// A file system of another architecture.
#[derive(Clone, Debug)]
pub struct Sysroot {
    /// Which one.
    pub architecture: Architecture,
    /// Where it is.
    pub root: PathBuf,
}

impl Sysroot {
    /// What the agent is linked with.
    pub fn libraries(architecture: Architecture) -> Result<Self> {
        Self::get(architecture, "libraries", LIBRARIES)
    }

    /// What a guest runs, the agent's libraries among it.
    pub fn programs(architecture: Architecture) -> Result<Self> {
        Self::get(architecture, "programs", &[LIBRARIES, PROGRAMS].concat())
    }

    fn get(architecture: Architecture, name: &str, packages: &[&str]) -> Result<Self> {
        let suite = suite(&fs::read_to_string("/etc/os-release").unwrap_or_default());
        let version = format!("{}-{suite}-{name}", architecture.debian());
        let fill = |scratch: &Path| fill(scratch, architecture, &suite, packages);
        let root = cache::folder("sysroot", &version, fill).with_context(|| {
            format!("cannot get {} for {}", packages.join(", "), architecture.debian())
        })?;
        Ok(Self { architecture, root })
    }

    /// A program of that architecture, run here by QEMU.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(emulator(self.architecture)?);
        command.arg("-L").arg(&self.root).arg(program);
        Ok(command)
    }

    /// The name of one of GNU's tools for it, which run here.
    pub fn tool(&self, name: &str) -> String {
        format!("{}-{name}", self.architecture.gnu())
    }

    /// A program that is installed in it.
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        let folders = ["usr/bin", "usr/sbin", "bin", "sbin"];
        folders
            .map(|folder| self.root.join(folder).join(program))
            .into_iter()
            .find(|it| it.exists())
    }

    /// What the dynamic loader says that a program loads.
    pub fn loads(&self, program: &Path) -> Result<Command> {
        let mut command = self.command(&self.root.join(self.architecture.loader()))?;
        command.arg("--list").arg(program);
        Ok(command)
    }
}

/// QEMU for programs of another architecture: statically linked, so that it runs in a chroot, too.
pub fn emulator(architecture: Architecture) -> Result<PathBuf> {
    let name = format!("qemu-{}", architecture.machine());
    let found = shell::which(&format!("{name}-static")).or_else(|| shell::which(&name));
    found.with_context(|| format!("no program {name}"))
}

/// The release of Debian to take: this host's, whose cross compiler fits, else the oldest that is
/// maintained, with whose libraries programs run on most hosts.
fn suite(release: &str) -> String {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    let debian = value("ID").is_some_and(|id| id == "debian");
    value("VERSION_CODENAME").filter(|_| debian).unwrap_or_else(|| "bookworm".to_owned())
}

/// Unpacks packages with all that they depend on.
fn fill(scratch: &Path, architecture: Architecture, suite: &str, packages: &[&str]) -> Result<()> {
    let security = format!("{suite}-security");
    let sources = [("debian", suite), ("debian-security", security.as_str())];
    let apt = Apt::new(scratch, &sources, architecture)?;
    shell::output(apt.command("apt-get").args(["update", "-q"]))?;
    let mut get = apt.command("apt-get");
    get.args(["install", "-q", "-y", "--no-install-recommends", "--download-only"]);
    shell::output(get.args(packages))?;
    let root = scratch.join("ready");
    let told = root.join("DEBIAN");
    fs::create_dir_all(&told)?;
    // In every release the one is where the other is.
    for folder in ["bin", "lib", "sbin"] {
        fs::create_dir_all(root.join("usr").join(folder))?;
        symlink(Path::new("usr").join(folder), root.join(folder))?;
    }
    let mut archives = files(&scratch.join("cache/archives"))?;
    archives.retain(|file| has_extension(file, "deb"));
    archives.sort();
    ensure!(!archives.is_empty(), "apt-get has got nothing");
    for archive in archives {
        unpack(&archive, &root).with_context(|| archive.display().to_string())?;
    }
    make_relative(&root, &root)
}

/// Unpacks a package over others.
fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let unpacking = "dpkg-deb --fsys-tarfile \"$1\" | \
                     tar --extract --keep-directory-symlink --no-same-owner --directory \"$2\"";
    let mut extract = Command::new("bash");
    extract.args(["-o", "pipefail", "-ec", unpacking, "bash"]).arg(archive).arg(root);
    shell::output(&mut extract)?;
    // Of all packages in one file each, where dpkg-shlibdeps looks: which package a library is in,
    // and since which version it has a function.
    let members = shell::output(Command::new("dpkg-deb").arg("--info").arg(archive))?;
    let members = String::from_utf8_lossy(&members.stdout).into_owned();
    for name in ["symbols", "shlibs"] {
        let mut listed = members.lines().filter(|line| line.contains(" bytes, "));
        if listed.any(|line| line.split_whitespace().any(|word| word == name)) {
            let told = shell::output(Command::new("dpkg-deb").arg("-I").arg(archive).arg(name))?;
            let file = root.join("DEBIAN").join(name);
            let before = fs::read(&file).unwrap_or_default();
            fs::write(&file, [before, told.stdout].concat())?;
        }
    }
    Ok(())
}

/// Lets links that name a place from the root name it from themselves.
fn make_relative(folder: &Path, root: &Path) -> Result<()> {
    for path in files(folder)? {
        if path.is_symlink() {
            let to = fs::read_link(&path)?;
            if let Ok(inside) = to.strip_prefix("/") {
                let above = path.strip_prefix(root)?.components().count().saturating_sub(1);
                let up: PathBuf = std::iter::repeat_n("..", above).collect();
                fs::remove_file(&path)?;
                symlink(up.join(inside), &path)?;
            }
        } else if path.is_dir() {
            make_relative(&path, root)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_this_hosts_where_that_is_debian() {
        assert_eq!(suite("ID=debian\nVERSION_CODENAME=trixie\n"), "trixie");
        assert_eq!(suite("ID=ubuntu\nVERSION_CODENAME=noble\n"), "bookworm");
        assert_eq!(suite(""), "bookworm");
    }

    #[test]
    fn links_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/x");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libz.so.1"), "z").unwrap();
        symlink("/usr/lib/x/libz.so.1", folder.join("libz.so")).unwrap();
        symlink("libz.so.1", folder.join("other.so")).unwrap();
        make_relative(root.path(), root.path()).unwrap();
        assert_eq!(
            fs::read_link(folder.join("libz.so")).unwrap(),
            Path::new("../../../usr/lib/x/libz.so.1")
        );
        assert_eq!(fs::read(folder.join("libz.so")).unwrap(), b"z");
        assert_eq!(fs::read_link(folder.join("other.so")).unwrap(), Path::new("libz.so.1"));
    }
}
