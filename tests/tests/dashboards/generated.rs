//! The checked-in files are those that the generator writes, and its names are those of the code.

use dnscribe_tests::{environment, grafana, manifests, shell};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Licences of the generator's packages: none of them is part of what is released.
const LICENCES: [&str; 8] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BlueOak-1.0.0",
    "ISC",
    "MIT",
    "MPL-2.0",
];

/// Whether `cargo xtask bless` rewrites the files.
fn is_blessing() -> bool {
    std::env::var_os("DNSCRIBE_BLESS").is_some()
}

/// Returns whether npm is there; says on standard error if it is not.
fn has_npm() -> bool {
    let found = shell::which("npm").is_some();
    if !found {
        environment::skip("npm is missing; `cargo xtask setup --test` installs it");
    }
    found
}

#[test]
fn golden_names_and_boards() {
    if !has_npm() {
        return;
    }
    let folder = grafana::folder();
    grafana::prepare().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let names = scratch.path().join("names.ts");
    // The names are made by a program that does not use them.
    let tsc = folder.join("node_modules/.bin/tsc");
    let words = ["--target", "es2023", "--module", "nodenext", "--types", "node", "--skipLibCheck"];
    let mut compile = Command::new(tsc);
    compile.args(words).arg("--outDir").arg(folder.join("build/names"));
    shell::output(compile.arg("src/update-names.ts").current_dir(&folder)).unwrap();
    let mut update = grafana::program("names/update-names");
    shell::output(update.arg("..").arg(&names)).unwrap();
    compare(&names, &folder.join("src/names.ts"));

    grafana::compile().unwrap();
    shell::output(grafana::program("generate").arg(scratch.path())).unwrap();
    let written = files(&scratch.path().join("dashboards"));
    assert_eq!(written.len(), 12);
    for place in ["dashboards", "import"] {
        let written = files(&scratch.path().join(place));
        let kept = files(&folder.join(place));
        assert_eq!(kept.len(), written.len(), "a board in {place} that is not generated");
        for file in written {
            compare(&file, &folder.join(place).join(file.file_name().unwrap()));
        }
    }
    let rules = "provisioning/alerting/rules.json";
    compare(&scratch.path().join(rules), &folder.join(rules));
    // Helm reads no file outside of a chart.
    let copies = manifests::chart().join("files");
    let board = "dashboards/dnscribe-pods.json";
    compare(&scratch.path().join(board), &copies.join(board));
    compare(&folder.join("prometheus/rules/dnscribe.yaml"), &copies.join("rules.yaml"));
}

#[test]
fn typescript_is_strict_and_formatted() {
    if !has_npm() {
        return;
    }
    grafana::prepare().unwrap();
    shell::output(Command::new("npm").args(["run", "check"]).current_dir(grafana::folder()))
        .unwrap();
}

#[test]
fn queries_and_answers_are_read_as_grafana_does() {
    if !has_npm() {
        return;
    }
    grafana::compile().unwrap();
    let mut test = Command::new("node");
    test.args(["--test", "build/proof/expand.test.js", "build/proof/frames.test.js"])
        .current_dir(grafana::folder());
    shell::output(&mut test).unwrap();
}

#[test]
fn packages_have_known_licences() {
    for lock in ["grafana/package-lock.json", "tests/browser/package-lock.json"] {
        let text = fs::read_to_string(environment::workspace().join(lock)).unwrap();
        let lock: Value = serde_json::from_str(&text).unwrap();
        let packages = lock["packages"].as_object().unwrap();
        assert!(packages.len() > 1);
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            let licence = package["license"].as_str().unwrap_or("none");
            let known = licence
                .trim_matches(['(', ')'])
                .split(" OR ")
                .any(|licence| LICENCES.contains(&licence));
            assert!(known, "{name}: {licence}");
            let text = package.to_string();
            assert!(package["integrity"].is_string() || text.contains("inBundle"), "{name}");
        }
    }
}

/// The pages that boards link to are there.
#[test]
fn links_to_the_documentation_hold() {
    let mut pages = BTreeSet::new();
    for file in files(&grafana::folder().join("dashboards")) {
        let board = fs::read_to_string(file).unwrap();
        let parts = board.split("${docs}/").skip(1);
        pages.extend(parts.filter_map(|part| Some(part.split_once('"')?.0.to_owned())));
    }
    assert!(pages.len() > 20, "{pages:?}");
    for page in pages {
        assert!(environment::workspace().join("docs").join(&page).is_file(), "{page}");
    }
}

