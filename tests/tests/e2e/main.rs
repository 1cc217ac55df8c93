//! End to end: real resolvers in network namespaces, the agent on this host, and what it says of
//! their traffic. Needs root.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod alerts;
mod apart;
mod attribution;
mod encrypted;
mod ending;
mod failures;
mod health;
mod joining;
mod kubernetes;
mod latency;
mod load;
mod lookups;
mod outcomes;
mod pressure;
mod privacy;
mod privileges;
mod processes;
mod prometheus;
mod reloading;
mod reopening;
mod support;
mod takeover;
mod top;
mod transfers;
mod windows;
