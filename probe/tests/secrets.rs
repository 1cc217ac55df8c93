//! Nothing that the probe writes repeats what is secret in a URL, a header or a body: records, alerts, tables, metrics,
//! answers of `/probe`, log lines at every level, files of state, and errors of the configuration.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_mins(1);

/// Part of every secret here.
const SECRET: &str = "hunter2";
/// How Basic authentication sends [`SECRET`].
const ENCODED: &str = "aHVudGVyM";

/// How the server answers, by the path of the request. It repeats the query where it can.
const PATHS: [&str; 9] =
    ["/ok", "/moved", "/loop", "/private", "/other", "/garbage", "/close", "/status", "/header"];

/// Answers each connection by the path of its request, in a thread of its own.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request);
    let target = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let moved = |status: u16, location: &str| {
        format!("HTTP/1.1 {status} {query}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    let response = match path {
        "/moved" => moved(302, &format!("/loop?{query}#{query}")),
        "/loop" => moved(302, &format!("http://{SECRET}:{SECRET}@127.0.0.1:9/{query}?{query}")),
        "/private" => moved(302, &format!("http://10.0.0.1/?{query}")),
        "/other" => moved(307, &format!("ftp://10.0.0.1/?{query}")),
        "/garbage" => format!("{query} {query}\r\n{request}"),
        "/close" => String::new(),
        "/status" => format!("HTTP/1.1 503 {query}\r\nContent-Length: 0\r\n\r\n"),
        "/header" => {
            format!("HTTP/1.1 200 OK\r\n{query}: {query}\r\nContent-Length: 9\r\n\r\n{query}")
        }
        _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{query}", query.len()),
    };
    // The probe may have gone.
    let _ = stream.write_all(response.as_bytes());
}

/// Writes a configuration with a target for each path over HTTP and TLS, each with all that can be secret.
fn configuration(folder: &Path, server: SocketAddr, listen: SocketAddr) -> String {
    let secret = folder.join("secret");
    fs::write(&secret, format!("Bearer {SECRET}-file\n")).unwrap();
    let mut text = format!(
        "version: 1\nnode: n\nmetrics: {{ listen: \"{listen}\" }}\nlog: {{ level: trace }}\n\
         memory: {{ directory: {folder}/state }}\ndefaults: {{ timeout: 2s, interval: 1s }}\n\
         resolvers: {{ doh: \"https://{server}/{SECRET}-path#127.0.0.1\" }}\n\
         rules: {{ rounds: 1 }}\nservices:\n- name: shop\n  targets:\n  - dns: {{ name: shop.test }}\n",
        folder = folder.display()
    );
    for (index, path) in PATHS.iter().enumerate() {
        let url = |scheme: &str| {
            format!(
                "{scheme}://me:{SECRET}-password@{server}{path}?key={SECRET}-query#{SECRET}-fragment"
            )
        };
        let secret = secret.display();
        let header = format!(
            "headers: {{ X-Key: \"{SECRET}-header\" }}, header_files: {{ X-File: {secret} }}"
        );
        writeln!(text, "  - http: {{ url: \"{}\", {header}, body: never }}", url("http")).unwrap();
        writeln!(text, "  - http: {{ url: \"{}\", {header} }}", url("https")).unwrap();
        let body =
            format!("method: POST, request_body: \"{SECRET}-body\", redirect_to_private: true");
        writeln!(
            text,
            "  - {{ name: post {index}, http: {{ url: \"{}\", {body} }} }}",
            url("http")
        )
        .unwrap();
    }
    text
}

fn probe(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-probe"));
    command.args(words).env("DNSCRIBE_PROBE_CONFIG", folder.join("probes.yaml"));
    command.env_remove("RUST_LOG");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Gets a page; nothing where nobody listens.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

/// A running probe. Dropping it kills it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the probe until every target has a result; returns its pages and all that it wrote.
fn running(folder: &Path, server: SocketAddr, listen: SocketAddr) -> Vec<(&'static str, String)> {
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut command = probe(folder, &["run", "--sink", "stdout", "-o", "json"]);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let running = Running(command.stdin(Stdio::null()).spawn().unwrap());
    let start = Instant::now();
    let results = 3 * PATHS.len();
    let page = loop {
        assert!(start.elapsed() < LIMIT, "no results");
        let page = get(listen, "/metrics").unwrap_or_default();
        if page.lines().filter(|line| line.starts_with("probe_success{")).count() > results {
            break page;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let target = format!("http%3A%2F%2Fme%3A{SECRET}%40{server}%2Fmoved%3Fkey%3D{SECRET}");
    let answer = get(listen, &format!("/probe?module=http_2xx&target={target}")).unwrap();
    assert!(answer.contains("probe_success"), "{answer}");
    let resolver = format!("https%3A%2F%2F{server}%2F{SECRET}");
    let asked = get(listen, &format!("/probe?module=dns&qname=a.test&target={resolver}")).unwrap();
    assert!(asked.contains("probe_success"), "{asked}");
    drop(running);
    let log = fs::read_to_string(folder.join("log")).unwrap();
    assert!(log.contains("\"dns.probe/1\"") && log.contains("\"dns.alert/1\""), "{log}");
    vec![("metrics", page), ("/probe", answer), ("/probe of a resolver", asked), ("log", log)]
}

#[test]
fn nothing_that_is_written_has_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("state")).unwrap();
    let (server, listen) =
        (server(), TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    fs::write(folder.join("probes.yaml"), configuration(folder, server, listen)).unwrap();
    let mut written = running(folder, server, listen);
    for (what, words) in [
        ("records", &["run", "--once", "-o", "json", "--metrics-listen", "off"][..]),
        ("table", &["run", "--once", "-o", "text", "--metrics-listen", "off"]),
        ("check", &["check"]),
        ("explanation", &["explain", "shop", "-vv"]),
    ] {
        let output = probe(folder, words).output().unwrap();
        let text = text(&output);
        assert!(
            text.contains(if what == "check" { "1 services" } else { "shop" }),
            "{what}: {text}"
        );
        written.push((what, text));
    }
    for entry in fs::read_dir(folder.join("state")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        written.push(("state", String::from_utf8_lossy(&bytes).into_owned()));
    }
    for (what, text) in written {
        for secret in [SECRET, ENCODED] {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{what} has a secret");
        }
    }
}

#[test]
fn errors_have_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let url = format!("https://me:{SECRET}@shop.test/a?key={SECRET}#{SECRET}");
    let twice =
        format!("targets: [{{ http: {{ url: \"{url}\" }} }}, {{ http: {{ url: \"{url}2\" }} }}]");
    for (wrong, expected) in [
        (format!("services: [{{ name: shop, {twice} }}]"), "line 2, column"),
        (
            format!("services: [{{ name: shop, targets: [{{ http: {{ url: \"x{url}\" }} }}] }}]"),
            "not a URL",
        ),
        (format!("resolvers: {{ a: \"{url}\" }}"), "not a resolver"),
        (format!("resolvers: {{ a: \"udp://{SECRET}\" }}"), "not a resolver"),
    ] {
        fs::write(folder.join("probes.yaml"), format!("version: 1\n{wrong}\n")).unwrap();
        for words in [&["check"][..], &["run", "--once"]] {
            let text = text(&probe(folder, words).output().unwrap());
            assert!(text.contains(expected) && !text.contains(SECRET), "{wrong}: {text}");
        }
    }
}
