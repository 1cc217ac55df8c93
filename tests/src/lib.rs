//! What the end-to-end tests and the developer commands share: a DNS lab in network namespaces,
//! a real Kafka broker, the agent as a child process, and an independent reading of its ledger.

pub mod agent;
pub mod dnsperf;
pub mod environment;
pub mod kafka;
pub mod lab;
pub mod ledger;
pub mod pcap;
pub mod shell;
