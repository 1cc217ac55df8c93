//! Summaries of many values in little memory, which merge without loss: the summary of two nodes'
//! values is the merger of their summaries.
//!
//! Each is carried in a form that other implementations read: see `docs/sketches.md`.

mod distinct;
mod quantiles;
mod top;

pub use distinct::{Distinct, Estimate, Hashed};
pub use quantiles::{Binned, Quantiles};
pub use top::{MAX_OCTETS, Ranked, Top, hash_of};
pub(super) use top::{shared, within};
