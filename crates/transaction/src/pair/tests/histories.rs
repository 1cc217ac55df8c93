//! Random histories of few hosts, ids and names, so that they collide.

use super::model::{Model, Outcome};
use super::*;

/// How a response differs from the expected one.
#[derive(Clone, Copy, Debug)]
enum Deviation {
    None,
    NoQuestion,
    OtherId,
    OtherQuestion,
    OtherSource,
    OtherServerPort,
    OtherClientPort,
}

#[derive(Clone, Debug)]
enum Event {
    Query {
        client: u8,
        port: u16,
        server: u8,
        id: u16,
        name: u8,
        kind: u8,
    },
    /// Retransmission of an earlier query, counted back.
    Retransmit(usize),
    Response {
        to: usize,
        deviation: Deviation,
        body_index: u8,
        copies: u8,
    },
    Icmp {
        to: usize,
        quotes_id: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let deviation = prop_oneof![
        8 => Just(Deviation::None),
        2 => Just(Deviation::NoQuestion),
        1 => Just(Deviation::OtherId),
        1 => Just(Deviation::OtherQuestion),
        1 => Just(Deviation::OtherSource),
        1 => Just(Deviation::OtherServerPort),
        1 => Just(Deviation::OtherClientPort),
    ];
    let query = (0..2_u8, 0..2_u16, 0..2_u8, 0..3_u16, 0..3_u8, 0..4_u8).prop_map(
        |(client, port, server, id, name, kind)| Event::Query {
            client,
            port,
            server,
            id,
            name,
            kind,
        },
    );
    prop_oneof![
        5 => query,
        1 => (0..6_usize).prop_map(Event::Retransmit),
        8 => (0..6_usize, deviation, 0..8_u8, 1..3_u8)
            .prop_map(|(to, deviation, body_index, copies)| Event::Response { to, deviation, body_index, copies }),
        1 => (0..6_usize, any::<bool>()).prop_map(|(to, quotes_id)| Event::Icmp { to, quotes_id }),
    ]
}

/// Milliseconds between events: around the timeout of one second, sometimes long enough for
/// transfers and remembered transactions to end.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..60_u64, 4 => 200..700_u64, 3 => 995..1020_u64, 1 => 29_900..30_100_u64]
}

/// Packets come in the order of their times, except for a few that are late by up to 40 ms.
fn history() -> impl Strategy<Value = Vec<(u64, u64, Event)>> {
    let late = prop_oneof![9 => Just(0_u64), 1 => 0..40_u64];
    proptest::collection::vec((pause(), late, event()), 1..60)
}

fn host(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

fn ask(client: u8, port: u16, server: u8, id: u16, name: u8, kind: u8) -> Draft {
    let mut query = query(0, id, ["a", "b", "c"][usize::from(name)]);
    query.envelope.src = host(client, 4000 + port);
    query.envelope.dst = host(53 + server, 53);
    if kind >= 2 {
        query.envelope.transport = Transport::Tcp;
        query.dns.question.as_mut().unwrap().qtype = if kind == 2 { 252 } else { 251 };
        // The newest serial of the responses is 9.
        query.dns.client_serial = (kind > 2 && id > 0).then_some(7 + u32::from(id));
    }
    query
}

/// One of eight response bodies: records, and the flags with rcode and TC.
fn body(body_index: u8) -> (&'static [(u16, &'static str)], u16) {
    const NEW: (u16, &str) = (6, "m. r. 9 1 1 1 1");
    const OLD: (u16, &str) = (6, "m. r. 8 1 1 1 1");
    const A: (u16, &str) = (1, "192.0.2.1");
    const B: (u16, &str) = (1, "192.0.2.2");
    match body_index {
        0 => (&[NEW, A], 0),
        1 => (&[A, B, NEW], 0),
        2 => (&[NEW, OLD, A, NEW], 0),
        3 => (&[NEW], 0),
        4 => (&[B, A], 0),
        5 => (&[], 2),
        6 => (&[A], 0x200),
        _ => (&[NEW, A, NEW], 0),
    }
}

fn respond(query: &Draft, deviation: Deviation, body_index: u8) -> Draft {
    let mut response = query.clone();
    let (src, dst) = (query.envelope.src, query.envelope.dst);
    (response.envelope.src, response.envelope.dst) = (dst, src);
    let (records, bits) = body(body_index);
    response.dns.flags = Flags(0x8000 | bits);
    response.dns.client_serial = None;
    response.dns.answers = records
        .iter()
        .map(|(rtype, data)| Answer {
            name: "a",
            class: 1,
            rtype: *rtype,
            ttl_seconds: u32::from(body_index),
            data,
        })
        .collect();
    match deviation {
        Deviation::None => {}
        Deviation::NoQuestion => response.dns.question = None,
        Deviation::OtherId => response.dns.id += 1,
        Deviation::OtherQuestion => response.dns.question.as_mut().unwrap().qname = "b".into(),
        Deviation::OtherSource => response.envelope.src = host(66, 53),
        Deviation::OtherServerPort => response.envelope.src.set_port(54),
        Deviation::OtherClientPort => response.envelope.dst.set_port(4001),
    }
    response
}

