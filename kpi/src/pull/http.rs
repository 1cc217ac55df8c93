//! Rows of an HTTP API: answer by answer, at the rate that the server allows.

use super::delivered::{DeliveredRows, row_hash};
use crate::error::KpiError;
use crate::input::{self, MAX_LINE_BYTES, compact};
use crate::scratch::ScratchFile;
use crate::sources::{Paging, Pull, Secret, Since};
use dnscribe_delivery::http::{agent, error_message, mask, retry_after, secret};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::mem::discriminant;
use std::thread;
use std::time::{Duration, Instant};
use ureq::http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderName, HeaderValue, LINK};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Body, RequestBuilder};
use url::Url;

/// Time that an answer with rows may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Time that the download of a file may take.
const FILE_TIMEOUT: Duration = Duration::from_mins(15);
/// Part of a server's error message that is read, in bytes: more than is repeated, so that no secret is cut at its end.
const MESSAGE_BYTES: u64 = 64 << 10;
/// Largest answer with rows, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Times that a request is sent before it has failed.
const TRIES: u32 = 5;
/// Pause before the second time; it doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that a server may ask for: one that wants more is asked by the next pull.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Answers without rows in a row: one that never ends names a next one each time.
const MAX_EMPTY_ANSWERS: u32 = 100;
/// Rows from which on those that no overlap can bring again are forgotten while others are fetched.
const MANY_ROWS: usize = 1 << 20;
/// How much further back than the overlap rows are known: some servers take times for days.
const MARGIN: SignedDuration = SignedDuration::from_hours(24);
/// Redirects that the download of a file follows.
const REDIRECTS: u32 = 5;

/// Rows that were fetched.
pub(super) struct Fetched {
    pub(super) file: ScratchFile,
    pub(super) is_empty: bool,
    /// Up to where the source was read.
    pub(super) position: Option<Position>,
    /// Rows that the next pull may bring again.
    pub(super) delivered: DeliveredRows,
}

/// Up to where a source was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Position {
    Number(i64),
    Time(Timestamp),
}

impl Position {
    /// Reads one.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::String(text) => {
                if let Ok(time) = text.parse() {
                    return Ok(Self::Time(time));
                }
                text.parse().ok()
            }
            other => other.as_i64(),
        };
        number
            .map(Self::Number)
            .ok_or_else(|| format!("{value} is neither a time as of RFC 3339 nor an integer"))
    }

    /// Where to begin, so that what has appeared late is seen, too.
    fn start(self, since: &Since) -> Self {
        match self {
            Self::Number(_) => self,
            Self::Time(time) => Self::Time(time.saturating_sub(since.overlap).unwrap_or(time)),
        }
    }

    /// Place in the order of positions of this kind.
    fn place(self) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Time(time) => time.as_microsecond(),
        }
    }

    /// First place whose rows may come again.
    fn first_again(self, since: &Since) -> i64 {
        match self.start(since) {
            Self::Time(time) => time.saturating_sub(MARGIN).unwrap_or(time).as_microsecond(),
            Self::Number(number) => number,
        }
    }

    /// A time in the future, of a wrong clock, would hide what comes until then.
    fn until_now(self) -> Self {
        match self {
            Self::Number(_) => self,
            Self::Time(time) => Self::Time(time.min(crate::clock::now())),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Time(time) => time.fmt(out),
        }
    }
}

