//! The probe on real servers with one fault each: its records and verdicts, beside what dig, delv, openssl,
//! curl and ping say of them.

#[path = "probe/compare.rs"]
mod compare;
#[path = "probe/explain.rs"]
mod explain;
#[path = "probe/faults.rs"]
mod faults;
#[path = "probe/issuer.rs"]
mod issuer;
#[path = "probe/page.rs"]
mod page;
#[path = "probe/quic.rs"]
mod quic;
