//! Pulls: from an API with pages, a secret and a limit of its rate, and from a real S3-compatible server.

use crate::storage::Gateway;
use crate::world::{World, event};
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt::Display;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOKEN: &str = "a token of the tests";
const SOURCE: &str = "registry";

/// What the API has, and what it was asked.
#[derive(Default)]
struct Ledger {
    events: Vec<Value>,
    /// Answers that come instead: status, headers, body.
    instead: VecDeque<(u16, String, String)>,
    /// Targets of requests.
    asked: Vec<String>,
}

/// An API of a registry: two events a page, in order of their times, to those who know the token.
struct Api {
    address: String,
    ledger: Arc<Mutex<Ledger>>,
}

impl Api {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ledger = Arc::<Mutex<Ledger>>::default();
        let shared = Arc::clone(&ledger);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&stream.unwrap(), &mut shared.lock().unwrap());
            }
        });
        Self { address, ledger }
    }

    fn add(&self, numbers: impl IntoIterator<Item = u32>) {
        let row = |number: u32| {
            let at = format!("2026-03-{number:02}T10:00:00Z");
            let mut row = event(number, "registration_completed", &at, json!({}));
            row["source_system"] = json!(SOURCE);
            row
        };
        self.ledger.lock().unwrap().events.extend(numbers.into_iter().map(row));
    }

    fn instead(&self, status: u16, headers: &str, body: &impl Display) {
        let answer = (status, headers.to_owned(), body.to_string());
        self.ledger.lock().unwrap().instead.push_back(answer);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.ledger.lock().unwrap().asked)
    }
}

fn answer(stream: &TcpStream, ledger: &mut Ledger) {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let Some(request) = lines.next() else { return };
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let target = request.split(' ').nth(1).unwrap().to_owned();
    let authorized = format!("authorization: bearer {TOKEN}");
    let is_known = head.iter().any(|line| line.to_lowercase() == authorized);
    let (status, headers, body) = match ledger.instead.pop_front() {
        Some(answer) => answer,
        None if !is_known => (401, String::new(), json!({"error": "who are you?"}).to_string()),
        None => {
            let (links, page) = page(&target, &ledger.events);
            (200, links, page.to_string())
        }
    };
    ledger.asked.push(target);
    let length = body.len();
    write!(&*stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}").unwrap();
}

