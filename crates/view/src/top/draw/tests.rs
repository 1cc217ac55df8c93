//! Frames of a made-up evening, as they must be. `cargo xtask bless` rewrites them.

use super::*;
use crossterm::event::{KeyCode, KeyModifiers};
use dnscribe_record::Stream;
use dnscribe_record::time::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::path::Path;

const LOOK: Theme = Theme { colour: true, unicode: true };

/// A minute and a half at a node with three resolvers, of which one is slow and one is dead.
fn evening() -> Model {
    let mut model = Model::default();
    let names = ["www.example.com", "api.example.net", "db.internal", "cdn.example.org"];
    let zones = ["example.com", "example.net", "", "example.org"];
    let resolvers = ["corp-dns", "2001:db8:ffff:ffff::53", "192.0.2.53"];
    let processes = ["curl", "nginx", "we\\u001b[31mird"];
    for number in 0..1200_u64 {
        let which = usize::try_from(number * number / 7 % 4).unwrap();
        let resolver = usize::try_from(number % 11 % 3).unwrap();
        let ts = Timestamp::from_nanos(1_790_000_000_000_000_000 + number * 75_000_000);
        let outcome = match (resolver, number % 13) {
            (2, _) => r#""status":"timeout""#.to_owned(),
            (_, 5) => r#""status":"answered","rcode":"NXDOMAIN","latency_ms":0.4"#.to_owned(),
            (1, 6) => r#""status":"answered","rcode":"SERVFAIL","latency_ms":900"#.to_owned(),
            _ => {
                let latency = if resolver == 1 { 80 + number % 50 } else { 1 + number % 9 };
                format!(r#""status":"answered","rcode":"NOERROR","latency_ms":{latency}"#)
            }
        };
        let zone = match zones[which] {
            "" => String::new(),
            zone => format!(r#","zone":"{zone}""#),
        };
        let place = match number % 3 {
            0 => r#","k8s":{"namespace":"shop","pod":"cart-7d9c","container":"app"}"#,
            _ => "",
        };
        let (name, server) = (names[which], resolvers[resolver]);
        let (comm, pid) = (processes[usize::try_from(number % 3).unwrap()], 1000 + number % 7);
        let line = format!(
            r#"{{"schema":"dns.transaction/1","event_id":"{number:032x}","ts":"{ts}","node":"edge-1","vantage":"client","client_ip":"192.0.2.7","resolver":"{server}","qname":"{name}","qtype":"A"{zone},{outcome},"retries":0,"process":{{"pid":{pid},"uid":0,"comm":"{comm}"}}{place}}}"#
        );
        model.line(Stream::Transactions, line.as_bytes());
    }
    let alerts = [
        r#""rule":"resolver_down","severity":"critical","state":"firing","resolver":"192.0.2.53","summary":"192.0.2.53 answers nothing: 108 of 108 queries timed out""#,
        r#""rule":"latency","severity":"warning","state":"firing","resolver":"2001:db8:ffff:ffff::53","summary":"p95 is 900 ms, 3 ms is usual""#,
        r#""rule":"nxdomain","severity":"warning","state":"resolved","zone":"example.org","summary":"8 % NXDOMAIN""#,
    ];
    for alert in alerts {
        let line = format!(r#"{{"schema":"dns.alert/1","ts":"2026-09-21T14:14:50Z",{alert}}}"#);
        model.line(Stream::Alerts, line.as_bytes());
    }
    model.line(Stream::Ledger, ledger().as_bytes());
    assert_eq!(model.unreadable.lines(), 0);
    model
}

fn ledger() -> String {
    let dropped = r#"{"queue_full":3,"shutdown":0,"write_error":0}"#;
    format!(
        r#"{{"schema":"dns.ledger/1","event_id":"00","ts":"2026-09-21T14:14:50Z","node":"edge-1","epoch":"2026-09-21T14:13:20Z","uptime_seconds":90.0,"final":false,"balanced":true,
        "kernel":{{"cgroup":{{"seen":2310,"submitted":2300,"lost_ring_full":7,"sampled_out":0,"skipped":{{"tcp_no_payload":3}},"clipped":0}}}},
        "ring":{{"submitted":2300,"received":2299,"in_ring":1,"sequence_gaps":7}},
        "decode":{{"received":2299,"decoded_packets":2297,"malformed":{{"dns_header":2}},"held":0,"messages":2297,"queries":1200,"responses":1097}},
        "pairing":{{"queries":1200,"responses":1097,"answered":1092,"timeout":100,"icmp_error":0,"evicted":0,"open":8,"retransmitted":0,"late":2,"duplicate":3,"orphan":0}},
        "delivery":{{"top":{{"transactions":{{"records":1205,"delivered":1202,"spooled":0,"in_flight":0,"filtered":0,"dropped":{dropped}}}}}}}}}"#
    )
    .replace('\n', "")
}

/// Adds connections: one name has two processes and a dead address, one has stale answers, and one is not known.
fn add_connections(model: &mut Model) {
    let destinations = [
        ("checkout.example.com", "198.51.100.7", "established", 840, 1.2, 14.5, 29_000),
        ("checkout.example.com", "198.51.100.8", "timeout", 60, 5_004.1, 3_001.0, 21_000),
        ("db.internal.example.com", "10.0.0.9", "established", 90, 0.4, 0.3, -3_604_120),
        ("db.internal.example.com", "10.0.0.9", "reset", 3, 0.4, 0.9, -3_604_120),
        ("", "203.0.113.9", "refused", 12, 0.0, 0.2, 0),
    ];
    for (number, (name, address, outcome, count, lookup, connect, left)) in
        destinations.into_iter().enumerate()
    {
        let named = format!(r#""name":"{name}","lookup_ms":{lookup},"ttl_left_ms":{left},"#);
        let named = if name.is_empty() { "" } else { &named };
        let (comm, pod) = [("java", "cart-7d9c"), ("curl", "till-1")][number % 2];
        let line = format!(
            r#"{{"schema":"dns.use/1","ts":"2026-09-21T14:14:40Z","node":"edge-1","address":"{address}","port":443,{named}"connect_ms":{connect},"outcome":"{outcome}","count":{count},"last":"2026-09-21T14:14:4{number}Z","process":{{"pid":70{number},"uid":0,"comm":"{comm}"}},"k8s":{{"namespace":"shop","pod":"{pod}","container":"app"}}}}"#
        );
        model.line(Stream::Uses, line.as_bytes());
    }
    assert_eq!(model.unreadable.lines(), 0);
}

/// What is on the screen after these keys.
fn frame(model: &Model, (width, height): (u16, u16), theme: Theme, keys: &[KeyCode]) -> String {
    let mut view = View::new(Vantage::Once, Time::Recent);
    let status = Status { source: "hook cgroup".to_owned(), ..Status::default() };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    measure(Rect::new(0, 0, width, height), &mut view);
    let mut show = |view: &mut View| {
        let mut last = 0;
        let scene = Scene { model, view, status: &status, theme, has_keys: true };
        terminal.draw(|frame| last = draw(frame, &scene)).unwrap();
        view.scroll = view.scroll.min(last);
    };
    for key in keys {
        view.key(*key, KeyModifiers::NONE, model);
        show(&mut view);
    }
    show(&mut view);
    let mut text = String::new();
    let buffer = terminal.backend().buffer();
    for row in buffer.content().chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn golden(name: &str, found: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/top");
    let path = folder.join(name);
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(found == expected, "{name}: expected\n{expected}\nfound\n{found}");
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

#[test]
fn golden_small_screen() {
    let model = evening();
    golden("resolvers-80x24.txt", &frame(&model, SMALL, LOOK, &[]));
    golden("processes-80x24.txt", &frame(&model, SMALL, LOOK, &[KeyCode::Char('4')]));
    golden("alerts-80x24.txt", &frame(&model, SMALL, LOOK, &[KeyCode::Char('6')]));
    golden("loss-80x24.txt", &frame(&model, SMALL, LOOK, &[KeyCode::Char('7')]));
    golden("help-80x24.txt", &frame(&model, SMALL, LOOK, &[KeyCode::Char('?')]));
}

#[test]
fn golden_drill() {
    let model = evening();
    let keys = [KeyCode::Down, KeyCode::Enter, KeyCode::Enter];
    golden("drill-1-80x24.txt", &frame(&model, SMALL, LOOK, &keys[..2]));
    golden("drill-2-80x24.txt", &frame(&model, SMALL, LOOK, &keys));
}

#[test]
fn golden_uses() {
    let mut model = evening();
    add_connections(&mut model);
    let keys = [KeyCode::Char('8'), KeyCode::Enter];
    golden("uses-80x24.txt", &frame(&model, SMALL, LOOK, &keys[..1]));
    golden("uses-drill-80x24.txt", &frame(&model, SMALL, LOOK, &keys));
    golden("uses-200x50.txt", &frame(&model, LARGE, LOOK, &keys[..1]));
    let text = plain_text(&model, "", Vantage::Once, Time::Recent, WIDTH);
    assert!(text.contains("\nUses\n") && text.contains("checkout.example.com"), "{text}");
    let text = plain_text(&evening(), "", Vantage::Once, Time::Recent, WIDTH);
    assert!(!text.contains("\nUses\n"), "no page without connections");
}

#[test]
fn golden_large_screen() {
    let model = evening();
    golden("resolvers-200x50.txt", &frame(&model, LARGE, LOOK, &[]));
    golden("alerts-200x50.txt", &frame(&model, LARGE, LOOK, &[KeyCode::Char('6')]));
}

#[test]
fn golden_ascii() {
    let theme = Theme { colour: false, unicode: false };
    let frame = frame(&evening(), SMALL, theme, &[]);
    assert!(frame.is_ascii());
    golden("ascii-80x24.txt", &frame);
}

#[test]
fn no_size_panics_and_every_line_fits() {
    let mut model = evening();
    add_connections(&mut model);
    for width in [1, 60, 99, 161, 400] {
        for height in [1, 10, 11, 30, 41, 120] {
            for key in "12345678?/".chars() {
                let keys = [KeyCode::Char(key), KeyCode::Enter, KeyCode::End];
                let text = frame(&model, (width, height), LOOK, &keys);
                assert_eq!(text.lines().count(), usize::from(height));
            }
        }
    }
}

/// Neither a number of a list nor a figure or tab of the header is cut or missing.
#[test]
fn narrow_screens_show_whole_columns_and_the_selected_tab() {
    let mut model = evening();
    add_connections(&mut model);
    for width in 60..=132 {
        for (key, tab) in "12345678".chars().zip(Tab::ALL) {
            for keys in [&[KeyCode::Char(key)][..], &[KeyCode::Char(key), KeyCode::Enter]] {
                let mut view = View::new(Vantage::Once, Time::Recent);
                view.width = width;
                for key in keys {
                    view.key(*key, KeyModifiers::NONE, &model);
                }
                let status = Status::default();
                let (view, status) = (&view, &status);
                let scene = Scene { model: &model, view, status, theme: LOOK, has_keys: true };
                let width = usize::from(width);
                let head = head::lines(&scene, width);
                let whole: Vec<String> = head.iter().map(plain).collect();
                assert!(whole[1].contains("  lost 10"), "{width}: {whole:?}");
                assert!(whole[2].contains(tab.title()), "{width}: {whole:?}");
                let entries = view.lines(&model);
                let body = content(&scene, &entries, width, 20);
                let is_list = view.listing().is_some();
                for line in head.iter().chain(body.iter().filter(|_| is_list)) {
                    let text = plain(line);
                    assert!(Span::raw(text.trim_end()).width() <= width, "{width}: {text}");
                }
            }
        }
    }
}

#[test]
fn a_text_scrolls_back_from_beyond_its_end() {
    let model = evening();
    let (size, page) = ((80, 12), KeyCode::Char('7'));
    let shown = |keys: &[KeyCode]| frame(&model, size, LOOK, &[&[page], keys].concat());
    let first = shown(&[]);
    let down = [KeyCode::PageDown; 20];
    assert_ne!(shown(&down), first);
    assert_eq!(shown(&down), shown(&[KeyCode::End]));
    assert_ne!(shown(&[KeyCode::End, KeyCode::Up]), shown(&[KeyCode::End]));
    assert_eq!(shown(&[&down[..], &[KeyCode::PageUp; 6]].concat()), first);
}

/// A link can be copied, and nothing is left out.
#[test]
fn an_alert_in_full_is_wrapped() {
    let mut model = evening();
    let runbook = "https://docs.example.com/runbooks/resolver-down.html#what-to-do-first";
    let line = format!(
        r#"{{"schema":"dns.alert/1","ts":"2026-09-21T14:14:51Z","rule":"resolver_down","severity":"critical","state":"firing","resolver":"192.0.2.54","runbook":"{runbook}","summary":"{}end"}}"#,
        "word ".repeat(30)
    );
    model.line(Stream::Alerts, line.as_bytes());
    let text = frame(&model, SMALL, LOOK, &[KeyCode::Char('6'), KeyCode::Enter]);
    assert!(text.contains(runbook) && text.contains("   end\n"), "{text}");
    assert!(text.contains("Esc back") && !text.contains("Enter"), "{text}");
    let loss = frame(&model, SMALL, LOOK, &[KeyCode::Char('7')]);
    assert!(!loss.contains("Enter") && !loss.contains("filter"), "{loss}");
}

#[test]
fn an_empty_view_says_so() {
    let text = frame(&Model::default(), SMALL, LOOK, &[]);
    assert!(text.contains("no DNS yet"), "{text}");
}

/// Keys are named where there are any.
#[test]
fn plain_text_names_no_keys() {
    let model = evening();
    let text = plain_text(&model, "", Vantage::Server, Time::Recent, WIDTH);
    assert!(text.contains("  nothing from this side\n") && !text.contains("v changes"), "{text}");
    let mut view = View::new(Vantage::Server, Time::Recent);
    view.width = SMALL.0;
    let status = Status::default();
    let theme = LOOK;
    let scene = Scene { model: &model, view: &view, status: &status, theme, has_keys: true };
    let lines = content(&scene, &view.lines(&model), 80, 20);
    assert!(lines.iter().any(|line| plain(line).contains("v changes the side")), "{lines:?}");
    // An alert is no DNS of another side.
    let mut model = Model::default();
    let alert = r#"{"schema":"dns.alert/1","ts":"2026-09-21T14:14:50Z","rule":"latency"}"#;
    model.line(Stream::Alerts, alert.as_bytes());
    let text = plain_text(&model, "", Vantage::Once, Time::Recent, WIDTH);
    assert!(text.contains("no DNS yet"), "{text}");
}

/// Neither the page of losses nor the numbers above every page are silent about them.
#[test]
fn says_what_could_not_be_read() {
    let mut model = evening();
    for _ in 0..3 {
        assert!(!model.json_line(br#"{"schema":"dns.transaction/2"}"#));
    }
    let text = plain_text(&model, "", Vantage::Once, Time::Recent, 60);
    let kinds = "3 lines that this version cannot read: 3 of schema dns.transaction/2\n";
    assert!(text.contains("  lost 10  unreadable 3\n") && text.contains(kinds), "{text}");
}

#[test]
fn nothing_of_others_reaches_the_screen_raw() {
    let text = frame(&evening(), LARGE, LOOK, &[KeyCode::Char('4')]);
    assert!(text.contains("we\\x1b[31mird"), "{text}");
    assert!(!text.chars().any(|one| one.is_control() && one != '\n'));
}

#[test]
fn bad_lines_are_marked_without_colour_too() {
    let text = frame(&evening(), SMALL, Theme { colour: false, unicode: true }, &[]);
    let marked =
        |name: &str| text.lines().any(|line| line.starts_with("!!") && line.contains(name));
    assert!(marked("192.0.2.53") && !marked("corp-dns"), "{text}");
}
