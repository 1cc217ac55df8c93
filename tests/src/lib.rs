//! What the end-to-end tests and the developer commands share: a DNS lab in network namespaces,
//! a real Kafka broker, a real schema registry and Confluent's client for it, a real Prometheus and
//! Alertmanager, the agent as a child process, and an independent reading of its ledger.

pub mod agent;
pub mod alertmanager;
pub mod cache;
pub mod confluent;
pub mod dice;
pub mod dnsperf;
pub mod environment;
pub mod http;
pub mod kafka;
pub mod lab;
pub mod ledger;
pub mod pcap;
pub mod prometheus;
pub mod realistic;
pub mod registry;
pub mod scale;
pub mod scripted;
pub mod shell;
pub mod sketches;
pub mod tmux;
pub mod traffic;
pub mod windows;
pub mod wire;
pub mod worker;
