//! `dnscribe report` on captures and records, looked at as text and in a browser.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_tests::browser::{self, Visit};
use dnscribe_tests::pcap::{self, Datagram};
use dnscribe_tests::{environment, shell, wire};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Widths of a telephone, a small laptop and a desktop in pixels.
const WIDTHS: [u32; 3] = [390, 1024, 1600];

/// Size limit of a report in bytes.
const LIMIT: usize = 1_000_000;

fn golden(name: &str) -> PathBuf {
    environment::workspace().join("tests/goldens").join(name)
}

fn report(arguments: &[&str]) -> Output {
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("report").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Returns the report of input files.
fn html(files: &[&Path]) -> String {
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let output = report(&files);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the page with a line for each element, without style and script.
fn lines(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    for element in ["style", "script"] {
        let (before, after) = rest.split_once(&format!("<{element}>")).unwrap();
        text.push_str(before);
        rest = after.split_once(&format!("</{element}>")).unwrap().1;
    }
    (text + rest).replace("><", ">\n<") + "\n"
}

#[test]
fn golden_report() {
    let capture = golden("outage.pcap");
    let text = lines(&html(&[&capture]));
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        fs::write(golden("outage.report.html"), &text).unwrap();
    }
    let expected = fs::read_to_string(golden("outage.report.html")).unwrap();
    for (number, (found, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {}", number + 1);
    }
    assert_eq!(text.len(), expected.len());
}

#[test]
fn capture_and_its_records_give_the_same_report() {
    let capture = golden("lab.pcap");
    let records = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    let mut replay = Command::new(environment::binary().unwrap());
    replay.arg("replay").arg(&capture).args(["--stream", "transactions,lookups,alerts,ledger"]);
    replay.args(["-o", "json"]).stderr(Stdio::null());
    fs::write(records.path(), shell::output(&mut replay).unwrap().stdout).unwrap();
    // They differ in the names of their files only.
    let head = |text: &str, name: &Path| {
        text.replace(name.file_name().unwrap().to_str().unwrap(), "the input")
    };
    let (of_capture, of_records) = (html(&[&capture]), html(&[records.path()]));
    assert_eq!(head(&of_capture, &capture), head(&of_records, records.path()));
    assert_eq!(of_capture, html(&[&capture]), "a second time");
}

#[test]
fn refuses_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    fs::write(&file, "no records\n").unwrap();
    let code = |path: &Path| report(&[path.to_str().unwrap()]).status.code();
    assert_eq!(code(&file), Some(2));
    fs::write(&file, "{\"a\":1}\n{\"b\":2}\n").unwrap();
    assert_eq!(code(&file), Some(2));
    assert_eq!(code(&folder.path().join("missing")), Some(2));
    // The first file decides nothing for the second.
    let [capture, records] =
        ["lab.pcap", "lab.ndjson"].map(|name| golden(name).display().to_string());
    for files in [[&*records, &*capture], [&*capture, &*records]] {
        let output = report(&files);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("lab.ndjson holds records, and ") && text.contains("lab.pcap"),
            "{text}"
        );
    }
    let span = ["--from", "2026-11-20T08:00:00Z", "--to", "2026-11-20T07:00:00Z"];
    let output = report(&[&[&*records][..], &span].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(report(&[]).status.code(), Some(2));
}

/// A page says what it lacks. A byte order mark is no lack.
#[test]
fn says_what_it_could_not_read() {
    let records = fs::read_to_string(golden("lab.ndjson")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lab.ndjson");
    fs::write(&file, format!("\u{feff}{records}")).unwrap();
    assert_eq!(html(&[&file]), html(&[&golden("lab.ndjson")]));
    fs::write(&file, records.replacen("dns.transaction/1", "dns.transaction/2", 1)).unwrap();
    let output = report(&[file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let what = "1 line that this version cannot read: 1 of schema dns.transaction/2";
    for text in [output.stderr, output.stdout] {
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(what), "{text}");
    }
}

/// Writes a capture of names and answers that would be markup if they were not escaped.
fn hostile_capture(path: &Path) {
    let (client, server) =
        ("198.51.100.7:40000".parse().unwrap(), "192.0.2.53:53".parse().unwrap());
    let names = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(2)>",
        "</title><svg onload=alert(3)>",
    ];
    let mut datagrams = Vec::new();
    for (number, name) in (0u16..).zip(names) {
        // Dots would end a label.
        let name = format!("{}.example.com", name.replace('.', "-"));
        let query = wire::query(number, &name, wire::A).unwrap();
        let at_ns = u64::from(number) * 1_000_000_000;
        let answer = wire::Reply::to(&query).rcode(3).octets();
        datagrams.push(Datagram { at_ns, from: client, to: server, payload: query });
        if number > 0 {
            datagrams.push(Datagram {
                at_ns: at_ns + 5_000_000,
                from: server,
                to: client,
                payload: answer,
            });
        }
    }
    pcap::write_datagrams(fs::File::create(path).unwrap(), &datagrams).unwrap();
}

/// Writes records of connections and of lost messages, with texts that would be markup if they were not escaped.
fn connections(path: &Path) {
    const HOSTILE: &str = "\"'><img src=x onerror=alert(4)>";
    let lab = fs::read_to_string(golden("lab.ndjson")).unwrap();
    let uses = fs::read_to_string(golden("uses.ndjson")).unwrap();
    let records = lab.lines().chain(uses.lines()).map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        if record["schema"] == "dns.transaction/1" {
            record["lost_at"] =
                json!({ "message": "query", "stage": "netfilter", "hook": HOSTILE, "reason": HOSTILE });
        } else if record["schema"] == "dns.use/1" && record["outcome"] == "refused" {
            record["name"] = HOSTILE.into();
            record["ttl_left_ms"] = (-90_000.0).into();
        }
        record.to_string() + "\n"
    });
    fs::write(path, records.collect::<String>()).unwrap();
}

