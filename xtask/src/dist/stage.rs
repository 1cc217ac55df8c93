//! Lays the files out as they will stand on a host.

use super::Release;
use super::bill::{self, Crate};
use anyhow::{Context as _, Result, anyhow, ensure};
use dnscribe_tests::{environment, shell};
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// What is taken as it is from the repository, and where it goes.
const COPIED: [(&str, &str); 9] = [
    ("deploy/dnscribe.yaml", "etc/dnscribe/dnscribe.yaml"),
    ("deploy/systemd/dnscribe.service", "usr/lib/systemd/system/dnscribe.service"),
    ("deploy/systemd/dnscribe.sysusers", "usr/lib/sysusers.d/dnscribe.conf"),
    ("deploy/systemd/containers.conf", "usr/share/doc/dnscribe/containers.conf"),
    ("README.md", "usr/share/doc/dnscribe/README.md"),
    ("CHANGELOG.md", "usr/share/doc/dnscribe/CHANGELOG.md"),
    ("docs/config.md", "usr/share/doc/dnscribe/config.md"),
    ("LICENSE-APACHE", "usr/share/doc/dnscribe/LICENSE-APACHE"),
    ("LICENSE-MIT", "usr/share/doc/dnscribe/LICENSE-MIT"),
];

/// Where each shell looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/dnscribe"),
    ("zsh", "usr/share/zsh/site-functions/_dnscribe"),
    ("fish", "usr/share/fish/vendor_completions.d/dnscribe.fish"),
];

/// Makes the tree below `release.stage`.
pub fn lay_out(release: &Release, binary: &Path, crates: &[Crate]) -> Result<()> {
    let place = |path: &str| release.stage.join(path);
    for (from, to) in COPIED {
        let octets = fs::read(environment::workspace().join(from)).with_context(|| from)?;
        write(&place(to), &octets, 0o644)?;
    }
    let program = place("usr/bin/dnscribe");
    let octets = fs::read(binary).with_context(|| format!("no binary {}", binary.display()))?;
    write(&program, &octets, 0o755)?;
    for (shell, to) in COMPLETIONS {
        write(&place(to), &printed(release, &program, &["completions", shell])?, 0o644)?;
    }
    let list = String::from_utf8(printed(release, &program, &["man", "--list"])?)?;
    for command in list.lines().chain([""]) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let name =
            ["dnscribe"].into_iter().chain(words.iter().copied()).collect::<Vec<_>>().join("-");
        let page = printed(release, &program, &[&["man"], words.as_slice()].concat())?;
        let to = place(&format!("usr/share/man/man1/{name}.1.gz"));
        write(&to, &compressed(&page)?, 0o644)?;
    }
    let licences = place("usr/share/doc/dnscribe/third-party-licences.txt");
    write(&licences, bill::licences(crates)?.as_bytes(), 0o644)?;
    // Last: what it prints needs no symbols, and a binary that cannot be stripped is for another host.
    let strip = match &release.sysroot {
        Some(sysroot) => sysroot.tool("strip"),
        None => "strip".to_owned(),
    };
    shell::output(Command::new(strip).arg(&program)).context("cannot strip the binary")?;
    Ok(())
}

fn write(path: &Path, octets: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    fs::write(path, octets).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(())
}

fn printed(release: &Release, program: &Path, words: &[&str]) -> Result<Vec<u8>> {
    Ok(shell::output(release.agent(program)?.args(words))?.stdout)
}

/// With gzip, without name and time. By the program: in a debug build our own would take minutes.
pub fn compressed(octets: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .args(["--no-name", "--best"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gzip")?;
    let mut input = gzip.stdin.take().context("gzip has no input")?;
    let output = thread::scope(|scope| {
        let feeding = scope.spawn(move || input.write_all(octets));
        let output = gzip.wait_with_output();
        feeding.join().map_err(|_| anyhow!("feeding gzip failed"))??;
        anyhow::Ok(output?)
    })?;
    ensure!(output.status.success(), "gzip failed ({})", output.status);
    Ok(output.stdout)
}
