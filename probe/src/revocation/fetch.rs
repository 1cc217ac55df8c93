//! Fetches a list by HTTP, as RFC 5280 (section 4.2.1.13) has it: not by HTTPS, whose certificate would need
//! a list itself.

use super::Unknown;
use crate::special::is_special;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

/// Largest size of a list in bytes.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// Time limit of a fetch, redirects included.
const LIMIT: Duration = Duration::from_secs(30);
/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 3;

/// Reason and details of a failure.
type Problem = (Unknown, String);

/// What a server answers.
enum Reply {
    List(Vec<u8>),
    Redirect(Url),
}

/// Fetches the list at a URL, from special addresses only if `from_private`.
pub(super) async fn fetch(url: &Url, from_private: bool) -> Result<Vec<u8>, Problem> {
    let follow = async {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            match request(&url, from_private).await? {
                Reply::List(bytes) => return Ok(bytes),
                Reply::Redirect(next) => url = next,
            }
        }
        Err(("crl_status", format!("more than {MAX_REDIRECTS} redirects")))
    };
    timeout(LIMIT, follow).await.unwrap_or_else(|_| Err(("crl_timeout", String::new())))
}

async fn request(url: &Url, from_private: bool) -> Result<Reply, Problem> {
    let unreachable = |detail: String| ("crl_unreachable", detail);
    let (Some(host), Some(port), "http") =
        (url.host_str(), url.port_or_known_default(), url.scheme())
    else {
        return Err(unreachable(format!("{url} is no http URL")));
    };
    let stream = connect(host, port, from_private).await?;
    let mut driver = JoinSet::new();
    let failed = |error: hyper::Error| unreachable(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    driver.spawn(connection);
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("dnscribe-probe/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| unreachable(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok());
        return next.map(Reply::Redirect).ok_or_else(|| ("crl_status", status.to_string()));
    }
    if status != StatusCode::OK {
        return Err(("crl_status", status.to_string()));
    }
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BYTES {
            return Err(("crl_too_large", format!("more than {MAX_BYTES} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Reply::List(bytes))
}

/// Connects to the first address of a host that accepts.
async fn connect(host: &str, port: u16, from_private: bool) -> Result<TcpStream, Problem> {
    let unreachable = |error: std::io::Error| ("crl_unreachable", error.to_string());
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses: Vec<SocketAddr> =
        lookup_host((host, port)).await.map_err(unreachable)?.collect();
    if !from_private {
        addresses.retain(|address| !is_special(address.ip()));
        if addresses.is_empty() {
            return Err(("crl_address_private", format!("{host} has a special address")));
        }
    }
    TcpStream::connect(&addresses[..]).await.map_err(unreachable)
}
