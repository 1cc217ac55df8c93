//! What the end-to-end tests and the developer commands share.
