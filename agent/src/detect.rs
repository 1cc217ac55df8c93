//! The last room before the sinks: what is wrong, told once.
//!
//! Detectors look at transactions, connections and windows, and every ten seconds say what they find
//! wrong ([`Finding`]). What is found becomes alerts ([`Alert`]): with stages, hysteresis, and one
//! alert for one cause. See `docs/detection.md`.
//!
//! A pure state machine like all rooms: time is an argument, and every table is bounded.

#![forbid(unsafe_code)]

mod alert;
mod all;
mod amplification;
mod baseline;
mod bypass;
mod cache_poisoning;
mod cause;
mod counters;
mod dga;
mod drift;
mod engine;
mod episode;
mod finding;
mod known;
mod lexical;
mod maintenance;
mod minute;
mod options;
mod outcomes;
mod samples;
mod spoofing;
mod success;
mod table;
#[cfg(test)]
mod testing;
mod tunnel;
mod usual;
mod who;

pub use alert::{Alert, State};
pub use all::{Meant, all};
pub use amplification::{AMPLIFICATION_MEMORY_BYTES, Amplification, AmplificationOptions};
pub use bypass::{BYPASS_MEMORY_BYTES, Bypass, BypassOptions};
pub use cache_poisoning::{CACHE_POISONING_MEMORY_BYTES, CachePoisoning, CachePoisoningOptions};
pub use counters::AlertCounters;
pub use dga::{DGA_MEMORY_BYTES, Dga, DgaOptions};
pub use drift::{DRIFT_MEMORY_BYTES, Drift, DriftOptions};
pub use engine::Detection;
pub use finding::{Baseline, Detector, Entity, Evidence, Figure, Finding, Level, Rule};
pub use maintenance::{Maintenance, When};
pub use options::{
    DetectOptions, DownOptions, FlappingOptions, RuleOptions, SuccessOptions, UsualOptions,
};
pub use spoofing::{SPOOFING_MEMORY_BYTES, Spoofing, SpoofingOptions};
pub use tunnel::{TUNNEL_MEMORY_BYTES, Tunnel, TunnelOptions};
