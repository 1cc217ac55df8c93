//! One DNS message: the boundary behind which hickory-proto works (RFC 1035, RFC 6891).

use super::Malformed;

/// What a DNS message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The header's id.
    pub id: u16,
    /// The QR bit: whether this is a response.
    pub response: bool,
}

impl Dns {
    /// Reads a message. `clipped`: octets are missing at its end because the capture cut them
    /// off; what can be read then counts.
    pub fn decode(bytes: &[u8], clipped: bool) -> Result<Self, Malformed> {
        let _ = clipped;
        let (Some(id), Some(flags)) = (bytes.first_chunk::<2>(), bytes.get(2)) else {
            return Err(Malformed::DnsHeader);
        };
        Ok(Self { id: u16::from_be_bytes(*id), response: flags & 0x80 != 0 })
    }
}
