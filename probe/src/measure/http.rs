//! `http`: whether a URL answers as expected, over connections of its own so that each phase is measured.
//!
//! Redirects are followed under rules that keep a server from using the probe: never to special addresses
//! ([`is_special`]) other than those of the configured host, never from https to http, and without
//! the configured headers and the URL's password once the origin (RFC 6454) is another. The times of all
//! requests of a round are added up, phase by phase.

mod exchange;
#[cfg(test)]
mod tests;

use super::{Context, Failure, Stage, begin, finish, host, tls};
use crate::special::is_special;
use crate::target::{Host, HttpTarget, Pattern, Target};
use dnscribe_record::ProbeFields;
use exchange::{Request, Response};
use hyper::header::{HeaderName, LOCATION};
use hyper::{HeaderMap, Method, StatusCode, header};
use std::net::IpAddr;
use tokio::time::Instant;
use url::Url;

/// Requests a URL and those that it leads to.
pub(super) async fn measure(context: &Context, target: &Target, http: &HttpTarget) -> ProbeFields {
    let start = Instant::now();
    let mut fields = begin(context, target);
    let deadline = start + target.timeout;
    let visit = Visit { context, http, deadline, home: Vec::new() };
    let result = Box::pin(visit.run(&mut fields)).await;
    finish(fields, start.into_std(), result)
}

/// One round of a target.
struct Visit<'a> {
    context: &'a Context,
    http: &'a HttpTarget,
    deadline: Instant,
    /// Addresses of the configured host.
    home: Vec<IpAddr>,
}

