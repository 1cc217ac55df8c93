//! Response codes that programs compare with (RFC 1035, 4.1.1; RFC 2136, 2.2).

/// No error: the name exists.
pub const NOERROR: u16 = 0;
/// The server failed.
pub const SERVFAIL: u16 = 2;
/// The name does not exist.
pub const NXDOMAIN: u16 = 3;
/// The server refuses.
pub const REFUSED: u16 = 5;
/// A name exists that should not; also a DNAME that makes a name too long (RFC 6672, 2.2).
pub const YXDOMAIN: u16 = 6;
