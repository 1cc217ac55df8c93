//! Tests of mDNS and LLMNR.

use super::*;
use crate::decode::Message;
use dnscribe_dns::rtype::PTR;

const MDNS: &str = "224.0.0.251:5353";

/// A multicast DNS message; a response has PTR records with the given names.
fn mdns(ms: u64, src: &str, dst: &str, qname: Option<&str>, records: &[&str]) -> Draft {
    let mut message = message(ms, 0, qname, qname.is_none());
    message.envelope.src = src.parse().unwrap();
    message.envelope.dst = dst.parse().unwrap();
    if let Some(question) = &mut message.dns.question {
        question.qtype = PTR;
    }
    let data = format!("{src}.local");
    let record = |name| Answer { name, class: 1, rtype: PTR, ttl_seconds: 120, data: &data };
    message.dns.answers = records.iter().copied().map(record).collect();
    message
}

/// Returns status, sender of the query, and sender of the response for each transaction.
fn outcomes(
    pairer: &mut Pairer,
    messages: impl IntoIterator<Item = Draft>,
) -> Vec<(Status, Option<String>, Option<String>)> {
    let mut seen = Vec::new();
    let sender = |message: Message<'_>| message.envelope.src.ip().to_string();
    for message in messages {
        observe(pairer, &message, &mut |t| {
            seen.push((t.status, t.query.map(sender), t.response.map(sender)));
        });
        assert!(balanced(&pairer.counters()));
    }
    seen
}

fn outcome(
    status: Status,
    query: &str,
    response: &str,
) -> (Status, Option<String>, Option<String>) {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (status, some(query), some(response))
}

#[test]
fn group_response_answers_all_waiting_queries() {
    let mut pairer = Pairer::new(PairOptions::default());
    let messages = vec![
        mdns(0, "10.0.0.1:5353", MDNS, Some("_ipp._tcp.local"), &[]),
        mdns(5, "10.0.0.2:5353", MDNS, Some("_ipp._tcp.local"), &[]),
        mdns(7, "10.0.0.2:5353", MDNS, Some("_ssh._tcp.local"), &[]),
        mdns(20, "10.0.0.9:5353", MDNS, None, &["_IPP._tcp.local"]),
        mdns(30, "10.0.0.8:5353", MDNS, None, &["_ipp._tcp.local"]),
    ];
    assert_eq!(
        outcomes(&mut pairer, messages),
        [
            outcome(Status::Answered, "10.0.0.1", "10.0.0.9"),
            outcome(Status::Answered, "10.0.0.2", "10.0.0.9"),
            outcome(Status::Duplicate, "10.0.0.2", "10.0.0.8"),
        ]
    );
    let counters = pairer.counters();
    assert_eq!((counters.responses, counters.shared, counters.open), (3, 1, 1));
}

#[test]
fn unicast_response_bit_is_ignored() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut query = mdns(0, "10.0.0.1:5353", MDNS, Some("a.local"), &[]);
    query.dns.question.as_mut().unwrap().qclass = 0x8001;
    let kept = query.to_message();
    assert_eq!(kept.message().question_class(&kept.message().dns.question().unwrap()), 1);
    let other = mdns(1, "10.0.0.2:5353", MDNS, Some("a.local"), &[]);
    let reply = mdns(9, "10.0.0.9:5353", "10.0.0.1:5353", None, &["a.local"]);
    // A unicast response answers only the query of its receiver.
    assert_eq!(
        outcomes(&mut pairer, vec![query, other, reply]),
        [outcome(Status::Answered, "10.0.0.1", "10.0.0.9")]
    );
}

#[test]
fn unsolicited_group_response_is_announcement() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut seen = Vec::new();
    let query = mdns(0, "10.0.0.1:5353", MDNS, Some("a.local"), &[]);
    let unasked = mdns(1, "10.0.0.9:5353", MDNS, None, &["b.local"]);
    let too_late = mdns(5900, "10.0.0.9:5353", MDNS, None, &["a.local"]);
    for message in [query, unasked, too_late] {
        observe(&mut pairer, &message, &mut |t| seen.push((t.status, t.orphan)));
    }
    let announcement = Some(OrphanDetails { reason: OrphanReason::Announcement, resembles: None });
    let orphan = (Status::Orphan, announcement);
    assert_eq!(seen, [orphan, (Status::Timeout, None), orphan]);
}

