//! OTLP over HTTP and gRPC: one request at a time.

use super::proto::{PartialSuccess, Response, RetryInfo, StatusDetails};
use super::{OtlpConfig, Protocol, Signal, Target};
use crate::http::{self, HttpClient, Method, NoAnswer};
use crate::tally::DropReason;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use prost::Message;
use serde_json::{Map, Value};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio_openssl::SslStream;
use ureq::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Request, StatusCode};

pub(super) const SECTION: &str = "otlp";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// What to do where a server takes no OTLP.
const WRONG_PLACE: &str =
    "give the path before /v1, and name the signals that it takes, such as #metrics";
/// What to do where a server does not accept this client.
const CREDENTIALS: &str = "see otlp.username and password_file, bearer_token_file, or headers";
/// Smaller requests are not too large for a server that has no resources for them, but refused.
const SMALL: usize = 64 << 10;
/// Largest response body in bytes.
const BODY_LIMIT: u64 = 1 << 20;
/// Bytes before a message of gRPC: whether it is compressed, and its length.
const FRAME: usize = 5;

/// Why a request was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
    /// What happened, with the URL.
    pub(super) why: String,
    /// What to do about it, if the cause is clear.
    pub(super) remedy: Option<String>,
    /// Why repeating the request is useless, if it is.
    pub(super) permanent: Option<DropReason>,
    /// After which time to try again, if the server says so.
    pub(super) retry_after: Option<Duration>,
}

impl RequestError {
    fn temporary(why: String, remedy: Option<String>) -> Self {
        Self { why, remedy, permanent: None, retry_after: None }
    }

    fn no_answer(url: &str, NoAnswer { why, remedy }: NoAnswer) -> Self {
        Self::temporary(format!("no answer from {url}: {why}"), remedy)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&http::with_remedy(&self.why, self.remedy.as_deref()))
    }
}

pub(super) struct Client {
    target: Target,
    timeout: Duration,
    transport: Transport,
}

enum Transport {
    Http(Box<HttpClient>),
    Grpc(Box<Grpc>),
}

impl Client {
    /// Creates a client. Reads the trusted certificates; sends no request.
    pub(super) fn new(target: &Target, config: &OtlpConfig) -> Result<Self, String> {
        let headers = headers(config)?;
        let ca_file = config.ca_file.as_deref();
        let transport = match target.protocol {
            Protocol::Http => {
                let client = HttpClient::new(SECTION, ca_file, None, PROTOBUF, BODY_LIMIT)?;
                Transport::Http(Box::new(client.with_headers(headers)))
            }
            Protocol::Grpc => Transport::Grpc(Box::new(Grpc::new(target, config, headers)?)),
        };
        Ok(Self { target: target.clone(), timeout: config.timeout, transport })
    }

    /// Sends a request. Returns what the server rejects of it, if anything.
    pub(super) fn send(
        &mut self,
        signal: Signal,
        request: &[u8],
    ) -> Result<Option<PartialSuccess>, RequestError> {
        let partial = match &mut self.transport {
            Transport::Http(client) => {
                let url = format!("{}/v1/{}", self.target.url, signal.name());
                let sent = client.send(&Method::POST, &url, request, self.timeout, true);
                let answer = sent.map_err(|error| RequestError::no_answer(&url, error))?;
                if !answer.status.is_success() {
                    return Err(response_error(&url, &answer));
                }
                partial_success(&answer).ok_or_else(|| {
                    let why = format!("{url} does not answer as OTLP does");
                    RequestError::temporary(why, Some(WRONG_PLACE.to_owned()))
                })?
            }
            Transport::Grpc(client) => {
                let body = client.call(signal, request, self.timeout)?;
                Response::decode(body).unwrap_or_default().partial_success.unwrap_or_default()
            }
        };
        Ok(Some(partial).filter(|partial| partial.rejected > 0))
    }
}

