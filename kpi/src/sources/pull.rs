//! Where a declared source is pulled from: the address, and how its answers are read.

use jiff::SignedDuration;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// Where a source is pulled from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// `https://…` is requested with GET; of `s3://BUCKET/PREFIX` every object is a file.
    pub url: String,
    /// Map of its columns, as of `import --map`.
    pub map: Option<PathBuf>,
    /// Where the list of rows is in an answer, as a JSON Pointer (RFC 6901). Without it, the answer is a file.
    pub rows: Option<String>,
    /// How an answer names the next one.
    pub paging: Option<Paging>,
    /// How to ask for what is new.
    pub since: Option<Since>,
    /// What the server knows us by.
    pub secret: Option<Secret>,
    /// Certificates that are trusted, in PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Most requests a minute.
    #[serde(default = "requests_per_minute")]
    pub requests_per_minute: u32,
    /// Most answers of one pull: a server may always name a next one.
    #[serde(default = "max_answers")]
    pub max_answers: u32,
}

const fn max_answers() -> u32 {
    100_000
}

const fn requests_per_minute() -> u32 {
    60
}

/// How an answer names the next one.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Paging {
    /// By a header `Link` with `rel="next"` (RFC 8288).
    Link,
    /// By its address, at this JSON Pointer.
    Next(String),
    /// By a value for a parameter of the request.
    Cursor {
        /// JSON Pointer to the value; the last answer has none, `null`, `false` or an empty text.
        field: String,
        /// Parameter of the request.
        parameter: String,
    },
    /// Pages have numbers, up to one without rows.
    Number {
        /// Parameter of the request.
        parameter: String,
        /// Number of the first page.
        #[serde(default = "first_page")]
        first: u64,
    },
}

const fn first_page() -> u64 {
    1
}

/// How to ask for what is new.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Parameter of the request.
    pub parameter: String,
    /// JSON Pointer within a row to its time (RFC 3339) or integer, whose greatest is asked for next.
    pub field: String,
    /// How much earlier than the newest time to ask, for rows that appear late. Rows that came before are left out.
    #[serde(default = "overlap")]
    pub overlap: SignedDuration,
}

const fn overlap() -> SignedDuration {
    SignedDuration::from_hours(1)
}

/// What a server knows us by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// File that has it.
    pub file: Option<PathBuf>,
    /// Variable of the environment that has it.
    pub env: Option<String>,
    /// Header that it is sent in as it is; else it is a bearer token in `Authorization` (RFC 6750).
    pub header: Option<String>,
}

impl Pull {
    /// Checks what can be checked without a request; `place` is where it is in the configuration.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, place: &str) -> Result<(), String> {
        let url = Url::parse(&self.url).map_err(|error| format!("{place}.url: {error}"))?;
        let of_http = [
            ("rows", self.rows.is_some()),
            ("paging", self.paging.is_some()),
            ("since", self.since.is_some()),
            ("secret", self.secret.is_some()),
            ("ca_file", self.ca_file.is_some()),
        ];
        match url.scheme() {
            "s3" => {
                if let Some((key, _)) = of_http.iter().find(|(_, is_given)| *is_given) {
                    return Err(format!("{place}.{key}: only for https"));
                }
                if url.host_str().is_none_or(str::is_empty) {
                    return Err(format!("{place}.url: give s3://BUCKET/PREFIX"));
                }
            }
            "https" => {}
            "http" if self.secret.is_none() || is_loopback(&url) => {}
            "http" => {
                return Err(format!("{place}.url: the secret could be read on the way: use https"));
            }
            other => return Err(format!("{place}.url: {other} is neither https nor s3")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{place}.url has a login: give it as {place}.secret"));
        }
        if self.rows.is_none()
            && let Some((key, _)) = of_http[1..3].iter().find(|(_, is_given)| *is_given)
        {
            return Err(format!("{place}.{key} needs {place}.rows: where an answer has its rows"));
        }
        let paging = match &self.paging {
            Some(Paging::Next(field) | Paging::Cursor { field, .. }) => Some(field),
            Some(Paging::Link | Paging::Number { .. }) | None => None,
        };
        let since = self.since.as_ref().map(|since| &since.field);
        for pointer in self.rows.iter().chain(paging).chain(since) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!("{place}: {pointer} is no JSON Pointer: write /{pointer}"));
            }
        }
        if self.since.as_ref().is_some_and(|since| since.overlap.is_negative()) {
            return Err(format!("{place}.since.overlap is negative"));
        }
        for (key, number) in
            [("requests_per_minute", self.requests_per_minute), ("max_answers", self.max_answers)]
        {
            if number == 0 {
                return Err(format!("{place}.{key} is 0"));
            }
        }
        match &self.secret {
            Some(
                Secret { file: None, env: None, .. } | Secret { file: Some(_), env: Some(_), .. },
            ) => Err(format!("{place}.secret: give either file or env")),
            _ => Ok(()),
        }
    }

    /// Makes the paths of files relative to a folder.
    pub fn resolve(&mut self, folder: &Path) {
        let secret = self.secret.as_mut().and_then(|secret| secret.file.as_mut());
        for path in [self.map.as_mut(), self.ca_file.as_mut(), secret].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        serde_saphyr::from_str::<Pull>(text).map_err(|error| error.to_string())?.check("pull")
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, problem) in [
            ("url: billing.example", "pull.url: relative URL"),
            ("url: ftp://billing.example/a", "ftp is neither"),
            ("url: https://me:secret@billing.example/", "pull.url has a login"),
            ("{ url: http://billing.example/, secret: { env: TOKEN } }", "use https"),
            ("{ url: s3://bucket/a, rows: /data }", "pull.rows: only for https"),
            ("url: s3:///a", "give s3://BUCKET"),
            ("{ url: https://b.example/, paging: link }", "pull.paging needs pull.rows"),
            ("{ url: https://b.example/, rows: data }", "write /data"),
            ("{ url: https://b.example/, rows: '', paging: { next: next } }", "write /next"),
            ("{ url: https://b.example/, secret: {} }", "either file or env"),
            ("{ url: https://b.example/, requests_per_minute: 0 }", "requests_per_minute is 0"),
            ("{ url: https://b.example/, max_answers: 0 }", "max_answers is 0"),
            ("{ url: https://b.example/, page: 1 }", "page"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn reads_every_way_of_paging() {
        for paging in [
            "link",
            "{ next: /links/next }",
            "{ cursor: { field: /next, parameter: cursor } }",
            "{ number: { parameter: page } }",
        ] {
            let since = "{ parameter: after, field: /updated_at, overlap: 5m }";
            let text = format!(
                "{{ url: 'https://b.example/v1?limit=9', rows: /data, paging: {paging}, since: {since} }}"
            );
            check(&text).unwrap();
        }
        check("{ url: 'http://[::1]:8080/', secret: { file: token, header: X-Api-Key } }").unwrap();
    }
}