impl Visit<'_> {
    async fn run(mut self, fields: &mut ProbeFields) -> Result<(), Failure> {
        let mut url = self.http.url.clone();
        let mut method = self.http.method.clone();
        let mut redirects = 0;
        loop {
            fields.redirects = Some(redirects);
            let request = Box::pin(self.request(fields, &method, &url, redirects > 0));
            let mut response = request.await?;
            fields.http_status = Some(response.status.as_u16());
            let is_followed = response.status.is_redirection()
                && response.status != StatusCode::NOT_MODIFIED
                && self.http.max_redirects > 0
                && !self.http.status.contains(&response.status.as_u16());
            if !is_followed {
                let is_kept = self.http.body.is_some() || self.http.body_not.is_some();
                let read = response.read_body(fields, self.http.max_body_bytes, is_kept);
                let body = exchange::within(self.deadline, "while the body was read", read).await?;
                return self.judge(&response, &body);
            }
            if redirects >= self.http.max_redirects {
                let detail = format!("more than {redirects} redirects");
                return Err(fail("redirect_loop", detail));
            }
            url = self.next(&url, &response)?;
            method = self.next_method(method, &url, response.status)?;
            redirects += 1;
        }
    }

    async fn request(
        &mut self,
        fields: &mut ProbeFields,
        method: &Method,
        url: &Url,
        is_redirect: bool,
    ) -> Result<Response, Failure> {
        let http = self.http;
        let host = Host::of_url(url, http.resolver.as_ref(), http.family, http.source);
        let host =
            host.ok_or_else(|| fail("redirect_invalid", format!("{} has no host", shown(url))))?;
        let is_home = url.origin() == http.url.origin();
        let server = http.connect_to.as_ref().filter(|_| is_home).unwrap_or(&host);
        let mut addresses = host::resolve(self.context, fields, server, self.deadline).await?;
        if is_redirect {
            addresses.retain(|address| self.is_allowed(*address));
            if addresses.is_empty() {
                let detail = format!("{} has a special address", shown(url));
                return Err(fail("redirect_private", detail));
            }
        } else {
            self.home.clone_from(&addresses);
        }
        let stream = host::connect_to(fields, &addresses, server, self.deadline).await?;
        stream.set_nodelay(true).map_err(|error| Failure::io(Stage::Connect, &error))?;
        let request = Request::new(http, method, url, is_home)?;
        let sent = async {
            if url.scheme() == "https" {
                let own = http.server_name.clone().filter(|_| is_home);
                let name = own.unwrap_or_else(|| host.name.to_string());
                let alpn = ["h2", "http/1.1"].map(str::to_owned);
                let client = http.client.as_ref().filter(|_| is_home);
                let peer =
                    tls::Peer { server_name: &name, alpn: &alpn, verify: http.verify, client };
                let stream =
                    tls::handshake(self.context, fields, stream, &peer, self.deadline).await?;
                let is_http2 = fields.alpn.as_deref() == Some("h2");
                request.send(fields, stream, is_http2, self.deadline).await
            } else {
                request.send(fields, stream, false, self.deadline).await
            }
        };
        sent.await
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.http.redirect_to_private || !is_special(address) || self.home.contains(&address)
    }

    /// Returns where a redirect leads.
    fn next(&self, url: &Url, response: &Response) -> Result<Url, Failure> {
        let status = response.status.as_u16();
        let location = response.headers.get(LOCATION);
        let location = location
            .ok_or_else(|| fail("redirect_invalid", format!("status {status} without Location")))?;
        // Servers write UTF-8 as it is, and clients read it so.
        let location = std::str::from_utf8(location.as_bytes())
            .map_err(|_| fail("redirect_invalid", "the Location is not UTF-8".to_owned()))?;
        let mut next = url.join(location).map_err(|error| {
            fail("redirect_invalid", format!("the Location is no URL: {error}"))
        })?;
        if !matches!(next.scheme(), "http" | "https") {
            let detail = format!("the Location has the scheme {}", next.scheme());
            return Err(fail("redirect_invalid", detail));
        }
        if url.scheme() == "https" && next.scheme() == "http" && !self.http.redirect_to_insecure {
            return Err(fail("redirect_insecure", format!("to {}", shown(&next))));
        }
        // Only URLs without a host have no user. A password in a Location is none of ours.
        let _ = (next.set_username(""), next.set_password(None));
        next.set_fragment(None);
        Ok(next)
    }

    /// Returns the method of the request that follows a redirect to `url` (RFC 9110, section 15.4).
    fn next_method(
        &self,
        method: Method,
        url: &Url,
        status: StatusCode,
    ) -> Result<Method, Failure> {
        let keeps_method =
            matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if method != Method::POST {
            Ok(method)
        } else if !keeps_method {
            Ok(Method::GET)
        } else if url.origin() == self.http.url.origin() {
            Ok(method)
        } else {
            let detail =
                format!("status {} would send the body to {}", status.as_u16(), shown(url));
            Err(fail("redirect_invalid", detail))
        }
    }

    fn judge(&self, response: &Response, body: &exchange::Body) -> Result<(), Failure> {
        let status = response.status;
        if !self.http.status.contains(&status.as_u16()) {
            return Err(fail("status", format!("{status}")));
        }
        self.judge_headers(&response.headers)?;
        let text = String::from_utf8_lossy(&body.bytes);
        if let Some(found) = self.http.body_not.as_ref().and_then(|pattern| pattern.0.find(&text)) {
            let detail = format!("a match of body_not at byte {}", found.start());
            return Err(fail("body_mismatch", detail));
        }
        let matches = self.http.body.as_ref().is_none_or(|pattern| pattern.0.is_match(&text));
        if matches && !(body.is_clipped && self.http.body_not.is_some()) {
            return Ok(());
        }
        if body.is_clipped {
            let detail = format!("no match in the first {} bytes", body.bytes.len());
            return Err(fail("body_too_long", detail));
        }
        let encoding = response.headers.get(header::CONTENT_ENCODING);
        Err(fail(
            "body_mismatch",
            match encoding.and_then(|value| value.to_str().ok()) {
                Some(encoding) if encoding != "identity" => {
                    format!("the body is encoded as {encoding}, though identity was asked for")
                }
                _ => format!("no match in {} bytes", body.bytes.len()),
            },
        ))
    }

    fn judge_headers(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let has = |name: &HeaderName, pattern: &Pattern| {
            let mut values = headers.get_all(name).iter();
            values.any(|value| pattern.0.is_match(&String::from_utf8_lossy(value.as_bytes())))
        };
        let HttpTarget { response_headers, response_headers_not, .. } = self.http;
        let optional = self.http.response_headers_if_present.iter();
        let present = optional.filter(|(name, _)| headers.contains_key(name));
        let mut wanted = response_headers.iter().chain(present);
        let missing = wanted.find(|(name, pattern)| !has(name, pattern));
        let unwanted = response_headers_not.iter().find(|(name, pattern)| has(name, pattern));
        let detail = match (missing, unwanted) {
            (Some((name, _)), _) if !headers.contains_key(name) => format!("there is no {name}"),
            (Some((name, _)), _) => format!("no match in {name}"),
            (None, Some((name, _))) => format!("a match of response_headers_not in {name}"),
            (None, None) => return Ok(()),
        };
        Err(fail("header_mismatch", detail))
    }
}

fn fail(reason: &'static str, detail: impl Into<String>) -> Failure {
    Failure::new(Stage::Http, reason).with_detail(detail)
}

/// Scheme, host and port of a URL. Path and query may contain what is secret.
fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}