/// Reads the answer to a request that was accepted: nothing, or a response of OTLP, also in JSON. `None` if it is
/// something else, such as the page of a proxy, which has accepted nothing.
fn partial_success(answer: &http::Response) -> Option<PartialSuccess> {
    if answer.body.is_empty() {
        return Some(PartialSuccess::default());
    }
    let media_type = answer.media_type.as_ref().map(|found| found.as_bytes().to_ascii_lowercase());
    let is =
        |name: &str| media_type.as_ref().is_none_or(|found| found.starts_with(name.as_bytes()));
    let from_protobuf = || {
        let response = Response::decode(&*answer.body).ok()?;
        Some(response.partial_success.unwrap_or_default())
    };
    let from_json = || json_partial_success(&answer.body);
    is(PROTOBUF).then(from_protobuf).flatten().or_else(|| is(JSON).then(from_json).flatten())
}

/// As [`partial_success`], of a response in JSON. Its number has a name and a form of its own for each signal.
fn json_partial_success(body: &[u8]) -> Option<PartialSuccess> {
    let answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let Some(partial) = answer.get("partialSuccess").and_then(Value::as_object) else {
        return Some(PartialSuccess::default());
    };
    let rejected = partial.iter().find(|(name, _)| name.starts_with("rejected"));
    let rejected = rejected.and_then(|(_, count)| {
        count.as_i64().or_else(|| count.as_str().and_then(|count| count.parse().ok()))
    });
    let said = partial.get("errorMessage").and_then(Value::as_str).unwrap_or_default();
    Some(PartialSuccess { rejected: rejected.unwrap_or(0), error_message: said.to_owned() })
}

/// The headers of each request: credentials and those of the configuration.
fn headers(config: &OtlpConfig) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    if let Some(authorization) = &config.authorization {
        headers.insert(AUTHORIZATION, http::header(authorization, SECTION)?);
    }
    for (name, value) in &config.headers {
        let wrong = || format!("{SECTION}.headers: {name} cannot be sent");
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(&value.0).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn response_error(url: &str, answer: &http::Response) -> RequestError {
    let status = answer.status;
    let said: String = String::from_utf8_lossy(&answer.body)
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let remedy = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(CREDENTIALS),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Some(WRONG_PLACE),
        status if status.is_redirection() => Some("give the place that it redirects to"),
        _ => None,
    };
    let permanent = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Some(DropReason::MessageTooLarge),
        StatusCode::BAD_REQUEST
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Some(DropReason::Rejected),
        _ => None,
    };
    let why = format!("{url} answers {}: {}", status.as_u16(), http::error_message(&said));
    let remedy = remedy.map(str::to_owned);
    RequestError { why, remedy, permanent, retry_after: answer.retry_after }
}

/// A client of gRPC for calls with one message each way.
struct Grpc {
    runtime: Runtime,
    url: String,
    /// The URL as it was given.
    given: String,
    /// `host:port`.
    address: String,
    tls: Option<SslConnector>,
    headers: HeaderMap,
    connection: Option<SendRequest<Bytes>>,
}

