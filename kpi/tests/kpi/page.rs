//! The page of `serve` and the report, in headless Chromium.

use crate::world::{World, event};
use dnscribe_tests::browser::{self, Inspection, Visit};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Widths of a telephone, a small laptop and a desktop in pixels.
const WIDTHS: [u32; 3] = [390, 1024, 1600];

/// SHA-256 of the token `secret123`.
const TOKEN_SHA256: &str = "fcf730b6d95236ecd3c9fc2d92d7b6b2bb061514961aec041d6c7a7192f592e4";

/// JavaScript that waits until `condition` holds, for ten seconds at most.
const UNTIL: &str = "const until = async condition => {
    for (let tries = 0; !condition(); tries++) {
        if (tries > 200) throw new Error(`never: ${condition}; ${document.body.innerText}`);
        await new Promise(resolve => setTimeout(resolve, 50));
    }
};";

/// What a reader sees: the cards, all KPIs, and registrations by TLD.
const READ: &str = "
    const text = (node, selector) => node.querySelector(selector)?.textContent ?? '';
    await until(() => text(document, '#status').startsWith('Computed'));
    const choose = (id, value) => {
        const list = document.getElementById(id);
        list.value = value;
        list.dispatchEvent(new Event('change'));
    };
    const slices = () => [...document.querySelectorAll('#slices tbody tr')].map(row => [...row.cells].map(cell => cell.innerText));
    if (!document.getElementById('slices').hidden) {
        choose('kpi', 'registrations');
        choose('by', 'tld');
        await until(() => text(document, '#slices caption').startsWith('Registrations by tld'));
    }
    return {
        cards: [...document.querySelectorAll('#top li')].map(card => ({
            label: card.querySelector('span').textContent, value: text(card, 'b'), state: text(card, '.state'),
            hasLine: card.querySelector('polyline') !== null, hasAction: card.innerText.includes('If ')})),
        chart: text(document, '#chart-text'), lines: document.querySelectorAll('#chart polyline').length,
        kpis: [...document.querySelectorAll('#all tbody tr:has(details)')].map(row => ({
            label: text(row, 'summary'), state: text(row, '.state'), owner: text(row, 'details').includes('Owner: ')})),
        slices: slices(),
    };";

fn visit(url: &str, dark: bool, before: &str) -> Visit {
    let pictures = std::env::var_os("DNSCRIBE_PICTURES").map(PathBuf::from);
    Visit {
        url: url.to_owned(),
        widths: WIDTHS.to_vec(),
        dark,
        script: Some(format!("(async () => {{ {UNTIL} {before} {READ} }})()")),
        axe: true,
        screenshot: pictures.map(|folder| folder.join("kpi")),
    }
}

/// Checks what holds for a page at each width; `base` is where it may fetch from.
fn check(found: &Inspection, base: &str) {
    let width = found.width;
    assert!(found.violations.is_empty(), "{base} at {width}: {:#?}", found.violations);
    assert_eq!(found.page_width, width, "{base} must not scroll sideways");
    assert!(found.fetched.iter().all(|url| url.starts_with(base)), "{:?}", found.fetched);
    let read = &found.evaluated;
    let cards = read["cards"].as_array().unwrap();
    assert_eq!(cards.len(), 6, "{read:#}");
    for card in cards {
        assert!(card["hasLine"] == true && card["hasAction"] == true, "{card}");
        assert_ne!(card["value"], "no value", "{card}");
    }
    for kpi in read["kpis"].as_array().unwrap() {
        assert_eq!(kpi["owner"], true, "{kpi}");
    }
}

/// Whether there is a browser; says on standard error if there is none.
fn has_browser() -> bool {
    let found = browser::chromium().is_some() && shell::which("npm").is_some();
    if !found {
        environment::skip("Chromium or npm is missing; `cargo xtask setup --test` installs them");
    }
    found
}

/// Fills a store with some weeks of the sample.
fn sample(world: World) -> World {
    let file = world.sample(12, 40, &[]);
    world.ok(&["import", &file]);
    world.compute();
    world
}

