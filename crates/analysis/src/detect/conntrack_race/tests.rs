use super::*;
use crate::detect::tests::helpers::{at, findings};
use crate::heap;
use crate::losses::Lost;
use crate::view::testing::example;
use dnscribe_transaction::packet::Loss;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What becomes of a query.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Answered,
    /// Answered when the same socket sent it again.
    SentAgain,
    Timeout,
}

use End::{Answered, SentAgain, Timeout};

fn transaction(seconds: f64, port: u16, qtype: u16, end: End) -> TransactionView<'static> {
    let query = example(at(seconds));
    let response_ts = (end != Timeout).then_some(at(seconds + 0.012));
    TransactionView {
        client: SocketAddr::new(query.client.ip(), port),
        qtype: Some(qtype),
        status: if end == Timeout { Status::Timeout } else { Status::Answered },
        retries: u32::from(end == SentAgain),
        response_ts,
        ..query
    }
}

/// Passes a pair of queries of one socket, the first half as it ends, then the second.
fn pair(detector: &mut ConntrackRace, number: u16, [first, second]: [End; 2]) {
    let seconds = f64::from(number) * 6.0;
    let a = transaction(seconds, 40_000 + number, A, first);
    let aaaa = transaction(seconds + 0.000_1, 40_000 + number, AAAA, second);
    let mut both = [a, aaaa];
    // The lost one ends later.
    both.sort_by_key(|half| half.response_ts.is_none() || half.retries > 0);
    for half in &both {
        detector.observe(half);
    }
}

/// Passes both questions again, by another socket, as glibc asks after five seconds.
fn repeat(detector: &mut ConntrackRace, number: u16, ends: [End; 2]) {
    let seconds = f64::from(number) * 6.0 + 5.001;
    for ((qtype, end), delay) in [A, AAAA].into_iter().zip(ends).zip([0.0, 0.05]) {
        detector.observe(&transaction(seconds + delay, 50_000 + number, qtype, end));
    }
}

#[test]
fn reports_second_queries_that_are_answered_when_asked_again() {
    let mut detector = ConntrackRace::default();
    for number in 0..10 {
        pair(&mut detector, number, [Answered, Answered]);
    }
    for number in 10..15 {
        assert_eq!(findings(&mut detector, 59.0), [], "{number}");
        // In either order: the timeout may be reported after the answer to the second try.
        if number % 2 == 0 {
            pair(&mut detector, number, [Answered, Timeout]);
            repeat(&mut detector, number, [Answered; 2]);
        } else {
            let both = [(A, Answered), (AAAA, Timeout)];
            let [a, aaaa] =
                both.map(|(qtype, end)| transaction(f64::from(number) * 6.0, number, qtype, end));
            detector.observe(&a);
            repeat(&mut detector, number, [Answered; 2]);
            detector.observe(&aaaa);
        }
    }
    let found = findings(&mut detector, 96.0);
    let [finding] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(finding.entity.to_string(), "process=curl");
    assert_eq!(
        finding.summary,
        "curl lost the second of two queries that it sent at once (A and AAAA) 5 times within 10 min, and had an \
         answer when it asked again: a race in connection tracking"
    );
    assert_eq!(finding.evidence.qnames, ["www.example.com".into()]);
    assert_eq!(findings(&mut detector, 800.0), [], "it is over");
}

#[test]
fn retransmission_by_the_same_socket_counts() {
    let mut detector = ConntrackRace::default();
    for number in 0..6 {
        let seconds = f64::from(number) * 6.0;
        detector.observe(&transaction(seconds, number, A, Answered));
        // As glibc does.
        detector.observe(&transaction(seconds + 5.0, number, A, Answered));
        detector.observe(&transaction(seconds + 0.000_1, number, AAAA, SentAgain));
        pair(&mut detector, number + 10, [Answered, Answered]);
    }
    let found = findings(&mut detector, 100.0);
    assert!(
        matches!(&found[..], [one] if one.summary.contains("6 times within 10 min")),
        "{found:#?}"
    );
}

/// A program may give the repeated query an id of its own. Its answer comes before the timeout of the first.
#[test]
fn repeat_by_the_same_socket_with_another_id_counts() {
    for delay in [0.5, 2.5, 4.9] {
        let mut detector = ConntrackRace::default();
        for number in 0..6 {
            let seconds = f64::from(number) * 6.0;
            detector.observe(&transaction(seconds, number, A, Answered));
            detector.observe(&transaction(seconds + delay, number, AAAA, Answered));
            detector.observe(&transaction(seconds + 0.000_1, number, AAAA, Timeout));
        }
        assert_eq!(findings(&mut detector, 100.0).len(), 1, "{delay}");
    }
}