/// Returns headers and body of an answer: the next one begins at `cursor`, or is named as the path says.
fn page(target: &str, events: &[Value]) -> (String, Value) {
    let url = url::Url::parse(&format!("http://api{target}")).unwrap();
    let parameter = |wanted: &str| {
        url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    assert_eq!(parameter("kind").as_deref(), Some("all"), "{target}");
    let after = parameter("after").unwrap_or_default();
    let number: usize = parameter("page").map_or(1, |page| page.parse().unwrap());
    let at = parameter("cursor").map_or(2 * (number - 1), |cursor| cursor.parse().unwrap());
    let found: Vec<_> =
        events.iter().filter(|row| row["event_ts"].as_str().unwrap() >= &*after).collect();
    let next = (at + 2 < found.len()).then(|| at + 2);
    let rows: Vec<_> = found.into_iter().skip(at).take(2).collect();
    let mut page = json!({"data": {"items": rows}});
    let address = next.map(|next| format!("{}?kind=all&cursor={next}", url.path()));
    match (url.path(), &address) {
        ("/v1/endless", _) => {
            return (String::new(), json!({"data": {"items": []}, "next": at + 1}));
        }
        ("/v1/drops", _) => {
            return (String::new(), json!({"data": {"items": [events[0]]}, "next": at + 1}));
        }
        ("/v1/links", Some(address)) => {
            return (format!("Link: </>; rel=first, <{address}>; rel=\"next\"\r\n"), page);
        }
        ("/v1/addresses", _) => page["next"] = json!(address),
        ("/v1/events", _) => page["next"] = json!(next),
        _ => {}
    }
    (String::new(), page)
}

/// A store whose source is pulled from an address.
struct Pulled {
    world: World,
    config: String,
}

impl Pulled {
    fn new(world: World, pull: &str) -> Self {
        let config = world.path("kpi.yaml").to_str().unwrap().to_owned();
        fs::write(world.path("token"), TOKEN).unwrap();
        let text = format!(
            "version: 1\nsources:\n  - {{ name: {SOURCE}, types: [\"registration_*\"], first_day: 2026-03-01,\n      pull: {pull} }}\n"
        );
        fs::write(&config, text).unwrap();
        Self { world, config }
    }

    fn of(api: &Api) -> Self {
        Self::paged(api, "events", "{ cursor: { field: /next, parameter: cursor } }")
    }

    fn paged(api: &Api, path: &str, paging: &str) -> Self {
        let address = &api.address;
        Self::new(
            World::with_kpis(&["duplicate_ratio", "raw_events", "registrations"]),
            &format!(
                "{{ url: 'http://{address}/v1/{path}?kind=all', rows: /data/items, secret: {{ file: token }},\n      \
                 paging: {paging}, requests_per_minute: 6000,\n      \
                 since: {{ parameter: after, field: /event_ts, overlap: 1h }} }}"
            ),
        )
    }

    fn run(&self, words: &[&str]) -> Output {
        self.world.run(&[&["--config", &self.config, "pull"], words].concat())
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a pull that must fail says.
    fn error(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn registrations(&self) -> Vec<Value> {
        self.world.ok(&["--config", &self.config, "compute"]);
        self.values("registrations")
    }

    /// Computed values of a KPI by day.
    fn values(&self, kpi: &str) -> Vec<Value> {
        let server = self.world.serve(&["--no-auth"]);
        World::values(&server, &format!("/v1/kpis/{kpi}?from=2026-03-01&to=2026-03-09"))
            .values()
            .map(|value| value["value"].clone())
            .filter(|value| !value.is_null())
            .collect()
    }
}

#[test]
fn only_what_is_new_is_asked_for() {
    let api = Api::start();
    let store = Pulled::of(&api);
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
    api.add(1..=5);
    let text = store.ok(&[]);
    assert!(text.contains("5 rows, 5 accepted, 0 rejected"), "{text}");
    assert!(text.starts_with(&format!("http://{}/v1/events (JSON)", api.address)), "{text}");
    let asked = api.asked();
    let expected = ["?kind=all", "?kind=all", "?kind=all&cursor=2", "?kind=all&cursor=4"];
    assert_eq!(asked, expected.map(|query| format!("/v1/events{query}")));

    // The newest row is asked for again, and changes nothing.
    assert_eq!(store.ok(&["registry"]), "registry: nothing new\n");
    let hour_before = "after=2026-03-05T09%3A00%3A00Z";
    assert_eq!(api.asked(), [format!("/v1/events?kind=all&{hour_before}")]);
    for day in 6..=8 {
        api.add([day]);
        assert!(store.ok(&[]).contains("1 rows, 1 accepted"));
    }
    let asked = api.asked();
    assert!(asked.contains(&format!("/v1/events?kind=all&{hour_before}")), "{asked:?}");
    assert_eq!(store.registrations(), [1; 8]);
    assert_eq!(store.values("raw_events"), [1; 8]);
    assert_eq!(store.values("duplicate_ratio"), [0.0; 8]);

    // A row that the source has twice came twice.
    api.add([8, 9]);
    assert!(store.ok(&[]).contains("2 rows, 2 accepted"));
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
    assert_eq!(store.registrations(), [1; 9]);
    assert_eq!(store.values("raw_events"), [1, 1, 1, 1, 1, 1, 1, 2, 1]);
    // So did one that has changed.
    api.ledger.lock().unwrap().events[9]["country"] = json!("FR");
    assert!(store.ok(&[]).contains("1 rows, 1 accepted"));
    assert_eq!(store.world.files("pulls").len(), 1, "only the newest file");

    let all = store.ok(&["--from-beginning"]);
    assert!(all.contains("10 rows, 10 accepted"), "{all}");
    assert_eq!(store.registrations(), [1; 9]);
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
}

/// A row with another hash would be imported twice, and one that is not known be left out.
#[test]
fn damaged_hashes_of_delivered_rows_are_refused() {
    let api = Api::start();
    let store = Pulled::of(&api);
    api.add(1..=3);
    store.ok(&[]);
    let folder = store.world.path("data").join("pulls");
    let file = store.world.files("pulls").pop_first().unwrap();
    let mut hashes = fs::read(folder.join(&file)).unwrap();
    hashes[0] = if hashes[0] == b'0' { b'1' } else { b'0' };
    fs::write(folder.join(file), hashes).unwrap();
    let said = store.error(&[]);
    assert!(said.contains("damaged: pull --from-beginning"), "{said}");
    assert_eq!(store.registrations(), [1; 3]);
}

#[test]
fn sources_without_times_are_fetched_whole_and_count_once() {
    let api = Api::start();
    let address = &api.address;
    let store = Pulled::new(
        World::with_kpis(&["raw_events", "registrations"]),
        &format!(
            "{{ url: 'http://{address}/v1/events?kind=all', rows: /data/items, secret: {{ file: token }},\n      \
             paging: {{ cursor: {{ field: /next, parameter: cursor }} }}, requests_per_minute: 6000 }}"
        ),
    );
    api.add(1..=3);
    assert!(store.ok(&[]).contains("3 rows, 3 accepted"));
    api.add(4..=4);
    assert!(store.ok(&[]).contains("1 rows, 1 accepted"));
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
    assert_eq!(store.registrations(), [1; 4]);
    assert_eq!(store.values("raw_events"), [1; 4]);
}

#[test]
fn servers_that_never_end_are_left() {
    let api = Api::start();
    api.add(1..=2);
    let cursor = "{ cursor: { field: /next, parameter: cursor } }, max_answers: 300";
    let error = Pulled::paged(&api, "endless", cursor).error(&[]);
    assert!(error.contains("100 answers in a row have no rows, and name a next one"), "{error}");
    assert_eq!(api.asked().len(), 100);
    for (path, paging) in [
        ("drops", "{ cursor: { field: /next, parameter: cursor } }, max_answers: 3"),
        ("drops", "{ number: { parameter: page } }, max_answers: 3"),
    ] {
        let store = Pulled::paged(&api, path, paging);
        let error = store.error(&[]);
        assert!(error.contains("more answers than max_answers, 3"), "{error}");
        assert_eq!(api.asked().len(), 3);
    }
    // As many as are allowed are no error.
    let numbers = "{ number: { parameter: page } }, max_answers: 2";
    assert!(Pulled::paged(&api, "numbers", numbers).ok(&[]).contains("2 rows, 2 accepted"));
}

#[test]
fn rows_with_a_key_twice_are_refused() {
    let api = Api::start();
    let store = Pulled::of(&api);
    let row = r#"{"event_id": "a", "event_id":
        "b", "event_ts": "2026-03-01T10:00:00Z"}"#;
    api.instead(200, "", &format!(r#"{{"data": {{"items": [{row}]}}}}"#));
    let text = store.ok(&[]);
    assert!(text.contains("1 rows, 0 accepted, 1 rejected (bad_json 1)"), "{text}");
    let text = store.world.ok(&["rejected"]);
    assert!(text.contains("event_id: is there twice"), "{text}");
    // As it is of a file.
    let file = store.world.path("a.ndjson");
    fs::write(&file, row.replace('\n', "")).unwrap();
    let words = ["--config", &store.config, "import", "--source", SOURCE, file.to_str().unwrap()];
    let output = store.world.run(&words);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("0 accepted, 1 rejected (bad_json 1)"), "{text}");
}

#[test]
fn every_way_of_paging_reads_all_rows() {
    let api = Api::start();
    api.add(1..=5);
    let by_cursor = ["", "&cursor=2", "&cursor=4"];
    for (path, paging, asked) in [
        ("links", "link", by_cursor.as_slice()),
        ("addresses", "{ next: /next }", &by_cursor),
        (
            "numbers",
            "{ number: { parameter: page } }",
            &["&page=1", "&page=2", "&page=3", "&page=4"],
        ),
    ] {
        let text = Pulled::paged(&api, path, paging).ok(&[]);
        assert!(text.contains("5 rows, 5 accepted"), "{path}: {text}");
        let expected = asked.iter().map(|query| format!("/v1/{path}?kind=all{query}"));
        assert_eq!(api.asked(), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_pull_that_fails_changes_nothing() {
    let api = Api::start();
    let store = Pulled::of(&api);
    api.add(1..=3);
    let first = json!({"data": {"items": []}, "next": 2});
    // The second answer is refused, and so is all of them.
    api.instead(200, "", &first);
    api.instead(403, "", &json!({"error": "not\nyours"}));
    let error = store.error(&[]);
    assert!(error.contains(r#"/v1/events: answers 403: {"error":"not\nyours"}"#), "{error}");
    // A server that repeats the request does not bring the secret into the log.
    let repeated = json!({"error": format!("you sent: Bearer {TOKEN} ?kind=all&cursor=2")});
    api.instead(403, "", &repeated);
    let error = store.error(&[]);
    assert!(error.contains("you sent: Bearer ***"), "{error}");
    assert!(!error.contains(TOKEN), "{error}");
    for (answer, problem) in [
        (json!([]), "no list at \"/data/items\""),
        (
            json!({"data": {"items": [{"event_ts": "soon"}]}}),
            "/event_ts: \"soon\" is neither a time",
        ),
        (json!({"data": {"items": [{}]}}), "a row has no /event_ts"),
        (
            json!({"data": {"items": [{"event_ts": 1}, {"event_ts": "2026-03-01T10:00:00Z"}]}}),
            "a time among integers",
        ),
    ] {
        api.instead(200, "", &answer);
        let error = store.error(&[]);
        assert!(error.contains(problem), "{error}");
    }
    for _ in 0..2 {
        api.instead(200, "", &first);
    }
    let error = store.error(&[]);
    assert!(error.contains("leads back to one that was read"), "{error}");
    api.asked();

    // What may pass is tried again, when the server says.
    api.instead(429, "Retry-After: 1\r\n", &json!({}));
    api.instead(503, "Retry-After: 0\r\n", &json!({}));
    assert!(store.ok(&[]).contains("3 rows, 3 accepted"));
    assert_eq!(api.asked().len(), 4);
    api.instead(429, "Retry-After: 86400\r\n", &json!({}));
    let error = store.error(&[]);
    assert!(error.contains("answers 429"), "{error}");
    // Half an answer, and one that nobody can read, stay so.
    let rows = json!({"data": {"items": []}});
    for (status, headers, problem) in
        [(206, "", "answers 206"), (200, "Content-Encoding: gzip\r\n", "Content-Encoding: gzip")]
    {
        api.asked();
        api.instead(status, headers, &rows);
        let error = store.error(&[]);
        assert!(error.contains(problem), "{error}");
        assert_eq!(api.asked().len(), 1);
    }
    // A redirect would send the token elsewhere.
    api.instead(302, "Location: http://127.0.0.1:1/\r\n", &json!({}));
    let error = store.error(&[]);
    assert!(error.contains("answers 302"), "{error}");
    assert_eq!(store.registrations(), [1, 1, 1]);

    fs::remove_file(store.world.path("token")).unwrap();
    let error = store.error(&[]);
    assert!(error.contains("secret.file") && error.contains("No such file"), "{error}");
    let output = store.run(&["billing"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn objects_are_files_that_are_read_once() {
    if shell::which("go").is_none() {
        environment::skip("go is missing, which builds the S3-compatible server");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::up(folder.path());
    let world = World::with_kpis(&["registrations"]).with_environment(gateway.environment());
    let store = Pulled::new(world, "{ url: 's3://facts/exports' }");
    let put = |name: &str, numbers: &[u32]| {
        let rows = numbers.iter().map(|number| {
            let at = format!("2026-03-{number:02}T10:00:00Z");
            let mut row = event(*number, "registration_completed", &at, json!({}));
            row["source_system"] = json!(SOURCE);
            row.to_string() + "\n"
        });
        gateway.put(name, &rows.collect::<String>());
    };
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
    put("exports/2026/march.ndjson", &[1, 2]);
    put("elsewhere.ndjson", &[9]);
    let text = store.ok(&[]);
    assert!(
        text.starts_with("s3://facts/exports/2026/march.ndjson (JSON): 2 rows, 2 accepted"),
        "{text}"
    );
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
    put("exports/2026/april.ndjson", &[3]);
    put("exports/2026/march.ndjson", &[1, 2, 4]);
    let text = store.ok(&[]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(store.registrations(), [1, 1, 1, 1]);
    // The same rows under another name are fetched once, and add nothing.
    put("exports/2026/copy.ndjson", &[3]);
    assert!(store.ok(&[]).contains("copy.ndjson: imported before"));
    assert_eq!(store.ok(&[]), "registry: nothing new\n");
    // One that cannot be read keeps no others away.
    gateway.put("exports/2026/a.ndjson", "[1]");
    put("exports/2026/b.ndjson", &[5]);
    let output = store.run(&[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("s3://facts/exports/2026/a.ndjson: a JSON array"), "{error}");
    assert!(error.contains("1 objects cannot be imported"), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("s3://facts/exports/2026/b.ndjson (JSON): 1 rows"), "{text}");
    assert_eq!(store.registrations(), [1; 5]);
    // Its name finds the import that can be taken back.
    let undo = ["import", "--undo", "s3://facts/exports/2026/april.ndjson", "--reason", "x"];
    let output = store.world.run(&undo);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("give the SHA-256 of one with this name"), "{error}");
}

#[test]
fn exports_come_by_https() {
    let authority = Authority::new("dnscribe tests").unwrap();
    let identity = authority.server(&["localhost"], Validity::Current).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let row = |number: u32| {
        let mut row = event(number, "registration_completed", "2026-03-01T10:00:00Z", json!({}));
        row["source_system"] = json!(SOURCE);
        row.to_string() + "\n"
    };
    for (name, text) in [
        ("ca.pem", authority.pem().unwrap()),
        ("cert.pem", identity.certificate),
        ("key.pem", identity.key),
        ("export.ndjson", row(1) + &row(2)),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept"]);
    server.arg(format!("127.0.0.1:{port}")).current_dir(&folder).stdin(Stdio::null());
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < give_up, "openssl does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    let url = format!("https://localhost:{port}/export.ndjson");
    let ca = folder.path().join("ca.pem");
    let store =
        Pulled::new(World::new(), &format!("{{ url: '{url}', ca_file: '{}' }}", ca.display()));
    assert!(store.ok(&[]).contains("2 rows, 2 accepted"));
    // A file that has not changed was imported before.
    assert!(store.ok(&[]).contains("imported before"));
    let stranger = Pulled::new(World::new(), &format!("{{ url: '{url}' }}"));
    let error = stranger.error(&[]);
    assert!(error.contains("certificate"), "{error}");
    // An export is trusted by the system's certificates.
    let reconcile = |file: &Path| {
        let words = ["--config", &store.config, "reconcile", "--against", &url];
        store.world.command(&words).env("SSL_CERT_FILE", file).output().unwrap()
    };
    let output = reconcile(&ca);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = reconcile(&folder.path().join("none.pem"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    shell::end(&mut server);
}