/// Returns the packets of a history: messages and ICMP errors, numbered.
#[expect(clippy::result_large_err, reason = "test data")]
fn packets(history: &[(u64, u64, Event)]) -> Vec<Result<Draft, Unreachable>> {
    let mut asked: Vec<Draft> = Vec::new();
    let mut packets = Vec::new();
    let mut now = 0;
    for (pause, late, event) in history {
        now += pause;
        let earlier = |back: &usize| asked.len().checked_sub(1 + back).map(|at| asked[at].clone());
        let made: Vec<_> = match event {
            Event::Query { client, port, server, id, name, kind } => {
                asked.push(ask(*client, *port, *server, *id, *name, *kind));
                asked.last().cloned().map(Ok).into_iter().collect()
            }
            Event::Retransmit(back) => earlier(back).map(Ok).into_iter().collect(),
            Event::Response { to, deviation, body_index, copies } => earlier(to)
                .map(|query| {
                    vec![Ok(respond(&query, *deviation, *body_index)); usize::from(*copies)]
                })
                .unwrap_or_default(),
            Event::Icmp { to, quotes_id } => earlier(to)
                .map(|query| {
                    Err(Unreachable {
                        id: MessageId::default(),
                        ts: at(0),
                        scope: 0,
                        transport: query.envelope.transport,
                        client: query.envelope.src,
                        server: query.envelope.dst,
                        cause: UnreachableReason::from_code(false, 3),
                        query_id: quotes_id.then_some(query.dns.id),
                    })
                })
                .into_iter()
                .collect(),
        };
        for mut packet in made {
            let ts = at(now.saturating_sub(*late));
            match &mut packet {
                Ok(message) => {
                    message.envelope.ts = ts;
                    message.envelope.id.packet.seq = packets.len() as u64;
                }
                Err(error) => error.ts = ts,
            }
            packets.push(packet);
        }
    }
    packets
}

/// Returns the outcomes of the pairer for each packet, and at the end.
fn real(
    packets: &[Result<Draft, Unreachable>],
    options: PairOptions,
) -> Result<Vec<Vec<Outcome>>, TestCaseError> {
    let mut pairer = Pairer::new(options);
    let mut steps = Vec::new();
    let (mut queries, mut responses, mut last) = (0, 0, at(0));
    for packet in packets {
        let mut out = Vec::new();
        let mut each = |transaction: &Transaction<'_>| out.push(Outcome::of(transaction));
        match packet {
            Ok(message) => {
                queries += u64::from(!message.dns.flags.is_response());
                responses += u64::from(message.dns.flags.is_response());
                last = message.envelope.ts;
                observe(&mut pairer, message, &mut each);
            }
            Err(error) => {
                last = error.ts;
                pairer.observe_icmp_error(error, &mut each);
            }
        }
        steps.push(out);
        let counters = pairer.counters();
        prop_assert!(balanced(&counters), "{counters:?}");
        prop_assert_eq!(counters.queries, queries);
        prop_assert_eq!(counters.responses + counters.continued, responses);
        prop_assert!(counters.open <= options.max_transactions as u64);
        prop_assert!(pairer.memory_bytes() <= options.memory_limit_bytes());
    }
    let mut out = Vec::new();
    pairer.finish(last, &mut |transaction| out.push(Outcome::of(transaction)));
    steps.push(out);
    Ok(steps)
}

fn expected(packets: &[Result<Draft, Unreachable>], options: PairOptions) -> Vec<Vec<Outcome>> {
    let mut model = Model::new(options);
    let mut steps = Vec::new();
    let mut last = at(0);
    for packet in packets {
        let mut out = Vec::new();
        match packet {
            Ok(message) => {
                last = message.envelope.ts;
                if message.dns.flags.is_response() {
                    model.response(message.clone(), &mut out);
                } else {
                    model.query(message.clone(), &mut out);
                }
            }
            Err(error) => {
                last = error.ts;
                model.unreachable(error, &mut out);
            }
        }
        steps.push(out);
    }
    let mut out = Vec::new();
    model.finish(last, &mut out);
    steps.push(out);
    steps
}

fn options(max_transactions: usize) -> PairOptions {
    PairOptions { query_timeout: Duration::from_secs(1), max_transactions }
}

/// Sorts the outcomes of each step; the model expires queries in another order.
fn sorted(mut steps: Vec<Vec<Outcome>>) -> Vec<Vec<Outcome>> {
    for step in &mut steps {
        step.sort();
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_model(history in history(), max_transactions in 1_usize..8) {
        let packets = packets(&history);
        let found = real(&packets, options(max_transactions))?;
        prop_assert_eq!(&found, &real(&packets, options(max_transactions))?, "another result the second time");
        prop_assert_eq!(sorted(found), sorted(expected(&packets, options(max_transactions))));
    }
}

/// The histories cover each outcome of the model.
#[test]
fn histories_cover_all_outcomes() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use std::collections::BTreeSet;
    let mut runner = TestRunner::deterministic();
    let mut covered = BTreeSet::new();
    for _ in 0..400 {
        let history = history().new_tree(&mut runner).unwrap().current();
        for outcome in expected(&packets(&history), options(4)).into_iter().flatten() {
            let reason = outcome.stray.map(|(reason, resembles)| (reason, resembles.is_some()));
            let transfer = outcome.transfer.map(|transfer| (transfer.0 > 1, transfer.4));
            covered.insert((outcome.status, outcome.conflict, reason, transfer));
        }
    }
    let reasons: BTreeSet<_> = covered.iter().filter_map(|covered| covered.2).collect();
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    let statuses: BTreeSet<_> = covered.iter().map(|covered| covered.0).collect();
    assert_eq!(statuses.len(), 8, "{statuses:?}");
    let transfers: BTreeSet<_> = covered.iter().filter_map(|covered| covered.3).collect();
    assert_eq!(transfers.len(), 4, "{transfers:?}");
    assert!(covered.iter().any(|covered| covered.1), "no conflict");
}
