//! The metrics API: the dictionary, values, lineage and health over HTTP, read only.

use crate::access::{Access, Refusal, Scopes};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi};
use crate::error::KpiError;
use crate::lineage::describe;
use crate::metrics::newest_verdicts;
use crate::openapi;
use crate::store::{State as Commits, Store};
use crate::values::{ChangeQuestion, Detail, Grain, KpiValue, Question, UTC, Values};
use crate::verdict::Verdict;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use url::form_urlencoded;

/// Values in one answer if the request gives no limit, and at most.
const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;
/// Parts before and after a moment that are compared if the request gives no number.
const DEFAULT_PARTS: usize = 12;
/// Answers that are kept until the values change.
const CACHED_ANSWERS: usize = 4096;

/// What handlers share.
#[derive(Debug)]
pub struct Service {
    dictionary: Dictionary,
    access: Access,
    store: Store,
    published: RwLock<Arc<Published>>,
}

/// Values of one commit, and answers made of them.
#[derive(Debug, Default)]
struct Published {
    values: Values,
    commits: Commits,
    answers: RwLock<HashMap<(String, Question), Arc<Answer>>>,
    /// What the rules say, by KPI of the dictionary, once somebody has asked.
    verdicts: OnceLock<Vec<Vec<Verdict>>>,
}

/// Answer to a question about a KPI.
#[derive(Debug, Serialize)]
struct Answer {
    kpi: String,
    unit: String,
    grain: Grain,
    as_of: Option<jiff::Timestamp>,
    #[serde(skip)]
    newest: Option<jiff::Timestamp>,
    values: Vec<KpiValue>,
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

    fn scopes(&self, headers: &HeaderMap) -> Result<Scopes, Box<Response>> {
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        self.access.scopes(header).map_err(|refusal| Box::new(refuse(refusal)))
    }

    fn kpi(&self, headers: &HeaderMap, name: &str) -> Result<&Kpi, Box<Response>> {
        let scopes = self.scopes(headers)?;
        let unknown =
            || Box::new(problem(StatusCode::NOT_FOUND, &format!("there is no KPI {name}")));
        let kpi = self.dictionary.kpi(name).ok_or_else(unknown)?;
        if scopes.allow(&kpi.family) { Ok(kpi) } else { Err(Box::new(refuse(Refusal::Forbidden))) }
    }
}

/// Makes an answer of RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, kind, body.to_string()).into_response()
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
    let now = crate::clock::now();
    let age = |at: &jiff::Timestamp| now.as_second().saturating_sub(at.as_second()).max(0);
    let newest: BTreeMap<_, _> = published
        .values
        .newest
        .iter()
        .map(|(table, at)| (table.name(), json!({"newest": at, "age_seconds": age(at)})))
        .collect();
    let incomplete =
        published.commits.days.iter().filter(|(_, day)| !day.incomplete.is_empty()).count();
    let is_current = published.values.as_of.is_some();
    json_response(&json!({
        "status": if is_current { "ok" } else { "no_values" },
        "as_of": published.values.as_of,
        "commit": published.values.number,
        "days": published.commits.days.len(),
        "incomplete_days": incomplete,
        "imports": published.commits.imports.len(),
        "rejected_rows": published.commits.rejected_rows(),
        "sources": newest,
    }))
}

async fn metrics(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let scopes = match service.scopes(&headers) {
        Ok(scopes) => scopes,
        Err(response) => return *response,
    };
    let Published { values, commits, .. } = &*service.published();
    let allows = |family: &str| scopes.allow(family);
    let page = crate::metrics::page(&service.dictionary, values, commits, allows);
    ([(header::CONTENT_TYPE, dnscribe_admin::text::CONTENT_TYPE)], page).into_response()
}

async fn kpis(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let scopes = match service.scopes(&headers) {
        Ok(scopes) => scopes,
        Err(response) => return *response,
    };
    let published = service.published();
    let kpis: Vec<Value> = tokio::task::block_in_place(|| {
        let verdicts = published.verdicts.get_or_init(|| {
            let kpis = service.dictionary.kpis.iter();
            kpis.map(|kpi| newest_verdicts(&service.dictionary, &published.values, kpi)).collect()
        });
        let kpis = service.dictionary.kpis.iter().zip(verdicts);
        let allowed = kpis.filter(|(kpi, _)| scopes.allow(&kpi.family));
        let item = |(kpi, verdicts): (&Kpi, &Vec<Verdict>)| {
            let mut item = describe(&service.dictionary, kpi);
            item["verdicts"] = json!(verdicts);
            item
        };
        allowed.map(item).collect()
    });
    json_response(&json!({ "kpis": kpis }))
}