/// Script that reads a report as its reader does: markup, figures, sorting, filtering.
const READ: &str = r##"(() => {
    const table = document.querySelector("#names table");
    const first = () => table.tBodies[0].rows[0].cells[0].textContent;
    const before = first();
    table.tHead.rows[0].cells[0].querySelector("button").click();
    const sorted = [before, first()].join(" ");
    const input = document.querySelector("#evidence input, #names input");
    return {
        title: document.title,
        scripts: document.scripts.length,
        foreign: document.querySelectorAll("img, svg svg, svg script, main script, iframe, [onload], [onerror]").length,
        names: [...table.tBodies[0].rows].map((row) => row.cells[0].textContent),
        sorted,
        sort: table.tHead.rows[0].cells[0].getAttribute("aria-sort"),
        ids: [...document.querySelectorAll("[id]")].map((one) => one.id),
        headings: [...document.querySelectorAll("h1, h2")].length,
        filter: input !== null,
    };
})()"##;

#[test]
fn report_is_readable_in_a_browser() {
    if browser::chromium().is_none() || shell::which("npm").is_none() {
        environment::skip("Chromium or npm is missing; `cargo xtask setup --test` installs them");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hostile = folder.path().join("hostile.pcap");
    hostile_capture(&hostile);
    let uses = folder.path().join("uses.ndjson");
    connections(&uses);
    let mut visits = Vec::new();
    let pictures = std::env::var_os("DNSCRIBE_PICTURES").map(PathBuf::from);
    for (name, capture) in [
        ("outage", golden("outage.pcap")),
        ("lookups", golden("lookups.pcap")),
        ("uses", uses),
        ("hostile", hostile),
    ] {
        let html = html(&[&capture]);
        for section in ["id=\"destinations\"", "id=\"lost\""] {
            assert_eq!(html.contains(section), name == "uses", "{name}: {section}");
        }
        assert!(html.len() < LIMIT, "{name}: {} bytes", html.len());
        let page = folder.path().join(format!("{name}.html"));
        fs::write(&page, html).unwrap();
        for dark in [false, true] {
            let mut visit = Visit::file(&page, &WIDTHS).unwrap();
            visit.dark = dark;
            visit.script = Some(READ.to_owned());
            visit.screenshot = pictures.as_ref().map(|folder| folder.join(name));
            visits.push(visit);
        }
    }
    let inspected = browser::inspect(&visits).unwrap();
    assert_eq!(inspected.len(), visits.len() * WIDTHS.len());
    for (number, found) in inspected.iter().enumerate() {
        let url = &visits[number / WIDTHS.len()].url;
        assert!(found.violations.is_empty(), "{url} at {}: {:#?}", found.width, found.violations);
        assert!(found.errors.is_empty() && found.fetched.is_empty(), "{url}: {found:?}");
        assert_eq!(found.page_width, found.width, "{url} must not scroll sideways");
        let read = &found.evaluated;
        assert_eq!((&read["scripts"], &read["foreign"]), (&json!(1), &json!(0)), "{url}: {read:#}");
        assert_eq!(
            (&read["title"], &read["sort"]),
            (&json!("DNS report"), &json!("ascending")),
            "{url}: {read:#}"
        );
        let ids: Vec<&Value> = read["ids"].as_array().unwrap().iter().collect();
        assert!(
            ids.iter().enumerate().all(|(place, id)| !ids[..place].contains(id)),
            "{url}: {ids:?}"
        );
    }
    let names = inspected.last().unwrap().evaluated["names"].as_array().unwrap().clone();
    let shown = |text: &str| names.iter().any(|name| name.as_str().unwrap().contains(text));
    assert!(shown("<script>alert(1)</script>") && shown("<svg"), "{names:?}");
}

#[test]
fn browser_finds_what_is_wrong_with_a_page() {
    const PAGE: &str = "<!doctype html><html lang=en><title>t</title><main><h1>Heading</h1>\
        <p style='width:900px'>wide</p><img src='missing.png'></main><script>fail()</script>";
    if browser::chromium().is_none() || shell::which("npm").is_none() {
        environment::skip("Chromium or npm is missing; `cargo xtask setup --test` installs them");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    fs::write(&page, PAGE).unwrap();
    let mut visit = Visit::file(&page, &[400, 1200]).unwrap();
    visit.script = Some("document.querySelector('h1').textContent".to_owned());
    visit.screenshot = Some(folder.path().join("pictures"));
    let found = browser::inspect(&[visit]).unwrap();
    let [narrow, wide] = found.as_slice() else { panic!("{found:?}") };
    assert!(narrow.page_width > narrow.width);
    assert_eq!(wide.page_width, wide.width);
    let rules: Vec<&str> = wide.violations.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(rules, ["image-alt"]);
    assert!(wide.errors.iter().any(|error| error.contains("fail is not defined")));
    assert!(wide.fetched[0].ends_with("/missing.png"));
    assert_eq!(wide.evaluated, json!("Heading"));
    assert!(folder.path().join("pictures/400.png").is_file());
}
