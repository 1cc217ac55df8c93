//! Packages of the distribution: what each purpose needs, what is missing, and how it is installed.

use super::package_names;
use crate::architecture::Architecture;
use crate::console;
use crate::debian::sysroot;
use crate::process::{as_root, first_line};
use anyhow::{Context as _, Result, bail};
use dnscribe_tests::prometheus::{self, Program};
use dnscribe_tests::shell;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program, library or file that some purpose needs: how to check for it, and the packages that contain it.
pub struct Need {
    /// Whether it is installed.
    pub present: fn() -> bool,
    /// Packages in Debian and Ubuntu.
    pub debian: &'static str,
    /// Packages in Fedora and related distributions.
    pub fedora: &'static str,
    /// Packages in Arch Linux.
    pub arch: &'static str,
}

pub const fn need(
    present: fn() -> bool,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
) -> Need {
    Need { present, debian, fedora, arch }
}

/// Needed for building: librdkafka is built from its bundled source, with TLS.
pub const BUILD: &[Need] = &[
    need(|| has("cc"), "gcc libc6-dev", "gcc", "gcc"),
    need(|| has("c++"), "g++", "gcc-c++", "gcc"),
    need(|| has("make"), "make", "make", "make"),
    need(|| has("pkg-config"), "pkg-config", "pkgconf", "pkgconf"),
    need(|| library("openssl"), "libssl-dev", "openssl-devel", "openssl"),
    need(|| library("zlib"), "zlib1g-dev", "zlib-devel", "zlib"),
    need(|| library("libzstd"), "libzstd-dev", "libzstd-devel", "zstd"),
];

/// Programs that `bench` compares with. It also runs without them and reports which are missing.
pub const BENCH: &[Need] = &[
    need(|| has("dnscap"), "dnscap", "", ""),
    need(|| has("dnstop"), "dnstop", "dnstop", "dnstop"),
    need(|| has("tcpdump"), "tcpdump", "tcpdump", "tcpdump"),
];

/// Needed for `dist`: finding the libraries that a package depends on, and stripping symbols.
pub const DIST: &[Need] = &[
    need(|| has("dpkg-shlibdeps"), "dpkg-dev", "dpkg-dev", "dpkg"),
    need(|| has("strip"), "binutils", "binutils", "binutils"),
    need(certificates, "ca-certificates", "ca-certificates", "ca-certificates"),
];

/// Needed for `release`: signing.
pub const RELEASE: &[Need] = &[need(|| has("minisign"), "minisign", "minisign", "minisign")];

/// Needed for `install-test`: a container that boots, its root file system, and reading packages.
pub const INSTALL_TEST: &[Need] = &[
    need(|| has("systemd-nspawn"), "systemd-container", "systemd-container", "systemd"),
    need(|| has("debootstrap"), "debootstrap", "debootstrap", "debootstrap"),
    need(|| has("dpkg-deb"), "dpkg", "dpkg", "dpkg"),
    need(|| has("readelf"), "binutils", "binutils", "binutils"),
];

/// Cross compiler and emulator for amd64.
pub const CROSS_AMD64: &[Need] = &[
    need(
        || has("x86_64-linux-gnu-g++"),
        "gcc-x86-64-linux-gnu g++-x86-64-linux-gnu",
        "gcc-c++-x86_64-linux-gnu",
        "x86_64-linux-gnu-gcc",
    ),
    need(
        || sysroot::emulator(Architecture::Amd64).is_ok(),
        "qemu-user-static",
        "qemu-user-static-x86",
        "qemu-user-static",
    ),
];
/// Cross compiler and emulator for arm64.
pub const CROSS_ARM64: &[Need] = &[
    need(
        || has("aarch64-linux-gnu-g++"),
        "gcc-aarch64-linux-gnu g++-aarch64-linux-gnu",
        "gcc-c++-aarch64-linux-gnu",
        "aarch64-linux-gnu-gcc",
    ),
    need(
        || sysroot::emulator(Architecture::Arm64).is_ok(),
        "qemu-user-static",
        "qemu-user-static-aarch64",
        "qemu-user-static",
    ),
];

/// QEMU's machine for amd64.
pub const MACHINE_AMD64: &[Need] = &[need(
    || has("qemu-system-x86_64"),
    "qemu-system-x86",
    "qemu-system-x86-core",
    "qemu-system-x86",
)];
/// QEMU's machine for arm64.
pub const MACHINE_ARM64: &[Need] = &[need(
    || has("qemu-system-aarch64"),
    "qemu-system-arm",
    "qemu-system-aarch64-core",
    "qemu-system-aarch64",
)];

/// Needed for downloading from Debian's archive, on any distribution.
pub const ARCHIVE: &[Need] = &[
    need(|| has("apt-get"), "apt", "apt", "apt"),
    need(|| has("dpkg-deb"), "dpkg", "dpkg", "dpkg"),
    need(
        || Path::new(KEYRING).exists(),
        "debian-archive-keyring",
        "debian-keyring",
        "debian-archive-keyring",
    ),
];

/// Needed for `vm-test`: the programs of its guest, and unpacking kernels.
pub const MACHINES: &[Need] = &[
    need(busybox, "busybox-static", "busybox", "busybox"),
    need(|| has("ip"), "iproute2", "iproute", "iproute2"),
    need(|| has("knotd"), "knot", "knot", "knot"),
    need(|| has("kdig"), "knot-dnsutils", "knot-utils", "knot"),
    need(|| has("strip"), "binutils", "binutils", "binutils"),
    need(|| has("xz"), "xz-utils", "xz", "xz"),
];

