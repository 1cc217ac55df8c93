//! Probes one broker's listener: whether it answers, uses TLS, and requires a user.

use super::super::super::KafkaConfig;
use super::{Diagnosis, tls};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// Time limit for each step.
const STEP: Duration = Duration::from_millis(1500);
/// Largest response in bytes.
const MAX_RESPONSE: usize = 1 << 16;

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

/// A broker's listener and how this client would use it.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) config: KafkaConfig,
    pub(super) address: Address,
}

impl Listener {
    /// Connects as a client with this configuration would. The error is what is wrong.
    pub(super) fn probe(&self) -> Result<(), Diagnosis> {
        let (address, protocol) = (&self.address, self.config.protocol());
        let stream = self.connect()?;
        let answer = if self.config.has_tls() {
            let Some(mut stream) = self.handshake(stream)? else { return Ok(()) };
            ask(&mut stream).map_err(|error| {
                self.refusal_in(&error).unwrap_or_else(|| self.unanswered(&error))
            })?
        } else {
            match ask(&mut { stream }) {
                Ok(answer) => answer,
                Err(_) if self.connect().is_ok_and(tls::speaks) => {
                    return Err(Diagnosis::new(
                        format!("{address} speaks TLS, and security.protocol is {protocol}"),
                        "set security.protocol to ssl, or to sasl_ssl if a user is required",
                    ));
                }
                Err(error) => return Err(self.unanswered(&error)),
            }
        };
        let (problem, remedy) = match (answer, self.config.mechanism()) {
            (Answer::Open, None) => return Ok(()),
            (Answer::Open, Some(_)) => (
                format!("{address} knows no users, and security.protocol is {protocol}"),
                format!(
                    "use the port of the broker's SASL listener, or set security.protocol to {}",
                    protocol.trim_start_matches("sasl_"),
                ),
            ),
            (Answer::Sasl(mechanisms), None) => (
                format!("{address} asks for a user, and security.protocol is {protocol}"),
                format!(
                    "set security.protocol to sasl_{protocol}, sasl.mechanism to one of {}, \
                     sasl.username and sasl.password",
                    mechanisms.join(", "),
                ),
            ),
            (Answer::Sasl(mechanisms), Some(own)) => {
                if mechanisms.iter().any(|one| one == own) {
                    return Ok(());
                }
                (
                    format!("{address} does not take SASL mechanism {own}"),
                    format!("set sasl.mechanism to one of {}", mechanisms.join(", ")),
                )
            }
        };
        Err(Diagnosis::new(problem, remedy))
    }

    fn connect(&self) -> Result<TcpStream, Diagnosis> {
        let address = &self.address;
        let brokers = &self.config.brokers;
        let advertised = if brokers.iter().any(|broker| broker.parse().as_ref() == Ok(address)) {
            "correct --brokers or kafka.brokers"
        } else {
            // The brokers of kafka.brokers answered with this address.
            "correct the brokers' advertised.listeners: they gave this address"
        };
        let resolved = (address.host(), address.port).to_socket_addrs().map_err(|error| {
            Diagnosis::temporary(
                format!("the name of broker {address} cannot be resolved: {error}"),
                format!("{advertised}, or this host's resolver"),
            )
        })?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for resolved in resolved {
            match connect_to(&resolved) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(Diagnosis::temporary(
            format!("cannot connect to {address}: {last}"),
            format!("check that the broker runs and no firewall is in between; else {advertised}"),
        ))
    }

    /// Why a handshake failed: no TLS, or no response at all.
    pub(super) fn without_tls(&self) -> Diagnosis {
        let (address, protocol) = (&self.address, self.config.protocol());
        match self.connect().map(|mut stream| ask(&mut stream)) {
            Ok(Ok(_)) => Diagnosis::new(
                format!("{address} does not speak TLS, and security.protocol is {protocol}"),
                "use the port of the broker's TLS listener; without one, set security.protocol to \
                 plaintext or sasl_plaintext on a trusted network",
            ),
            Ok(Err(error)) => self.unanswered(&error),
            Err(unconnected) => unconnected,
        }
    }

    fn unanswered(&self, error: &io::Error) -> Diagnosis {
        let address = &self.address;
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Diagnosis::temporary(
                format!("{address} accepts connections and does not answer"),
                "check whether the broker is stuck, and whether this is a Kafka broker's port",
            ),
            _ => Diagnosis::temporary(
                format!("{address} accepts connections and closes them"),
                "see the broker's log, and check whether this is a Kafka broker's port",
            ),
        }
    }
}

fn connect_to(address: &SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, STEP)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    Ok(stream)
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