impl Grpc {
    fn new(target: &Target, config: &OtlpConfig, headers: HeaderMap) -> Result<Self, String> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (scheme, address) = target.url.split_once("://").unwrap_or_default();
        let ca_file = config.ca_file.as_deref();
        let certificates = ca_file.map(|file| http::certificates(file, SECTION)).transpose()?;
        let tls = || {
            let mut builder = SslConnector::builder(SslMethod::tls_client())?;
            if let Some(certificates) = &certificates {
                let mut store = X509StoreBuilder::new()?;
                for certificate in certificates {
                    store.add_cert(X509::from_der(certificate.der())?)?;
                }
                builder.set_cert_store(store.build());
            }
            builder.set_alpn_protos(b"\x02h2")?;
            Ok(builder.build())
        };
        let tls = (scheme == "https").then(tls).transpose();
        let tls = tls.map_err(|error: openssl::error::ErrorStack| {
            format!("{SECTION}.ca_file cannot be used: {error}")
        })?;
        let (url, given, address) =
            (target.url.clone(), target.given_url().into_owned(), address.to_owned());
        Ok(Self { runtime, url, given, address, tls, headers, connection: None })
    }

    fn call(
        &mut self,
        signal: Signal,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        let reused = self.connection.is_some();
        let mut result = self.call_once(signal, message, timeout);
        if reused && matches!(result, Err(CallError::Broken(_))) {
            // A server closes connections that nobody uses.
            result = self.call_once(signal, message, timeout);
        }
        result.map_err(|error| match error {
            CallError::Broken(why) => {
                RequestError::no_answer(&self.given, http::explain(SECTION, &why))
            }
            CallError::Status(code, said, retry_after) => {
                let said = http::masked(said, &self.headers);
                grpc_error(&self.given, code, &said, retry_after, message.len())
            }
        })
    }

    fn call_once(
        &mut self,
        signal: Signal,
        message: &[u8],
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let mut frame = BytesMut::with_capacity(FRAME + message.len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        frame.put_slice(message);
        let path = signal.method();
        let mut request = Request::post(format!("{}{path}", self.url))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("dnscribe/", env!("CARGO_PKG_VERSION")));
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.clone());
        }
        let request = request.body(()).map_err(CallError::broken)?;
        let open = self.connection.take();
        let (address, tls) = (self.address.clone(), self.tls.as_ref());
        let exchange = async {
            let sender = match open {
                Some(sender) => sender,
                None => connect(&address, tls).await?,
            };
            let body = exchange(sender.clone(), request, frame.freeze()).await?;
            Ok::<_, CallError>((sender, body))
        };
        let limited = async { tokio::time::timeout(timeout, exchange).await };
        let (sender, body) = self
            .runtime
            .block_on(limited)
            .map_err(|_| CallError::Broken(format!("timeout after {timeout:?}")))??;
        self.connection = Some(sender);
        Ok(body)
    }
}

enum CallError {
    /// No answer. The connection is closed.
    Broken(String),
    /// A status of gRPC, its message, and after which time to try again, if the server says so.
    Status(u32, String, Option<Duration>),
}