#[test]
fn page_and_report_show_what_the_api_says() {
    if !has_browser() {
        return;
    }
    let world = sample(World::new());
    let server = world.serve(&["--no-auth"]);
    let tokens = world.path("tokens.yaml");
    let list = format!("[{{name: all, sha256: {TOKEN_SHA256}, scopes: [all]}}]");
    fs::write(&tokens, format!("version: 1\ntokens: {list}\n")).unwrap();
    let locked = world.serve(&["--tokens", tokens.to_str().unwrap()]);
    let base = format!("http://{}/", server.address);
    let locked_base = format!("http://{}/", locked.address);
    let login = "const form = document.getElementById('login'); await until(() => !form.hidden);
        document.getElementById('token').value = 'secret123'; form.requestSubmit();";
    let mut with_token = visit(&locked_base, false, login);
    with_token.screenshot = None;
    let visits = [visit(&base, false, ""), visit(&base, true, ""), with_token];
    let inspected = browser::inspect(&visits).unwrap();
    let (open, locked) = inspected.split_at(2 * WIDTHS.len());
    for found in open {
        check(found, &base);
        assert!(found.errors.is_empty(), "{:?}", found.errors);
    }
    for found in locked {
        check(found, &locked_base);
        // What came before the token was refused, and the browser says so.
        assert!(found.errors.iter().all(|error| error.contains("401")), "{:?}", found.errors);
    }

    let read = &inspected[0].evaluated;
    let listed = server.get("/v1/kpis").1;
    assert_eq!(read["kpis"].as_array().unwrap().len(), listed["kpis"].as_array().unwrap().len());
    let values = World::values(&server, "/v1/kpis/registrations");
    let (day, last) = values.last_key_value().unwrap();
    assert_eq!(read["cards"][0]["label"], "Registrations");
    assert_eq!(read["cards"][0]["value"], format!("{} domains", last["value"]));
    let chart = read["chart"].as_str().unwrap();
    assert!(chart.starts_with("Registrations, ") && chart.ends_with(" domains"), "{chart}");
    assert_eq!(read["lines"], 1);
    assert_eq!(read["cards"][0]["state"], last["state"]);
    let first: jiff::civil::Date = day.parse().unwrap();
    let first = first.checked_sub(jiff::Span::new().days(27)).unwrap();
    let slices = format!("/v1/kpis/registrations?grain=all&from={first}&to={day}&by=tld");
    let slices = World::values(&server, &slices);
    let shown = read["slices"].as_array().unwrap();
    assert_eq!(shown.len(), slices.len());
    for (key, value) in slices {
        let (_, tld) = key.split_once('/').unwrap();
        let row = json!([tld, format!("{} domains", value["value"]), value["state"]]);
        assert!(shown.contains(&row), "{row}: {shown:?}");
    }
    assert!(locked.iter().all(|found| found.evaluated == *read));
    drop(server);
    report_shows_what_the_page_shows(&world, read);
}

#[test]
fn hours_of_a_kpi_are_drawn() {
    if !has_browser() {
        return;
    }
    let kpis = ["dns_queries", "registrations", "transfer_completion_ratio"];
    let world = sample(World::with_kpis(&kpis));
    let server = world.serve(&["--no-auth"]);
    let script = format!(
        "(async () => {{ {UNTIL}
        const text = () => document.getElementById('chart-text').textContent;
        const choose = (id, value) => {{
            const list = document.getElementById(id);
            list.value = value;
            list.dispatchEvent(new Event('change'));
        }};
        await until(() => text().startsWith('Registrations, '));
        choose('kpi', 'dns_queries');
        await until(() => text().startsWith('DNS queries, '));
        choose('grain', 'hour');
        await until(() => text().includes('UTC'));
        choose('kpi', 'transfer_completion_ratio');
        await until(() => text().startsWith('Transfer completion, '));
        const grains = [...document.getElementById('grain').options].map(option => option.value);
        choose('kpi', 'dns_queries');
        await until(() => text().startsWith('DNS queries, '));
        choose('grain', 'hour');
        await until(() => text().includes('UTC'));
        return {{text: text(), grains, points: document.querySelector('#chart polyline').points.length}};
        }})()"
    );
    let visit = Visit {
        url: format!("http://{}/", server.address),
        widths: vec![WIDTHS[1]],
        dark: false,
        script: Some(script),
        axe: true,
        screenshot: std::env::var_os("DNSCRIBE_PICTURES").map(|to| PathBuf::from(to).join("hours")),
    };
    let inspected = browser::inspect(&[visit]).unwrap();
    let found = &inspected[0].evaluated;
    assert!(inspected[0].violations.is_empty(), "{:#?}", inspected[0].violations);
    assert_eq!(found["grains"], json!(["day"]), "it is counted by days alone");
    assert_eq!(found["points"], 7 * 24, "{found}");
    assert!(found["text"].as_str().unwrap().contains("00:00 UTC to "), "{found}");
}

