//! Helpers for tests of this module.

/// Returns whether this is a CI run, in which no test may be skipped: `CI` is set and not empty, `0`
/// or `false`.
pub(super) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
