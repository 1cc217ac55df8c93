//! The metrics API: the dictionary, values, lineage and health over HTTP, read only.

use crate::access::{Access, Refusal, Scopes};
use crate::answer::{self, Answer, ChangeAnswer, Health, HealthStatus, Newest, Problem};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi};
use crate::error::KpiError;
use crate::input::hex;
use crate::lineage::{describe, of_kpi};
use crate::metrics::newest_verdicts;
use crate::openapi::{self, DEFAULT_LIMIT, MAX_LIMIT};
use crate::store::{State as Commits, Store};
use crate::values::{ChangeQuestion, Detail, Grain, KpiValue, Question, UTC, Values};
use crate::verdict::Verdict;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dnscribe_admin::exposition;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use url::form_urlencoded;

/// Parts before and after a moment that are compared if the request gives no number.
const DEFAULT_PARTS: usize = 12;
/// Answers that are kept until the values change, and values of all of them together: with slice and reasons, one takes up to some
/// kilobytes.
const CACHED_ANSWERS: usize = 4096;
const CACHED_VALUES: usize = 200_000;
/// Values of an answer that is kept, at most. Of a larger one, each page is made anew.
const CACHED_LENGTH: usize = 10_000;
/// Sums of an answer at most, of all spans and slices: half a gigabyte for as long as it is made.
const MAX_SUMS: usize = 1_000_000;

/// What handlers share.
#[derive(Debug)]
pub struct Service {
    dictionary: Dictionary,
    access: Access,
    store: Store,
    published: RwLock<Arc<Published>>,
}

/// Answers that are kept.
#[derive(Debug, Default)]
struct Answers {
    /// By KPI and question.
    all: HashMap<(String, Question), Arc<[KpiValue]>>,
    /// Values of all of them.
    values: usize,
}

impl Answers {
    /// Keeps an answer, in place of all others if they would be too many.
    fn add(&mut self, key: (String, Question), answer: &Arc<[KpiValue]>) {
        if answer.len() > CACHED_LENGTH {
            return;
        }
        if self.all.len() >= CACHED_ANSWERS || self.values + answer.len() > CACHED_VALUES {
            *self = Self::default();
        }
        self.values += answer.len();
        if let Some(known) = self.all.insert(key, Arc::clone(answer)) {
            self.values -= known.len();
        }
    }
}

/// Values of one commit, and answers made of them.
#[derive(Debug, Default)]
struct Published {
    values: Values,
    commits: Commits,
    answers: RwLock<Answers>,
    /// What the rules say, by KPI of the dictionary, once somebody has asked.
    verdicts: OnceLock<Vec<Vec<Verdict>>>,
}

impl Service {
    /// Opens the values of a store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        store: Store,
        dictionary: Dictionary,
        access: Access,
        detail: Detail,
    ) -> Result<Self, KpiError> {
        let commits = store.state().await?;
        let values = Values::load(&store, &commits, detail).await?;
        let published = Published { values, commits, ..Published::default() };
        Ok(Self { dictionary, access, store, published: RwLock::new(Arc::new(published)) })
    }

    fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes what has been committed since the last call.
    ///
    /// # Errors
    /// The store cannot be read; what was published stays.
    pub async fn refresh(&self) -> Result<(), KpiError> {
        let old = self.published();
        let mut commits = old.commits.clone();
        if !self.store.refresh(&mut commits).await? {
            return Ok(());
        }
        let mut values = old.values.clone();
        values.refresh(&self.store, &commits).await?;
        let published = Published { values, commits, ..Published::default() };
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(published);
        Ok(())
    }

    /// Routes of the API and of the page.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/openapi.json", get(document))
            .route("/metrics", get(metrics))
            .route("/v1/health", get(health))
            .route("/v1/kpis", get(kpis))
            .route("/v1/kpis/{name}", get(values))
            .route("/v1/kpis/{name}/change", get(change))
            .route("/v1/kpis/{name}/lineage", get(lineage))
            .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is no such resource") })
            .method_not_allowed_fallback(|| async {
                problem(StatusCode::METHOD_NOT_ALLOWED, "the API is read only: use GET")
            })
            .with_state(self)
    }
}

