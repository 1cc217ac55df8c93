//! The admin endpoint of dnscribe programs: Prometheus metrics and health over HTTP.
//!
//! A program describes its metrics once ([`metric`]), writes them with [`page`], and hands the page to
//! [`Server`], which serves `/metrics`, `/healthz`, `/livez` and `/readyz` in a thread of its own. [`health`]
//! holds the checks that every program with sinks has; [`sinks`] and [`process`] hold the metrics of sinks
//! and of the process.
//!
//! # Example
//!
//! ```
//! use dnscribe_admin::health::{CheckState, HealthReport};
//! use dnscribe_admin::metric::Metric;
//! use dnscribe_admin::page::Page;
//! use dnscribe_admin::{Phase, Server, process};
//! use std::io::{Read as _, Write as _};
//! use std::net::TcpStream;
//!
//! static PROBES: Metric =
//!     Metric::counter("dnscribe_probe_sent_total", "queries", "Queries sent.").source("the probe");
//!
//! fn describe(name: &str) -> Option<&'static Metric> {
//!     [&PROBES].into_iter().chain(process::METRICS).find(|metric| metric.name == name)
//! }
//!
//! fn page() -> Page {
//!     let mut page = Page::new(describe);
//!     page.count("dnscribe_probe_sent_total", 7);
//!     process::write(&mut page);
//!     page
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let health = || HealthReport::of_pipeline(CheckState::Ok, "answers");
//! let server = Server::start_with("127.0.0.1:0".parse()?, page, health)?;
//! server.set_phase(Phase::Ready("probing from one address".into()));
//!
//! let mut client = TcpStream::connect(server.address)?;
//! client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert!(answer.contains("\ndnscribe_probe_sent_total 7\n"), "{answer}");
//! # Ok(())
//! # }
//! ```

mod connections;
pub mod health;
pub mod histogram;
pub mod metric;
pub mod page;
pub mod process;
mod proto;
mod server;
pub mod sinks;

pub use axum::Router as Routes;
pub use connections::serve;
pub use server::{BindError, Phase, Reply, Request, Requests, Server, bind, exposition};
