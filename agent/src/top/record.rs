//! Records as the view reads them: the fields that it shows, borrowed from the line.
//!
//! Unknown fields are ignored and missing optional ones accepted, so that records of older and newer agents
//! can be shown.

use dnscribe_record::LedgerRecord;
use dnscribe_record::Stream;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::ops::Deref;

/// A string that borrows from its line where it contains no escapes. (serde borrows a `Cow` in an
/// `Option` only inside a type of its own.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The fields of `dns.transaction/1` that are shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Transaction<'a> {
    /// Unique id.
    #[serde(borrow, default)]
    pub event_id: Text<'a>,
    /// Time of the query, RFC 3339.
    #[serde(borrow)]
    pub ts: Text<'a>,
    /// Node that captured it.
    #[serde(borrow, default)]
    pub node: Text<'a>,
    /// `client`, `server` or `passive`.
    #[serde(borrow, default)]
    pub vantage: Text<'a>,
    /// Address of the client.
    #[serde(borrow, default)]
    pub client_ip: Text<'a>,
    /// Name of the resolver, else its address.
    #[serde(borrow, default)]
    pub resolver: Text<'a>,
    /// Name in the question.
    #[serde(borrow, default)]
    pub qname: Option<Text<'a>>,
    /// Type in the question.
    #[serde(borrow, default)]
    pub qtype: Option<Text<'a>>,
    /// Registrable domain of the name.
    #[serde(borrow, default)]
    pub zone: Option<Text<'a>>,
    /// Status of the transaction.
    #[serde(borrow)]
    pub status: Text<'a>,
    /// Response code.
    #[serde(borrow, default)]
    pub rcode: Option<Text<'a>>,
    /// Latency of the response in milliseconds.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// Number of retransmissions.
    #[serde(default)]
    pub retries: u32,
    /// How its parent transaction was found.
    #[serde(borrow, default)]
    pub parent_match: Option<Text<'a>>,
    /// Process that sent it.
    #[serde(borrow, default)]
    pub process: Option<Process<'a>>,
    /// Container of the process.
    #[serde(borrow, default)]
    pub container: Option<Container<'a>>,
    /// Pod of the process.
    #[serde(borrow, default)]
    pub k8s: Option<Pod<'a>>,
}

/// A process.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Process<'a> {
    /// Process id.
    #[serde(default)]
    pub pid: u32,
    /// Its name.
    #[serde(borrow, default)]
    pub comm: Text<'a>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Container<'a> {
    /// 64 hex digits.
    #[serde(borrow, default)]
    pub id: Text<'a>,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its namespace.
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    /// Its name.
    #[serde(borrow, default)]
    pub pod: Text<'a>,
}

/// A record that is shown.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// `dns.transaction/1`.
    Transaction(Box<Transaction<'a>>),
    /// `dns.alert/1`: its fields are read one by one.
    Alert(Value),
    /// `dns.ledger/1`.
    Ledger(Box<LedgerRecord>),
}

/// Reads a record of a stream. Returns nothing for streams that are not shown.
///
/// # Errors
/// The line is not such a record.
pub fn read(stream: Stream, line: &[u8]) -> Result<Option<Record<'_>>, serde_json::Error> {
    Ok(match stream {
        Stream::Transactions => Some(Record::Transaction(serde_json::from_slice(line)?)),
        Stream::Alerts => Some(Record::Alert(serde_json::from_slice(line)?)),
        Stream::Ledger => Some(Record::Ledger(serde_json::from_slice(line)?)),
        _ => None,
    })
}

/// Returns the stream of a line of NDJSON by its `schema`, or nothing where that is unknown. dnscribe writes
/// the schema first, so that the line need not be parsed twice.
///
/// # Errors
/// The line is not a JSON object with a `schema`.
pub fn stream_of(line: &[u8]) -> Result<Option<Stream>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        schema: Text<'a>,
    }
    let of = |schema: &str| Stream::ALL.into_iter().find(|stream| stream.schema() == schema);
    let start =
        line.strip_prefix(b"{\"schema\":\"").and_then(|rest| rest.split(|o| *o == b'"').next());
    if let Some(stream) = start.and_then(|schema| of(std::str::from_utf8(schema).ok()?)) {
        return Ok(Some(stream));
    }
    let head: Head<'_> = serde_json::from_slice(line)?;
    Ok(of(&head.schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_known_fields_and_ignores_others() {
        let line = br#"{"schema":"dns.transaction/1","ts":"2026-11-20T07:30:00Z","vantage":"client","client_ip":"192.0.2.1","resolver":"corp","qname":"a\\.b.example","status":"answered","rcode":"NOERROR","latency_ms":1.5,"retries":1,"new_field":[1,{"a":2}],"process":{"pid":7,"uid":0,"comm":"dig"}}"#;
        assert_eq!(stream_of(line).unwrap(), Some(Stream::Transactions));
        let Some(Record::Transaction(transaction)) = read(Stream::Transactions, line).unwrap()
        else {
            panic!("no transaction")
        };
        assert_eq!(&*transaction.qname.unwrap(), "a\\.b.example");
        assert!(matches!(transaction.resolver.0, Cow::Borrowed("corp")));
        assert!(matches!(transaction.rcode.unwrap().0, Cow::Borrowed("NOERROR")), "borrowed");
        assert_eq!(transaction.process.unwrap().pid, 7);
    }

    #[test]
    fn finds_the_schema_at_any_position() {
        let line = br#" {"node": "x", "schema": "dns.alert/1"}"#;
        assert_eq!(stream_of(line).unwrap(), Some(Stream::Alerts));
        assert_eq!(stream_of(br#"{"schema":"other/1"}"#).unwrap(), None);
        assert!(stream_of(b"no json").is_err() && stream_of(b"{}").is_err());
    }
}