/// Fetches what a source has had since `known`, without the rows that it has `delivered`.
pub(super) fn fetch(
    pull: &Pull,
    known: Option<Position>,
    delivered: DeliveredRows,
) -> Result<Fetched, KpiError> {
    let mut client = Client::new(pull)?;
    let mut url = parsed(&pull.url)?;
    let Some(rows) = &pull.rows else {
        let file = client.get(&url, FILE_TIMEOUT, |answer| {
            input::spooled(answer.into_body().into_reader()).map_err(|error| error.to_string())
        })?;
        return Ok(Fetched { file, is_empty: false, position: None, delivered });
    };
    if let Some((since, known)) = pull.since.as_ref().zip(known) {
        url = with_parameter(&url, &since.parameter, &known.start(since).to_string());
    }
    if let Some(Paging::Number { parameter, first }) = &pull.paging {
        url = with_parameter(&url, parameter, &first.to_string());
    }
    let mut file = RowFile::new(pull.since.as_ref(), known, delivered)?;
    let (mut seen, mut empty) = (HashSet::new(), 0);
    let max_answers = usize::try_from(pull.max_answers).unwrap_or(usize::MAX);
    loop {
        let (links, body) = client.get(&url, ANSWER_TIMEOUT, read_answer)?;
        let wrong =
            |why: String| KpiError::Failed(format!("{}: {why}", without_secrets(url.as_str())));
        let answer: &RawValue =
            serde_json::from_slice(&body).map_err(|error| wrong(format!("no JSON: {error}")))?;
        let found = list_at(answer, rows);
        let found = found.ok_or_else(|| wrong(format!("the answer has no list at \"{rows}\"")))?;
        file.add(&found).map_err(wrong)?;
        let next = next(pull, &url, answer, &links, found.len()).map_err(wrong)?;
        seen.insert(url.clone());
        let Some(next) = next else { break };
        if seen.contains(&next) {
            return Err(wrong("the answer leads back to one that was read".to_owned()));
        }
        empty = if found.is_empty() { empty + 1 } else { 0 };
        if empty == MAX_EMPTY_ANSWERS {
            return Err(wrong(format!(
                "{empty} answers in a row have no rows, and name a next one"
            )));
        }
        if seen.len() >= max_answers {
            return Err(wrong(format!("there are more answers than max_answers, {max_answers}")));
        }
        url = next;
    }
    file.finish()
}

/// Finds the list at a JSON Pointer, and returns its rows as they came.
fn list_at<'a>(answer: &'a RawValue, pointer: &str) -> Option<Vec<&'a RawValue>> {
    serde_json::from_str(value_at(answer, pointer)?.get()).ok()
}

/// Finds the value at a JSON Pointer, as it came.
fn value_at<'a>(mut place: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(place.get());
        place = if let Ok(mut fields) = fields {
            fields.remove(&token)?
        } else {
            let all: Vec<&RawValue> = serde_json::from_str(place.get()).ok()?;
            all.get(token.parse::<usize>().ok()?).copied()?
        };
    }
    Some(place)
}

/// Rows as a file of NDJSON.
struct RowFile<'a> {
    file: ScratchFile,
    is_empty: bool,
    since: Option<&'a Since>,
    newest: Option<Position>,
    /// Rows of earlier pulls.
    known: DeliveredRows,
    /// Rows of this one.
    delivered: DeliveredRows,
    /// Number of them from which on some are forgotten.
    many: usize,
}

impl<'a> RowFile<'a> {
    fn new(
        since: Option<&'a Since>,
        newest: Option<Position>,
        known: DeliveredRows,
    ) -> Result<Self, KpiError> {
        Ok(Self {
            file: ScratchFile::new()?,
            is_empty: true,
            since,
            newest,
            known,
            delivered: DeliveredRows::default(),
            many: MANY_ROWS,
        })
    }

    fn add(&mut self, rows: &[&RawValue]) -> Result<(), String> {
        for row in rows {
            let line = row.get().replace(['\n', '\r'], " ");
            // A row with a key twice stays as it came: the import says what is wrong with it.
            let line = compact(&line).unwrap_or(line);
            let mut place = None;
            if let Some(since) = self.since {
                let field = &since.field;
                let value = value_at(row, field).ok_or_else(|| format!("a row has no {field}"))?;
                let value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
                let position = Position::parse(&value).map_err(|why| format!("{field}: {why}"))?;
                let kind = discriminant(&position);
                if self.newest.is_some_and(|newest| discriminant(&newest) != kind) {
                    return Err(format!(
                        "{field}: {value}: a time among integers, or an integer among times; if the API has changed, \
                         pull --from-beginning"
                    ));
                }
                self.newest = self.newest.max(Some(position.until_now()));
                place = Some(position.place());
            }
            let hash = row_hash(&line);
            if self.delivered.add(hash, place) <= self.known.times(hash) {
                continue;
            }
            let line = if line.len() < MAX_LINE_BYTES {
                line
            } else {
                input::too_long("a row", line.len())
            };
            writeln!(self.file, "{line}")
                .map_err(|error| KpiError::temporary(error).to_string())?;
            self.is_empty = false;
        }
        if self.delivered.len() > self.many {
            self.forget();
            self.many = MANY_ROWS.max(2 * self.delivered.len());
        }
        Ok(())
    }

