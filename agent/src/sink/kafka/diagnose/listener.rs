//! A look at one broker's listener: does it answer, does it speak TLS, does it ask for a user.

use super::super::super::KafkaConfig;
use super::tls::{self, Flaw, Shake};
use openssl::ssl::SslContext;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// How long each step may take.
const STEP: Duration = Duration::from_millis(1500);
/// The longest answer that is read.
const LONGEST: usize = 1 << 16;

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The broker that librdkafka's words are about: `ssl://kafka-1:9093/bootstrap: …`.
    pub(super) fn in_words(words: &str) -> Option<Self> {
        let words = words.split_once("://").map_or(words, |(_, rest)| rest);
        let (address, _) = words.split_once('/')?;
        // Without a port these are other words.
        address.contains(':').then(|| address.parse().ok())?
    }

    /// The name or address as it was given, IPv6 addresses without brackets.
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

/// `HOST:PORT`, `HOST`, or either behind a protocol.
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

/// What stands between this client and the broker.
#[derive(Debug)]
pub(super) enum Fault {
    /// The name has no address.
    Unresolved(io::Error),
    /// No connection.
    Unconnected(io::Error),
    /// Connected, and no answer in time.
    Silent,
    /// Connected, and closed before an answer.
    Closed,
    /// The listener speaks TLS, this client does not.
    SpeaksTls,
    /// This client speaks TLS, the listener does not.
    SpeaksPlain,
    /// The listener asks for a user by one of these mechanisms, this client names none.
    WantsSasl(Vec<String>),
    /// This client names a user, the listener knows none.
    WantsNoSasl,
    /// The listener takes these mechanisms, and not this client's.
    OtherMechanisms(Vec<String>),
    /// The broker's certificate does not pass.
    Certificate(Box<Flaw>),
    /// The broker ended the handshake with this alert.
    Alert(String),
}

/// Connects as a client with this configuration would, `tls` being there where it has TLS.
pub(super) fn look(
    config: &KafkaConfig,
    address: &Address,
    tls: Option<&SslContext>,
) -> Result<(), Fault> {
    let mut stream = address.connect()?;
    let answer = match tls {
        None => ask(&mut stream)
            .map_err(|fault| if speaks_tls(address) { Fault::SpeaksTls } else { fault }),
        Some(context) => match tls::shake(context, config, address, stream) {
            Shake::Done(mut stream) => ask(&mut stream),
            Shake::Flawed(flaw) => Err(Fault::Certificate(Box::new(flaw))),
            Shake::Alert(alert) => Err(Fault::Alert(alert)),
            Shake::Failed => Err(speaks_plain(address)),
        },
    }?;
    match (answer, config.mechanism()) {
        (Answer::Open, None) => Ok(()),
        (Answer::Open, Some(_)) => Err(Fault::WantsNoSasl),
        (Answer::Sasl(mechanisms), None) => Err(Fault::WantsSasl(mechanisms)),
        (Answer::Sasl(mechanisms), Some(ours)) => {
            let taken = mechanisms.iter().any(|theirs| theirs == ours);
            if taken { Ok(()) } else { Err(Fault::OtherMechanisms(mechanisms)) }
        }
    }
}

fn speaks_tls(address: &Address) -> bool {
    address.connect().is_ok_and(tls::speaks)
}

/// Why there was no handshake: no TLS, or no answer at all.
fn speaks_plain(address: &Address) -> Fault {
    match address.connect().and_then(|mut stream| ask(&mut stream)) {
        Ok(_) => Fault::SpeaksPlain,
        Err(fault) => fault,
    }
}

/// What a listener says of SASL.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It does not ask for a user.
    Open,
    /// It asks for one, by one of these mechanisms.
    Sasl(Vec<String>),
}

/// Asks for the SASL mechanisms with Kafka's request `SaslHandshake`, version 1: the one that
/// listeners of each kind answer, and that gives nothing away.
fn ask(stream: &mut (impl Read + Write)) -> Result<Answer, Fault> {
    let mut request = Vec::new();
    for number in [17_i16, 1, 0, 0] {
        // Request, version, and the correlation id's two halves.
        request.extend(number.to_be_bytes());
    }
    for text in ["dnscribe", "PLAIN"] {
        request.extend(i16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        request.extend(text.as_bytes());
    }
    let size = u32::try_from(request.len()).unwrap_or(0).to_be_bytes();
    stream.write_all(&[&size[..], &request].concat()).map_err(|error| unanswered(&error))?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).map_err(|error| unanswered(&error))?;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if size > LONGEST {
        return Err(Fault::Closed);
    }
    let mut response = vec![0; size];
    stream.read_exact(&mut response).map_err(|error| unanswered(&error))?;
    read(&response).ok_or(Fault::Closed)
}

/// Reads the response: correlation id, error code, mechanisms.
fn read(response: &[u8]) -> Option<Answer> {
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
        mechanisms.push(tls::visible(std::str::from_utf8(name).ok()?));
        rest = after;
    }
    Some(Answer::Sasl(mechanisms))
}

fn unanswered(error: &io::Error) -> Fault {
    match tls::alert_in(error) {
        Some(alert) => Fault::Alert(alert),
        None if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Fault::Silent
        }
        None => Fault::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_broker_in_words() {
        let at = |words| Address::in_words(words).map(|address| address.to_string());
        assert_eq!(at("sasl_ssl://k-1:9093/bootstrap: SSL"), Some("k-1:9093".into()));
        assert_eq!(at("k:1/5: Connect to ipv4#127.0.0.1:1 failed"), Some("k:1".into()));
        assert_eq!(at("ssl://[::1]:9093/1: x").unwrap(), "[::1]:9093");
        assert_eq!(at("1/1 brokers are down"), None);
        assert_eq!(at(""), None);
    }

    #[test]
    fn reads_addresses() {
        let read = |text: &str| text.parse::<Address>().map(|at| (at.host().to_owned(), at.port));
        assert_eq!(read("SSL://kafka:9093"), Ok(("kafka".into(), 9093)));
        assert_eq!(read("kafka"), Ok(("kafka".into(), 9092)));
        assert_eq!(read("[::1]"), Ok(("::1".into(), 9092)));
        assert_eq!(read("[::1]:5"), Ok(("::1".into(), 5)));
        assert!(read(":5").is_err() && read("a:b").is_err());
    }

    #[test]
    fn reads_answers() {
        let open = [0, 0, 0, 0, 0, 34, 0, 0, 0, 0];
        assert_eq!(read(&open), Some(Answer::Open));
        let sasl = [&[0, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat();
        assert_eq!(read(&sasl), Some(Answer::Sasl(vec!["PLAIN".into()])));
        for end in 0..sasl.len() {
            assert_eq!(read(&sasl[..end]), None, "{end}");
        }
        assert_eq!(read(&[0, 0, 0, 0, 0, 0, 255, 255, 255, 255]), None);
    }
}
