//! Libraries and programs of another architecture: Debian packages, unpacked below the target folder and not
//! installed. This host's packages do not change.

use super::{Apt, files, has_extension};
use crate::architecture::Architecture;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{cache, shell};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages of the libraries that the agent is linked with.
const LIBRARIES: &[&str] = &["libc6-dev", "libssl-dev", "libzstd-dev", "zlib1g-dev"];
/// Packages of the programs that a VM guest runs besides the agent.
const PROGRAMS: &[&str] = &["busybox-static", "iproute2", "knot", "knot-dnsutils"];

/// Root file system of another architecture.
#[derive(Clone, Debug)]
pub struct Sysroot {
    /// Architecture of its files.
    pub architecture: Architecture,
    /// Root folder.
    pub root: PathBuf,
}

impl Sysroot {
    /// Returns a sysroot with the libraries that the agent is linked with; downloads it the first time.
    pub fn libraries(architecture: Architecture) -> Result<Self> {
        Self::fetch(architecture, "libraries", LIBRARIES)
    }

    /// Returns a sysroot with the programs of a VM guest and the agent's libraries.
    pub fn programs(architecture: Architecture) -> Result<Self> {
        Self::fetch(architecture, "programs", &[LIBRARIES, PROGRAMS].concat())
    }

    fn fetch(architecture: Architecture, name: &str, packages: &[&str]) -> Result<Self> {
        let suite = suite(&fs::read_to_string("/etc/os-release").unwrap_or_default());
        let version = format!("{}-{suite}-{name}", architecture.debian());
        let install = |scratch: &Path| install_packages(scratch, architecture, &suite, packages);
        let root = cache::folder("sysroot", &version, install).with_context(|| {
            format!("cannot get {} for {}", packages.join(", "), architecture.debian())
        })?;
        Ok(Self { architecture, root })
    }

    /// Returns a command that runs a program of this architecture under QEMU.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(emulator(self.architecture)?);
        command.arg("-L").arg(&self.root).arg(program);
        Ok(command)
    }

    /// Name of a GNU cross tool that runs on this host, such as `aarch64-linux-gnu-strip`.
    pub fn tool(&self, name: &str) -> String {
        format!("{}-{name}", self.architecture.gnu())
    }

    /// Path of a program in the sysroot, if it is installed there.
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        let folders = ["usr/bin", "usr/sbin", "bin", "sbin"];
        folders
            .map(|folder| self.root.join(folder).join(program))
            .into_iter()
            .find(|it| it.exists())
    }

    /// Returns a command that makes the dynamic loader list the libraries of a program.
    pub fn list_libraries(&self, program: &Path) -> Result<Command> {
        let mut command = self.command(&self.root.join(self.architecture.loader()))?;
        command.arg("--list").arg(program);
        Ok(command)
    }
}

/// Returns the path of QEMU's user-mode emulator. The statically linked one is preferred: it also runs in a chroot.
pub fn emulator(architecture: Architecture) -> Result<PathBuf> {
    let name = format!("qemu-{}", architecture.machine());
    let found = shell::which(&format!("{name}-static")).or_else(|| shell::which(&name));
    found.with_context(|| format!("{name} is not installed"))
}

/// Debian release of the packages. On Debian, this host's, because its cross compiler matches. Elsewhere the oldest
/// maintained one, because programs linked with its libraries run on most hosts.
fn suite(release: &str) -> String {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    let debian = value("ID").is_some_and(|id| id == "debian");
    value("VERSION_CODENAME").filter(|_| debian).unwrap_or_else(|| "bookworm".to_owned())
}

/// Downloads packages with their dependencies and unpacks them to `scratch/ready`.
fn install_packages(
    scratch: &Path,
    architecture: Architecture,
    suite: &str,
    packages: &[&str],
) -> Result<()> {
    let security = format!("{suite}-security");
    let sources = [("debian", suite), ("debian-security", security.as_str())];
    let apt = Apt::new(scratch, &sources, architecture)?;
    shell::output(apt.command("apt-get").args(["update", "-q"]))?;
    let mut get = apt.command("apt-get");
    get.args(["install", "-q", "-y", "--no-install-recommends", "--download-only"]);
    shell::output(get.args(packages))?;
    let root = scratch.join("ready");
    fs::create_dir_all(root.join("DEBIAN"))?;
    // Merged /usr, whatever the release.
    for folder in ["bin", "lib", "sbin"] {
        fs::create_dir_all(root.join("usr").join(folder))?;
        symlink(Path::new("usr").join(folder), root.join(folder))?;
    }
    let mut archives = files(&scratch.join("cache/archives"))?;
    archives.retain(|file| has_extension(file, "deb"));
    archives.sort();
    ensure!(!archives.is_empty(), "apt-get downloaded no package");
    for archive in archives {
        unpack(&archive, &root).with_context(|| archive.display().to_string())?;
    }
    make_relative(&root, &root)
}

/// Unpacks a package into the sysroot.
fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let script = "dpkg-deb --fsys-tarfile \"$1\" | \
                     tar --extract --keep-directory-symlink --no-same-owner --directory \"$2\"";
    let mut extract = Command::new("bash");
    extract.args(["-o", "pipefail", "-ec", script, "bash"]).arg(archive).arg(root);
    shell::output(&mut extract)?;
    // dpkg-shlibdeps finds in DEBIAN/shlibs and DEBIAN/symbols which package a library is in and since which
    // version it has a symbol. Both files collect the entries of all packages.
    let members = shell::output(Command::new("dpkg-deb").arg("--info").arg(archive))?;
    let members = String::from_utf8_lossy(&members.stdout).into_owned();
    for name in ["symbols", "shlibs"] {
        let mut listed = members.lines().filter(|line| line.contains(" bytes, "));
        if listed.any(|line| line.split_whitespace().any(|word| word == name)) {
            let member = shell::output(Command::new("dpkg-deb").arg("-I").arg(archive).arg(name))?;
            let file = root.join("DEBIAN").join(name);
            let before = fs::read(&file).unwrap_or_default();
            fs::write(&file, [before, member.stdout].concat())?;
        }
    }
    Ok(())
}

/// Makes absolute symbolic links relative, so that they stay inside the sysroot.
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
    fn uses_release_of_host_on_debian() {
        assert_eq!(suite("ID=debian\nVERSION_CODENAME=trixie\n"), "trixie");
        assert_eq!(suite("ID=ubuntu\nVERSION_CODENAME=noble\n"), "bookworm");
        assert_eq!(suite(""), "bookworm");
    }

    #[test]
    fn makes_absolute_links_relative() {
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
