use super::super::text;
use super::*;
use proptest::prelude::*;

/// A transaction of this name at this second.
fn transaction(second: u64, qname: &str, status: &str, rcode: &str, vantage: &str) -> String {
    let ts = Timestamp::from_nanos((1_790_000_000 + second) * 1_000_000_000);
    let outcome = match rcode {
        "" => String::new(),
        rcode => format!(r#","rcode":"{rcode}","latency_ms":2.5"#),
    };
    format!(
        r#"{{"schema":"dns.transaction/1","event_id":"{second:032x}","ts":"{ts}","node":"n","vantage":"{vantage}","client_ip":"192.0.2.9","resolver":"192.0.2.53","qname":"{qname}","qtype":"A","zone":"example","status":"{status}"{outcome},"retries":0}}"#
    )
}

fn of(lines: &[String]) -> Model {
    let mut model = Model::default();
    for line in lines {
        model.line(Stream::Transactions, line.as_bytes());
    }
    assert_eq!(model.unreadable.lines(), 0);
    model
}

fn sums(model: &Model, group: Part, vantage: Vantage) -> Counts {
    let mut sum = model.other(group, vantage);
    for (_, row) in model.rows(group) {
        row.stats.shown(vantage).flatten().for_each(|stats| sum.add(&stats.counts));
    }
    sum
}

#[test]
fn a_query_seen_from_both_sides_counts_once_unless_all_is_asked_for() {
    let again = transaction(0, "a.example", "answered", "NOERROR", "server")
        .replace("\"retries\"", "\"parent_match\":\"exchange\",\"retries\"");
    let model = of(&[
        transaction(0, "a.example", "answered", "NOERROR", "client"),
        again,
        transaction(1, "b.example", "answered", "NOERROR", "server"),
    ]);
    let queries = Vantage::ALL.map(|vantage| model.total(vantage, Span::Whole).counts.queries());
    assert_eq!(queries, [2, 1, 2, 0, 3]);
}

#[test]
fn a_timeout_counts_when_it_is_known() {
    let model = of(&[
        transaction(0, "a.example", "timeout", "", "client"),
        transaction(7, "b.example", "answered", "NOERROR", "client"),
        transaction(2, "c.example", "timeout", "", "client"),
    ]);
    let history = model.total(Vantage::Once, Span::Recent).history;
    assert_eq!(history[RECENT - 8..], [1, 0, 0, 0, 0, 0, 0, 2]);
}

#[test]
fn processes_are_known_by_name_and_place() {
    let with = |more: &str| {
        transaction(0, "a.example", "answered", "NOERROR", "client")
            .replace("\"retries\"", &format!("{more},\"retries\""))
    };
    let process = r#""process":{"pid":7,"uid":0,"comm":"my \u001b[2J app"}"#;
    let model = of(&[
        with(process),
        with(&format!(r#"{process},"container":{{"id":"0123456789abcdef"}}"#)),
        with(&format!(r#"{process},"k8s":{{"namespace":"shop","pod":"cart-0","container":"c"}}"#)),
        transaction(0, "a.example", "answered", "NOERROR", "passive"),
    ]);
    let mut keys: Vec<&str> = model.rows(Part::Process).map(|(key, _)| key).collect();
    keys.sort_unstable();
    let expected = [
        "192.0.2.9 client",
        "my \\x1b[2J app 0123456789ab",
        "my \\x1b[2J app host",
        "my \\x1b[2J app shop/cart-0",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn what_is_no_record_is_counted() {
    let mut model = Model::default();
    model.line(Stream::Transactions, b"{}");
    model.line(Stream::Transactions, b"{\"ts\":\"yesterday\",\"status\":\"answered\"}");
    model.line(Stream::Ledger, b"[]");
    model.line(Stream::Dlq, b"not shown, not read");
    assert_eq!((model.unreadable.lines(), model.records), (3, 0));
}

/// Rotated files may be read in any order, and a node's capture may begin again.
#[test]
fn keeps_the_newest_ledger_of_a_node() {
    let mut model = Model::default();
    let ledger = |epoch: u64, uptime_seconds: f64| LedgerRecord {
        schema: "dns.ledger/1".into(),
        event_id: String::new(),
        ts: Timestamp::from_nanos(epoch * 1_000_000_000).to_string(),
        node: "n".into(),
        region: None,
        labels: dnscribe_record::Labels::new(),
        epoch: Timestamp::from_nanos(epoch * 1_000_000_000).to_string(),
        uptime_seconds,
        is_final: false,
        balanced: true,
        counters: dnscribe_record::ledger::Counters::default(),
    };
    for (given, newest) in [
        ((1_790_000_000, 20.0), (1_790_000_000, 20.0)),
        ((1_790_000_000, 10.0), (1_790_000_000, 20.0)),
        ((1_790_000_000, 30.0), (1_790_000_000, 30.0)),
        ((1_790_000_100, 0.0), (1_790_000_100, 0.0)),
        ((1_790_000_000, 40.0), (1_790_000_100, 0.0)),
    ] {
        model.ledger(ledger(given.0, given.1));
        assert_eq!(age(&model.ledgers["n"]), age(&ledger(newest.0, newest.1)), "{given:?}");
    }
}

/// Connections of curl: a name and an address, what became of how many, and how long they took.
fn connections(to: (&str, &str), outcome: &str, count: u64, times: (f64, f64, f64)) -> String {
    let (lookup_ms, connect_ms, ttl_left_ms) = times;
    let name = if to.0.is_empty() { String::new() } else { format!(r#""name":"{}","#, to.0) };
    format!(
        r#"{{"schema":"dns.use/1","ts":"2026-11-20T07:30:00Z","node":"n","protocol":"tcp","address":"{}","port":443,{name}"outcome":"{outcome}","count":{count},"lookup_ms":{lookup_ms},"connect_ms":{connect_ms},"ttl_left_ms":{ttl_left_ms},"last":"2026-11-20T07:30:09Z","process":{{"pid":7,"uid":0,"comm":"curl"}}}}"#,
        to.1
    )
}

#[test]
fn connections_are_summed_up_by_name_and_process() {
    let mut model = Model::default();
    let lines = [
        connections(("a.example", "192.0.2.1"), "established", 6, (1.0, 20.0, 5.0)),
        connections(("a.example", "192.0.2.1"), "refused", 2, (1.0, 30.0, -5.0)),
        connections(("a.example", "192.0.2.2"), "unknown", 2, (3.0, 40.0, -5.0)),
        connections(("", "203.0.113.9"), "timeout", 1, (0.0, 3_000.0, 0.0)),
    ];
    for line in &lines {
        model.line(Stream::Uses, line.as_bytes());
    }
    model.line(Stream::Uses, br#"{"schema":"dns.use/1","count":1,"last":"now"}"#);
    assert_eq!((model.records, model.unreadable.lines()), (4, 1));
    let mut found: Vec<_> = model.uses.iter().collect();
    found.sort_unstable_by_key(|(name, ..)| *name);
    let [(address, _, unnamed), (name, process, named)] = found[..] else { unreachable!() };
    assert_eq!((address, name, process), ("203.0.113.9", "a.example", "curl host"));
    assert_eq!((named.count(), named.addresses(), named.pid), (10, 2, 7));
    // Of the connections whose outcome is known.
    let shares = ["established", "refused"].map(|outcome| named.share(&[outcome]));
    let shown = [shares[0], shares[1], named.stale(), unnamed.stale()].map(text::percent);
    assert_eq!(shown, ["75.0", "25.0", "40.0", "0"]);
    let median = named.connects.quantile(0.5).unwrap();
    assert!((median - 30.0).abs() < 0.5, "{median}");
}

#[test]
fn a_flood_of_destinations_is_bounded_and_leaves_the_frequent_ones() {
    let mut model = Model::default();
    for number in 0..10_000 {
        let name =
            if number % 5 == 0 { "a.example".to_owned() } else { format!("n{number}.example") };
        let line = connections((&name, "192.0.2.1"), "established", 1, (1.0, 1.0, 1.0));
        model.line(Stream::Uses, line.as_bytes());
    }
    assert!(model.uses.iter().count() <= uses::DESTINATIONS);
    let frequent = model.uses.iter().find(|(name, ..)| *name == "a.example").unwrap().2;
    assert_eq!(frequent.count(), 2_000);
    let counted: u64 = model.uses.iter().map(|(.., one)| one.count()).sum();
    assert_eq!(counted + model.uses.other, 10_000);
}

#[test]
fn a_flood_of_names_is_bounded_and_leaves_the_frequent_ones() {
    let mut model = Model::default();
    for number in 0..24_000_u64 {
        let name = match number % 10 {
            0 => "www.example".to_owned(),
            1 => "fails.example".to_owned(),
            _ => format!("r{number}.example"),
        };
        let rcode = if number % 10 == 1 { "SERVFAIL" } else { "NXDOMAIN" };
        let line = transaction(number / 1000, &name, "answered", rcode, "client");
        model.line(Stream::Transactions, line.as_bytes());
    }
    assert!(model.rows(Part::Name).count() <= ROWS[Part::Name as usize]);
    assert!(model.facts.iter().count() <= table::FACTS);
    let row = model.rows(Part::Name).find(|(key, _)| *key == "www.example").unwrap().1;
    let shown: u64 = row.stats.shown(Vantage::Once).flatten().map(|stats| stats.counts.sum()).sum();
    assert_eq!(shown, 2400, "never evicted");
    let fails =
        model.facts.iter().find(|(key, _)| parts(key)[Part::Name as usize] == "fails.example");
    assert_eq!(fails.unwrap().1.counts.shown(Vantage::Once).sum::<u64>(), 2400);
    assert_eq!(sums(&model, Part::Name, Vantage::Once).sum(), 24_000);
}

#[test]
fn clearing_keeps_states() {
    let mut model = of(&[transaction(0, "a.example", "answered", "NOERROR", "client")]);
    model.line(Stream::Alerts, br#"{"rule":"tunnel","zone":"example","state":"firing"}"#);
    model.clear();
    assert_eq!(model.total(Vantage::All, Span::Whole).counts.sum(), 0);
    assert_eq!((model.rows(Part::Name).count(), model.alerts.sorted().len()), (0, 1));
    assert!(model.nodes.iter().eq(["n"]), "{:?}", model.nodes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_table_has_the_same_total(
        events in prop::collection::vec((0..100_u64, 0..3000_u32, 0..5_usize, 0..3_usize), 1..400),
    ) {
        let outcomes = [
            ("answered", "NOERROR"), ("answered", "NXDOMAIN"), ("timeout", ""), ("duplicate", "NOERROR"),
            ("open", ""),
        ];
        let vantages = ["client", "server", "passive"];
        let lines: Vec<String> = events.iter().map(|(second, name, outcome, vantage)| {
            let (status, rcode) = outcomes[*outcome];
            transaction(*second, &format!("n{name}.example"), status, rcode, vantages[*vantage])
        }).collect();
        let model = of(&lines);
        for vantage in Vantage::ALL {
            let total = model.total(vantage, Span::Whole).counts;
            for group in [Part::Resolver, Part::Zone, Part::Name, Part::Process, Part::Outcome] {
                prop_assert_eq!(sums(&model, group, vantage), total);
            }
            let facts: u64 = model.facts.iter().map(|(_, fact)| fact.counts.shown(vantage).sum::<u64>()).sum();
            prop_assert_eq!(facts, total.sum());
        }
        prop_assert_eq!(model.total(Vantage::All, Span::Whole).counts.sum(), events.len() as u64);
    }
}
