//! The stream jobs with a real Kafka broker, Flink cluster, `ClickHouse` engine and `TimescaleDB`,
//! under faults: after each of them nothing is missing, nothing is there twice, and the stream
//! ledger says so.
//!
//! The tests share one stack, one after the other. Each adds records to the same topics, and
//! compares all that were written so far.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod accounts;
mod archive;
mod commits;
mod demo;
mod detection;
mod enrich;
mod faults;
mod fleet;
mod outage;
mod probes;
mod proxy;
mod rows;
mod running;
mod security;
