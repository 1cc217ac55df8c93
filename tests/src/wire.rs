//! DNS messages by hand (RFC 1035, 4.1), right and wrong ones alike.

use anyhow::{Context as _, Result};

/// The type of an address record.
pub const A: u16 = 1;
/// Octets of a header.
const HEADER: usize = 12;

/// Response, recursion desired and available.
const RESPONSE: [u8; 2] = [0x81, 0x80];
/// TC, in the first of those octets.
const TRUNCATED: u8 = 0x02;

/// A query with recursion desired.
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

/// The header's id; 0 where there is no header.
#[must_use]
pub fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |two| u16::from_be_bytes(*two))
}

/// The labels of the name that an uncompressed question asks for.
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

/// A response in the making.
#[derive(Clone, Debug)]
pub struct Reply {
    message: Vec<u8>,
}

impl Reply {
    /// NOERROR without a record, to this query.
    #[must_use]
    pub fn to(query: &[u8]) -> Self {
        let mut message = query.to_vec();
        if let Some(flags) = message.get_mut(2..4) {
            flags.copy_from_slice(&RESPONSE);
        }
        Self { message }
    }

    /// With this response code.
    #[must_use]
    pub fn rcode(mut self, rcode: u8) -> Self {
        self.message[3] = RESPONSE[1] | rcode;
        self
    }

    /// Truncated.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.message[2] |= TRUNCATED;
        self
    }

    /// With another id.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.message[..2].copy_from_slice(&id.to_be_bytes());
        self
    }

    /// The header alone.
    #[must_use]
    pub fn without_question(mut self) -> Self {
        self.message.truncate(HEADER);
        self.message[4..].fill(0);
        self
    }

    /// With an address for the name asked for.
    #[must_use]
    pub fn address(mut self, address: [u8; 4]) -> Self {
        self.message[7] += 1;
        self.message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
        self.message.extend(address);
        self
    }

    /// With an extended error (RFC 8914).
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

    /// Its octets.
    #[must_use]
    pub fn octets(self) -> Vec<u8> {
        self.message
    }
}

/// A message with the length that TCP wants before it.
pub fn framed(message: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(message.len()).context("too long for TCP")?;
    Ok([&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_repeats_the_question() {
        let query = query(7, "drop.example", A).unwrap();
        assert_eq!(labels(&query), ["drop", "example"]);
        let reply = Reply::to(&query).rcode(2).extended_error(22, "why").address([1, 2, 3, 4]);
        let reply = reply.octets();
        assert_eq!((id(&reply), reply[3] & 15), (7, 2));
        assert_eq!(labels(&reply), ["drop", "example"]);
        assert_eq!(Reply::to(&query).without_question().octets().len(), HEADER);
    }
}
