use super::*;
use dnscribe_record::ledger::{Counters, Delivery, DnstapSender, Kernel};
use dnscribe_record::{MessageId, PacketId};
use proptest::prelude::*;
use serde_json::json;

/// One capture of one node, made by hand.
#[derive(Clone, Copy)]
struct Run {
    node: &'static str,
    epoch: u64,
}

const FIRST: Run = Run { node: "n", epoch: 1_000 };
const SECOND: Run = Run { node: "n", epoch: 2_000 };

impl Run {
    fn namespace(self) -> Namespace {
        Namespace::new(self.node, Timestamp::from_nanos(self.epoch))
    }

    fn transaction(self, seq: u64, status: &str) -> String {
        let id = self.namespace().message(MessageId { packet: PacketId { cpu: 0, seq }, index: 0 });
        json!({
            "schema": "dns.transaction/1", "event_id": id.to_string(), "ts": "t",
            "node": self.node, "answers": [{"name": "a\"b", "ttl": 1}], "status": status,
        })
        .to_string()
    }

    /// Returns `count` transactions, all answered.
    fn transactions(self, count: u64) -> Vec<String> {
        (0..count).map(|seq| self.transaction(seq, "answered")).collect()
    }

    /// Returns the `ordinal`th ledger record with these deliveries of transactions, by sink.
    fn ledger(self, ordinal: u64, last: bool, sinks: &[(&str, Delivery)]) -> String {
        let answered = sinks.first().map_or(0, |(_, delivery)| delivery.records);
        let mut counters = balanced(answered);
        for (sink, delivery) in sinks {
            let before = self::delivery(ordinal - 1, 0, 0, 0);
            let streams = [("transactions", delivery.clone()), ("ledger", before)];
            let streams = streams.map(|(stream, delivery)| (stream.to_owned(), delivery));
            counters.delivery.insert((*sink).to_owned(), streams.into());
        }
        self.record(ordinal, last, counters)
    }

    fn record(self, ordinal: u64, last: bool, counters: Counters) -> String {
        let record = LedgerRecord {
            schema: "dns.ledger/1".into(),
            event_id: self.namespace().ledger(ordinal).to_string(),
            ts: "t".into(),
            node: self.node.into(),
            region: None,
            labels: dnscribe_record::Labels::new(),
            epoch: Timestamp::from_nanos(self.epoch).to_string(),
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            uptime_seconds: ordinal as f64,
            is_final: last,
            balanced: true,
            counters,
        };
        serde_json::to_string(&record).unwrap()
    }
}

/// Returns counters of `answered` queries, each answered.
fn balanced(answered: u64) -> Counters {
    let mut counters = Counters::default();
    let packets = 2 * answered;
    let kernel = Kernel { seen: packets, submitted: packets, ..Kernel::default() };
    counters.kernel.insert("replay".into(), kernel);
    counters.ring.submitted = packets;
    counters.ring.received = packets;
    counters.decode.received = packets;
    counters.decode.decoded_packets = packets;
    counters.decode.messages = packets;
    counters.decode.queries = answered;
    counters.decode.responses = answered;
    counters.pairing.queries = answered;
    counters.pairing.responses = answered;
    counters.pairing.answered = answered;
    counters
}

/// Returns a delivery; `records` is the sum of the arguments.
fn delivery(delivered: u64, spooled: u64, in_flight: u64, dropped: u64) -> Delivery {
    let records = delivered + spooled + in_flight + dropped;
    let dropped = [("broker_error".to_owned(), dropped)].into();
    Delivery { records, delivered, spooled, in_flight, filtered: 0, dropped }
}

fn verifier(memory_bytes: usize) -> Verifier {
    Verifier::new(SortOptions { temp_folder: std::env::temp_dir(), memory_bytes })
}

fn read(mut verifier: Verifier, text: &str, sink: Option<&str>) -> BalanceReport {
    read_ndjson(&mut verifier, "test", &mut text.as_bytes(), |_| {}).unwrap();
    verifier.report(sink).unwrap()
}

fn verify(lines: &[String]) -> BalanceReport {
    read(verifier(1 << 20), &(lines.join("\n") + "\n"), None)
}

/// Verifies what `--brokers` would read, with the first `found` transactions of the first run.
fn topics(found: u64, ledgers: &[String]) -> BalanceReport {
    let text = [FIRST.transactions(found), ledgers.to_vec()].concat().join("\n");
    read(verifier(100), &text, Some("kafka"))
}

