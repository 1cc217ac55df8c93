//! Mergeable summaries of many values in bounded memory. Merging the sketches of two nodes gives
//! the sketch of both.
//!
//! The serialized forms are those of other implementations: see `docs/sketches.md`.

mod distinct;
mod quantiles;
mod top;

pub use distinct::{DistinctEstimate, DistinctSketch, Hashed};
pub use quantiles::{Binned, QuantileSketch};
pub use top::{MAX_VALUE_BYTES, TopSketch, hash_of};
pub(super) use top::{shared_text, truncated};
