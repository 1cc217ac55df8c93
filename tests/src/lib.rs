//! Shared by the end-to-end tests and the developer commands: a DNS lab in network namespaces; real
//! programs (Kafka broker, schema registry, Confluent's client, Prometheus, Alertmanager); the
//! agent as a child process; and an independent check of its ledger.

pub mod agent;
pub mod alertmanager;
pub mod archive;
pub mod browser;
pub mod cache;
pub mod certificates;
pub mod confluent;
pub mod container;
pub mod rng;
pub mod dnsperf;
pub mod dnsproxy;
pub mod draw;
pub mod ecs;
pub mod environment;
pub mod examples;
pub mod faults;
pub mod flink_job;
pub mod geo;
pub mod grafana;
pub mod http;
pub mod kafka;
pub mod kubernetes;
pub mod lab;
pub mod ledger;
pub mod manifests;
pub mod name_server;
pub mod otel;
pub mod page;
pub mod pcap;
pub mod prometheus;
pub mod realistic;
pub mod registry;
pub mod scale;
pub mod scripted;
pub mod shell;
pub mod site;
pub mod sketches;
pub mod stack;
pub mod tmux;
pub mod traffic;
pub mod windows;
pub mod wire;
pub mod worker;
