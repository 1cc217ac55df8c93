//! The client against a listener with scripted answers.

use super::*;
use crate::format::{Login, Password};
use crate::testing::acceptor;
use openssl::ssl::SslAcceptor;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::{self, JoinHandle};

/// Configuration of a registry that answers at once.
pub(in super::super) fn config(url: &str) -> RegistryConfig {
    let timeout = Duration::from_secs(10);
    RegistryConfig { url: url.into(), login: None, ca_file: None, timeout }
}

/// Accepts as many requests as it has answers.
pub(in super::super) struct Listener {
    pub url: String,
    thread: JoinHandle<Vec<String>>,
}

impl Listener {
    /// Answers with these codes and bodies. A body that begins with `/` or `http` is sent as
    /// `Location`.
    pub(in super::super) fn start(answers: Vec<(u16, String)>) -> Self {
        Self::serve(answers, None)
    }

    fn serve(answers: Vec<(u16, String)>, tls: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let thread = thread::spawn(move || {
            let mut asked = Vec::new();
            for (code, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                match &tls {
                    None => asked.push(answer(stream, code, &body)),
                    // Fails for a client that does not trust the certificate.
                    Some(tls) => {
                        asked.extend(tls.accept(stream).map(|stream| answer(stream, code, &body)));
                    }
                }
            }
            asked
        });
        Self { url, thread }
    }

