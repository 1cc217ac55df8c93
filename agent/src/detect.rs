//! The last room before the sinks: what is wrong, told once.
//!
//! Detectors look at transactions, connections and windows, and every ten seconds say what they find
//! wrong ([`Finding`]). What is found becomes alerts ([`Alert`]): with stages, hysteresis, and one
//! alert for one cause. See `docs/detection.md`.
//!
//! A pure state machine like all rooms: time is an argument, and every table is bounded.

#![forbid(unsafe_code)]

mod alert;
mod baseline;
mod cause;
mod counters;
mod engine;
mod episode;
mod finding;
mod maintenance;
mod minute;
mod options;
mod outcomes;
mod samples;
mod success;
mod usual;

pub use alert::{Alert, State};
pub use counters::AlertCounters;
pub use engine::Detection;
pub use finding::{Baseline, Detector, Entity, Evidence, Figure, Finding, Level, Rule};
pub use maintenance::{Maintenance, When};
pub use options::{
    DetectOptions, DownOptions, FlappingOptions, RuleOptions, SuccessOptions, UsualOptions,
};