    /// Forgets rows that do not come again.
    fn forget(&mut self) {
        if let Some((since, newest)) = self.since.zip(self.newest) {
            self.delivered.forget_before(newest.first_again(since));
        }
    }

    fn finish(mut self) -> Result<Fetched, KpiError> {
        self.file.flush().map_err(KpiError::temporary)?;
        // Without `since`, what this pull has not brought is gone.
        if self.since.is_some() {
            self.delivered.extend(std::mem::take(&mut self.known));
            self.forget();
        }
        Ok(Fetched {
            file: self.file,
            is_empty: self.is_empty,
            position: self.newest,
            delivered: self.delivered,
        })
    }
}

/// Sends requests, no more than are allowed.
struct Client<'a> {
    pull: &'a Pull,
    agent: ureq::Agent,
    credentials: Option<(HeaderName, HeaderValue)>,
    next_request: Instant,
}

impl<'a> Client<'a> {
    fn new(pull: &'a Pull) -> Result<Self, KpiError> {
        let agent = agent("pull", pull.ca_file.as_deref()).map_err(KpiError::Usage)?;
        let credentials =
            pull.secret.as_ref().map(credentials).transpose().map_err(KpiError::Usage)?;
        Ok(Self { pull, agent, credentials, next_request: Instant::now() })
    }

    /// Requests an address, again after errors that may pass, and reads the answer.
    fn get<T>(
        &mut self,
        url: &Url,
        timeout: Duration,
        read: impl Fn(Response<Body>) -> Result<T, String>,
    ) -> Result<T, KpiError> {
        let (mut pause, mut tries) = (PAUSE, 1);
        loop {
            let (why, wanted) = match self.send(url, timeout) {
                Ok(answer) if answer.status().is_success() => {
                    if let Some(why) = unreadable(&answer, self.pull.rows.is_none()) {
                        return Err(failed(url, &why));
                    }
                    match read(answer) {
                        Ok(result) => return Ok(result),
                        Err(why) => (why, None),
                    }
                }
                Ok(answer) => {
                    let (status, wanted) = (answer.status(), retry_after(answer.headers()));
                    let why = refusal(answer, &self.secrets(url));
                    let may_pass = status.is_server_error()
                        || matches!(
                            status,
                            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                        );
                    if !may_pass {
                        return Err(failed(url, &why));
                    }
                    (why, wanted)
                }
                Err(error) => (error.to_string(), None),
            };
            let wanted = wanted.unwrap_or(pause);
            if tries == TRIES || wanted > LONGEST_PAUSE {
                return Err(failed(url, &format!("{why}, {tries} times")));
            }
            tracing::warn!(
                "{}: {why}: again in {} s",
                without_secrets(url.as_str()),
                wanted.as_secs()
            );
            thread::sleep(wanted);
            pause *= 2;
            tries += 1;
        }
    }

    /// What a message must not repeat.
    fn secrets(&self, url: &Url) -> Vec<String> {
        let credentials = self.credentials.iter().filter_map(|(_, value)| secret(value));
        secrets(url).into_iter().chain(credentials).collect()
    }

    fn send(&mut self, url: &Url, timeout: Duration) -> Result<Response<Body>, ureq::Error> {
        thread::sleep(self.next_request.saturating_duration_since(Instant::now()));
        self.next_request = Instant::now() + Duration::from_mins(1) / self.pull.requests_per_minute;
        // A header with a secret must not follow a redirect to somebody else.
        let redirects = if self.credentials.is_none() { REDIRECTS } else { 0 };
        let mut request = request(&self.agent, url.as_str(), timeout, redirects);
        if let Some((name, value)) = &self.credentials {
            request = request.header(name, value);
        }
        request.call()
    }
}

