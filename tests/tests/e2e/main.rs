//! End-to-end tests: real resolvers in network namespaces, and the agent on this host. Needs root.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod alerts;
mod blocked;
mod isolated_cgroup;
mod attribution;
mod dnstap;
mod encrypted;
mod shutdown;
mod failures;
mod health;
mod correlation;
mod indicators;
mod kubernetes;
mod latency;
mod load;
mod lookups;
mod lost;
mod outcomes;
mod overload;
mod pages;
mod pcapng;
mod pods;
mod privacy;
mod privileges;
mod processes;
mod prometheus;
mod reloading;
mod reopening;
mod support;
mod top;
mod trace;
mod transfers;
mod translated;
mod upgrade;
mod uses;
mod windows;
