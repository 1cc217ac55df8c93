//! The site of the documentation, built and looked at in a browser.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_record::Stream;
use dnscribe_tests::browser::{self, Visit};
use dnscribe_tests::stack::{clickhouse, flink, influxdb};
use dnscribe_tests::{environment, kafka, manifests, registry, shell, site};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Widths of a telephone, a tablet and a desktop in pixels.
const WIDTHS: [u32; 3] = [360, 800, 1400];
/// Pages that are looked at closely, at every width and in both themes: prose, pictures, tables, code, a runbook, an index.
const CLOSELY: [&str; 5] =
    ["index.html", "top.html", "kubernetes.html", "runbooks/tunnel.html", "adr/index.html"];

/// Script that waits for the results of a search and returns their titles.
const SEARCH: &str = "(async () => {
    for (let waits = 0; waits < 100; waits++) {
        const found = [...document.querySelectorAll('#mdbook-searchresults li a')];
        if (found.length > 0) return found.map((link) => link.getAttribute('href'));
        await new Promise((done) => setTimeout(done, 50));
    }
    return [];
})()";

/// Script that shows and hides the chapters with their button; whether they are shown, and what the button says of it, before, between
/// and after.
const CHAPTERS: &str = "(async () => {
    const button = document.querySelector('button[aria-controls=mdbook-sidebar]');
    const found = [];
    for (const times of [0, 1, 2]) {
        if (times > 0) button.click();
        await new Promise((done) => setTimeout(done));
        found.push(document.documentElement.classList.contains('sidebar-visible'), button.ariaExpanded);
    }
    return found;
})()";

#[test]
fn site_is_whole_and_readable() {
    if browser::chromium().is_none() || shell::which("npm").is_none() {
        environment::skip("Chromium or npm is missing; `cargo xtask setup --test` installs them");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Finds dead links, too.
    let pages = site::build(folder.path()).unwrap();
    assert!(pages > 100, "{pages} pages");
    let pictures = std::env::var_os("DNSCRIBE_PICTURES").map(PathBuf::from);
    let mut visits = Vec::new();
    // Some pages of these folders, which are alike, stand for all.
    let is_alike =
        |page: &Path| ["adr", "runbooks"].iter().any(|name| page.parent().unwrap().ends_with(name));
    for page in html_files(folder.path()).into_iter().filter(|page| !is_alike(page)) {
        let mut visit = Visit::file(&page, &WIDTHS[..1]).unwrap();
        visit.axe = false;
        visits.push(visit);
    }
    for name in CLOSELY {
        for (dark, axe, widths) in
            [(false, false, &WIDTHS[..2]), (false, true, &WIDTHS[2..]), (true, true, &WIDTHS[2..])]
        {
            let mut visit = Visit::file(&folder.path().join(name), widths).unwrap();
            (visit.dark, visit.axe) = (dark, axe);
            let place = name.replace(".html", "").replace('/', "-");
            visit.screenshot = pictures.as_ref().map(|folder| folder.join(place));
            visits.push(visit);
        }
    }
    let mut search = Visit::file(&folder.path().join("index.html"), &WIDTHS[2..]).unwrap();
    search.url.push_str("?search=resolver_down");
    search.axe = false;
    search.script = Some(SEARCH.to_owned());
    search.screenshot = pictures.map(|folder| folder.join("search"));
    visits.push(search);
    let mut chapters = Visit::file(&folder.path().join("index.html"), &WIDTHS[..1]).unwrap();
    chapters.axe = false;
    chapters.script = Some(CHAPTERS.to_owned());
    visits.push(chapters);
    let found = browser::inspect(&visits).unwrap();
    let urls = visits.iter().flat_map(|visit| visit.widths.iter().map(|_| &visit.url));
    let mut wrong = Vec::new();
    for (url, found) in urls.zip(&found) {
        let foreign = found.fetched.iter().filter(|url| !url.starts_with("file://"));
        let page = format!("{} at {}", url.rsplit('/').next().unwrap_or_default(), found.width);
        wrong.extend(foreign.map(|url| format!("{page} fetches {url}")));
        wrong.extend(found.errors.iter().map(|error| format!("{page}: {error}")));
        wrong.extend(found.violations.iter().map(|one| format!("{page}: {one:?}")));
        if found.page_width > found.width {
            wrong.push(format!("{page} is {} pixels wide", found.page_width));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let [.., found_by_search, shown] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(shown.evaluated, json!([false, "false", true, "true", false, "false"]));
    let results = found_by_search.evaluated.as_array().unwrap();
    assert!(
        results.iter().any(|link| link.as_str().unwrap().contains("runbooks/resolver-down.html")),
        "{results:?}"
    );
}

#[test]
fn every_topic_is_on_its_page() {
    let root = environment::workspace();
    let page = fs::read_to_string(root.join("docs/topics.md")).unwrap();
    let row = |topic: &str| page.lines().find(|line| line.starts_with(&format!("| `{topic}` |")));
    for stream in Stream::ALL {
        let topic = stream.default_topic();
        let row = row(topic).unwrap_or_else(|| panic!("no row for {topic}"));
        assert!(row.contains(&format!("[{}]", stream.schema())), "{row}");
    }
    let config = "stream/src/main/java/dnscribe/stream/config/Config.java";
    let java = fs::read_to_string(root.join(config)).unwrap();
    let defaults = java.lines().filter_map(|line| {
        let (name, _) = line.split_once(" == null ? \"dns.")?;
        let (_, topic) = line.split_once("? \"")?;
        Some((name.trim(), topic.split_once('"')?.0))
    });
    let topics: Vec<_> = defaults.collect();
    assert!(topics.len() >= 12, "{topics:?}");
    for (name, topic) in topics {
        assert!(row(topic).is_some(), "no row for {topic}: {name}");
    }
}

#[test]
fn support_page_names_the_tested_versions() {
    let path = environment::workspace().join("docs/support.md");
    let page = fs::read_to_string(path).unwrap();
    let row = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap();
    for version in manifests::VERSIONS {
        assert!(row("| chart, Kubernetes").contains(version), "Kubernetes {version}");
    }
    let programs = [
        ("| Apache Kafka", kafka::VERSION),
        ("| schema registry", registry::VERSION),
        ("| Apache Flink", flink::VERSION),
        ("| ClickHouse", clickhouse::VERSION),
        ("| InfluxDB", influxdb::VERSION.trim_start_matches('v')),
    ];
    for (start, version) in programs {
        let minor: Vec<&str> = version.split('.').take(2).collect();
        assert!(row(start).contains(&minor.join(".")), "{start} {version}");
    }
}

/// Returns the pages below a folder.
fn html_files(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages.extend(html_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "html") {
            pages.push(path);
        }
    }
    pages
}
