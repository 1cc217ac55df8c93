//! Answers that are made from a DNAME record (RFC 6672), which redirects all names below its owner.
//!
//! The DNAME record is signed, and the CNAME record that the server makes of it is not: it must be what the DNAME
//! record says (section 5.3.1).

use hickory_net::NetError;
use hickory_proto::ProtoError;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use std::io;
use thiserror::Error;

/// A DNAME record that a response applies to the name asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the answer is made from the DNAME record of {owner}")]
pub(super) struct Redirection {
    /// Owner of the DNAME record.
    pub(super) owner: Name,
    /// Name that takes the place of the one asked for.
    pub(super) target: Name,
    /// Whether the CNAME record of the response, if it has one, leads there.
    pub(super) is_consistent: bool,
}

impl Redirection {
    /// Finds the DNAME record closest to a name among the answers.
    ///
    /// # Errors
    /// Its target is no name, or makes one that is too long.
    pub(super) fn find(name: &Name, response: &Message) -> Result<Option<Self>, NetError> {
        let covers = |record: &&Record| {
            record.record_type() == RecordType::DNAME
                && record.name.zone_of(name)
                && record.name != *name
        };
        let covering = response.answers.iter().filter(covers);
        let Some(record) = covering.max_by_key(|record| record.name.num_labels()) else {
            return Ok(None);
        };
        let depth = name.iter().len() - record.name.iter().len();
        let above = name.iter().take(depth);
        let target = Name::from_labels(above)
            .and_then(|above| above.append_name(&target(record)?))
            .map_err(|error| NetError::from(format!("DNAME of {}: {error}", record.name)))?;
        let made = response.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(made) if record.name == *name => Some(&made.0),
            _ => None,
        });
        let is_consistent = made.is_none_or(|made| *made == target);
        Ok(Some(Self { owner: record.name.clone(), target, is_consistent }))
    }

    /// Returns the redirection that an error of the resolver carries.
    pub(super) fn of(error: &NetError) -> Option<&Self> {
        let NetError::Io(error) = error else { return None };
        error.get_ref()?.downcast_ref()
    }
}

impl From<Redirection> for NetError {
    fn from(redirection: Redirection) -> Self {
        io::Error::other(redirection).into()
    }
}

fn target(record: &Record) -> Result<Name, ProtoError> {
    let RData::Unknown { rdata, .. } = &record.data else { return Ok(Name::root()) };
    Ok(Name::read(&mut BinDecoder::new(&rdata.anything))?)
}

/// Writes the targets of DNAME records in lower case, as signatures cover them (RFC 4034, section 6.2). Lengths of
/// labels are below the codes of letters.
pub(super) fn make_canonical(answers: &mut [Record]) {
    for record in answers {
        if let RData::Unknown { code: RecordType::DNAME, rdata } = &mut record.data {
            rdata.anything.make_ascii_lowercase();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{CNAME, NULL};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn dname(owner: &str, target: &[u8]) -> Record {
        // Not `NULL::with`, which refuses the empty data that a server can send.
        let mut rdata = NULL::new();
        rdata.anything = target.to_vec();
        Record::from_rdata(name(owner), 60, RData::Unknown { code: RecordType::DNAME, rdata })
    }

    fn find(asked: &str, answers: Vec<Record>) -> Result<Option<Redirection>, NetError> {
        let mut response = Message::query();
        response.answers = answers;
        Redirection::find(&name(asked), &response)
    }

    #[test]
    fn names_below_are_redirected() {
        let new = b"\x03NEW\x04test\0";
        let cname = |target: &str| {
            Record::from_rdata(name("a.b.old.test."), 60, RData::CNAME(CNAME(name(target))))
        };
        let found = find("a.b.old.test.", vec![dname("old.test.", new), cname("a.b.new.test.")]);
        let found = found.unwrap().unwrap();
        assert_eq!((found.owner, &found.target), (name("old.test."), &name("a.b.new.test.")));
        assert!(found.is_consistent);
        let false_target = vec![dname("old.test.", new), cname("a.b.evil.test.")];
        assert!(!find("a.b.old.test.", false_target).unwrap().unwrap().is_consistent);
        assert_eq!(find("old.test.", vec![dname("old.test.", new)]).unwrap(), None, "its own name");
        assert_eq!(find("a.other.test.", vec![dname("old.test.", new)]).unwrap(), None);
        let error =
            NetError::from(find("x.old.test.", vec![dname("old.test.", new)]).unwrap().unwrap());
        assert_eq!(Redirection::of(&error).unwrap().target, name("x.new.test."));
    }

    #[test]
    fn targets_that_are_no_names_are_errors() {
        // A pointer into a message that is not there, a label that is cut off, and a name beyond 255 bytes.
        let long = [&[b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(3)[..], b"\0"].concat();
        for target in [&b"\xc0\x0c"[..], b"\x05ab", b""] {
            assert!(find("a.old.test.", vec![dname("old.test.", target)]).is_err(), "{target:?}");
        }
        let asked = format!("{}.old.test.", "b".repeat(63));
        assert!(find(&asked, vec![dname("old.test.", &long)]).is_err());
    }

    #[test]
    fn targets_become_canonical() {
        let mut answers = vec![dname("old.test.", b"\x03NeW\x04TEST\0"), dname("empty.test.", b"")];
        make_canonical(&mut answers);
        let expected = [dname("old.test.", b"\x03new\x04test\0"), dname("empty.test.", b"")];
        assert_eq!(answers, expected);
    }
}
