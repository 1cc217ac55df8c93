//! Floods: bounded memory, bounded work, and the flows that are still paired.

use super::*;

/// A query from any host to any server at a time in microseconds, which its name contains.
fn spoofed(us: u64, source: u32, server: u8) -> Draft {
    let mut query = query(0, 1, &format!("{us}.test"));
    query.envelope.ts = Timestamp::from_nanos(at(0).as_nanos() + us * 1000);
    query.envelope.src = SocketAddr::from((std::net::Ipv4Addr::from(source), 4000));
    query.envelope.dst = SocketAddr::from(([192, 0, 2, server], 53));
    query
}

fn reply_to(query: &Draft, us: u64) -> Draft {
    let mut response = query.clone();
    response.envelope.ts = Timestamp::from_nanos(at(0).as_nanos() + us * 1000);
    (response.envelope.src, response.envelope.dst) = (query.envelope.dst, query.envelope.src);
    response.dns.flags = Flags(0x8000);
    response
}

/// Runs a flood that fills the table four times a second, and a hundred queries a second of
/// established flows, answered after 500 ms. Returns how many of the latter were sent, and how many
/// paired.
fn flood(source: impl Fn(u32) -> u32, server: u8) -> (usize, usize) {
    const TABLE: usize = 500;
    const PER_SECOND: u64 = 2000;
    let options = PairOptions { max_transactions: TABLE, ..PairOptions::default() };
    let mut pairer = Pairer::new(options);
    let known_host = |number: u64| 0x0A00_0000 + u32::try_from(number % 20).unwrap();
    for number in 0..20 {
        let query = spoofed(number, known_host(number), 53);
        observe(&mut pairer, &query, &mut |_| {});
        observe(&mut pairer, &reply_to(&query, number), &mut |_| {});
    }
    let (mut sent, mut paired) = (0, 0);
    let mut under_way = VecDeque::new();
    for step in 0..5 * PER_SECOND {
        let us = 1000 + step * (1_000_000 / PER_SECOND);
        let mut each = |t: &Transaction<'_>| paired += usize::from(t.status == Status::Answered);
        observe(&mut pairer, &spoofed(us, source(u32::try_from(step).unwrap()), server), &mut each);
        if step % 20 == 0 {
            let mut query = spoofed(us, known_host(step / 20), 53);
            query.dns.id = u16::try_from(2 + step / 20).unwrap();
            under_way.push_back((us + 500_000, query.clone()));
            observe(&mut pairer, &query, &mut each);
            sent += 1;
        }
        while under_way.front().is_some_and(|(due, _)| *due <= us) {
            let (due, query) = under_way.pop_front().unwrap();
            observe(&mut pairer, &reply_to(&query, due), &mut each);
        }
    }
    let counters = pairer.counters();
    assert!(balanced(&counters) && counters.evicted > 4 * TABLE as u64, "{counters:?}");
    (sent - under_way.len(), paired)
}

#[test]
fn flood_from_unknown_hosts_spares_established_flows() {
    let (sent, paired) = flood(|step| 0xC633_6400_u32.wrapping_mul(step + 1), 53);
    assert!(sent > 400 && paired * 100 >= sent * 99, "{paired} of {sent}");
}

#[test]
fn flood_to_dead_server_spares_other_flows() {
    // A known client asks a dead server for random names (water torture).
    let (sent, paired) = flood(|step| 0x0A00_0000 + step % 20, 99);
    assert!(sent > 400 && paired * 100 >= sent * 99, "{paired} of {sent}");
}