impl FromRequestParts<Arc<Service>> for Scopes {
    type Rejection = Response;

    /// Returns what the request's token may read.
    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, Response> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let header = header.and_then(|value| value.to_str().ok());
        service.access.scopes(header).map_err(refuse)
    }
}

/// The KPI of the path, which the request's token may read.
struct AllowedKpi {
    service: Arc<Service>,
    index: usize,
}

impl AllowedKpi {
    fn kpi(&self) -> &Kpi {
        &self.service.dictionary.kpis[self.index]
    }
}

impl FromRequestParts<Arc<Service>> for AllowedKpi {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<Service>,
    ) -> Result<Self, Response> {
        let scopes = Scopes::from_request_parts(parts, service).await?;
        let name = Path::<String>::from_request_parts(parts, service).await;
        let refuse_path = |path: PathRejection| problem(path.status(), &path.body_text());
        let Path(name) = name.map_err(refuse_path)?;
        let kpis = &service.dictionary.kpis;
        let index = kpis
            .iter()
            .position(|kpi| kpi.name == name)
            .ok_or_else(|| problem(StatusCode::NOT_FOUND, &format!("there is no KPI {name}")))?;
        if scopes.allow(&kpis[index].family) {
            Ok(Self { service: Arc::clone(service), index })
        } else {
            Err(refuse(Refusal::Forbidden))
        }
    }
}

/// Makes an answer of RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = Problem {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or("error"),
        status: status.as_u16(),
        detail,
    };
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, json!(body).to_string()).into_response()
}

fn refuse(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unauthorized => {
            let detail = "give a token: Authorization: Bearer TOKEN";
            let mut response = problem(StatusCode::UNAUTHORIZED, detail);
            let challenge = HeaderValue::from_static("Bearer realm=\"dnscribe-kpi\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        Refusal::Forbidden => {
            problem(StatusCode::FORBIDDEN, "the token's scopes do not include this KPI's family")
        }
        Refusal::TooMany => {
            let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "ask again in a second");
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

fn bad_request(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, detail)
}

fn json_response(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, crate::report::CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, crate::report::PAGE).into_response()
}

async fn document(State(service): State<Arc<Service>>) -> Response {
    json_response(&openapi::document(&service.dictionary))
}

async fn health(State(service): State<Arc<Service>>) -> Response {
    let published = service.published();
    let newest = published.values.newest.iter();
    let sources = newest
        .map(|(table, at)| (table.name(), Newest { newest: *at, age_seconds: age_seconds(*at) }))
        .collect();
    let incomplete = published.commits.days.values().filter(|day| !day.incomplete.is_empty());
    let (as_of, span) = (published.values.as_of, published.values.span());
    json_response(&Health {
        status: if as_of.is_some() { HealthStatus::Ok } else { HealthStatus::NoValues },
        as_of,
        commit: published.values.number,
        days: published.commits.days.len(),
        first_day: span.map(|(first, _)| first),
        last_day: span.map(|(_, last)| last),
        incomplete_days: incomplete.count(),
        imports: published.commits.imports.len(),
        rejected_rows: published.commits.rejected_rows(),
        sources,
    })
}

async fn metrics(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    scopes: Scopes,
) -> Response {
    let Published { values, commits, .. } = &*service.published();
    let allows = |family: &str| scopes.allow(family);
    let page = crate::metrics::page(&service.dictionary, values, commits, allows);
    exposition(&headers, page)
}

async fn kpis(State(service): State<Arc<Service>>, scopes: Scopes) -> Response {
    let published = service.published();
    let verdicts = tokio::task::block_in_place(|| {
        published.verdicts.get_or_init(|| {
            let kpis = service.dictionary.kpis.iter();
            kpis.map(|kpi| newest_verdicts(&service.dictionary, &published.values, kpi)).collect()
        })
    });
    let kpis = service.dictionary.kpis.iter().zip(verdicts);
    let allowed = kpis.filter(|(kpi, _)| scopes.allow(&kpi.family));
    let described = allowed.map(|(kpi, verdicts)| describe(&service.dictionary, kpi, verdicts));
    json_response(&answer::Dictionary { kpis: described.collect() })
}

