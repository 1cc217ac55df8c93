//! Probes one broker's listener: whether it answers, uses TLS, and requires a user.

use super::super::super::KafkaConfig;
use super::Diagnosis;
use super::tls::{self, Handshake};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// Time limit for each step.
const STEP: Duration = Duration::from_millis(1500);
/// Largest response in bytes.
const MAX_RESPONSE: usize = 1 << 16;

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The broker in a message of librdkafka, such as `ssl://kafka-1:9093/bootstrap: …`.
    pub(super) fn in_message(words: &str) -> Option<Self> {
        let words = words.split_once("://").map_or(words, |(_, rest)| rest);
        let (address, _) = words.split_once('/')?;
        // Without a port it is not an address.
        address.contains(':').then(|| address.parse().ok())?
    }

    /// The name or address as given; IPv6 addresses without brackets.
    pub(super) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn connect(&self) -> Result<TcpStream, Fault> {
        let addresses = (self.host(), self.port).to_socket_addrs().map_err(Fault::Unresolved)?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, STEP) {
                Ok(stream) => {
                    let bounded = stream
                        .set_read_timeout(Some(STEP))
                        .and_then(|()| stream.set_write_timeout(Some(STEP)));
                    return bounded.map(|()| stream).map_err(Fault::Unconnected);
                }
                Err(error) => last = error,
            }
        }
        Err(Fault::Unconnected(last))
    }
}

/// Parses `HOST:PORT` or `HOST`, also with a protocol in front.
impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.split_once("://").map_or(text, |(_, address)| address);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, port.parse().map_err(|_| ())?),
            _ => (text, 9092),
        };
        if host.is_empty() { Err(()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why this client cannot use a listener.
#[derive(Debug)]
pub(super) enum Fault {
    /// The name has no address.
    Unresolved(io::Error),
    /// No connection.
    Unconnected(io::Error),
    /// Connected, but no response in time.
    Silent,
    /// Connected, but closed before a response.
    Closed,
    /// The listener uses TLS, this client does not.
    SpeaksTls,
    /// This client uses TLS, the listener does not.
    SpeaksPlain,
    /// The listener requires a user with one of these mechanisms, this client has none.
    WantsSasl(Vec<String>),
    /// This client has a user, the listener accepts none.
    WantsNoSasl,
    /// The listener accepts these mechanisms, but not this client's.
    OtherMechanisms(Vec<String>),
    /// A certificate is rejected by this client or by the broker.
    Certificate(Diagnosis),
}

/// Connects as a client with this configuration would.
pub(super) fn probe(config: &KafkaConfig, address: &Address) -> Result<(), Fault> {
    let mut stream = address.connect()?;
    let answer = if config.has_tls() {
        match tls::handshake(config, address, stream) {
            Handshake::Done(mut stream) => ask(&mut stream).map_err(|error| {
                let refusal = tls::refusal_in(config, address, &error);
                refusal.map_or_else(|| unanswered(&error), Fault::Certificate)
            }),
            Handshake::Refused(diagnosis) => Err(Fault::Certificate(diagnosis)),
            Handshake::Failed => Err(speaks_plain(address)),
            Handshake::Unconfigured => return Ok(()),
        }
    } else {
        let answer = ask(&mut stream).map_err(|error| unanswered(&error));
        answer.map_err(|fault| if speaks_tls(address) { Fault::SpeaksTls } else { fault })
    }?;
    match (answer, config.mechanism()) {
        (Answer::Open, None) => Ok(()),
        (Answer::Open, Some(_)) => Err(Fault::WantsNoSasl),
        (Answer::Sasl(mechanisms), None) => Err(Fault::WantsSasl(mechanisms)),
        (Answer::Sasl(mechanisms), Some(own)) if mechanisms.iter().any(|one| one == own) => Ok(()),
        (Answer::Sasl(mechanisms), Some(_)) => Err(Fault::OtherMechanisms(mechanisms)),
    }
}

fn speaks_tls(address: &Address) -> bool {
    address.connect().is_ok_and(tls::speaks)
}

/// Why a handshake failed: no TLS, or no response at all.
fn speaks_plain(address: &Address) -> Fault {
    let asked = address
        .connect()
        .and_then(|mut stream| ask(&mut stream).map_err(|error| unanswered(&error)));
    match asked {
        Ok(_) => Fault::SpeaksPlain,
        Err(fault) => fault,
    }
}

/// A listener's response to `SaslHandshake`.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It does not require a user.
    Open,
    /// It requires a user, with one of these mechanisms.
    Sasl(Vec<String>),
}

/// Requests the SASL mechanisms with Kafka's `SaslHandshake`, version 1, which every kind of
/// listener answers and which contains no credentials.
fn ask(stream: &mut (impl Read + Write)) -> io::Result<Answer> {
    let mut request = Vec::new();
    for number in [17_i16, 1, 0, 0] {
        // API key, version, and the correlation id's two halves.
        request.extend(number.to_be_bytes());
    }
    for text in ["dnscribe", "PLAIN"] {
        request.extend(i16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        request.extend(text.as_bytes());
    }
    let size = u32::try_from(request.len()).unwrap_or(0).to_be_bytes();
    stream.write_all(&[&size[..], &request].concat())?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > MAX_RESPONSE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut response = vec![0; size];
    stream.read_exact(&mut response)?;
    parse(&response).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Parses the response: correlation id, error code, mechanisms.
fn parse(response: &[u8]) -> Option<Answer> {
    const ILLEGAL_SASL_STATE: [u8; 2] = 34_i16.to_be_bytes();
    let rest = response.get(4..)?;
    let (error, rest) = rest.split_first_chunk::<2>()?;
    if *error == ILLEGAL_SASL_STATE {
        return Some(Answer::Open);
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut mechanisms = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        mechanisms.push(tls::printable(std::str::from_utf8(name).ok()?));
        rest = after;
    }
    Some(Answer::Sasl(mechanisms))
}

fn unanswered(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Silent,
        _ => Fault::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_broker_in_a_message() {
        let at = |words| Address::in_message(words).map(|address| address.to_string());
        assert_eq!(at("sasl_ssl://k-1:9093/bootstrap: SSL"), Some("k-1:9093".into()));
        assert_eq!(at("k:1/5: Connect to ipv4#127.0.0.1:1 failed"), Some("k:1".into()));
        assert_eq!(at("ssl://[::1]:9093/1: x").unwrap(), "[::1]:9093");
        assert_eq!(at("1/1 brokers are down"), None);
        assert_eq!(at(""), None);
    }

    #[test]
    fn parses_addresses() {
        let read = |text: &str| text.parse::<Address>().map(|at| (at.host().to_owned(), at.port));
        assert_eq!(read("SSL://kafka:9093"), Ok(("kafka".into(), 9093)));
        assert_eq!(read("kafka"), Ok(("kafka".into(), 9092)));
        assert_eq!(read("[::1]"), Ok(("::1".into(), 9092)));
        assert_eq!(read("[::1]:5"), Ok(("::1".into(), 5)));
        assert!(read(":5").is_err() && read("a:b").is_err());
    }

    #[test]
    fn parses_responses() {
        let open = [0, 0, 0, 0, 0, 34, 0, 0, 0, 0];
        assert_eq!(parse(&open), Some(Answer::Open));
        let sasl = [&[0, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat();
        assert_eq!(parse(&sasl), Some(Answer::Sasl(vec!["PLAIN".into()])));
        for end in 0..sasl.len() {
            assert_eq!(parse(&sasl[..end]), None, "{end}");
        }
        assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]), None);
    }
}
