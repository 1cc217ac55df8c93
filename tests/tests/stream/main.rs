//! The stream jobs with a real Kafka broker, Flink cluster, `ClickHouse` engine and `TimescaleDB`,
//! under faults: after each of them nothing is missing, nothing is there twice, and the stream
//! ledger says so.
//!
//! The tests share one stack. Those with its own topics run one after the other: each adds records, and compares all that
//! were written so far. Those with topics of their own run beside them; those that end or suspend its processes run alone.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod accounts;
mod archive;
mod commits;
mod demo;
mod detection;
mod disk;
mod drawn;
mod enrich;
mod faults;
mod fleet;
mod outage;
mod probes;
mod proxy;
mod rows;
mod running;
mod security;
