//! The dnstap sink: messages as Frame Streams (<https://github.com/farsightsec/fstrm>) of `dnstap.proto`
//! (<https://dnstap.info>), in a file or to a program that listens at a socket.
//!
//! Input: `dns.message/1` with the bytes of the message (`messages.wire`).

use super::frames::{self, FrameFormat, MessageFields};
use super::threaded::{SharedState, ThreadedSink};
use super::{SinkError, StreamSet, writer};
use prost::Message as _;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
// Control frames of Frame Streams.
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// How long a program may take to answer or to read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where frames go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnstapTarget {
    /// `file:PATH`: a new file. One that is there already is renamed as a rotated file is.
    File(PathBuf),
    /// `unix:PATH`: a program that listens there.
    Unix(PathBuf),
}

impl FromStr for DnstapTarget {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(()),
        }
    }
}

impl fmt::Display for DnstapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `dnstap.proto`, as far as it is written.
mod proto {
    #[derive(prost::Message)]
    pub(super) struct Dnstap {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) identity: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) version: Vec<u8>,
        #[prost(message, optional, tag = "14")]
        pub(super) message: Option<Message>,
        #[prost(int32, optional, tag = "15")]
        pub(super) kind: Option<i32>,
    }

    #[derive(prost::Message)]
    pub(super) struct Message {
        #[prost(int32, optional, tag = "1")]
        pub(super) kind: Option<i32>,
        #[prost(int32, optional, tag = "2")]
        pub(super) family: Option<i32>,
        #[prost(int32, optional, tag = "3")]
        pub(super) protocol: Option<i32>,
        #[prost(bytes = "vec", optional, tag = "4")]
        pub(super) query_address: Option<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "5")]
        pub(super) response_address: Option<Vec<u8>>,
        #[prost(uint32, optional, tag = "6")]
        pub(super) query_port: Option<u32>,
        #[prost(uint32, optional, tag = "7")]
        pub(super) response_port: Option<u32>,
        #[prost(uint64, optional, tag = "8")]
        pub(super) query_seconds: Option<u64>,
        #[prost(fixed32, optional, tag = "9")]
        pub(super) query_nanos: Option<u32>,
        #[prost(bytes = "vec", optional, tag = "10")]
        pub(super) query: Option<Vec<u8>>,
        #[prost(uint64, optional, tag = "12")]
        pub(super) response_seconds: Option<u64>,
        #[prost(fixed32, optional, tag = "13")]
        pub(super) response_nanos: Option<u32>,
        #[prost(bytes = "vec", optional, tag = "14")]
        pub(super) response: Option<Vec<u8>>,
    }
}

/// Makes the data frame of a record, with its length; `None` if it has no bytes of a message, or not all: dnstap cannot say
/// that a message is clipped.
fn frame(line: &[u8]) -> Option<Vec<u8>> {
    let fields = MessageFields::read(line)?;
    let wire = fields.wire().filter(|wire| wire.len() >= fields.wire_bytes as usize)?;
    let is_query = fields.is_query();
    // STUB of what asks, CLIENT of what is asked: of a message that passes by, too.
    let kind = if fields.vantage == "client" { 9 } else { 5 } + i32::from(!is_query);
    let protocol = match &*fields.transport {
        "udp" => 1,
        "tcp" => 2,
        "dot" => 3,
        "doh" => 4,
        "doq" => 7,
        _ => 5,
    };
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (client, server) = fields.client_and_server();
    let nanoseconds = fields.ts.as_nanos();
    let seconds = Some(nanoseconds / 1_000_000_000);
    let nanos = u32::try_from(nanoseconds % 1_000_000_000).ok();
    let mut message = proto::Message {
        kind: Some(kind),
        family: Some(if client.is_ipv4() { 1 } else { 2 }),
        protocol: Some(protocol),
        query_address: Some(address(client.ip())),
        response_address: Some(address(server.ip())),
        query_port: Some(client.port().into()),
        response_port: Some(server.port().into()),
        ..proto::Message::default()
    };
    if is_query {
        (message.query_seconds, message.query_nanos, message.query) = (seconds, nanos, Some(wire));
    } else {
        (message.response_seconds, message.response_nanos) = (seconds, nanos);
        message.response = Some(wire);
    }
    let dnstap = proto::Dnstap {
        identity: fields.node.into_owned().into_bytes(),
        version: concat!("dnscribe ", env!("CARGO_PKG_VERSION")).into(),
        message: Some(message),
        kind: Some(1),
    };
    let body = dnstap.encode_to_vec();
    let length = u32::try_from(body.len()).ok()?;
    Some([&length.to_be_bytes()[..], &body].concat())
}

