//! `site`: builds the documentation as a site in the folder `site` of the target folder, and checks its links.

use crate::{console, setup};
use anyhow::Result;
use dnscribe_tests::{environment, site};

/// Runs the command.
pub fn main() -> Result<()> {
    setup::install(&["site"])?;
    let folder = environment::target().join("site");
    let pages = site::build(&folder)?;
    console::progress(&format!("site: {pages} pages: {}", folder.join("index.html").display()));
    Ok(())
}
