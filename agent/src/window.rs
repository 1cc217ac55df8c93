//! Numbers of a span of time, computed where the transactions are: a fourth room.

pub mod sketch;