/// musl asks all servers at once, and closes its socket at the first complete answer.
#[test]
fn queries_that_another_server_answered_are_not_lost() {
    for (is_answered, expected) in [(true, 0), (false, 1)] {
        let mut detector = ConntrackRace::default();
        let other = SocketAddr::from(([192, 0, 2, 54], 53));
        for number in 0..10 {
            let seconds = f64::from(number) * 6.0;
            detector.observe(&transaction(seconds, 40_000 + number, A, Answered));
            let aaaa = transaction(seconds + 0.000_1, 40_000 + number, AAAA, Answered);
            if is_answered {
                detector.observe(&TransactionView { server: other, ..aaaa });
            }
            repeat(&mut detector, number, [Answered; 2]);
            detector.observe(&transaction(seconds + 0.000_1, 40_000 + number, AAAA, Timeout));
        }
        assert_eq!(findings(&mut detector, 100.0).len(), expected);
    }
}

#[test]
fn answer_after_ten_seconds_is_of_another_question() {
    for (seconds, expected) in [(9.9, 1), (10.1, 0)] {
        let mut detector = ConntrackRace::default();
        for number in 0..5 {
            pair(&mut detector, number * 3, [Answered, Timeout]);
            let start = f64::from(number) * 18.0 + 0.000_1;
            detector.observe(&transaction(start + seconds, 50_000 + number, AAAA, Answered));
        }
        assert_eq!(findings(&mut detector, 90.0).len(), expected, "{seconds}");
    }
}

#[test]
fn other_losses_are_no_race() {
    type Ends = fn(u16) -> [End; 2];
    let all: [(&str, Ends, [End; 2]); 5] = [
        (
            "as often the first",
            |n| if n % 2 == 0 { [Answered, Timeout] } else { [Timeout, Answered] },
            [Answered, Answered],
        ),
        ("no answer to AAAA, ever", |_| [Answered, Timeout], [Answered, Timeout]),
        ("both", |_| [Timeout, Timeout], [Answered, Answered]),
        ("not often", |n| if n < 4 { [Answered, Timeout] } else { [Answered; 2] }, [Answered; 2]),
        ("none", |_| [Answered; 2], [Answered; 2]),
    ];
    for (what, ends, again) in all {
        let mut detector = ConntrackRace::default();
        for number in 0..40 {
            pair(&mut detector, number, ends(number));
            if ends(number) != [Answered; 2] {
                repeat(&mut detector, number, again);
            }
        }
        assert_eq!(findings(&mut detector, 241.0), [], "{what}");
    }
}

#[test]
fn losses_with_another_cause_and_single_queries_do_not_count() {
    let loss = Loss {
        stage: LossStage::Neighbour,
        reason: "NEIGH_FAILED".into(),
        hook: None,
        function: None,
    };
    let lost = Lost { ts: at(0.0), is_response: false, loss: Arc::new(loss), count: 1 };
    let mut detector = ConntrackRace::default();
    for number in 0..20 {
        let seconds = f64::from(number) * 6.0;
        detector.observe(&transaction(seconds, 40_000 + number, A, Answered));
        let aaaa = transaction(seconds, 40_000 + number, AAAA, Timeout);
        detector.observe(&TransactionView { lost: Some(&lost), ..aaaa });
        // Hosts with one kind of address answer one question by multicast.
        for (qtype, end) in [(A, Answered), (AAAA, SentAgain)] {
            let server = SocketAddr::from(([224, 0, 0, 251], 5353));
            let query = transaction(seconds, 43_000 + number, qtype, end);
            detector.observe(&TransactionView { server, ..query });
        }
        // Two sockets, as Go has.
        detector.observe(&transaction(seconds, 41_000 + number, A, Answered));
        detector.observe(&transaction(seconds, 42_000 + number, AAAA, Timeout));
        repeat(&mut detector, number, [Answered; 2]);
    }
    assert_eq!(findings(&mut detector, 121.0), []);
}

#[test]
fn memory_is_bounded() {
    let (detector, bytes) = heap::measure(|| {
        let mut detector = ConntrackRace::default();
        for number in 0..100_000_u32 {
            let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 4000);
            for (qtype, end) in [(A, Answered), (AAAA, Timeout)] {
                let query = transaction(f64::from(number) / 1e3, 1, qtype, end);
                detector.observe(&TransactionView { client, process: None, ..query });
            }
        }
        detector
    });
    assert!(bytes < 2 << 20, "{bytes}");
    drop(detector);
}
