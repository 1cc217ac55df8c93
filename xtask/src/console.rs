//! Output of the commands: results on standard output, progress and errors on standard error.

use std::io::Write as _;

/// Writes a progress line to standard error.
pub fn progress(line: &str) {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a line of a command's result to standard output.
pub fn result(line: &str) {
    // A closed pipe means that the reader needs no more.
    let _ = writeln!(std::io::stdout(), "{line}");
}
