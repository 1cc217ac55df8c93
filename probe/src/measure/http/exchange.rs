//! One request and its response over a connection.

use super::{HttpTarget, fail};
use crate::measure::{Failure, Stage, add_milliseconds, tls};
use bytes::Bytes;
use dnscribe_record::ProbeFields;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error as _;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::Url;

/// Size limit of a response's head in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A request that is ready to be sent.
pub(super) struct Request {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Full<Bytes>,
}

impl Request {
    /// Prepares a request for a URL. Headers and a body that are configured go to their own origin only.
    pub(super) fn new(
        http: &HttpTarget,
        method: &Method,
        url: &Url,
        is_home: bool,
    ) -> Result<Self, Failure> {
        let mut url = url.clone();
        url.set_fragment(None);
        let invalid = |error| fail("redirect_invalid", format!("the URL cannot be sent: {error}"));
        let uri: Uri = url.as_str().parse().map_err(|error| invalid(format!("{error}")))?;
        let mut headers = HeaderMap::new();
        let agent = concat!("dnscribe-probe/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authority) = uri.authority() {
            let host = HeaderValue::from_str(authority.as_str());
            headers.insert(HOST, host.map_err(|error| invalid(format!("{error}")))?);
        }
        if is_home {
            headers.extend(http.headers.clone());
        }
        let body = http.request_body.as_ref().filter(|_| is_home && *method == Method::POST);
        let body = Full::from(body.map_or_else(String::new, |body| body.0.clone()));
        Ok(Self { method: method.clone(), uri, headers, body })
    }

    /// Sends the request and waits for the head of its response.
    ///
    /// # Errors
    /// Stage `http` with the reason `timeout`, `malformed`, `closed` or one of a socket.
    pub(super) async fn send<S>(
        self,
        fields: &mut ProbeFields,
        stream: S,
        is_http2: bool,
        deadline: Instant,
    ) -> Result<Response, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut driver = JoinSet::new();
        let exchange = async {
            if is_http2 {
                let request = self.http2()?;
                let begin = Instant::now();
                let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| failed(&error))?;
                driver.spawn(connection);
                let response = sender.send_request(request).await;
                Ok::<_, Failure>((begin, response.map_err(|error| failed(&error))?))
            } else {
                let request = self.http1()?;
                let begin = Instant::now();
                let (mut sender, connection) = http1::Builder::new()
                    .max_buf_size(MAX_HEAD_BYTES)
                    .handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| failed(&error))?;
                driver.spawn(connection);
                let response = sender.send_request(request).await;
                Ok::<_, Failure>((begin, response.map_err(|error| failed(&error))?))
            }
        };
        let (begin, response) = within(deadline, "before the response", exchange).await?;
        add_milliseconds(&mut fields.ttfb_ms, begin.elapsed());
        let (head, body) = response.into_parts();
        fields.http_version = Some(version(head.version).to_owned());
        let (status, headers) = (head.status, head.headers);
        Ok(Response { status, headers, body, is_http2, begin: Instant::now(), _driver: driver })
    }

    /// Makes the request of HTTP/1.1: the target without scheme and host (RFC 9112, section 3.2.1).
    fn http1(self) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        self.build(&path, Version::HTTP_11)
    }

    /// Makes the request of HTTP/2: the host in `:authority` (RFC 9113, section 8.3.1).
    fn http2(mut self) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let host = self.headers.remove(HOST);
        let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("{}://{host}{path}", self.uri.scheme_str().unwrap_or("https"));
        self.build(&uri, Version::HTTP_2)
    }

    fn build(self, uri: &str, version: Version) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let request = hyper::Request::builder().method(self.method).uri(uri).version(version);
        let mut request = request.body(self.body).map_err(|error| {
            fail("redirect_invalid", format!("the URL cannot be sent: {error}"))
        })?;
        *request.headers_mut() = self.headers;
        Ok(request)
    }
}

/// Number of a version of HTTP, as RFC 9110 writes it.
const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        // Neither older nor newer ones are spoken here.
        _ => "1.1",
    }
}

/// A response whose body has not been read.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    is_http2: bool,
    begin: Instant,
    /// Drives the connection until this is dropped.
    _driver: JoinSet<Result<(), hyper::Error>>,
}

/// The body of a response, as it was sent.
pub(super) struct Body {
    /// Its beginning; empty if it was not asked for.
    pub(super) bytes: Vec<u8>,
    /// Whether there was more than the limit.
    pub(super) is_clipped: bool,
}

impl Response {
    /// Reads the body up to `limit` bytes, and keeps it if `is_kept`.
    pub(super) async fn read_body(
        &mut self,
        fields: &mut ProbeFields,
        limit: u64,
        is_kept: bool,
    ) -> Result<Body, Failure> {
        let mut read = 0;
        let mut body = Body { bytes: Vec::new(), is_clipped: false };
        while let Some(frame) = self.body.frame().await {
            let Ok(data) = frame.map_err(|error| failed(&error))?.into_data() else { continue };
            let room = usize::try_from(limit - read).unwrap_or(usize::MAX);
            let taken = data.len().min(room);
            read += taken as u64;
            if is_kept {
                body.bytes.extend_from_slice(&data[..taken]);
            }
            fields.body_bytes = Some(read);
            if taken < data.len() {
                body.is_clipped = true;
                break;
            }
        }
        fields.body_bytes = Some(read);
        // A stream that is reset without an error ends as a whole body does. The library itself compares lengths, and
        // notices the end of a connection of HTTP/1.1.
        if self.is_http2 && !body.is_clipped && !self.body.is_end_stream() {
            let detail = format!("the stream was closed after {read} bytes of the body");
            return Err(fail("closed", detail));
        }
        add_milliseconds(&mut fields.transfer_ms, self.begin.elapsed());
        Ok(body)
    }
}

/// Ends a step of the exchange at the time limit.
pub(super) async fn within<T>(
    deadline: Instant,
    when: &str,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout_at(deadline, step).await.unwrap_or_else(|_| Err(fail("timeout", when)))
}

/// Names an error of an exchange. The library's texts contain nothing of the request.
fn failed(error: &hyper::Error) -> Failure {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            let tls_error = io.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::AlertReceived(_)) = tls_error {
                return tls::failed(io);
            }
            if !matches!(io.kind(), io::ErrorKind::Other | io::ErrorKind::InvalidData) {
                return Failure::io(Stage::Http, io);
            }
        }
        if let Some(failure) = inner.downcast_ref().and_then(of_http2) {
            return failure;
        }
        cause = inner.source();
    }
    let reason = if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "closed"
    } else {
        "malformed"
    };
    let detail = match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    fail(reason, detail)
}

/// Names what ended a stream or connection of HTTP/2, if it was not a fault in what the server sent.
fn of_http2(error: &h2::Error) -> Option<Failure> {
    let reason = match error.get_io() {
        // The library's name for a connection that the server closed.
        Some(io) if io.kind() == io::ErrorKind::BrokenPipe => "closed",
        Some(io) => return Some(Failure::io(Stage::Http, io)),
        None if error.is_remote() && error.is_reset() => "reset",
        None if error.is_remote() => "closed",
        None => return None,
    };
    Some(fail(reason, error.to_string()))
}
