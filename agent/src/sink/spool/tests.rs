//! The spool from outside.
