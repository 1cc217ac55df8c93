//! A hook and servers that send dnstap: each exchange is one record, whoever saw it.

use super::*;
use crate::pipeline::{Beside, FIRST_SENDER};
use dnscribe_record::ledger::SeenBy;
use dnscribe_transaction::packet::Transport;

/// Time by which reports are later than packets.
const DELAY: Duration = Duration::from_millis(1_500);
const TICK: Duration = Duration::from_millis(50);

/// An exchange at the server.
#[derive(Clone, Debug)]
struct Exchange {
    id: u16,
    begins_ms: u64,
    latency_ms: Option<u64>,
    by_socket: bool,
    by_server: bool,
    /// How much later the server says that it was.
    skew_ms: u64,
}

fn exchanges(ids: impl Strategy<Value = u16>) -> impl Strategy<Value = Vec<Exchange>> {
    let latency = prop::option::weighted(0.8, 0..300_u64);
    let one = (ids, 0..4_000_u64, latency, any::<bool>(), any::<bool>(), 0..200_u64);
    let one = one.prop_map(|(id, begins_ms, latency_ms, by_socket, by_server, skew_ms)| Exchange {
        id,
        begins_ms,
        latency_ms,
        by_socket,
        by_server,
        skew_ms,
    });
    prop::collection::vec(one, 1..40)
}

/// A message at a time: that of the client first.
type Seen = (Timestamp, Direction, Vec<u8>);

fn messages(exchange: &Exchange, skew_ms: u64) -> Vec<Seen> {
    let at = |ms| EPOCH.plus(Duration::from_millis(ms + skew_ms));
    let query = test_packets::query(exchange.id, "www");
    let answer = response(&query, 1);
    let mut seen = vec![(at(exchange.begins_ms), Direction::Ingress, query)];
    let answered = exchange.latency_ms.map(|latency_ms| exchange.begins_ms + latency_ms);
    seen.extend(answered.map(|ms| (at(ms), Direction::Egress, answer)));
    seen
}