#[test]
fn table_stays_within_memory_limit() {
    let options = PairOptions { max_transactions: 1 << 14, ..PairOptions::default() };
    let limit = options.memory_limit_bytes();
    assert_eq!(limit, 16 << 20);
    let mut pairer = Pairer::new(options);
    let data = "x".repeat(900);
    let filler = Answer { name: "a", class: 1, rtype: 16, ttl_seconds: 0, data: &data };
    let mut greatest = 0;
    for number in 0..30_000 {
        let mut query = spoofed(u64::from(number), number, 53);
        query.dns.answers = [filler; 2].into_iter().collect();
        observe(&mut pairer, &query, &mut |_| {});
        greatest = greatest.max(pairer.memory_bytes());
        assert!(pairer.memory_bytes() <= limit);
    }
    let counters = pairer.counters();
    assert!(greatest > limit / 10 * 9 && counters.evicted > 0, "{counters:?}");
    assert!(balanced(&counters));
    // All memory is released; the sum does not drift.
    pairer.finish(at(6000), &mut |_| {});
    pairer.expire(at(120_000), &mut |_| {});
    assert_eq!(pairer.memory_bytes(), EstablishedPairs::BYTES);
}

#[test]
fn forgets_ended_before_evicting_waiting() {
    let options = PairOptions { max_transactions: 1 << 14, ..PairOptions::default() };
    let mut pairer = Pairer::new(options);
    let mut big = query(0, 1, "a");
    let data = "x".repeat(2000);
    big.dns.answers.push(&Answer { name: "a", class: 1, rtype: 16, ttl_seconds: 0, data: &data });
    for number in 0..12_000_u16 {
        let mut query = big.clone();
        query.dns.id = number;
        observe(&mut pairer, &query, &mut |_| {});
        observe(&mut pairer, &reply_to(&query, 1), &mut |_| {});
    }
    let counters = pairer.counters();
    assert_eq!((counters.answered, counters.evicted), (12_000, 0));
    assert!(pairer.memory_bytes() <= options.memory_limit_bytes());
}

#[test]
fn running_transfers_are_bounded() {
    let mut pairer = Pairer::new(PairOptions::default());
    let record = |rtype, data| Answer { name: "zone.test", class: 1, rtype, ttl_seconds: 1, data };
    let mut ended = Vec::new();
    for id in 0..300 {
        let mut query = query(u64::from(id), id, "zone.test");
        query.envelope.transport = Transport::Tcp;
        query.dns.question.as_mut().unwrap().qtype = 252;
        observe(&mut pairer, &query, &mut |_| {});
        let mut first = reply_to(&query, 1000 * u64::from(id));
        first.dns.answers.push(&record(6, "ns m 1 2 3 4 5"));
        (1..3000).for_each(|_| first.dns.answers.push(&record(1, "192.0.2.1")));
        observe(&mut pairer, &first, &mut |t| {
            let transfer = t.transfer.unwrap();
            assert_eq!(t.response.unwrap().dns.answers().count(), 100);
            ended.push((t.query.unwrap().dns.id, transfer.messages, transfer.complete));
        });
    }
    let expected: Vec<_> = (0..44).map(|id| (id, 1, false)).collect();
    assert_eq!(ended, expected, "the oldest end");
    assert!(
        pairer.memory_bytes() < 256 * 20_000 + EstablishedPairs::BYTES,
        "{}",
        pairer.memory_bytes()
    );
    // The others end after the idle timeout.
    let mut silent = 0;
    pairer.expire(at(60_000), &mut |t| silent += u32::from(t.transfer.is_some()));
    assert_eq!(silent, 256);
    assert!(balanced(&pairer.counters()));
    pairer.expire(at(200_000), &mut |_| {});
    assert_eq!(pairer.memory_bytes(), EstablishedPairs::BYTES);
}

#[test]
fn flood_with_one_client_and_id_is_linear() {
    let mut pairer = Pairer::new(PairOptions::default());
    let mut orphans = 0;
    for number in 0..20_000_u32 {
        let mut query = query(0, 7, &number.to_string());
        query.envelope.src.set_port(u16::try_from(1024 + number).unwrap());
        observe(&mut pairer, &query, &mut |_| {});
        query.dns.question.as_mut().unwrap().qname = "x".into();
        observe(&mut pairer, &reply_to(&query, 1), &mut |t| {
            orphans += u32::from(t.status == Status::Orphan);
        });
    }
    assert_eq!(orphans, 20_000);
}