/// Keys that sign Debian's archive.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Whether busybox is installed with every applet that a guest runs.
fn busybox() -> bool {
    let listed = Command::new("busybox").arg("--list").output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    ["cpio", "insmod", "setpriv", "stty", "wget"]
        .iter()
        .all(|applet| listed.lines().any(|line| line == *applet))
}

/// Prometheus and Alertmanager on distributions other than Debian, where [`monitoring`] unpacks them instead.
pub const MONITORING: &[Need] = &[
    need(
        || Program::Prometheus.is_installed() && Program::Promtool.is_installed(),
        "prometheus",
        "golang-github-prometheus",
        "prometheus",
    ),
    need(
        || Program::Alertmanager.is_installed(),
        "prometheus-alertmanager",
        "golang-github-prometheus-alertmanager",
        "alertmanager",
    ),
];

/// Downloads and unpacks Prometheus and Alertmanager below the target folder. Installing Debian's packages
/// would start services and add users.
pub fn monitoring() -> Result<()> {
    if prometheus::prepare().is_ok() {
        return Ok(());
    }
    console::progress("setup: apt-get update, because the package lists are outdated");
    let mut update = as_root("apt-get")?;
    update.args(["update", "-q"]).stdin(Stdio::null()).stdout(std::io::stderr());
    shell::pass_through(&mut update)?;
    prometheus::prepare()
}

/// Script that installs packages without starting their daemons: the lab starts its own, and port 53 must stay
/// free. An existing policy-rc.d is kept.
const INSTALL: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
bounds='-o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20'
timeout 180 apt-get update -q $bounds || echo 'setup: cannot update the package lists, continuing with the old ones'
apt-get install -y -q --no-install-recommends $bounds "$@"
if [ -d /run/systemd/system ]; then
    for daemon in unbound knot named nginx; do
        case " $* " in *" $daemon "*) systemctl disable --now "$daemon" || true ;; esac
    done
fi
"#;

/// Whether a program is in the search path.
pub fn has(program: &str) -> bool {
    shell::which(program).is_some()
}

/// Whether Python can create virtual environments; Debian has a separate package for that.
pub fn venv() -> bool {
    let modules = "import ensurepip, venv; print('ok')";
    first_line("python3", &["-c", modules]).is_some()
}

fn certificates() -> bool {
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
        .iter()
        .any(|path| fs::exists(path).unwrap_or(false))
}

fn library(name: &str) -> bool {
    first_line("pkg-config", &["--modversion", name]).is_some()
}

/// Returns the needs that are not installed.
pub fn missing(needs: &'static [Need]) -> Vec<&'static Need> {
    needs.iter().filter(|need| !(need.present)()).collect()
}

/// Installs the packages of `needs`. Returns whether it installed anything.
///
/// # Errors
/// On distributions other than Debian; the error names the packages to install.
pub fn install(purpose: &str, needs: &[&Need]) -> Result<bool> {
    if needs.is_empty() {
        return Ok(false);
    }
    if !is_debian() {
        let (list, with) = match family().as_str() {
            "arch" => (package_names(needs, |need| need.arch), "pacman -S"),
            "fedora" => (package_names(needs, |need| need.fedora), "dnf install"),
            _ => (package_names(needs, |need| need.debian), "Debian's names, yours may differ:"),
        };
        bail!(
            "packages for {purpose} are missing. Install them and run this again:\n  \
             {with} {list}{}",
            super::ebpf::alternative_to_llvm(needs)
        );
    }
    let packages = package_names(needs, |need| need.debian);
    apt(purpose, &packages.split(' ').collect::<Vec<_>>())?;
    let still: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).copied().collect();
    if !still.is_empty() {
        bail!(
            "apt-get succeeded, but still missing: {}",
            package_names(&still, |need| need.debian)
        );
    }
    Ok(true)
}

/// Installs packages with apt-get, as root.
pub fn apt(purpose: &str, packages: &[&str]) -> Result<()> {
    let how = if crate::process::is_root() { "" } else { " with sudo" };
    console::progress(&format!(
        "setup: apt-get install{how}, for {purpose}: {}",
        packages.join(" ")
    ));
    let mut command = as_root("sh")?;
    command.args(["-ec", INSTALL, "sh"]).args(packages).stdin(Stdio::null());
    // Standard output is for results.
    command.stdout(std::io::stderr());
    let status = command.status().context("cannot start apt-get")?;
    if !status.success() {
        bail!(
            "apt-get could not install {} ({status}): see above. If there is no network, install them \
             another way and run this again",
            packages.join(" ")
        );
    }
    Ok(())
}

/// Whether this distribution installs packages with apt-get.
pub fn is_debian() -> bool {
    family() == "debian" && has("apt-get")
}

/// Family of this distribution: `debian`, `fedora`, `arch`, or the distribution's own name.
fn family() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let words: Vec<&str> = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .collect();
    ["debian", "fedora", "arch"]
        .into_iter()
        .find(|family| words.contains(family))
        .or_else(|| words.first().copied())
        .unwrap_or("unknown")
        .to_owned()
}