async fn lineage(allowed: AllowedKpi) -> Response {
    let Published { commits, .. } = &*allowed.service.published();
    json_response(&of_kpi(&allowed.service.dictionary, allowed.kpi(), commits))
}

async fn values(allowed: AllowedKpi, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let (service, kpi) = (&allowed.service, allowed.kpi());
    let dimensions = service.dictionary.dimensions(kpi);
    let asked = match Asked::parse(query.as_deref().unwrap_or(""), &dimensions) {
        Ok(asked) => asked,
        Err(detail) => return bad_request(&detail),
    };
    let published = service.published();
    let fits = asked.question.check_grain(service.dictionary.grain(kpi));
    if let Err(detail) = fits.and_then(|()| asked.question.check_length(published.values.span())) {
        return bad_request(&detail);
    }
    // A percentile over many days takes seconds, in which other requests are answered.
    let found = tokio::task::block_in_place(|| answer(service, &published, kpi, &asked));
    let (values, first, count) = match found {
        Ok(found) => found,
        Err(detail) => return bad_request(&detail),
    };
    let rest = values.get(asked.offset.saturating_sub(first)..).unwrap_or_default();
    let page = &rest[..rest.len().min(asked.limit)];
    let etag = etag(&service.dictionary, published.values.as_of, page);
    let is_known = |known: &HeaderValue| {
        let mut tags = known.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    };
    if headers.get_all(header::IF_NONE_MATCH).iter().any(is_known) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let next = asked.offset.saturating_add(asked.limit);
    let newest = published.values.newest_of(&service.dictionary, kpi);
    let mut response = json_response(&Answer {
        kpi: &kpi.name,
        unit: &kpi.unit,
        grain: asked.question.grain,
        time_zone: &asked.question.time_zone,
        as_of: published.values.as_of,
        freshness_seconds: newest.map(age_seconds),
        lineage: format!("/v1/kpis/{}/lineage", kpi.name),
        next_offset: Some(next).filter(|next| *next < count),
        values: page,
    });
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// Tag of an answer, which changes with its values, also where those of another store or time zone have the same number.
fn etag(dictionary: &Dictionary, as_of: Option<jiff::Timestamp>, values: &[KpiValue]) -> String {
    let mut hash = Sha256::new_with_prefix(&dictionary.sha256);
    hash.update(json!((as_of, values)).to_string());
    format!("\"{}\"", &hex(&hash.finalize())[..32])
}

async fn change(allowed: AllowedKpi, RawQuery(query): RawQuery) -> Response {
    let (service, kpi) = (&allowed.service, allowed.kpi());
    let asked = asked_change(&service.dictionary, kpi, query.as_deref().unwrap_or(""));
    let asked = match asked {
        Ok(asked) => asked,
        Err(detail) => return bad_request(&detail),
    };
    let published = service.published();
    let change =
        tokio::task::block_in_place(|| published.values.change(&service.dictionary, kpi, &asked));
    json_response(&ChangeAnswer {
        kpi: &kpi.name,
        unit: &kpi.unit,
        grain: asked.question.grain,
        at: asked.at,
        as_of: published.values.as_of,
        change,
    })
}

/// Reads the parameters of a comparison: `at`, `parts`, and those of a question.
fn asked_change(dictionary: &Dictionary, kpi: &Kpi, query: &str) -> Result<ChangeQuestion, String> {
    let (mut at, mut parts, mut has_grain) = (None, DEFAULT_PARTS, false);
    refuse_unclear(query)?;
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "at" => {
                let bad = |_| format!("at {value}: give a time such as 2026-11-21T10:00:00Z");
                let time: jiff::Timestamp = value.parse().map_err(bad)?;
                plausible("at", crate::facts::day_of(time.as_microsecond()))?;
                at = Some(time);
            }
            "parts" => parts = value.parse().map_err(|_| "parts: not a number")?,
            "from" | "to" | "date" | "limit" | "offset" => {
                return Err(format!("unknown parameter {name}"));
            }
            _ => {
                has_grain |= name == "grain";
                rest.append_pair(&name, &value);
            }
        }
    }
    if !has_grain {
        rest.append_pair("grain", dictionary.grain(kpi).name());
    }
    let Asked { question, .. } = Asked::parse(&rest.finish(), &dictionary.dimensions(kpi))?;
    let at = at.ok_or("at: give the time that before and after are divided by")?;
    let asked = ChangeQuestion { at, parts, question };
    asked.check(dictionary, kpi)?;
    Ok(asked)
}