fn request(
    agent: &ureq::Agent,
    url: &str,
    timeout: Duration,
    redirects: u32,
) -> RequestBuilder<WithoutBody> {
    let settings = agent.get(url).config().timeout_global(Some(timeout));
    settings.max_redirects(redirects).proxy(ureq::Proxy::try_from_env()).build()
}

/// Downloads a file.
///
/// # Errors
/// There is no answer, or another one than a file.
pub fn download(url: &str) -> Result<ScratchFile, KpiError> {
    let wrong = |why: String| KpiError::Usage(format!("{}: {why}", without_secrets(url)));
    let agent = agent("export", None).map_err(wrong)?;
    let secrets = Url::parse(url).map(|url| secrets(&url)).unwrap_or_default();
    let answer = request(&agent, url, FILE_TIMEOUT, REDIRECTS).call();
    let answer = answer.map_err(|error| wrong(error.to_string()))?;
    if !answer.status().is_success() {
        return Err(wrong(refusal(answer, &secrets)));
    }
    if let Some(why) = unreadable(&answer, true) {
        return Err(wrong(why));
    }
    input::spooled(answer.into_body().into_reader())
}

fn credentials(secret: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    let text = match (&secret.file, &secret.env) {
        (Some(path), _) => std::fs::read_to_string(path)
            .map_err(|error| format!("secret.file {}: {error}", path.display()))?,
        (None, Some(name)) => {
            std::env::var(name).map_err(|error| format!("secret.env {name}: {error}"))?
        }
        (None, None) => String::new(),
    };
    let text = text.trim();
    let (name, text) = match &secret.header {
        Some(header) => {
            let name = header.parse().map_err(|_| format!("secret.header {header}: no name"))?;
            (name, text.to_owned())
        }
        None => (AUTHORIZATION, format!("Bearer {text}")),
    };
    let mut value =
        HeaderValue::from_str(&text).map_err(|_| "the secret cannot be sent in a header")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Returns the headers `Link` of an answer, and its body.
fn read_answer(answer: Response<Body>) -> Result<(String, Vec<u8>), String> {
    let links = links(answer.headers());
    let mut body = answer.into_body();
    let body = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
    Ok((links, body.map_err(|error| error.to_string())?))
}

fn links(headers: &HeaderMap) -> String {
    let all = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    all.collect::<Vec<_>>().join(", ")
}

/// What a server says instead of an answer. Some repeat the request in it, with its `secrets`.
fn refusal(answer: Response<Body>, secrets: &[String]) -> String {
    let status = answer.status();
    let mut said = Vec::new();
    // A message that cannot be read says no more than the status does.
    let _ = answer.into_body().into_reader().take(MESSAGE_BYTES).read_to_end(&mut said);
    mask(&mut said, secrets);
    format!("answers {}: {}", status.as_u16(), error_message(&String::from_utf8_lossy(&said)))
}

/// What may be secret in an address: its query, the values in it as they are sent and as they are meant, and its login.
fn secrets(url: &Url) -> Vec<String> {
    let query = url.query().unwrap_or_default();
    let sent = query.split('&').filter_map(|pair| pair.split_once('='));
    let sent = sent.map(|(_, value)| value.to_owned());
    let meant = url.query_pairs().map(|(_, value)| value.into_owned());
    let login = [url.username(), url.password().unwrap_or_default()].map(str::to_owned);
    sent.chain(meant).chain(login).chain([query.to_owned()]).collect()
}

/// Why an answer is not what was asked for, although the server has no error.
fn unreadable(answer: &Response<Body>, is_file: bool) -> Option<String> {
    if answer.status() == StatusCode::PARTIAL_CONTENT {
        return Some("answers 206: a part, and all was asked for".to_owned());
    }
    let encoding = answer.headers().get(CONTENT_ENCODING)?;
    let encoding = String::from_utf8_lossy(encoding.as_bytes()).to_ascii_lowercase();
    let is_read = match encoding.trim() {
        "" | "identity" => true,
        // Files are decompressed by their first bytes.
        "gzip" | "x-gzip" | "zstd" => is_file,
        _ => false,
    };
    (!is_read)
        .then(|| format!("the answer has Content-Encoding: {encoding}, which was not asked for"))
}

fn failed(url: &Url, why: &str) -> KpiError {
    KpiError::Failed(format!("{}: {why}", without_secrets(url.as_str())))
}

fn parsed(url: &str) -> Result<Url, KpiError> {
    Url::parse(url).map_err(|error| KpiError::Usage(format!("{}: {error}", without_secrets(url))))
}

/// Returns a URL without user, password, query and fragment: signed URLs differ each day, and what is secret stays so.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "address".to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // What cannot have a login has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Returns the address of the next answer; `rows` is how many rows this one has.
fn next(
    pull: &Pull,
    here: &Url,
    answer: &RawValue,
    links: &str,
    rows: usize,
) -> Result<Option<Url>, String> {
    let given = |field: &str| value_at(answer, field).and_then(text);
    match &pull.paging {
        None => Ok(None),
        Some(Paging::Link) => next_link(links).map(|link| join(here, link)).transpose(),
        Some(Paging::Next(field)) => given(field).map(|link| join(here, &link)).transpose(),
        Some(Paging::Cursor { field, parameter }) => {
            Ok(given(field).map(|value| with_parameter(here, parameter, &value)))
        }
        Some(Paging::Number { .. }) if rows == 0 => Ok(None),
        Some(Paging::Number { parameter, first }) => {
            let number = here.query_pairs().find(|(name, _)| name == parameter);
            let number = number.and_then(|(_, value)| value.parse().ok()).unwrap_or(*first);
            Ok(Some(with_parameter(here, parameter, &(number + 1).to_string())))
        }
    }
}

/// Returns a text, or a number as it is written; none if it is empty.
fn text(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok().filter(|text: &String| !text.is_empty()),
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}

/// Returns the target of `rel="next"` in headers `Link` (RFC 8288, 3).
fn next_link(links: &str) -> Option<&str> {
    let is_next = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && value.split_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
        })
    };
    links.split('<').skip(1).find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        parameters.split(';').any(is_next).then_some(target)
    })
}

