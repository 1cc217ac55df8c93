//! The libraries that a program loads at its start.

use crate::debian::sysroot::Sysroot;
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::shell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A library, or the loader itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    /// Where programs look for it.
    pub place: PathBuf,
    /// Where it is on this host.
    pub file: PathBuf,
}

/// What a program loads; nothing where it is linked statically. `sysroot`: whose architecture it is for,
/// where that is not this host's.
pub fn libraries(program: &Path, sysroot: Option<&Sysroot>) -> Result<Vec<Library>> {
    let mut ask = match sysroot {
        // The loader itself would try, and crash.
        Some(sysroot) if !asks_for_loader(sysroot, program)? => return Ok(Vec::new()),
        Some(sysroot) => sysroot.loads(program)?,
        None => {
            let mut ldd = Command::new("ldd");
            ldd.arg(program);
            ldd
        }
    };
    let output = ask
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shell::shown(&ask)))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    // Words of ldd.
    let is_static = ["not a dynamic executable", "statically linked"];
    if is_static.iter().any(|words| told.contains(words) || complaint.contains(words)) {
        return Ok(Vec::new());
    }
    ensure!(output.status.success(), "`{}` failed: {complaint}{told}", shell::shown(&ask));
    let on_host = |place: PathBuf| match sysroot {
        None => Library { file: place.clone(), place },
        // The loader itself is named by where it is.
        Some(Sysroot { root, .. }) => match place.strip_prefix(root) {
            Ok(inside) => Library { place: Path::new("/").join(inside), file: place },
            Err(_) => Library { file: root.join(place.strip_prefix("/").unwrap_or(&place)), place },
        },
    };
    Ok(places(&told)?.into_iter().map(on_host).collect())
}

/// Whether a program names a loader, as those that load libraries do.
fn asks_for_loader(sysroot: &Sysroot, program: &Path) -> Result<bool> {
    let mut read = Command::new(sysroot.tool("readelf"));
    let told = shell::output(read.arg("--program-headers").arg(program))?.stdout;
    Ok(String::from_utf8_lossy(&told).contains("INTERP"))
}

/// From lines such as `libz.so.1 => /lib/libz.so.1 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`.
fn places(told: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in told.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a library is missing here: {line}");
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
    fn libraries_are_read_from_what_the_loader_tells() {
        let told = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibz.so.1 => /lib/x/libz.so.1 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(places(told).unwrap(), expected);
        assert!(places("\tlibq.so.1 => not found\n").is_err());
    }

    #[test]
    fn what_this_program_loads_is_there() {
        let program = std::env::current_exe().unwrap();
        let found = libraries(&program, None).unwrap();
        assert!(found.iter().any(|library| library.place.to_string_lossy().contains("libc.so")));
        assert!(found.iter().all(|library| library.file.exists()), "{found:?}");
        assert!(libraries(Path::new("/nowhere"), None).is_err());
    }
}