/// A share of nothing is 0, not 0 / 0; a KPI that several programs serve counts once; blackbox_exporter's metrics are not ours.
#[test]
fn queries_of_prometheus_mean_what_panels_say() {
    let mut found = 0;
    for file in files(&grafana::folder().join("dashboards")) {
        let board = fs::read_to_string(file).unwrap();
        for query in board.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": ")) {
            let is_share = query.contains(" / ") && query.contains("or vector(0)");
            assert!(!is_share || query.contains(" > 0)"), "{query}");
            assert!(!query.contains("dnscribe_kpi_") || !query.contains("sum"), "{query}");
            assert!(!query.contains("probe_success") || query.contains("service!="), "{query}");
            found += 1;
        }
    }
    assert!(found > 30, "{found}");
}

/// The board of pods is for those who have a Prometheus of any name, and nothing else.
#[test]
fn board_of_pods_needs_nothing_but_prometheus() {
    fn sources<'a>(part: &'a Value, found: &mut Vec<&'a Value>) {
        match part {
            Value::Object(fields) => {
                found.extend(fields.get("datasource").filter(|source| source.is_object()));
                fields.values().for_each(|field| sources(field, found));
            }
            Value::Array(parts) => parts.iter().for_each(|part| sources(part, found)),
            _ => {}
        }
    }
    let file = grafana::folder().join("dashboards/dnscribe-pods.json");
    let board: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut found = Vec::new();
    sources(&board, &mut found);
    assert!(found.len() > 30, "{found:?}");
    let chosen = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    assert!(found.iter().all(|source| **source == chosen), "{found:?}");
    let variable = &board["templating"]["list"][0];
    assert_eq!(
        (&variable["type"], &variable["query"]),
        (&"datasource".into(), &"prometheus".into())
    );
    // Links that a Grafana without the other boards would not have.
    assert!(!board.to_string().contains("/d/dnscribe-"), "{board}");
}

/// The boards that are provisioned, by their uids.
fn boards() -> Vec<(String, Value)> {
    let read = |file: PathBuf| {
        let board: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        (board["uid"].as_str().unwrap().to_owned(), board)
    };
    files(&grafana::folder().join("dashboards")).into_iter().map(read).collect()
}

/// Panels of a board that are no rows.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

/// Variables of a board whose values people choose.
fn variables(board: &Value) -> impl Iterator<Item = &Value> {
    let list = board["templating"]["list"].as_array().unwrap().iter();
    list.filter(|variable| {
        ["query", "custom", "textbox"].map(Value::from).contains(&variable["type"])
    })
}

