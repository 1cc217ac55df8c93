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

/// Path of a program's completions for each shell.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/NAME"),
    ("zsh", "usr/share/zsh/site-functions/_NAME"),
    ("fish", "usr/share/fish/vendor_completions.d/NAME.fish"),
];

/// Fills the stage folder.
pub fn lay_out(release: &Release, binary: &Path, crates: &[Crate]) -> Result<()> {
    let place = |path: &str| release.stage.join(path);
    for (from, to) in release.program.copied {
        let from = environment::workspace().join(from);
        let what = || from.display().to_string();
        let is_program = fs::metadata(&from).with_context(what)?.permissions().mode() & 0o100 != 0;
        let bytes = fs::read(&from).with_context(what)?;
        write(&place(to), &bytes, if is_program { 0o755 } else { 0o644 })?;
    }
    let (name, program) = (release.program.name, release.binary());
    let bytes = fs::read(binary).with_context(|| format!("no binary {}", binary.display()))?;
    write(&program, &bytes, 0o755)?;
    for (shell, to) in COMPLETIONS {
        let to = place(&to.replace("NAME", name));
        write(&to, &stdout_of(release, &program, &["completions", shell])?, 0o644)?;
    }
    let list = String::from_utf8(stdout_of(release, &program, &["man", "--list"])?)?;
    for command in list.lines().chain([""]) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let title = [&[name], words.as_slice()].concat().join("-");
        let page = stdout_of(release, &program, &[&["man"], words.as_slice()].concat())?;
        let to = place(&format!("usr/share/man/man1/{title}.1.gz"));
        write(&to, &gzip(&page)?, 0o644)?;
    }
    let licences = place(&format!("usr/share/doc/{name}/third-party-licences.txt"));
    write(&licences, sbom::licences(name, crates)?.as_bytes(), 0o644)?;
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
    Ok(shell::output(release.command(program)?.args(words))?.stdout)
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