/// Resolves the address of the next answer. It must be of the same server, which is the one that may know the secret.
fn join(here: &Url, link: &str) -> Result<Url, String> {
    let next = here.join(link).map_err(|error| format!("next answer: {error}"))?;
    if next.origin() == here.origin() {
        Ok(next)
    } else {
        let there = next.origin().ascii_serialization();
        Err(format!("the next answer is at another server, {there}"))
    }
}

fn with_parameter(url: &Url, name: &str, value: &str) -> Url {
    let mut with = url.clone();
    let others: Vec<_> = url.query_pairs().filter(|(known, _)| known != name).collect();
    with.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
    with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_link() {
        for (links, expected) in [
            (
                "<https://a.example/?page=2>; rel=\"next\", <https://a.example/?page=9>; rel=last",
                Some("https://a.example/?page=2"),
            ),
            ("</a,b>; title=\"x\"; REL=\"prev Next\"", Some("/a,b")),
            ("</a>; rel=prev, </b>; rel=next", Some("/b")),
            ("</a>; rel=nextdoor", None),
            ("", None),
        ] {
            assert_eq!(next_link(links), expected, "{links}");
        }
    }

    #[test]
    fn rows_are_found_as_they_came() {
        let body = "{\"a/b\": [0, {\"rows\": [ {\"x\":  1.50,\n\"x\": 2}, [] ]}]}";
        let of = |body| serde_json::from_str::<&RawValue>(body).unwrap();
        let rows = list_at(of(body), "/a~1b/1/rows").unwrap();
        let rows: Vec<_> = rows.into_iter().map(RawValue::get).collect();
        assert_eq!(rows, ["{\"x\":  1.50,\n\"x\": 2}", "[]"]);
        assert_eq!(list_at(of("[]"), "").unwrap().len(), 0);
        for pointer in ["", "/a", "/a~1b/2", "/a~1b/x", "/a~1b/0"] {
            assert!(list_at(of(body), pointer).is_none(), "{pointer}");
        }
        let mut file = RowFile::new(None, None, DeliveredRows::default()).unwrap();
        let keys = ["123456789012345678901", "123456789012345678902"];
        for key in keys {
            let row = RawValue::from_string(format!("{{\"key\": {key}}}")).unwrap();
            file.add(&[&row]).unwrap();
        }
        let written = std::fs::read_to_string(file.finish().unwrap().file.path()).unwrap();
        let expected = keys.map(|key| format!("{{\"key\":{key}}}\n"));
        assert_eq!(written, expected.concat());
    }

    #[test]
    fn cursors_are_as_they_came() {
        for (value, expected) in [
            ("36893488147419103233", Some("36893488147419103233")),
            ("\"a\\u0062\"", Some("ab")),
            ("\"\"", None),
            ("null", None),
            ("[1]", None),
        ] {
            let answer = format!("{{\"next\": {{\"cursor\": {value}}}}}");
            let answer = serde_json::from_str::<&RawValue>(&answer).unwrap();
            let found = value_at(answer, "/next/cursor").and_then(text);
            assert_eq!(found.as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn the_next_answer_is_of_the_same_server() {
        let here: Url = "https://a.example/v1?page=1&limit=5".parse().unwrap();
        assert_eq!(join(&here, "?page=2").unwrap().as_str(), "https://a.example/v1?page=2");
        for other in
            ["http://a.example/v1", "https://a.example:444/", "//b.example/v1", "file:///a"]
        {
            assert!(join(&here, other).is_err(), "{other}");
        }
        let with = with_parameter(&here, "page", "2 & 3");
        assert_eq!(with.as_str(), "https://a.example/v1?limit=5&page=2+%26+3");
    }

    #[test]
    fn positions_are_of_one_order() {
        let parse = |text: &str| Position::parse(&serde_json::from_str(text).unwrap());
        assert!(
            parse("\"2026-03-01T10:00:00+01:00\"").unwrap()
                < parse("\"2026-03-01T09:30:00Z\"").unwrap()
        );
        assert_eq!(parse("\"17\""), parse("17"));
        assert!(parse("\"soon\"").is_err() && parse("1.5").is_err() && parse("null").is_err());
        let future = parse("\"2999-01-01T00:00:00Z\"").unwrap().until_now();
        assert!(future <= Position::Time(crate::clock::now()));
    }

    #[test]
    fn names_of_exports_have_no_secrets() {
        let name =
            without_secrets("https://me:secret@billing.example:8443/export.csv?signature=abc#top");
        assert_eq!(name, "https://billing.example:8443/export.csv");
    }

    #[test]
    fn secrets_of_an_address_are_known() {
        let url: Url = "https://me:pass%2Fword@a.example/v1?apikey=a%20key&page=2".parse().unwrap();
        let secrets = secrets(&url);
        for part in ["a%20key", "a key", "apikey=a%20key&page=2", "pass%2Fword"] {
            assert!(secrets.iter().any(|secret| secret == part), "{part}: {secrets:?}");
        }
    }

    /// A row that the import could not read would stop all later pulls.
    #[test]
    fn a_row_that_is_too_long_is_named_instead() {
        let mut file = RowFile::new(None, None, DeliveredRows::default()).unwrap();
        let row = RawValue::from_string(format!("\"{}\"", "a".repeat(MAX_LINE_BYTES))).unwrap();
        file.add(&[&row]).unwrap();
        let written = std::fs::read_to_string(file.finish().unwrap().file.path()).unwrap();
        assert_eq!(written, "a row: 16777218 bytes, but a row may have 16 MiB\n");
    }
}
