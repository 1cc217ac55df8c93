use super::*;
use dnscribe_record::Stream;

/// Two resolvers; three names at the first, of which one fails, asked for by two processes.
fn model() -> Model {
    let mut model = Model::default();
    let asked = [
        ("r1", "a.example", "NOERROR", "curl", 5),
        ("r1", "bad.example", "SERVFAIL", "curl", 2),
        ("r1", "bad.example", "SERVFAIL", "cron", 1),
        ("r2", "c.example", "NOERROR", "cron", 3),
    ];
    for (resolver, name, rcode, comm, times) in asked {
        for _ in 0..times {
            let line = format!(
                r#"{{"schema":"dns.transaction/1","ts":"2026-11-20T07:30:00Z","vantage":"client","client_ip":"192.0.2.1","resolver":"{resolver}","qname":"{name}","qtype":"A","zone":"example","status":"answered","rcode":"{rcode}","latency_ms":1,"process":{{"pid":1,"uid":0,"comm":"{comm}"}}}}"#
            );
            model.line(Stream::Transactions, line.as_bytes());
        }
    }
    model
}

fn press(view: &mut View, model: &Model, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '\x08' => KeyCode::Backspace,
            other => KeyCode::Char(other),
        };
        assert_eq!(view.key(code, KeyModifiers::NONE, model), Action::None, "{key:?}");
    }
}

fn shown(view: &View, model: &Model) -> Vec<(String, u64)> {
    view.lines(model).into_iter().map(|line| (line.label, line.count)).collect()
}

fn of(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
}

#[test]
fn from_a_resolver_to_its_failing_names_to_the_process_and_back() {
    let model = model();
    let mut view = View::new(Vantage::Once, Span::Whole);
    assert_eq!(shown(&view, &model), of(&[("r1", 8), ("r2", 3)]));
    press(&mut view, &model, "\n");
    assert_eq!(shown(&view, &model), of(&[("bad.example", 3)]), "failures only");
    press(&mut view, &model, "f");
    assert_eq!(shown(&view, &model), of(&[("a.example", 5), ("bad.example", 3)]));
    press(&mut view, &model, "j\n");
    assert_eq!(shown(&view, &model), of(&[("curl", 2), ("cron", 1)]));
    press(&mut view, &model, "\n");
    assert_eq!(view.drills().count(), 2, "here it ends: all parts are known");
    press(&mut view, &model, "\x1b\x1b\x1b");
    assert_eq!(view.drills().count(), 0);
}

#[test]
fn from_a_process_to_its_names_to_their_resolvers() {
    let model = model();
    let mut view = View::new(Vantage::Once, Span::Whole);
    press(&mut view, &model, "4j\n");
    assert_eq!(shown(&view, &model), of(&[("c.example", 3), ("bad.example", 1)]));
    press(&mut view, &model, "\n");
    assert_eq!(shown(&view, &model), of(&[("r2", 3)]));
}

#[test]
fn from_a_destination_to_the_processes_that_connect_to_it() {
    let mut model = model();
    for (name, comm, count) in
        [("a.example", "curl", 5), ("a.example", "cron", 7), ("b.example", "curl", 8)]
    {
        let line = format!(
            r#"{{"schema":"dns.use/1","address":"192.0.2.1","name":"{name}","outcome":"established","count":{count},"last":"2026-11-20T07:30:00Z","process":{{"pid":1,"comm":"{comm}"}}}}"#
        );
        model.line(Stream::Uses, line.as_bytes());
    }
    let mut view = View::new(Vantage::Once, Span::Recent);
    press(&mut view, &model, "8");
    assert_eq!(shown(&view, &model), of(&[("a.example", 12), ("b.example", 8)]));
    press(&mut view, &model, "\nf");
    assert_eq!(shown(&view, &model), of(&[("cron", 7), ("curl", 5)]));
    press(&mut view, &model, "\n");
    assert_eq!(view.drills().count(), 1, "here it ends");
    let columns = columns(Listing::Destinations, 200);
    press(&mut view, &model, "\x1b");
    for _ in columns.iter().filter(|column| column.is_sortable()) {
        press(&mut view, &model, "s");
        assert_eq!(view.lines(&model).len(), 2);
    }
    press(&mut view, &model, "/B.EX\n");
    assert_eq!(shown(&view, &model), of(&[("b.example", 8)]));
}

#[test]
fn a_filter_is_typed_kept_and_dropped() {
    let model = model();
    let mut view = View::new(Vantage::Once, Span::Whole);
    press(&mut view, &model, "3/BADq");
    assert!(view.typing, "q is a letter here");
    press(&mut view, &model, "\x08\n");
    assert!(!view.typing);
    assert_eq!(shown(&view, &model), of(&[("bad.example", 3)]));
    press(&mut view, &model, "\x1b");
    assert_eq!(shown(&view, &model).len(), 3);
}

#[test]
fn the_chosen_line_stays_chosen_when_the_order_changes() {
    let model = model();
    let mut view = View::new(Vantage::Once, Span::Whole);
    press(&mut view, &model, "3j");
    let chosen = |view: &View| {
        let lines = view.lines(&model);
        lines[view.chosen(keys(&lines))].key.clone()
    };
    let before = chosen(&view);
    press(&mut view, &model, "S");
    assert_eq!(chosen(&view), before);
    press(&mut view, &model, "S/zzz\n");
    assert_eq!(view.lines(&model).len(), 0);
    assert_eq!(view.chosen(keys(&[])), 0);
}

#[test]
fn orders_are_each_tabs_own() {
    let model = model();
    let mut view = View::new(Vantage::Once, Span::Whole);
    let begin = view.sort();
    press(&mut view, &model, "s");
    assert_ne!(view.sort(), begin);
    press(&mut view, &model, "2");
    assert_eq!(view.sort(), begin);
    press(&mut view, &model, "1");
    assert_ne!(view.sort(), begin);
    let columns = columns(Listing::Group(Part::Resolver), 80);
    for _ in columns.iter().filter(|column| column.is_sortable()) {
        press(&mut view, &model, "s");
        assert!(columns.contains(&view.sort().column));
    }
}

#[test]
fn tabs_go_round_and_keys_ask_for_what_they_say() {
    let model = model();
    let mut view = View::new(Vantage::Once, Span::Recent);
    for tab in Tab::ALL.into_iter().cycle().take(2 * Tab::ALL.len() + 1) {
        assert_eq!(view.tab, tab);
        press(&mut view, &model, "\t");
    }
    view.key(KeyCode::BackTab, KeyModifiers::NONE, &model);
    assert_eq!(view.tab, Tab::Resolvers);
    press(&mut view, &model, "vt");
    assert_eq!((view.vantage, view.span), (Vantage::Client, Span::Whole));
    let key = |view: &mut View, code| view.key(code, KeyModifiers::NONE, &model);
    assert_eq!(key(&mut view, KeyCode::Char('q')), Action::Quit);
    assert_eq!(key(&mut view, KeyCode::Char('c')), Action::Clear);
    assert_eq!(key(&mut view, KeyCode::Char('p')), Action::Pause);
    let control = view.key(KeyCode::Char('c'), KeyModifiers::CONTROL, &model);
    assert_eq!(control, Action::Quit);
}
