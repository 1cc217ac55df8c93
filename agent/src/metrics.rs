//! The agent's own metrics: what `/metrics` shows of its stages, beside the sinks and the process.

pub mod dictionary;
pub mod pods;
pub mod render;
pub mod transactions;

pub use pods::PodMetrics;
pub use render::{BuildInfo, MetricsSnapshot, render};
pub use transactions::{RecentlyAdded, ResolverLabel, TransactionMetrics};
