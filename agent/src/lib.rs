//! dnscribe: every DNS message at the socket, with its process, exactly accounted for.
//!
//! Data flows one way: [`capture`] → [`decode`] → [`pair`] → [`join`] → [`sink`]; every stage reports to the
//! [`ledger`] what it took and what it gave. Each stage imports only from its left.

pub mod capture;
pub mod cli;
pub mod command;
pub mod config;
pub mod connection;
pub mod decode;
pub mod detect;
pub mod enrich;
pub mod exit;
pub mod filter;
pub mod health;
pub mod join;
pub mod ledger;
pub mod log;
pub mod lookup;
pub mod metrics;
pub mod net;
mod number;
pub mod observation;
pub mod pair;
pub mod pipeline;
pub mod privacy;
pub mod privilege;
pub mod record;
pub mod sink;
pub mod takeover;
pub mod time;
pub mod top;
pub mod unpack;
pub mod window;