#[test]
fn slices_end_before_days_that_are_open() {
    if !has_browser() {
        return;
    }
    let world = World::with_kpis(&["registrations", "transfer_completion_ratio"]);
    let day = |before: i64| {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * before);
        at.to_string()
    };
    let transfer = |number: u32, kind: &str, before: i64| {
        event(number, kind, &day(before), json!({"domain": format!("d{}.com", number / 10)}))
    };
    world.import(
        "a.ndjson",
        &[
            transfer(10, "transfer_in_requested", 12),
            transfer(11, "transfer_in_completed", 11),
            transfer(20, "transfer_in_requested", 1),
        ],
    );
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let script = format!(
        "(async () => {{ {UNTIL}
        await until(() => document.querySelector('#status').textContent.startsWith('Computed'));
        const kpi = document.getElementById('kpi');
        kpi.value = 'transfer_completion_ratio';
        kpi.dispatchEvent(new Event('change'));
        const table = document.getElementById('slices');
        await until(() => table.caption.textContent.startsWith('Transfer completion by tld'));
        return {{caption: table.caption.textContent, rows: [...table.tBodies[0].rows].map(row => row.innerText)}};
        }})()"
    );
    let found = evaluated(&server.address, script);
    assert_eq!(found["rows"].as_array().unwrap().len(), 1, "{found}");
    // One of one, and not one of two.
    assert!(found["rows"][0].as_str().unwrap().contains("100.00 %"), "{found}");
    let last = format!("until {}", &day(8)[..10]);
    assert!(found["caption"].as_str().unwrap().ends_with(&last), "{found}");
}

/// An answer has pages: the newest days and the largest slices are not on the first.
#[test]
fn long_answers_are_read_to_their_end() {
    if !has_browser() {
        return;
    }
    let world = World::with_kpis(&["registrations", "revenue"]);
    let first = jiff::civil::date(2026, 1, 1);
    let mut rows = Vec::new();
    for day in 0..100 {
        let date = first.saturating_add(jiff::Span::new().days(day));
        for currency in 0..120_u8 {
            let letters = [b'X', b'A' + currency / 26, b'A' + currency % 26];
            let currency = String::from_utf8(letters.to_vec()).unwrap();
            let amount = if currency == "XAA" { 2_000_000 } else { 1_000_000 };
            let money = json!({"amount_micros": amount, "currency": currency});
            let number = u32::try_from(rows.len()).unwrap();
            rows.push(event(number, "payment_captured", &format!("{date}T10:00:00Z"), money));
        }
    }
    for channel in
        (0..1_100).map(|number| format!("c{number:04}")).chain(["z", "z"].map(str::to_owned))
    {
        let number = u32::try_from(rows.len()).unwrap();
        let channel = json!({ "channel": channel });
        rows.push(event(number, "registration_completed", "2026-04-10T11:00:00Z", channel));
    }
    world.import("a.ndjson", &rows);
    world.compute();
    let server = world.serve(&["--no-auth"]);
    let script = format!(
        "(async () => {{ {UNTIL}
        const text = selector => document.querySelector(selector)?.textContent ?? '';
        const choose = (id, value) => {{
            const list = document.getElementById(id);
            list.value = value;
            list.dispatchEvent(new Event('change'));
        }};
        await until(() => text('#status').startsWith('Computed'));
        choose('kpi', 'revenue');
        await until(() => text('#chart-text').startsWith('Revenue ('));
        const revenue = text('#chart-text');
        choose('kpi', 'registrations');
        choose('by', 'channel');
        await until(() => text('#slices caption').startsWith('Registrations by channel'));
        const cells = [...document.querySelector('#slices tbody tr').cells];
        return {{ revenue, largest: cells.map(cell => cell.innerText) }};
        }})()"
    );
    let found = evaluated(&server.address, script);
    let revenue = found["revenue"].as_str().unwrap();
    assert!(revenue.starts_with("Revenue (XAA), 2026-01-10 to 2026-04-10: 2 XAA"), "{revenue}");
    assert_eq!(found["largest"], json!(["z", "2 domains", "provisional"]));
}

/// Returns what a script finds on the page of a server.
fn evaluated(server: &str, script: String) -> Value {
    let visit = Visit {
        url: format!("http://{server}/"),
        widths: vec![WIDTHS[1]],
        dark: false,
        script: Some(script),
        axe: false,
        screenshot: None,
    };
    browser::inspect(&[visit]).unwrap().remove(0).evaluated
}

/// The report is the page without a server, and without slices.
fn report_shows_what_the_page_shows(world: &World, page: &Value) {
    let file = world.path("report.html");
    fs::write(&file, world.ok(&["report"])).unwrap();
    let url = format!("file://{}", file.display());
    let mut visits = [false, true].map(|dark| visit(&url, dark, ""));
    for visit in &mut visits {
        visit.screenshot = visit.screenshot.as_ref().map(|folder| folder.join("report"));
    }
    for found in browser::inspect(&visits).unwrap() {
        check(&found, &url);
        assert!(found.errors.is_empty() && found.fetched.is_empty(), "{found:?}");
        assert_eq!(found.evaluated["slices"], json!([]));
        assert_eq!(
            [&found.evaluated["cards"], &found.evaluated["kpis"], &found.evaluated["chart"]],
            [&page["cards"], &page["kpis"], &page["chart"]]
        );
    }
}