/// Returns the seconds since a time.
fn age_seconds(at: jiff::Timestamp) -> i64 {
    crate::clock::now().as_second().saturating_sub(at.as_second()).max(0)
}

/// Answers a question: with all values, or if these are too many to be kept with those of the page; with the number of those before them,
/// and of all.
fn answer(
    service: &Service,
    published: &Published,
    kpi: &Kpi,
    asked: &Asked,
) -> Result<(Arc<[KpiValue]>, usize, usize), String> {
    let key = (kpi.name.clone(), asked.question.clone());
    let cached = published.answers.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = cached.all.get(&key) {
        return Ok((Arc::clone(answer), 0, answer.len()));
    }
    drop(cached);
    let choose = |count: usize| match count {
        0..=CACHED_LENGTH => 0..count,
        _ => asked.offset..asked.offset.saturating_add(asked.limit),
    };
    let dictionary = &service.dictionary;
    let page = published.values.page(dictionary, kpi, &asked.question, MAX_SUMS, choose)?;
    let first = choose(page.count).start;
    let values: Arc<[_]> = page.values.into();
    if values.len() == page.count {
        let mut answers = published.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.add(key, &values);
    }
    Ok((values, first, page.count))
}

/// Parameters of a request for values.
#[derive(Debug)]
struct Asked {
    question: Question,
    limit: usize,
    offset: usize,
}

impl Asked {
    fn parse(query: &str, dimensions: &[&str]) -> Result<Self, String> {
        let mut question = Question {
            from: None,
            to: None,
            grain: Grain::Day,
            time_zone: UTC.to_owned(),
            by: Vec::new(),
            filter: BTreeMap::new(),
        };
        let (mut limit, mut offset) = (DEFAULT_LIMIT, 0);
        refuse_unclear(query)?;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "date" => {
                    question.from = Some(day(&name, &value)?);
                    question.to = question.from;
                }
                "from" => question.from = Some(day(&name, &value)?),
                "to" => question.to = Some(day(&name, &value)?),
                "grain" => {
                    let names = Grain::NAMES.map(|(name, _)| name).join(", ");
                    let unknown = || format!("grain {value}: choose from {names}");
                    question.grain = Grain::parse(&value).ok_or_else(unknown)?;
                }
                "time_zone" => question.time_zone = value.into_owned(),
                "by" => {
                    for one in value.split(',').filter(|one| !one.is_empty()) {
                        question.by.push(dimension(one, dimensions)?);
                    }
                }
                "filter" => {
                    for pair in list(&value).iter().filter(|pair| !pair.is_empty()) {
                        let parts = pair.split_once(['=', ':']);
                        let (name, value) = parts.ok_or("filter: give DIMENSION=VALUE,...")?;
                        let name = dimension(name, dimensions)?;
                        question.filter.entry(name).or_default().push(value.to_owned());
                    }
                }
                "limit" => {
                    let number: usize = value.parse().map_err(|_| "limit: not a number")?;
                    if !(1..=MAX_LIMIT).contains(&number) {
                        return Err(format!("limit: give 1 to {MAX_LIMIT}"));
                    }
                    limit = number;
                }
                "offset" => offset = value.parse().map_err(|_| "offset: not a number")?,
                _ => return Err(format!("unknown parameter {name}")),
            }
        }
        if let (Some(from), Some(to)) = (question.from, question.to)
            && from > to
        {
            return Err(format!("from {from} is after to {to}"));
        }
        Ok(Self { question, limit, offset })
    }
}

/// Divides a list at its commas, as a record of CSV: quotes keep together what has some.
fn list(text: &str) -> csv::StringRecord {
    let mut builder = csv::ReaderBuilder::new();
    let builder = builder.has_headers(false).terminator(csv::Terminator::Any(0));
    let mut record = csv::StringRecord::new();
    // Reading memory cannot fail, and the text is UTF-8.
    let _ = builder.from_reader(text.as_bytes()).read_record(&mut record);
    record
}

