//! Helpers for the tests of detectors, and the check of the runbooks.

pub(crate) mod helpers;
mod runbooks;
