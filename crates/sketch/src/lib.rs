//! Mergeable summaries of many values in bounded memory. Merging the sketches of two nodes gives
//! the sketch of both.
//!
//! The serialized forms are those of other implementations: see `docs/sketches.md`.
//!
//! ```
//! use dnscribe_record::Merge as _;
//! use dnscribe_sketch::{Binned, QuantileSketch};
//!
//! let (mut node, mut other) = (QuantileSketch::default(), QuantileSketch::default());
//! node.add(Binned::new(1.0));
//! other.add(Binned::new(25.0));
//! node.merge(&other);
//! assert_eq!((node.count(), node.max()), (2, Some(25.0)));
//! ```

mod distinct;
mod quantiles;
mod top;

pub use distinct::{DistinctEstimate, DistinctSketch, Hashed};
pub use quantiles::{Binned, QuantileSketch, read_bins};
pub use top::{MAX_VALUE_BYTES, TopSketch, hash_of, shared_text, truncated};