/// Refuses parameters that contradict each other.
fn refuse_unclear(query: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(name) = seen.replace(name) {
            return Err(format!("{name} is given twice"));
        }
    }
    if seen.contains("date") && (seen.contains("from") || seen.contains("to")) {
        return Err("date is one day: leave out from and to, or date".to_owned());
    }
    Ok(())
}

fn day(name: &str, text: &str) -> Result<Date, String> {
    let bad = |_| format!("{name} {text}: give a day such as 2026-11-21");
    // A time stands for its day in UTC.
    let day = match text.parse::<jiff::Timestamp>() {
        Ok(time) => crate::facts::day_of(time.as_microsecond()),
        Err(_) => text.parse::<Date>().map_err(bad)?,
    };
    plausible(name, day)
}

/// Refuses days far from any fact: their times in other zones may have no number.
fn plausible(name: &str, day: Date) -> Result<Date, String> {
    match day.year() {
        1900..=2200 => Ok(day),
        _ => Err(format!("{name} {day}: only days of the years 1900 to 2200 are answered")),
    }
}

fn dimension(name: &str, has: &[&str]) -> Result<String, String> {
    if has.contains(&name) {
        return Ok(name.to_owned());
    }
    let problem =
        if DIMENSIONS.contains(&name) { "this KPI has no dimension" } else { "unknown dimension" };
    Err(format!("{problem} {name}: choose from {}", has.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_questions() {
        let asked = Asked::parse(
            "from=2026-01-01&to=2026-01-31T23%3A59%3A59Z&grain=week&by=tld,country&filter=tld%3Dcom,tld=net&limit=5",
            &["tld", "country"],
        )
        .unwrap();
        assert_eq!(asked.question.by, ["tld", "country"]);
        assert_eq!(asked.question.filter["tld"], ["com", "net"]);
        assert_eq!(asked.question.to.unwrap().to_string(), "2026-01-31");
        assert_eq!((asked.limit, asked.offset, asked.question.grain), (5, 0, Grain::Week));
        let filter = |text: &str| {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("filter", text)
                .finish();
            Asked::parse(&query, &["channel", "tld"]).unwrap().question.filter
        };
        let quoted = filter(r#""channel=a,b",tld=com,"channel=say ""hi""",channel=c d"#);
        assert_eq!(quoted["channel"], ["a,b", "say \"hi\"", "c d"]);
        assert_eq!(quoted["tld"], ["com"]);
        assert_eq!(filter(""), BTreeMap::new());
        for bad in [
            "from=soon",
            "grain=minute",
            "by=colour",
            "by=tier",
            "filter=tld",
            "a=b",
            "from=2026-02-01&to=2026-01-01",
            "date=2026-01-01&from=2026-01-01",
            "to=2026-01-01&date=2026-01-01",
            "from=2026-01-01&from=2026-01-02",
            "by=tld&by=tld",
            "limit=0",
            "limit=10001",
        ] {
            assert!(Asked::parse(bad, &["tld"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn kept_answers_are_bounded_by_their_values() {
        let none = || Asked::parse("", &[]).unwrap().question;
        let mut answers = Answers::default();
        let mut add = |number: usize, count: usize| {
            let value = KpiValue {
                from: Date::MIN,
                to: Date::MIN,
                start: None,
                end: None,
                value: json!(1),
                state: crate::values::ValueState::Provisional,
                by: BTreeMap::new(),
                open_until: None,
                adjustment: None,
                restatement: None,
                earlier_restatements: Vec::new(),
                reasons: Vec::new(),
                notes: Vec::new(),
                rejected_rows: 0,
            };
            answers.add((number.to_string(), none()), &vec![value; count].into());
            (answers.all.len(), answers.values)
        };
        assert_eq!(add(0, CACHED_LENGTH + 1), (0, 0), "it is too long");
        let most = CACHED_VALUES / CACHED_LENGTH;
        for number in 0..most {
            assert_eq!(add(number, CACHED_LENGTH), (number + 1, (number + 1) * CACHED_LENGTH));
        }
        assert_eq!(add(0, CACHED_LENGTH), (1, CACHED_LENGTH));
        assert_eq!(add(0, 1), (1, 1), "one question has one answer");
    }
}
