//! The last room before the sinks: what is wrong, told once.
//!
//! Detectors look at transactions, connections and windows, and every ten seconds say what they find
//! wrong ([`Finding`]). What is found becomes alerts: with stages, hysteresis, and one alert for one
//! cause.
//!
//! A pure state machine like all rooms: time is an argument, and every table is bounded.

#![forbid(unsafe_code)]

mod alert;
mod finding;

pub use alert::{Alert, State};
pub use finding::{Baseline, Detector, Entity, Evidence, Figure, Finding, Level, Rule};