/// Returns the records of transactions, who saw them, and the counters.
fn run_beside(exchanges: &[Exchange]) -> Result<(Vec<Value>, SeenBy, Counters), TestCaseError> {
    let (mut pipeline, kept) = output();
    let pairing = PairOptions { max_transactions: 100, ..PAIRING };
    let options = FlowOptions { pairing, ..flow_options() };
    let mut flow = pipeline.flow_stage(options.clone());
    let mut beside = Beside::new(options, &pipeline);
    let all = |is_wanted: fn(&Exchange) -> bool, has_skew: bool| {
        let seen = exchanges.iter().filter(|one| is_wanted(one));
        let mut seen: Vec<Seen> =
            seen.flat_map(|one| messages(one, if has_skew { one.skew_ms } else { 0 })).collect();
        seen.sort_by_key(|(ts, ..)| *ts);
        seen
    };
    let (at_socket, at_server) = (all(|one| one.by_socket, false), all(|one| one.by_server, true));
    let end = EPOCH.plus(Duration::from_secs(10));
    let (mut now, mut packets, mut reports) = (EPOCH, 0, 0);
    while now < end {
        now = now.plus(TICK);
        let mut side = beside.hook_side(&mut pipeline);
        while let Some((ts, direction, message)) =
            at_socket.get(packets).filter(|(ts, ..)| *ts <= now)
        {
            packets += 1;
            let (src, dst) =
                if *direction == Direction::Ingress { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
            let bytes = &test_packets::udp(src, dst, message);
            let body = Body::Ip { bytes, wire_bytes: u32::try_from(bytes.len()).unwrap() };
            let id = PacketId { cpu: 0, seq: packets as u64 };
            flow.observe(&Packet::new(*ts, id, *direction, body), &mut side);
        }
        flow.ring_drained(now, &mut side);
        drop(side);
        let due = now.minus(DELAY);
        let drain = |each: &mut dyn FnMut(&Packet<'_>) -> bool| {
            while let Some((ts, direction, bytes)) =
                at_server.get(reports).filter(|(ts, ..)| *ts <= due)
            {
                reports += 1;
                let [client, server] = [CLIENT, SERVER].map(|end| end.parse().unwrap());
                let is_query = *direction == Direction::Ingress;
                let (src, dst) = if is_query { (client, server) } else { (server, client) };
                let transport = Transport::Udp;
                let body = Body::Message { transport, src, dst, index: 0, bytes, report: None };
                let id = PacketId { cpu: FIRST_SENDER, seq: reports as u64 };
                each(&Packet::new(*ts, id, *direction, body));
            }
            true
        };
        beside.poll(due, drain, &mut pipeline);
    }
    flow.finish(now, &mut beside.hook_side(&mut pipeline));
    beside.finish(now, |_| true, &mut pipeline);
    pipeline.finish(now);
    prop_assert_eq!((packets, reports), (at_socket.len(), at_server.len()));
    let input = InputCounters {
        seen_by: Some(beside.seen_by().clone()),
        ..input((packets + reports) as u64, vec![flow.counters(&[]), beside.counters()])
    };
    let counters = pipeline.counters(&input);
    prop_assert_eq!(counters.imbalances(), []);
    let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
    let records = kept.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let records = records.filter(|one| one["schema"] == "dns.transaction/1").collect();
    Ok((records, beside.seen_by().clone(), counters))
}

/// Outcomes of all transactions.
const fn outcomes(counters: &Counters) -> u64 {
    let pairing = &counters.pairing;
    pairing.answered
        + pairing.timeout
        + pairing.late
        + pairing.duplicate
        + pairing.orphan
        + pairing.open
        + pairing.evicted
}

proptest! {
    /// With an id of its own each, every exchange is one record that says who saw it.
    #[test]
    fn every_exchange_is_one_record(mut all in exchanges(Just(0))) {
        for (id, one) in (0..).zip(&mut all) {
            one.id = id;
        }
        let (records, seen_by, _) = run_beside(&all)?;
        let name = |one: &Exchange| match (one.by_socket, one.by_server) {
            (true, true) => Some(r#"["socket","dnstap"]"#),
            (true, false) => Some(r#"["socket"]"#),
            (false, true) => Some(r#"["dnstap"]"#),
            (false, false) => None,
        };
        let mut wanted: Vec<_> = all.iter().filter_map(|one| {
            let status = if one.latency_ms.is_some() { "answered" } else { "timeout" };
            Some((u64::from(one.id), status.to_owned(), name(one)?.to_owned()))
        }).collect();
        wanted.sort();
        let mut found: Vec<_> = records.iter().map(|one| {
            (one["id"].as_u64().unwrap(), one["status"].as_str().unwrap().to_owned(), one["seen_by"].to_string())
        }).collect();
        found.sort();
        prop_assert_eq!(found, wanted);
        let both = all.iter().filter(|one| one.by_socket && one.by_server).count() as u64;
        prop_assert_eq!((seen_by.both, seen_by.merged.values().sum::<u64>()), (both, both));
    }

    /// Whatever meets, records and second views are all that pairing has counted.
    #[test]
    fn nothing_is_lost_or_counted_twice(all in exchanges(0..3_u16)) {
        let (records, seen_by, counters) = run_beside(&all)?;
        let SeenBy { both, socket, dnstap, merged } = seen_by;
        prop_assert_eq!(both + socket + dnstap, records.len() as u64);
        prop_assert_eq!(merged.values().sum::<u64>(), both);
        prop_assert_eq!(outcomes(&counters), both * 2 + socket + dnstap);
        let ids: std::collections::BTreeSet<String> =
            records.iter().map(|one| one["event_id"].to_string()).collect();
        prop_assert_eq!(ids.len(), records.len());
    }
}
