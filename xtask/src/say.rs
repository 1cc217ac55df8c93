//! What the commands tell: results on standard output, everything else on standard error.

use std::io::Write as _;

/// Tells what is being done.
pub fn progress(line: &str) {
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a line of a command's result.
pub fn result(line: &str) {
    // A closed pipe means that the reader has enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}