async fn lineage(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    match service.kpi(&headers, &name) {
        Ok(kpi) => {
            let published = service.published();
            json_response(&crate::lineage::of_kpi(&service.dictionary, kpi, &published.commits))
        }
        Err(response) => *response,
    }
}

async fn values(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let kpi = match service.kpi(&headers, &name) {
        Ok(kpi) => kpi,
        Err(response) => return *response,
    };
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
    let etag = format!("\"{}-{}\"", published.values.number, &service.dictionary.sha256[..8]);
    let is_known = |known: &HeaderValue| known.to_str().is_ok_and(|known| known.contains(&etag));
    if headers.get_all(header::IF_NONE_MATCH).iter().any(is_known) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    // A percentile over many days takes seconds, in which other requests are answered.
    let answer = tokio::task::block_in_place(|| answer(&service, &published, kpi, &asked.question));
    let page = answer.values.iter().skip(asked.offset).take(asked.limit);
    let next = asked.offset + asked.limit;
    let now = crate::clock::now();
    let mut body = json!({
        "kpi": answer.kpi,
        "unit": answer.unit,
        "grain": answer.grain,
        "time_zone": asked.question.time_zone,
        "as_of": answer.as_of,
        "freshness_seconds": answer.newest.map(|at| now.as_second().saturating_sub(at.as_second()).max(0)),
        "lineage": format!("/v1/kpis/{name}/lineage"),
        "values": page.collect::<Vec<_>>(),
    });
    if next < answer.values.len() {
        body["next_offset"] = json!(next);
    }
    let mut response = json_response(&body);
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

async fn change(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let kpi = match service.kpi(&headers, &name) {
        Ok(kpi) => kpi,
        Err(response) => return *response,
    };
    let asked = asked_change(&service.dictionary, kpi, query.as_deref().unwrap_or(""));
    let asked = match asked {
        Ok(asked) => asked,
        Err(detail) => return bad_request(&detail),
    };
    let published = service.published();
    let change =
        tokio::task::block_in_place(|| published.values.change(&service.dictionary, kpi, &asked));
    json_response(&json!({
        "kpi": kpi.name, "unit": kpi.unit, "grain": asked.question.grain, "at": asked.at,
        "as_of": published.values.as_of, "change": change,
    }))
}

/// Reads the parameters of a comparison: `at`, `parts`, and those of a question.
fn asked_change(dictionary: &Dictionary, kpi: &Kpi, query: &str) -> Result<ChangeQuestion, String> {
    let (mut at, mut parts, mut has_grain) = (None, DEFAULT_PARTS, false);
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "at" => {
                let bad = |_| format!("at {value}: give a time such as 2026-11-21T10:00:00Z");
                at = Some(value.parse().map_err(bad)?);
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

fn answer(service: &Service, published: &Published, kpi: &Kpi, question: &Question) -> Arc<Answer> {
    let key = (kpi.name.clone(), question.clone());
    let cached = published.answers.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = cached.get(&key) {
        return Arc::clone(answer);
    }
    drop(cached);
    let answer = Arc::new(Answer {
        kpi: kpi.name.clone(),
        unit: kpi.unit.clone(),
        grain: question.grain,
        as_of: published.values.as_of,
        newest: published.values.newest_of(&service.dictionary, kpi),
        values: published.values.answer(&service.dictionary, kpi, question),
    });
    let mut answers = published.answers.write().unwrap_or_else(PoisonError::into_inner);
    if answers.len() >= CACHED_ANSWERS {
        answers.clear();
    }
    answers.insert(key, Arc::clone(&answer));
    answer
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
                    for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                        let parts = pair.split_once(['=', ':']);
                        let (name, value) = parts.ok_or("filter: give DIMENSION=VALUE,...")?;
                        let name = dimension(name, dimensions)?;
                        question.filter.entry(name).or_default().push(value.to_owned());
                    }
                }
                "limit" => {
                    let number: usize = value.parse().map_err(|_| "limit: not a number")?;
                    limit = number.clamp(1, MAX_LIMIT);
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

fn day(name: &str, text: &str) -> Result<Date, String> {
    let bad = |_| format!("{name} {text}: give a day such as 2026-11-21");
    // A time stands for its day in UTC.
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(crate::facts::day_of(time.as_microsecond())),
        Err(_) => text.parse::<Date>().map_err(bad),
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
        for bad in [
            "from=soon",
            "grain=minute",
            "by=colour",
            "by=tier",
            "filter=tld",
            "a=b",
            "from=2026-02-01&to=2026-01-01",
        ] {
            assert!(Asked::parse(bad, &["tld"]).is_err(), "{bad}");
        }
    }
}
