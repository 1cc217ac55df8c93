use super::*;
use crate::detect::tests::helpers::at;
use crate::detect::tests::helpers::{findings, query, random};
use crate::detect::{Rule, Severity};
use crate::heap;
use crate::view::ProcessView;
use crate::view::testing::lost;
use dnscribe_transaction::decode::{EncryptedContent, EncryptedPacket, Envelope, MessageId};
use dnscribe_transaction::encrypted::{ConnectionOptions, ConnectionTable};
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_transaction::packet::{Direction, LossStage, PacketId, Task, Transport};
use dnscribe_transaction::pair::Status;
use std::net::{Ipv4Addr, SocketAddr};

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 8);

fn strict() -> Bypass {
    Bypass::new(ExpectedResolvers {
        configured: [OURS.into()].into(),
        ..ExpectedResolvers::default()
    })
}

fn query_server(bypass: &mut Bypass, seconds: f64, comm: &str, pid: u32, server: Ipv4Addr) {
    let shown = server.to_string();
    query(seconds, "www.example.com", |query| {
        let process = Some(ProcessView { pid, comm });
        let mut observation = TransactionView { resolver: &shown, process, ..*query };
        observation.server = SocketAddr::from((server, 53));
        bypass.observe(&observation);
    });
}

#[test]
fn finds_client_of_other_resolvers() {
    let mut bypass = strict();
    for number in 0..5 {
        query_server(&mut bypass, f64::from(number), "curl", 7, OURS);
        query_server(&mut bypass, f64::from(number), "malware", 8, OTHER);
    }
    let found = findings(&mut bypass, 10.0);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule, found[0].level), (Rule::ResolverBypass, Severity::Warning));
    assert_eq!(found[0].entity.process.as_deref(), Some("malware"));
    assert_eq!(found[0].evidence.resolvers, [OTHER.to_string().into()]);
    assert_eq!(findings(&mut bypass, 3000.0), []);
}

#[test]
fn answer_to_a_closed_socket_is_an_answer() {
    for (is_response, level) in [(true, Severity::Warning), (false, Severity::Info)] {
        let mut bypass = strict();
        let lost = lost(is_response, LossStage::Socket, 1);
        for number in 0..5 {
            query(f64::from(number), "www.example.com", |query| {
                let server = SocketAddr::from((OTHER, 53));
                bypass.observe(&TransactionView {
                    server,
                    status: Status::Timeout,
                    response_ts: None,
                    rcode: None,
                    lost: Some(&lost),
                    ..*query
                });
            });
        }
        assert_eq!(findings(&mut bypass, 10.0)[0].level, level);
    }
}

#[test]
fn ignores_resolvers() {
    let mut bypass = strict();
    for number in 0..9 {
        let now = f64::from(number);
        // It answers queries,
        query(now, "a.example.com", |query| {
            query.vantage = Vantage::Server;
            query.process = Some(ProcessView { pid: 9, comm: "dnsmasq" });
            bypass.observe(query);
        });
        query_server(&mut bypass, now, "dnsmasq", 9, OTHER);
        // or queries without recursion desired.
        query(now, "a.example.com", |query| {
            query.flags = dnscribe_dns::Flags(0x8000);
            query.server = SocketAddr::from((OTHER, 53));
            bypass.observe(query);
        });
    }
    assert_eq!(findings(&mut bypass, 10.0), []);
}

#[test]
fn learns_common_servers_without_configuration() {
    let mut bypass = Bypass::default();
    for number in 0..400_u32 {
        let comm = random(u64::from(number % 6), b"abcdefgh", 5);
        query_server(&mut bypass, f64::from(number), &comm, number % 6, OURS);
        if number % 16 == 0 {
            query_server(&mut bypass, f64::from(number), "malware", 8, OTHER);
        }
    }
    let found = findings(&mut bypass, 400.0);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].entity.process.as_deref(), Some("malware"));
    // The server is common once others use it.
    for number in 0..4 {
        query_server(&mut bypass, 401.0, &random(number, b"abcdefgh", 5), 1, OTHER);
    }
    assert_eq!(findings(&mut bypass, 410.0), []);
}

#[test]
fn memory_is_bounded() {
    let (_bypass, bytes) = heap::measure(|| {
        let mut bypass = strict();
        for number in 0..30_000_u32 {
            let [_, b, c, d] = number.wrapping_mul(7919).to_be_bytes();
            let comm = random(number.into(), b"abcdefgh", 15);
            query_server(
                &mut bypass,
                f64::from(number) / 1e4,
                &comm,
                number,
                Ipv4Addr::new(45, b, c, d),
            );
        }
        bypass
    });
    assert!(bytes <= 12 << 20, "{bytes}");
}

/// A DNS over QUIC connection to `server`, answered or not.
fn connect_encrypted(bypass: &mut Bypass, server: Ipv4Addr, answered: bool) {
    let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], []);
    let mut connections = ConnectionTable::new(encrypted, ConnectionOptions::default());
    let mut comm = [0; 16];
    comm[..7].copy_from_slice(b"firefox");
    let ends = [SocketAddr::from(([192, 0, 2, 1], 40_000)), SocketAddr::from((server, 853))];
    let mut each = |report: &ConnectionReport<'_>| bypass.connection(report, &server.to_string());
    for (number, direction) in [(0, Direction::Egress), (1, Direction::Ingress)] {
        if number == 1 && !answered {
            break;
        }
        let origin = PacketId { cpu: 0, seq: number };
        let turn = usize::try_from(number).unwrap();
        let envelope = Envelope {
            id: MessageId { packet: origin, index: 0 },
            ts: at(1.0),
            scope: 0,
            direction,
            task: Some(Task { pid: 99, comm, ..Task::default() }),
            cgroup_id: 0,
            transport: Transport::Udp,
            src: ends[turn],
            dst: ends[1 - turn],
            report: None,
            seen_by: None,
        };
        let payload: Box<[u8]> = [0xC0, 0, 0, 0, 1].into();
        let content = EncryptedContent::Datagram { payload, payload_wire: 1200, datagram_bytes: 0 };
        connections.observe(&EncryptedPacket { envelope, content }, &mut each);
    }
    connections.finish(at(90.0), &mut each);
}

#[test]
fn finds_encrypted_dns_of_other_resolvers() {
    for (server, answered, level) in [
        (OTHER, true, Some(Severity::Warning)),
        (OTHER, false, Some(Severity::Info)),
        (OURS, true, None),
    ] {
        let mut bypass = strict();
        connect_encrypted(&mut bypass, server, answered);
        let found = findings(&mut bypass, 100.0);
        assert_eq!(found.first().map(|found| found.level), level, "{found:?}");
        if let Some(found) = found.first() {
            assert_eq!(found.rule, Rule::EncryptedBypass);
            assert_eq!(found.entity.process.as_deref(), Some("firefox"));
            assert_eq!(found.evidence.processes, ["firefox[99]".into()]);
        }
    }
}