/// Makes a control frame: with the content type, but for the last ones.
fn control(kind: u32) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if !matches!(kind, STOP | FINISH) {
        let length = u32::try_from(CONTENT_TYPE.len()).unwrap_or_default();
        body.extend(1_u32.to_be_bytes());
        body.extend(length.to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    let length = u32::try_from(body.len()).unwrap_or_default();
    [&[0; 4], &length.to_be_bytes()[..], &body].concat()
}

/// Reads a control frame of this kind.
fn expect(stream: &mut UnixStream, kind: u32) -> io::Result<()> {
    let mut number = || -> io::Result<u32> {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let wrong = || io::Error::other("the program does not speak Frame Streams for dnstap");
    let (escape, length, found) = (number()?, number()?, number()?);
    if escape != 0 || !(4..=512).contains(&length) || found != kind {
        return Err(wrong());
    }
    let mut rest = vec![0; length as usize - 4];
    stream.read_exact(&mut rest)
}

/// The error of a socket, which says of a wait that was too long that a resource is unavailable. `what`: what was awaited.
fn socket_error(error: io::Error, what: &str) -> io::Error {
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
        let seconds = TIMEOUT.as_secs();
        let why = format!("the program has not {what} for {seconds} s");
        return io::Error::new(ErrorKind::TimedOut, why);
    }
    error
}

/// An open stream of frames.
pub(super) enum Output {
    File(File),
    Unix(UnixStream),
}

impl Output {
    fn open(target: &DnstapTarget, before: Option<&File>) -> io::Result<Self> {
        let mut output = match target {
            DnstapTarget::File(path) => Self::File(writer::create_anew(path, before)?),
            DnstapTarget::Unix(path) => {
                let mut stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                stream.write_all(&control(READY))?;
                expect(&mut stream, ACCEPT).map_err(|error| socket_error(error, "answered"))?;
                Self::Unix(stream)
            }
        };
        output.write_all(&control(START))?;
        Ok(output)
    }

    fn close(mut self) -> io::Result<()> {
        self.write_all(&control(STOP))?;
        match &mut self {
            Self::File(_) => Ok(()),
            Self::Unix(stream) => {
                expect(stream, FINISH).map_err(|error| socket_error(error, "answered"))
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Unix(stream) => stream.write(bytes).map_err(|error| socket_error(error, "read")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the sink: see [`frames::open`].
pub(super) fn open(
    name: String,
    streams: StreamSet,
    target: &DnstapTarget,
    patience: Option<Duration>,
) -> Result<ThreadedSink, SinkError> {
    frames::open(name, streams, target.clone(), patience)
}

impl FrameFormat for DnstapTarget {
    type Output = Output;

    fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Unix(_) => None,
        }
    }

    fn open(&mut self, _: &Arc<SharedState>, before: Option<&File>) -> io::Result<Output> {
        Output::open(self, before)
    }

    fn file_of(output: &mut Output) -> Option<&mut File> {
        if let Output::File(file) = output { Some(file) } else { None }
    }

    fn append_frame(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        frame(line).map(|frame| out.extend(frame)).is_some()
    }

    fn close(output: Output) -> io::Result<()> {
        output.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_line;
    use crate::{Batch, Failure, Sink as _, Stream};

    #[test]
    fn targets_are_read_and_written() {
        for text in ["file:/tmp/a.dnstap", "unix:/run/tap.sock"] {
            assert_eq!(text.parse::<DnstapTarget>().unwrap().to_string(), text);
        }
        for wrong in ["", "file:", "unix:", "/tmp/a", "tcp:127.0.0.1:1"] {
            assert_eq!(wrong.parse::<DnstapTarget>(), Err(()));
        }
    }

    #[test]
    fn a_program_that_never_listens_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let target = DnstapTarget::Unix(dir.path().join("nobody.sock"));
        let streams = [Stream::Messages].into_iter().collect();
        let given_up = |patience: Option<Duration>| {
            let mut sink = open("dnstap".into(), streams, &target, patience).unwrap();
            let line = message_line(&serde_json::json!({})).to_string();
            let mut batch = Batch::default();
            batch.push(Stream::Messages, 1, |out| out.extend(line.as_bytes()), |_| {});
            sink.offer(&Arc::new(batch));
            assert_eq!(sink.flush(Duration::from_secs(3)), patience.is_some());
            let lost = sink.counters()["messages"].dropped["write_error"];
            (
                lost,
                matches!(sink.failure(), Some(Failure::Broken(why)) if why.contains("nobody.sock")),
            )
        };
        assert_eq!(given_up(Some(Duration::from_millis(10))), (1, true));
        assert_eq!(given_up(None), (0, false));
    }

    #[test]
    fn says_that_a_program_does_not_read() {
        let (stream, _program) = UnixStream::pair().unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let error = Output::Unix(stream).write_all(&vec![0; 16 << 20]).unwrap_err();
        assert_eq!(error.to_string(), "the program has not read for 5 s");
    }

    #[test]
    fn records_without_all_bytes_have_no_frame() {
        let line = r#"{"ts":"2026-11-26T10:00:00Z","node":"n","vantage":"client","transport":"udp","src_ip":"192.0.2.1",
            "src_port":4000,"dst_ip":"192.0.2.53","dst_port":53,"qr":"query","wire":"AAE="}"#;
        let bytes = frame(line.as_bytes()).unwrap();
        let found = proto::Dnstap::decode(&bytes[4..]).unwrap().message.unwrap();
        assert_eq!(
            (found.kind, found.query_port, found.response_port),
            (Some(9), Some(4000), Some(53))
        );
        assert_eq!(found.query.as_deref(), Some(&[0, 1][..]));
        assert_eq!(frame(line.replace("wire", "other").as_bytes()), None);
        let with_length =
            |bytes: u32| line.replace(r#""wire""#, &format!(r#""wire_bytes":{bytes},"wire""#));
        assert!(frame(with_length(2).as_bytes()).is_some());
        assert_eq!(frame(with_length(3).as_bytes()), None, "clipped");
    }
}
