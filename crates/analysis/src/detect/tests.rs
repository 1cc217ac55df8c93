//! Helpers for the tests of detectors, the check of the runbooks, and days of browsing.

mod browsing;
pub(crate) mod helpers;
mod runbooks;
pub(crate) mod uses;
