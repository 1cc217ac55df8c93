//! Shared libraries that a program loads at its start, as the dynamic loader lists them.

use crate::debian::sysroot::Sysroot;
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::shell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A shared library, or the dynamic loader itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    /// Path at which programs look for it.
    pub load_path: PathBuf,
    /// Path of the file on this host.
    pub file: PathBuf,
}

/// Returns the shared libraries of a program; none if it is linked statically. `sysroot` has the libraries of a
/// program for another architecture.
///
/// # Errors
/// If a library is missing or the loader fails.
pub fn find(program: &Path, sysroot: Option<&Sysroot>) -> Result<Vec<Library>> {
    let mut list = match sysroot {
        // The loader crashes when it lists a static program.
        Some(sysroot) if !has_interpreter(sysroot, program)? => return Ok(Vec::new()),
        Some(sysroot) => sysroot.list_libraries(program)?,
        None => {
            let mut ldd = Command::new("ldd");
            ldd.arg(program);
            ldd
        }
    };
    let output = list
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shell::command_line(&list)))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Messages of ldd.
    let is_static = ["not a dynamic executable", "statically linked"];
    if is_static.iter().any(|words| stdout.contains(words) || stderr.contains(words)) {
        return Ok(Vec::new());
    }
    ensure!(output.status.success(), "`{}` failed: {stderr}{stdout}", shell::command_line(&list));
    let on_host = |load_path: PathBuf| match sysroot {
        None => Library { file: load_path.clone(), load_path },
        // The list has the loader itself by its path on this host, and libraries by their path in the sysroot.
        Some(Sysroot { root, .. }) => match load_path.strip_prefix(root) {
            Ok(inside) => Library { load_path: Path::new("/").join(inside), file: load_path },
            Err(_) => Library {
                file: root.join(load_path.strip_prefix("/").unwrap_or(&load_path)),
                load_path,
            },
        },
    };
    Ok(parse_list(&stdout)?.into_iter().map(on_host).collect())
}

/// Whether a program names a dynamic loader, that is, whether it is linked dynamically.
fn has_interpreter(sysroot: &Sysroot, program: &Path) -> Result<bool> {
    let mut read = Command::new(sysroot.tool("readelf"));
    let headers = shell::output(read.arg("--program-headers").arg(program))?.stdout;
    Ok(String::from_utf8_lossy(&headers).contains("INTERP"))
}

/// Parses lines such as `libz.so.1 => /lib/libz.so.1 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`.
fn parse_list(list: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in list.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a library is missing: {line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if let Some(path) = path.split(" (").next().filter(|path| path.starts_with('/')) {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_output_of_loader() {
        let list = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibz.so.1 => /lib/x/libz.so.1 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_list(list).unwrap(), expected);
        assert!(parse_list("\tlibq.so.1 => not found\n").is_err());
    }

    #[test]
    fn finds_libraries_of_this_program() {
        let program = std::env::current_exe().unwrap();
        let found = find(&program, None).unwrap();
        assert!(
            found.iter().any(|library| library.load_path.to_string_lossy().contains("libc.so"))
        );
        assert!(found.iter().all(|library| library.file.exists()), "{found:?}");
        assert!(find(Path::new("/nowhere"), None).is_err());
    }
}
