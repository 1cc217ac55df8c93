//! The stage folder: the files as they are installed on a host.

use super::Release;
use super::sbom::{self, Crate};
use anyhow::{Context as _, Result, anyhow, ensure};
use dnscribe_tests::{environment, shell};
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Files that are copied from the repository: source, destination.
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

/// Path of the completions of each shell.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/dnscribe"),
    ("zsh", "usr/share/zsh/site-functions/_dnscribe"),
    ("fish", "usr/share/fish/vendor_completions.d/dnscribe.fish"),
];

/// Fills the stage folder.
pub fn lay_out(release: &Release, binary: &Path, crates: &[Crate]) -> Result<()> {
    let place = |path: &str| release.stage.join(path);
    for (from, to) in COPIED {
        let bytes = fs::read(environment::workspace().join(from)).with_context(|| from)?;
        write(&place(to), &bytes, 0o644)?;
    }
    let program = place("usr/bin/dnscribe");
    let bytes = fs::read(binary).with_context(|| format!("no binary {}", binary.display()))?;
    write(&program, &bytes, 0o755)?;
    for (shell, to) in COMPLETIONS {
        write(&place(to), &stdout_of(release, &program, &["completions", shell])?, 0o644)?;
    }
    let list = String::from_utf8(stdout_of(release, &program, &["man", "--list"])?)?;
    for command in list.lines().chain([""]) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let name =
            ["dnscribe"].into_iter().chain(words.iter().copied()).collect::<Vec<_>>().join("-");
        let page = stdout_of(release, &program, &[&["man"], words.as_slice()].concat())?;
        let to = place(&format!("usr/share/man/man1/{name}.1.gz"));
        write(&to, &gzip(&page)?, 0o644)?;
    }
    let licences = place("usr/share/doc/dnscribe/third-party-licences.txt");
    write(&licences, sbom::licences(crates)?.as_bytes(), 0o644)?;
    // Last, because the steps above run the binary and fail with a clearer error if it is for another host.
    let strip = match &release.sysroot {
        Some(sysroot) => sysroot.tool("strip"),
        None => "strip".to_owned(),
    };
    shell::output(Command::new(strip).arg(&program)).context("cannot strip the binary")?;
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(())
}

fn stdout_of(release: &Release, program: &Path, words: &[&str]) -> Result<Vec<u8>> {
    Ok(shell::output(release.agent(program)?.args(words))?.stdout)
}

/// Compresses with the program gzip, without name and time. A debug build of a Rust library would take minutes.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("gzip")
        .args(["--no-name", "--best"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gzip")?;
    let mut input = child.stdin.take().context("gzip has no input")?;
    let output = thread::scope(|scope| {
        let feeding = scope.spawn(move || input.write_all(bytes));
        let output = child.wait_with_output();
        feeding.join().map_err(|_| anyhow!("feeding gzip failed"))??;
        anyhow::Ok(output?)
    })?;
    ensure!(output.status.success(), "gzip failed ({})", output.status);
    Ok(output.stdout)
}
