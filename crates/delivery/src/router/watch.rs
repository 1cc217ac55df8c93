//! Watches for sinks that fail.

use super::SinkSet;
use crate::Failure;
use std::collections::BTreeSet;

/// Watches for sinks that have failed for good.
#[derive(Debug, Default)]
pub struct SinkWatch {
    logged: BTreeSet<String>,
}

/// Consequence of failed sinks for the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkStatus {
    /// A sink is left.
    Continue,
    /// The reader of stdout has closed the pipe, and there is no other sink: end without an error.
    Quiet,
    /// No sink is left.
    NoneLeft,
}

impl SinkWatch {
    /// Logs each failed sink once, and returns whether any is left.
    pub fn check(&mut self, sinks: &SinkSet) -> SinkStatus {
        let (failures, all) = sinks.failures();
        for (name, failure) in &failures {
            if let Failure::Broken(reason) = failure
                && self.logged.insert(name.clone())
            {
                tracing::error!(sink = %name, "{reason}; its records are dropped and counted from here on");
            }
        }
        if failures.len() < all {
            SinkStatus::Continue
        } else if failures.iter().all(|(_, failure)| *failure == Failure::PipeClosed) {
            SinkStatus::Quiet
        } else {
            SinkStatus::NoneLeft
        }
    }
}
