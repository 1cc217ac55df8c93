//! Grafana's dashboards, and the rules and notifications beside them: types, names, checked-in files, and every query of every
//! panel against real stores that have a scripted day.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod day;
mod generated;
mod rules;
