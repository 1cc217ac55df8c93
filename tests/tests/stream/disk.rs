//! File systems of stores, which a test can fill.

use dnscribe_tests::shell;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// File that fills a file system.
const BALLAST: &str = "ballast";

/// Makes a folder a file system of its own, which [`fill`] can fill.
pub fn mount(folder: &Path, size: &str) {
    fs::create_dir_all(folder).unwrap();
    let size = format!("size={size}");
    let words = ["mount", "-t", "tmpfs", "-o", &size, "tmpfs", folder.to_str().unwrap()];
    shell::run(&words).unwrap();
}

/// Removes the file system of [`mount`].
pub fn unmount(folder: &Path) {
    // A failing test says more than a failing end.
    let _ = shell::run(&["umount", "--lazy", &folder.display().to_string()]);
}

/// Fills the file system of a folder.
pub fn fill(folder: &Path) {
    let text = shell::run(&["df", "--output=avail", "-B1", folder.to_str().unwrap()]).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    let free: u64 = text.lines().last().unwrap().trim().parse().unwrap();
    let mut ballast = fs::File::create(folder.join(BALLAST)).unwrap();
    let block = vec![1; 1 << 20];
    for _ in 0..free.div_ceil(1 << 20) {
        if ballast.write_all(&block).is_err() {
            // The file system is full.
            return;
        }
    }
}

/// Removes what [`fill`] wrote.
pub fn empty(folder: &Path) {
    // It is there only if the disk was filled.
    let _ = fs::remove_file(folder.join(BALLAST));
}
