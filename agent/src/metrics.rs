//! Metrics and health over HTTP. `metric`, `text`, `process` and `server` are independent of the
//! agent; `dictionary`, `transactions` and `render` contain the agent's own metrics.

#![forbid(unsafe_code)]

pub mod dictionary;
pub mod metric;
pub mod process;
pub mod render;
mod server;
pub mod text;
pub mod transactions;

pub use render::{BuildInfo, MetricsSnapshot, render};
pub use server::{BindError, Phase, Reply, Request, Requests, Server};
pub use transactions::{RecentlyAdded, ResolverLabel, TransactionMetrics};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn busy_port_exits_with_1_and_remedy() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let exit = Exit::from(Server::start(server.address(), || {}).unwrap_err());
        assert_eq!(exit.code(), 1);
        assert!(exit.to_string().contains("--metrics-listen"), "{exit}");
    }
}
