//! Numbers of record types that programs compare with (IANA: DNS parameters).

/// IPv4 address (RFC 1035).
pub const A: u16 = 1;
/// Alias (RFC 1035).
pub const CNAME: u16 = 5;
/// Start of a zone (RFC 1035).
pub const SOA: u16 = 6;
/// Any data (RFC 1035, experimental).
pub const NULL: u16 = 10;
/// Pointer to a name (RFC 1035).
pub const PTR: u16 = 12;
/// Mail exchange (RFC 1035).
pub const MX: u16 = 15;
/// Texts (RFC 1035).
pub const TXT: u16 = 16;
/// Signature; of a message if it covers no type (RFC 2535, RFC 2931).
pub const SIG: u16 = 24;
/// IPv6 address (RFC 3596).
pub const AAAA: u16 = 28;
/// Location of a service (RFC 2782).
pub const SRV: u16 = 33;
/// Alias of all names below (RFC 6672).
pub const DNAME: u16 = 39;
/// EDNS (RFC 6891).
pub const OPT: u16 = 41;
/// Key of a zone (RFC 4034).
pub const DNSKEY: u16 = 48;
/// Parameters of a service (RFC 9460).
pub const SVCB: u16 = 64;
/// Parameters of an HTTPS service (RFC 9460).
pub const HTTPS: u16 = 65;
/// Exchange of a key (RFC 2930).
pub const TKEY: u16 = 249;
/// Signature of a message with a shared key (RFC 8945).
pub const TSIG: u16 = 250;
/// Incremental zone transfer (RFC 1995).
pub const IXFR: u16 = 251;
/// Zone transfer (RFC 5936).
pub const AXFR: u16 = 252;
/// Whatever there is (RFC 1035, RFC 8482).
pub const ANY: u16 = 255;