impl CallError {
    fn broken(error: impl fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}

async fn connect(
    address: &str,
    tls: Option<&SslConnector>,
) -> Result<SendRequest<Bytes>, CallError> {
    let stream = TcpStream::connect(address).await.map_err(CallError::broken)?;
    stream.set_nodelay(true).map_err(CallError::broken)?;
    let Some(tls) = tls else {
        let (sender, connection) =
            h2::client::handshake(stream).await.map_err(CallError::broken)?;
        tokio::spawn(connection);
        return Ok(sender);
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let ssl = tls.configure().and_then(|tls| tls.into_ssl(host)).map_err(CallError::broken)?;
    let mut stream = SslStream::new(ssl, stream).map_err(CallError::broken)?;
    if let Err(error) = Pin::new(&mut stream).connect().await {
        let verified = stream.ssl().verify_result();
        return Err(match verified {
            X509VerifyResult::OK => CallError::broken(error),
            _ => CallError::Broken(format!("{error} ({})", verified.error_string())),
        });
    }
    let (sender, connection) = h2::client::handshake(stream).await.map_err(CallError::broken)?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    frame: Bytes,
) -> Result<Bytes, CallError> {
    let mut sender = sender.ready().await.map_err(CallError::broken)?;
    let (response, mut stream) = sender.send_request(request, false).map_err(CallError::broken)?;
    stream.send_data(frame, true).map_err(CallError::broken)?;
    let response = response.await.map_err(CallError::broken)?;
    if !response.status().is_success() {
        return Err(CallError::Broken(format!("it answers HTTP {}", response.status().as_u16())));
    }
    let (parts, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(CallError::broken)?;
        body.flow_control().release_capacity(data.len()).map_err(CallError::broken)?;
        if bytes.len() as u64 <= BODY_LIMIT {
            bytes.extend_from_slice(&data);
        }
    }
    let trailers = body.trailers().await.map_err(CallError::broken)?.unwrap_or(parts.headers);
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse) {
        Some(Ok(0)) => Ok(bytes.split_off(FRAME.min(bytes.len())).freeze()),
        Some(Ok(code)) => {
            let said = text("grpc-message").unwrap_or_default().to_owned();
            let details = text("grpc-status-details-bin");
            Err(CallError::Status(code, said, details.and_then(retry_after)))
        }
        _ => Err(CallError::Broken("it does not answer as gRPC does".to_owned())),
    }
}

/// Returns the delay of a `RetryInfo` in the details of a status.
fn retry_after(details: &str) -> Option<Duration> {
    let bytes = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?;
    let StatusDetails { details } = StatusDetails::decode(&*bytes).ok()?;
    let info = details.iter().find(|one| one.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.delay.unwrap_or_default();
    let seconds = Duration::from_secs(delay.seconds.try_into().ok()?);
    Some(seconds + Duration::from_nanos(delay.nanos.try_into().ok()?))
}

fn grpc_error(
    url: &str,
    code: u32,
    said: &str,
    retry_after: Option<Duration>,
    request_bytes: usize,
) -> RequestError {
    // Codes of gRPC: https://grpc.io/docs/guides/status-codes/.
    let (permanent, remedy) = match code {
        3 => (Some(DropReason::Rejected), None),
        // OTLP: without a time to try again it is of no use to do so. The request may be too large.
        8 if retry_after.is_none() && request_bytes > SMALL => {
            (Some(DropReason::MessageTooLarge), None)
        }
        8 if retry_after.is_none() => {
            (Some(DropReason::Rejected), Some("raise the server's limits"))
        }
        7 | 16 => (None, Some(CREDENTIALS)),
        12 => (None, Some("name the signals that it takes, such as #metrics")),
        _ => (None, None),
    };
    let why = format!("{url} answers with code {code} of gRPC: {}", http::error_message(said));
    RequestError { why, remedy: remedy.map(str::to_owned), permanent, retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_otlp_accept_a_request() {
        let rejected = |media_type: &'static str, body: &[u8]| {
            let media_type = Some(media_type).filter(|name| !name.is_empty());
            let answer = http::Response {
                status: StatusCode::OK,
                location: None,
                retry_after: None,
                media_type: media_type.map(HeaderValue::from_static),
                body: body.to_vec(),
            };
            partial_success(&answer).map(|partial| partial.rejected)
        };
        let partial = PartialSuccess { rejected: 3, error_message: "no".into() };
        let partial = Response { partial_success: Some(partial) }.encode_to_vec();
        let json = br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#;
        let page = b"<html>please sign in</html>";
        for (media_type, body, expected) in [
            ("text/plain", &b""[..], Some(0)),
            ("application/x-protobuf", &partial, Some(3)),
            ("", &partial, Some(3)),
            ("Application/JSON; charset=utf-8", json, Some(3)),
            ("", json, Some(3)),
            ("application/json", b"{}", Some(0)),
            ("application/json", page, None),
            ("application/x-protobuf", page, None),
            ("", page, None),
            ("text/plain", b"{}", None),
        ] {
            assert_eq!(rejected(media_type, body), expected, "{media_type}");
        }
    }

    #[test]
    fn exhausted_resources_are_temporary_with_a_time_only() {
        // google.rpc.Status with a RetryInfo of 2.5 s.
        let delay = [0x0a, 0x07, 0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
        let delay = [&[0x0a, 8][..], &delay[2..]].concat();
        let name = b"type.googleapis.com/google.rpc.RetryInfo";
        let detail = [&[0x0a, 40][..], name, &[0x12, 10], &delay].concat();
        let details = [&[0x08, 8, 0x1a, 54][..], &detail].concat();
        let after = retry_after(&STANDARD_NO_PAD.encode(details));
        assert_eq!(after, Some(Duration::from_millis(2500)));
        let exhausted = |after, bytes| grpc_error("u", 8, "", after, bytes);
        assert_eq!(exhausted(after, 1 << 20).permanent, None);
        assert_eq!(exhausted(after, 1 << 20).retry_after, after);
        let none = retry_after("CAg=");
        assert_eq!(exhausted(none, 1 << 20).permanent, Some(DropReason::MessageTooLarge));
        assert_eq!(exhausted(none, SMALL).permanent, Some(DropReason::Rejected));
    }
}
