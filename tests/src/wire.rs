//! DNS messages built by hand (RFC 1035, section 4.1), valid and invalid.

use anyhow::{Context as _, Result};

/// Record type A.
pub const A: u16 = 1;
/// Bytes of a header.
const HEADER: usize = 12;

/// Flags QR, RD and RA.
const RESPONSE: [u8; 2] = [0x81, 0x80];
/// TC flag, in the first of those bytes.
const TRUNCATED: u8 = 0x02;

/// Builds a query with recursion desired.
pub fn query(id: u16, name: &str, qtype: u16) -> Result<Vec<u8>> {
    let [high, low] = id.to_be_bytes();
    let mut query = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).context("a label is too long")?);
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(qtype.to_be_bytes());
    query.extend([0, 1]);
    Ok(query)
}

/// Id in the header; 0 if there is no header.
#[must_use]
pub fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |two| u16::from_be_bytes(*two))
}

/// Labels of the name in an uncompressed question.
#[must_use]
pub fn labels(message: &[u8]) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = message.get(HEADER..).unwrap_or_default();
    while let Some((length, behind)) = rest.split_first().filter(|(length, _)| **length != 0) {
        let Some((label, next)) = behind.split_at_checked(usize::from(*length)) else { break };
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = next;
    }
    labels
}

/// Name in an uncompressed question, without the last dot.
#[must_use]
pub fn name(message: &[u8]) -> String {
    labels(message).join(".")
}

/// Type of an uncompressed question; 0 if there is none.
#[must_use]
pub fn qtype(message: &[u8]) -> u16 {
    let name: usize = labels(message).iter().map(|label| label.len() + 1).sum();
    let found = message.get(HEADER + name + 1..HEADER + name + 3);
    found.and_then(<[u8]>::first_chunk).map_or(0, |two| u16::from_be_bytes(*two))
}

/// A response under construction.
#[derive(Clone, Debug)]
pub struct Reply {
    message: Vec<u8>,
}

impl Reply {
    /// Starts a response to this query: NOERROR without records.
    #[must_use]
    pub fn to(query: &[u8]) -> Self {
        let mut message = query.to_vec();
        if let Some(flags) = message.get_mut(2..4) {
            flags.copy_from_slice(&RESPONSE);
        }
        Self { message }
    }

    /// Sets the response code.
    #[must_use]
    pub fn rcode(mut self, rcode: u8) -> Self {
        self.message[3] = RESPONSE[1] | rcode;
        self
    }

    /// Sets TC.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.message[2] |= TRUNCATED;
        self
    }

    /// Sets another id.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.message[..2].copy_from_slice(&id.to_be_bytes());
        self
    }

    /// Removes everything but the header.
    #[must_use]
    pub fn without_question(mut self) -> Self {
        self.message.truncate(HEADER);
        self.message[4..].fill(0);
        self
    }

    /// Adds an address record for the queried name.
    #[must_use]
    pub fn address(self, address: [u8; 4]) -> Self {
        self.record(A, &address)
    }

    /// Adds a record of this type for the queried name.
    #[must_use]
    pub fn record(self, kind: u16, data: &[u8]) -> Self {
        self.record_for(12, kind, 300, data)
    }

    /// Adds a record of this type and TTL in seconds for the name at this offset.
    #[must_use]
    pub fn record_for(mut self, owner: u16, kind: u16, ttl_seconds: u32, data: &[u8]) -> Self {
        self.message[7] += 1;
        self.message.extend((0xc000 | owner).to_be_bytes());
        self.message.extend(kind.to_be_bytes());
        self.message.extend([0, 1]);
        self.message.extend(ttl_seconds.to_be_bytes());
        self.message.extend(u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.message.extend(data);
        self
    }

    /// Adds an extended error (RFC 8914).
    #[must_use]
    pub fn extended_error(mut self, code: u16, text: &str) -> Self {
        let option = u16::try_from(2 + text.len()).unwrap_or(u16::MAX);
        self.message[11] += 1;
        self.message.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
        self.message.extend((option + 4).to_be_bytes());
        self.message.extend([0, 15]);
        self.message.extend(option.to_be_bytes());
        self.message.extend(code.to_be_bytes());
        self.message.extend(text.as_bytes());
        self
    }

    /// Returns the encoded message.
    #[must_use]
    pub fn octets(self) -> Vec<u8> {
        self.message
    }
}

/// Adds the length prefix of DNS over TCP.
pub fn framed(message: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(message.len()).context("too long for TCP")?;
    Ok([&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_repeats_question() {
        let query = query(7, "drop.example", A).unwrap();
        assert_eq!(labels(&query), ["drop", "example"]);
        assert_eq!((&*name(&query), qtype(&query)), ("drop.example", A));
        let reply = Reply::to(&query).rcode(2).extended_error(22, "why").address([1, 2, 3, 4]);
        let reply = reply.octets();
        assert_eq!((id(&reply), reply[3] & 15), (7, 2));
        assert_eq!(labels(&reply), ["drop", "example"]);
        assert_eq!(Reply::to(&query).without_question().octets().len(), HEADER);
    }
}