    /// The requests: request line, headers and body.
    pub(in super::super) fn asked(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn answer(mut stream: impl Read + Write, code: u16, body: &str) -> String {
    let mut reader = BufReader::new(&mut stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.to_lowercase().lines().find_map(|line| {
        line.strip_prefix("content-length: ").map(|length| length.parse().unwrap())
    });
    let mut question = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut question).unwrap();
    let (location, body) = if body.starts_with(['/', 'h']) {
        (format!("Location: {body}\r\n"), "")
    } else {
        (String::new(), body)
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {code} X\r\n{location}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    stream.flush().unwrap();
    head + &String::from_utf8(question).unwrap()
}

fn registered(id: u32) -> (u16, String) {
    (200, json!({ "id": id }).to_string())
}

fn error_body(status: u16, code: u32, message: &str) -> (u16, String) {
    (status, json!({ "error_code": code, "message": message }).to_string())
}

fn register(config: &RegistryConfig) -> Result<u32, String> {
    let registry = Registry::new(config)?;
    registry.register("t-value", "\"string\"", registry.deadline())
}

fn login(password: &str) -> Login {
    Login { username: "me".into(), password: Password(password.into()) }
}

#[test]
fn sends_requests_as_documented() {
    let listener = Listener::start(vec![registered(7)]);
    let login = Some(login("hunter2"));
    let config = RegistryConfig { login, ..config(&format!("{}/base", listener.url)) };
    assert_eq!(register(&config), Ok(7));
    let asked = listener.asked().remove(0);
    assert!(asked.starts_with("POST /base/subjects/t-value/versions HTTP/1.1\r\n"), "{asked}");
    let head = asked.to_lowercase();
    assert!(head.contains("content-type: application/vnd.schemaregistry.v1+json\r\n"), "{asked}");
    assert!(asked.contains("Basic bWU6aHVudGVyMg==\r\n"), "{asked}");
    assert!(asked.ends_with("\r\n\r\n{\"schema\":\"\\\"string\\\"\"}"), "{asked}");
}

#[test]
fn reports_errors_without_passwords() {
    let long = "why ".repeat(1000);
    let cases = [
        (error_body(409, 409, "reader type\n is not"), "of subject t-value: reader type is not"),
        (error_body(401, 401, "who?"), "answers 401: who?; see kafka.registry.username"),
        (error_body(422, 42_201, &long), "why why"),
        ((404, "<p>no</p>".into()), "answers 404: <p>no</p>; see kafka.registry.url"),
        ((500, String::new()), "answers 500: it does not say why"),
        ((200, "[]".into()), "does not answer as a schema registry does"),
        ((307, "/again".into()), "no answer"),
    ];
    for (said, message) in cases {
        let listener = Listener::start(vec![said]);
        let login = Some(login("hunter2"));
        let config = RegistryConfig { login, ..config(&listener.url) };
        let why = register(&config).unwrap_err();
        assert!(why.contains(message) && why.contains(&listener.url), "{why}");
        assert!(why.len() < 500 && !why.contains("hunter2") && !why.contains("aHVud"), "{why}");
    }
}

#[test]
fn repeats_the_request_after_redirects() {
    let other = Listener::start(vec![registered(9)]);
    let there = format!("{}/there", other.url);
    let listener = Listener::start(vec![(301, "/new".into()), (307, there)]);
    let login = Some(login("hunter2"));
    assert_eq!(register(&RegistryConfig { login, ..config(&listener.url) }), Ok(9));
    let asked = listener.asked();
    assert!(asked[1].starts_with("POST /new ") && asked[1].contains("Basic "), "{asked:?}");
    let asked = other.asked().remove(0);
    assert!(asked.starts_with("POST /there ") && asked.ends_with("\"}"), "{asked}");
    assert!(!asked.contains("Basic "), "the password is not for others: {asked}");
    let circle = Listener::start(vec![(302, "/".into()); REDIRECTS + 1]);
    let why = register(&config(&circle.url)).unwrap_err();
    assert!(why.ends_with("it redirects without end"), "{why}");
}

#[test]
fn times_out_without_a_response() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let why = register(&RegistryConfig { timeout, ..config(&url) }).unwrap_err();
    assert!(why.contains("timeout"), "{why}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn accepts_unknown_schemas_and_subjects() {
    let unknown = |code| error_body(404, code, "not found");
    let listener = Listener::start(vec![unknown(40_403), unknown(40_401), unknown(404)]);
    let registry = Registry::new(&config(&listener.url)).unwrap();
    let compatible = || registry.compatible("t-value", "\"string\"", registry.deadline());
    assert_eq!(registry.schema(1), Ok(None));
    assert_eq!(compatible(), Ok(true));
    assert!(compatible().unwrap_err().contains("see kafka.registry.url"));
    let asked = listener.asked();
    assert!(asked[1].starts_with("POST /compatibility/subjects/t-value/versions/latest "));
}

#[test]
fn names_unusable_files() {
    let missing = Some("/nowhere/ca.pem".into());
    let why = register(&RegistryConfig { ca_file: missing, ..config("https://a") }).unwrap_err();
    assert!(why.starts_with("cannot read kafka.registry.ca_file /nowhere/ca.pem: "), "{why}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let ca_file = Some(empty.path().into());
    let why = register(&RegistryConfig { ca_file, ..config("https://a") }).unwrap_err();
    assert!(why.ends_with("holds no certificate"), "{why}");
}

#[test]
fn verifies_the_certificate() {
    let (tls, pem) = acceptor("127.0.0.1");
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ca, &pem).unwrap();
    let ca_file = Some(ca.path().to_path_buf());
    let listener = Listener::serve(vec![registered(1), registered(2)], Some(tls));
    let url = listener.url.clone();
    let why = register(&config(&url)).unwrap_err();
    assert!(why.contains("certificate verify failed"), "{why}");
    assert_eq!(register(&RegistryConfig { ca_file: ca_file.clone(), ..config(&url) }), Ok(2));
    assert_eq!(listener.asked().len(), 1);

    let (tls, other) = acceptor("127.0.0.2");
    std::fs::write(&ca, [pem, other].concat()).unwrap();
    let listener = Listener::serve(vec![registered(3)], Some(tls));
    let why = register(&RegistryConfig { ca_file, ..config(&listener.url) }).unwrap_err();
    assert!(why.contains("certificate verify failed"), "another's name: {why}");
}