fn line<'a>(report: &'a BalanceReport, run: Run, stream: &str) -> &'a BalanceLine {
    let epoch = Timestamp::from_nanos(run.epoch).to_string();
    let mut lines = report.lines.iter();
    lines.find(|line| line.epoch.as_ref() == Some(&epoch) && line.stream == stream).unwrap()
}

fn says(findings: &Findings, what: &str) -> bool {
    findings.shown.iter().any(|finding| finding.contains(what))
}

#[test]
fn closes_and_counts_duplicates() {
    let ledger = FIRST.ledger(1, true, &[("file", delivery(2, 0, 0, 0))]);
    let once = [FIRST.transactions(2), vec![ledger]].concat();
    let report = verify(&once);
    assert!(report.closes() && report.notes.is_empty(), "{report}");
    assert_eq!(line(&report, FIRST, "transactions").duplicates, 0);

    let twice = verify(&[once.clone(), once].concat());
    assert!(twice.closes() && twice.notes.is_empty(), "{twice}");
    let of = |stream| (line(&twice, FIRST, stream).found, line(&twice, FIRST, stream).duplicates);
    assert_eq!((of("transactions"), twice.ledgers), ((2, 2), 2));
}

#[test]
fn counts_copies_that_are_written_late() {
    let record = FIRST.transaction(0, "answered");
    let record = record.replace(r#""ts":"t""#, r#""ts":"2026-11-20T07:30:00Z""#);
    let ts: Timestamp = "2026-11-20T07:30:00Z".parse().unwrap();
    let mut verifier = verifier(1 << 20);
    for minutes in [0, 15, 16] {
        verifier.set_written(Some(ts.plus(Duration::from_mins(minutes))));
        assert!(verifier.add_record(record.as_bytes(), None, &"t").is_continue());
    }
    let report = verifier.report(None).unwrap();
    assert_eq!(report.total(Stream::Transactions).late_copies, 1);
}

#[test]
fn finds_missing_records() {
    let ledger = |delivered| FIRST.ledger(1, true, &[("file", delivery(delivered, 0, 0, 0))]);
    let report = verify(&[FIRST.transactions(1), vec![ledger(2)]].concat());
    assert!(says(&report.problems, "1 missing"), "{report}");
    assert!(!verify(&FIRST.transactions(1)).closes(), "no ledger");
    let report = verify(&[FIRST.transactions(3), vec![ledger(2)]].concat());
    assert!(says(&report.problems, "accounts for 2"), "{report}");
    let other = vec![FIRST.transaction(0, "answered"), FIRST.transaction(1, "timeout"), ledger(2)];
    let report = verify(&other);
    assert!(says(&report.problems, "pairing.timeout is 0, but 1"), "{report}");
}

#[test]
fn finds_unbalanced_ledger_record() {
    let mut counters = balanced(0);
    counters.ring.submitted = 1;
    let report = verify(&[FIRST.record(1, true, counters)]);
    assert!(says(&report.problems, "ring"), "{report}");
    assert!(says(&report.problems, "`balanced` says true"), "{report}");
    let stolen = FIRST.record(1, true, balanced(0)).replace("\"node\":\"n\"", "\"node\":\"m\"");
    assert!(says(&verify(&[stolen]).problems, "does not belong to this node and epoch"));
}

#[test]
fn finds_a_frame_that_a_sender_of_dnstap_lacks() {
    let mut counters = balanced(1);
    let kernel = counters.kernel.remove("replay").unwrap();
    counters.kernel.insert("dnstap".into(), kernel);
    let sender = |name: &str| DnstapSender {
        name: name.into(),
        received: 1,
        decoded: 1,
        ..DnstapSender::default()
    };
    let mut report = |senders| {
        counters.senders = Some(senders);
        verify(&[FIRST.transaction(0, "answered"), FIRST.record(1, true, counters.clone())])
    };
    let whole = report(vec![sender("ns1"), sender("ns2")]);
    assert_eq!(whole.problems.shown, Vec::<String>::new(), "{whole}");
    let less = report(vec![sender("ns1")]);
    assert!(says(&less.problems, "kernel.dnstap.seen does not hold: 1 is not 2"), "{less}");
    let more = DnstapSender { malformed: 1, ..sender("ns2") };
    let more = report(vec![sender("ns1"), more]);
    assert!(says(&more.problems, "senders.1: received = decoded"), "{more}");
}

#[test]
fn reports_invalid_records() {
    let mut verifier = verifier(1 << 20);
    let good = FIRST.transaction(1, "answered");
    let id = FIRST.namespace().ledger(1);
    let array = format!(r#"["dns.transaction/1","{id}","{}","answered",null]"#, FIRST.node);
    let wrong = [
        "{",
        "[]",
        // The fields of a record in an array.
        &array,
        "{\"schema\":\"dns.transaction/1\"}",
        &good.replace("transaction/1", "transaction/9"),
        &good.replace("\"event_id\":\"", "\"event_id\":\"0"),
    ];
    for line in wrong {
        assert!(verifier.add_record(line.as_bytes(), None, &"here").is_continue());
    }
    let _ = verifier.add_record(good.as_bytes(), Some(b"00"), &"there");
    let unreadable: u64 = verifier.unreadable.values().map(Findings::count).sum();
    assert_eq!(unreadable, wrong.len() as u64 + 1);
    assert!(says(&verifier.unreadable["there"], "there: event_id is"));
    for _ in 0..20 {
        let _ = verifier.add_record(b"{", None, &"here");
    }
    let report = verifier.report(None).unwrap();
    assert!(report.problems.shown.len() == 20 && report.problems.more > 0);
    assert!(report.to_string().contains("more\n"), "{report}");
}

#[test]
fn notes_incomplete_last_line() {
    let ledger = FIRST.ledger(1, true, &[("file", delivery(1, 0, 0, 0))]);
    let whole = format!("{}\n\n{ledger}\n", FIRST.transaction(0, "answered"));
    let torn = format!("{whole}{}", &FIRST.transaction(1, "answered")[..40]);
    let report = read(verifier(1 << 20), &torn, None);
    assert!(report.closes() && says(&report.notes, "test:4: the last record is incomplete"));
    // In the middle it is no accident.
    assert!(!read(verifier(1 << 20), &format!("{torn}\n{whole}"), None).closes());
}

#[test]
fn spooled_records_may_be_missing_until_spool_is_emptied() {
    let first = FIRST.ledger(1, true, &[("kafka", delivery(5, 3, 0, 0))]);
    let report = topics(6, std::slice::from_ref(&first));
    assert!(report.closes() && says(&report.notes, "2 records may still be"), "{report}");
    assert_eq!(line(&report, FIRST, "transactions").waiting, 2);
    assert!(!topics(4, std::slice::from_ref(&first)).closes());
    assert!(!topics(9, std::slice::from_ref(&first)).closes());

    let second = |spooled, dropped| {
        let recovered = delivery(3 - spooled - dropped, spooled, 0, dropped);
        SECOND.ledger(1, true, &[("kafka", delivery(0, 0, 0, 0)), ("kafka_recovered", recovered)])
    };
    let ledgers = |spooled, dropped| [first.clone(), second(spooled, dropped)];
    assert!(topics(8, &ledgers(0, 0)).closes());
    assert!(topics(8, &ledgers(0, 0)).notes.is_empty());
    assert!(says(&topics(7, &ledgers(0, 0)).problems, "1 missing"));
    assert!(topics(7, &ledgers(1, 0)).closes(), "one still waits");
    assert!(topics(7, &ledgers(0, 1)).closes(), "one was dropped");
    assert!(!topics(6, &ledgers(0, 1)).closes());
}

#[test]
fn balances_spools_of_captures_as_sum() {
    let third = Run { node: "n", epoch: 3_000 };
    let none = delivery(0, 0, 0, 0);
    let ledgers = [
        FIRST.ledger(1, true, &[("kafka", delivery(0, 4, 0, 0))]),
        SECOND.ledger(1, true, &[("kafka", delivery(0, 4, 0, 0))]),
        third.ledger(1, true, &[("kafka", none), ("kafka_recovered", delivery(5, 0, 0, 3))]),
    ];
    let found = |first, second| {
        let text = [FIRST.transactions(first), SECOND.transactions(second), ledgers.to_vec()];
        read(verifier(1), &text.concat().join("\n"), Some("kafka"))
    };
    assert!(found(4, 1).closes() && found(2, 3).closes() && found(1, 4).closes());
    // Each could have lost three, but not both.
    assert!(says(&found(2, 2).problems, "later runs dropped only 3"), "{}", found(2, 2));
    assert!(!found(0, 4).closes());
}

#[test]
fn running_capture_may_exceed_its_ledger() {
    let first = FIRST.ledger(1, false, &[("kafka", delivery(5, 2, 0, 0))]);
    for found in [5, 7, 50] {
        let report = topics(found, std::slice::from_ref(&first));
        assert!(report.closes() && says(&report.notes, "not ended"), "{report}");
    }
    assert!(!topics(4, std::slice::from_ref(&first)).closes());
    let recovered = ("kafka_recovered", delivery(2, 0, 0, 0));
    let second = SECOND.ledger(1, false, &[("kafka", delivery(0, 0, 0, 0)), recovered]);
    assert!(topics(7, &[first.clone(), second.clone()]).closes());
    assert!(!topics(6, &[first, second]).closes());
}

#[test]
fn newest_ledger_record_counts_itself() {
    let mut counters = balanced(0);
    let of = [("ledger".to_owned(), delivery(1, 0, 0, 0))];
    counters.delivery.insert("kafka".into(), of.into());
    let newest = FIRST.record(2, true, counters);
    let older = FIRST.record(1, false, balanced(0));
    let report = topics(0, &[newest.clone(), older]);
    assert!(report.closes(), "{report}");
    assert_eq!(line(&report, FIRST, "ledger").delivered, Some(2));
    assert!(!topics(0, &[newest]).closes());
}

/// A file that is older than those before it may end a replay.
#[test]
fn final_ledger_record_is_the_newest_whatever_its_time() {
    let file = |delivered| [("file", delivery(delivered, 0, 0, 0))];
    let older = FIRST.ledger(1, false, &file(2));
    let last = FIRST.ledger(2, true, &file(3)).replace("seconds\":2.0", "seconds\":0.0");
    assert!(last.contains("uptime_seconds\":0.0"), "{last}");
    for ledgers in [[older.clone(), last.clone()], [last, older]] {
        let report = |found| verify(&[FIRST.transactions(found), ledgers.to_vec()].concat());
        assert!(report(3).closes() && report(3).notes.is_empty(), "{}", report(3));
        assert!(says(&report(2).problems, "1 missing"), "{}", report(2));
    }
}

#[test]
fn dropped_records_may_be_found() {
    let ledger = FIRST.ledger(1, true, &[("kafka", delivery(5, 0, 1, 2))]);
    assert!(topics(6, std::slice::from_ref(&ledger)).notes.is_empty());
    let report = topics(8, std::slice::from_ref(&ledger));
    assert!(report.closes() && says(&report.notes, "2 records were found that"), "{report}");
    assert!(!topics(9, &[ledger]).closes());
}

#[test]
fn lists_records_of_unknown_epochs() {
    let ledger = FIRST.ledger(1, true, &[("kafka", delivery(1, 0, 0, 0))]);
    let stranger = Run { node: "m", epoch: 7 };
    let lines = [vec![ledger], SECOND.transactions(2), stranger.transactions(3)].concat();
    let report = topics(1, &lines);
    assert!(report.closes(), "{report}");
    let unknown: Vec<_> = report.lines.iter().filter(|line| line.epoch.is_none()).collect();
    let found: Vec<_> = unknown.iter().map(|line| (line.node.as_str(), line.found)).collect();
    assert_eq!(found, [("m", 3), ("n", 2)]);
    assert!(says(&report.notes, "n: 2 records belong to no epoch"), "{report}");
}

#[test]
fn long_names_are_shortened_in_the_table_only() {
    let ledger = FIRST.ledger(1, true, &[("file", delivery(1, 0, 0, 0))]);
    let name = "ä".repeat(70_000);
    let stranger = FIRST.transaction(1, "answered").replace("\"n\"", &format!("\"{name}\""));
    let longest = "n".repeat(253);
    let other = FIRST.transaction(1, "answered").replace("\"n\"", &format!("\"{longest}\""));
    let report = verify(&[FIRST.transaction(0, "answered"), ledger, stranger, other]);
    let text = report.to_string();
    assert!(text.contains(&format!("\n{}…  unknown", "ä".repeat(252))), "{text}");
    assert!(text.contains(&format!("\n{longest}  unknown")), "{text}");
    assert_eq!(report.to_json()["streams"][3]["node"], name);
}

#[test]
fn selects_sink_by_name() {
    let sinks = [("file", delivery(3, 0, 0, 1)), ("kafka", delivery(4, 0, 0, 0))];
    let text = [FIRST.transactions(3), vec![FIRST.ledger(1, true, &sinks)]].concat().join("\n");
    let by = |sink| read(verifier(1 << 20), &text, sink);
    assert!(by(Some("file")).closes() && !by(Some("kafka")).closes() && !by(None).closes());
    assert!(says(&by(Some("stdout")).problems, "only: file, kafka"));
}

#[test]
fn notes_stream_missing_in_ledger() {
    let report = topics(2, &[FIRST.record(1, true, balanced(0))]);
    assert!(says(&report.notes, "does not mention"), "{report}");
    assert_eq!(line(&report, FIRST, "transactions").delivered, None);
}

#[test]
fn reports_gaps_of_incomplete_stream() {
    let mut verifier = verifier(1 << 20);
    for partition in 0..3 {
        let why = format!("dns.normalized/{partition} begins at offset 9");
        verifier.add_gap(Stream::Transactions, why);
    }
    let ledger = FIRST.ledger(1, true, &[("kafka", delivery(1, 0, 0, 0))]);
    let report = read(verifier, &ledger, Some("kafka"));
    assert!(says(&report.problems, "/0 begins at offset 9; and 2 more such gaps"), "{report}");
}

#[test]
fn renders_json() {
    let ledger = FIRST.ledger(1, true, &[("file", delivery(2, 0, 0, 0))]);
    let report = verify(&[FIRST.transactions(1), vec![ledger]].concat());
    let json = report.to_json();
    assert_eq!(json["closes"], false);
    assert_eq!(json["streams"][0]["found"], 1);
    assert_eq!(json["streams"][0]["delivered"], 2);
    assert_eq!(json["streams"][0]["epoch"], "1970-01-01T00:00:00.000001000Z");
    assert_eq!(json["problems"]["shown"][0], report.problems.shown[0]);
}

proptest! {
    /// For any order, number of copies and memory size, the balance closes if and only if no record
    /// is missing.
    #[test]
    fn closes_iff_nothing_is_missing(
        copies in proptest::collection::vec(0_usize..4, 1..60),
        memory_bytes in 1_usize..2_000,
        seed in any::<prop::sample::Index>(),
    ) {
        let count = copies.len() as u64;
        let ledger = FIRST.ledger(1, true, &[("kafka", delivery(count, 0, 0, 0))]);
        let records = FIRST.transactions(count);
        let mut lines = vec![ledger];
        for (record, copies) in records.iter().zip(&copies) {
            lines.extend(std::iter::repeat_n(record.clone(), *copies));
        }
        let middle = seed.index(lines.len());
        lines.rotate_left(middle);
        let report = read(verifier(memory_bytes), &lines.join("\n"), Some("kafka"));
        prop_assert_eq!(report.closes(), copies.iter().all(|copies| *copies > 0));
        let line = line(&report, FIRST, "transactions");
        prop_assert_eq!(line.found, copies.iter().filter(|copies| **copies > 0).count() as u64);
        prop_assert_eq!(line.found + line.duplicates, copies.iter().sum::<usize>() as u64);
    }

    /// Captures left records in the spool, and a last run delivered all of them except those it
    /// dropped: one more missing record, of any capture, is found.
    #[test]
    fn closes_iff_missing_were_dropped(
        spools in proptest::collection::vec(
            (0_u64..5, proptest::collection::vec(any::<bool>(), 0..6)), 1..5),
        lost in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let run = |place: usize| Run { node: "n", epoch: 1 + place as u64 };
        let (mut lines, mut there) = (Vec::new(), Vec::new());
        let mut recovered = delivery(0, 0, 0, 0);
        for (place, (delivered, spool)) in spools.iter().enumerate() {
            let spooled = spool.len() as u64;
            let of = delivery(*delivered, spooled, 0, 0);
            lines.push(run(place).ledger(1, true, &[("kafka", of)]));
            let records = run(place).transactions(delivered + spooled);
            let arrived = std::iter::repeat_n(true, records.len() - spool.len());
            let arrived = arrived.chain(spool.iter().copied());
            there.extend(records.into_iter().zip(arrived).filter(|(_, there)| *there));
            let dropped = spool.iter().filter(|arrived| !**arrived).count() as u64;
            recovered.records += spooled;
            recovered.delivered += spooled - dropped;
            *recovered.dropped.entry("spool_full".into()).or_default() += dropped;
        }
        let own = delivery(0, 0, 0, 0);
        let sinks = [("kafka", own), ("kafka_recovered", recovered)];
        lines.push(run(spools.len()).ledger(1, true, &sinks));
        let lost = lost.filter(|_| !there.is_empty()).map(|lost| lost.index(there.len()));
        if let Some(lost) = lost {
            there.remove(lost);
        }
        lines.extend(there.into_iter().map(|(record, _)| record));
        let report = read(verifier(200), &lines.join("\n"), Some("kafka"));
        prop_assert_eq!(report.closes(), lost.is_none(), "{}", report);
    }
}
