//! dnscribe-kpi: governed numbers from registrar events and DNS records.
//!
//! Data flows one way, and the modules stand in the order of that flow: files become immutable facts in a store,
//! facts become the values of measures, and measures become KPIs, which people and programs read.

pub mod clock;
pub mod error;
pub mod scratch;
pub mod definition;
// From files to facts.
pub mod input;
pub mod event;
pub mod attributes;
pub mod sources;
pub mod mapping;
pub mod privacy;
pub mod rows;
pub mod store;
pub mod facts;
pub mod raw;
pub mod removal;
pub mod tombstones;
pub mod kafka;
pub mod dead_letter;
pub mod import;
pub mod topic;
pub mod pull;
// What is counted, and how.
pub mod decision;
pub mod dictionary;
pub mod query;
pub mod keys;
pub mod engine;
pub mod summary;
// From facts to values.
pub mod completeness;
pub mod index;
pub mod erase;
pub mod closure;
pub mod compute;
pub mod values;
pub mod verdict;
pub mod reconcile;
// What people and programs read.
pub mod answer;
pub mod lineage;
pub mod access;
pub mod openapi;
pub mod metrics;
pub mod report;
pub mod api;
pub mod server;
pub mod reference;
pub mod export;
// Sample data.
pub mod sample;
pub mod cli;
pub mod command;