#[test]
fn announcement_does_not_answer_own_probe() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut probe = mdns(0, "10.0.0.1:5353", MDNS, Some("me.local"), &[]);
    probe.dns.authority = 1;
    probe.dns.question.as_mut().unwrap().qtype = 255;
    let announcement = mdns(750, "10.0.0.1:5353", MDNS, None, &["me.local"]);
    let objection = mdns(800, "10.0.0.2:5353", MDNS, None, &["me.local"]);
    assert_eq!(
        outcomes(&mut pairer, vec![probe, announcement, objection]),
        [
            outcome(Status::Orphan, "", "10.0.0.1"),
            outcome(Status::Answered, "10.0.0.1", "10.0.0.2"),
        ]
    );
}

#[test]
fn unicast_response_to_group_query_matches_id_and_question() {
    for (group, port) in [
        (MDNS, 5353),
        ("[ff02::fb]:5353", 5353),
        ("224.0.0.252:5355", 5355),
        ("[ff02::1:3]:5355", 5355),
    ] {
        let mut pairer = Pairer::new(PairOptions::default());
        let is_v6 = group.starts_with('[');
        let ip =
            |host: u16| if is_v6 { format!("[fe80::{host}]") } else { format!("10.0.0.{host}") };
        let asker = format!("{}:50000", ip(1));
        let send = |ms, id, src: &str, dst: &str, response| {
            let mut message = message(ms, id, Some("printer"), response);
            message.envelope.src = src.parse().unwrap();
            message.envelope.dst = dst.parse().unwrap();
            message
        };
        let responder = |host| format!("{}:{port}", ip(host));
        let messages = vec![
            send(0, 7, &asker, group, false),
            send(1, 8, &responder(9), &asker, true),
            send(2, 7, &responder(9), &asker, true),
            send(3, 7, &responder(8), &asker, true),
        ];
        let statuses: Vec<_> =
            outcomes(&mut pairer, messages).into_iter().map(|outcome| outcome.0).collect();
        let expected = [Status::Orphan, Status::Answered, Status::Duplicate];
        assert_eq!(statuses, expected, "{group}");
    }
}

/// Any host with a record answers an mDNS query; a name of LLMNR belongs to one host.
#[test]
fn responses_conflict_in_llmnr_only() {
    for (group, asker_port, has_conflict) in
        [(MDNS, 5353, false), (MDNS, 50_000, false), ("224.0.0.252:5355", 50_000, true)]
    {
        let group: SocketAddr = group.parse().unwrap();
        let asker = SocketAddr::from(([10, 0, 0, 1], asker_port));
        let is_to_group = asker_port == 5353;
        let respond = |host: u8| {
            let data = format!("10.0.0.{host}");
            let mut response = response(u64::from(host), 7, "printer");
            response.envelope.src = SocketAddr::from(([10, 0, 0, host], group.port()));
            response.envelope.dst = if is_to_group { group } else { asker };
            if is_to_group {
                response.dns.question = None;
            }
            let record =
                Answer { name: "printer", class: 1, rtype: 1, ttl_seconds: 1, data: &data };
            response.dns.answers.push(&record);
            response
        };
        let mut asked = query(0, 7, "printer");
        (asked.envelope.src, asked.envelope.dst) = (asker, group);
        let mut pairer = Pairer::new(PairOptions::default());
        let outcomes = run(&mut pairer, [asked, respond(8), respond(9), respond(10)]);
        let found: Vec<_> = outcomes.iter().map(|outcome| (outcome.0, outcome.3)).collect();
        let further = (Status::Duplicate, has_conflict);
        assert_eq!(found, [(Status::Answered, false), further, further], "{group} {asker_port}");
    }
}

#[test]
fn unicast_dns_on_mdns_port_pairs_normally() {
    let mut pairer = Pairer::new(PairOptions::default());
    let send = |ms, src: &str, dst: &str, response| {
        let mut message = message(ms, 77, Some("example.test"), response);
        message.envelope.src = src.parse().unwrap();
        message.envelope.dst = dst.parse().unwrap();
        message
    };
    let messages = vec![
        send(0, "10.0.0.1:40000", "10.0.0.53:5353", false),
        send(1, "10.0.0.53:5353", "10.0.0.1:40000", true),
    ];
    let expected = [outcome(Status::Answered, "10.0.0.1", "10.0.0.53")];
    assert_eq!(outcomes(&mut pairer, messages), expected);
}
