//! What the command lines of dnscribe programs share: how a command fails ([`exit`]), compressed input files
//! ([`input`]), the commands that print manual pages, completion scripts and schemas ([`pages`]), the report of `check`
//! ([`check`]), the balance of a run ([`summary`]), and messages to the service manager ([`service`]).
//!
//! ```
//! use dnscribe_cli::exit::Exit;
//!
//! let exit = Exit::failed("no resolver is left").with_remedy("give one in resolvers");
//! assert_eq!(exit.to_string(), "error: no resolver is left\n  remedy: give one in resolvers");
//! ```

pub mod check;
pub mod exit;
pub mod input;
pub mod pages;
pub mod service;
pub mod summary;

use exit::Exit;
use std::io::{ErrorKind, Write as _};

/// Writes the result of a command to stdout. A closed pipe is no error.
///
/// # Errors
/// Writing fails for another reason.
pub fn print(text: &str) -> Result<(), Exit> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Exit::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
