//! What other programs find in a capture.

use super::fields::Difference;
use super::ours::Ours;
use anyhow::Result;
use std::path::Path;

/// Statements of other programs that ours confirms, and those that it does not.
pub fn compare(_corpus: &Path, _name: &str, _ours: &Ours) -> Result<(usize, Vec<Difference>)> {
    Ok((0, Vec::new()))
}