/// A variable narrows every query of a board, or the panel says what it shows whatever is chosen. That queries do what they say is
/// tested over the scripted day.
#[test]
fn variables_act_on_every_panel() {
    let mut count = 0;
    for (uid, board) in boards() {
        for variable in variables(&board) {
            let name = variable["name"].as_str().unwrap();
            let forms = [format!("${name}"), format!("${{{name}:")];
            for panel in panels(&board) {
                let description = panel["description"].as_str().unwrap();
                let says =
                    ["whatever", "any vantage"].iter().any(|word| description.contains(word));
                for target in panel["targets"].as_array().unwrap() {
                    let target = target.to_string();
                    let acts = forms.iter().any(|form| target.contains(form));
                    assert!(acts || says, "{uid}: {}: {name}", panel["title"]);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 100, "{count}");
}

/// Lists of variables come from tables of hours or from metrics, never from single transactions.
#[test]
fn variables_read_no_transactions() {
    for (uid, board) in boards() {
        for variable in variables(&board) {
            let query = variable["query"].to_string();
            assert!(!query.contains("dns_transactions"), "{uid}: {query}");
        }
    }
}

#[test]
fn one_critical_alert_is_red() {
    let mut count = 0;
    for (uid, board) in boards() {
        for panel in panels(&board).filter(|panel| panel.to_string().contains("AS critical")) {
            let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
            for (name, color) in [("critical", "red"), ("warning", "yellow")] {
                let own = overrides.iter().find(|one| one["matcher"]["options"] == name).unwrap();
                let steps = &own["properties"][0]["value"]["steps"];
                let is_so = steps[1] == serde_json::json!({ "color": color, "value": 1 });
                assert!(is_so && steps[2].is_null(), "{uid}: {name}: {steps}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 3);
    // So is its word in a list.
    let mut lists = 0;
    for (uid, board) in boards() {
        for panel in panels(&board).filter(|panel| panel["type"] == "table") {
            let query = panel["targets"][0]["rawSql"].as_str().unwrap_or_default();
            if !query.contains("AS severity") && !query.contains(", severity,") {
                continue;
            }
            let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap();
            let own = overrides.iter().find(|one| one["matcher"]["options"] == "severity");
            let colors = &own.unwrap()["properties"][0]["value"][0]["options"];
            assert_eq!(colors["critical"]["color"], "red", "{uid}: {}", panel["title"]);
            lists += 1;
        }
    }
    assert_eq!(lists, 5);
}

#[test]
fn budget_is_of_thirty_days_whatever_the_range() {
    let (_, board) = boards().into_iter().find(|(uid, _)| uid == "dnscribe-slo").unwrap();
    let panel = panels(&board).find(|panel| panel["title"].to_string().contains("budget"));
    let query = panel.unwrap()["targets"][0]["rawSql"].as_str().unwrap();
    assert!(query.contains("dns_fleet_1h") && query.contains("INTERVAL '30 days'"), "{query}");
    assert!(!query.contains("$__timeFilter") && !query.contains("$__timeFrom"), "{query}");
}

/// Another Grafana asks for each data source, and no id of ours is left.
#[test]
fn boards_can_be_imported() {
    let folder = grafana::folder().join("import");
    for (uid, provisioned) in boards() {
        let text = fs::read_to_string(folder.join(format!("{uid}.json"))).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        let mut rest = text.clone();
        for input in board["__inputs"].as_array().unwrap() {
            let name = input["name"].as_str().unwrap();
            assert_eq!(input["type"], "datasource", "{uid}");
            assert!(rest.contains(&format!("${{{name}}}")), "{uid}: {name} is not used");
            rest = rest.replace(&format!("${{{name}}}"), "chosen");
            let plugin = input["pluginId"].as_str().unwrap();
            let requires = board["__requires"].to_string();
            assert!(requires.contains(&format!("\"{plugin}\"")), "{uid}: {plugin}");
        }
        assert!(!rest.contains("${DS_"), "{uid}: a source without an input");
        for source in ["timescaledb", "clickhouse", "influxdb", "prometheus"] {
            assert!(!rest.contains(&format!("\"dnscribe-{source}\"")), "{uid}: {source}");
            assert!(!rest.contains(&format!("%22dnscribe-{source}%22")), "{uid}: {source}");
        }
        assert_eq!(board["panels"].as_array().unwrap().len(), panels_and_rows(&provisioned));
        assert_eq!(board["id"], Value::Null);
    }
}

fn panels_and_rows(board: &Value) -> usize {
    board["panels"].as_array().unwrap().len()
}

/// A query that times out and is answered late is two rows: shares of failed queries leave the second out, above and below.
#[test]
fn failed_queries_are_counted_once() {
    let mut count = 0;
    for (uid, board) in boards() {
        for panel in panels(&board) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["rawSql"].as_str().unwrap_or_default();
                if query.contains("OR rcode = 'SERVFAIL'") {
                    let once = "status NOT IN ('late', 'duplicate', 'orphan')";
                    assert!(query.contains(once), "{uid}: {}: {query}", panel["title"]);
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 3);
}

/// As texts, "warning" is above "critical".
#[test]
fn severities_are_not_compared_as_texts() {
    for file in files(&grafana::folder().join("dashboards")) {
        let board = fs::read_to_string(&file).unwrap();
        for wrong in ["max(severity)", "min(severity)", "ORDER BY severity"] {
            assert!(!board.contains(wrong), "{}: {wrong}", file.display());
        }
    }
}

/// Compares a file with the checked-in one, or writes it there.
fn compare(made: &Path, kept: &Path) {
    let text = fs::read_to_string(made).unwrap();
    if is_blessing() {
        fs::write(kept, text).unwrap();
    } else {
        let is_equal = fs::read_to_string(kept).unwrap() == text;
        assert!(is_equal, "{} is out of date: cargo xtask bless", kept.display());
    }
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}
