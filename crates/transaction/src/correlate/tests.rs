use super::*;
use crate::decode::Envelope;
use crate::decode::testing::{Draft, DraftDns, DraftQuestion};
use crate::packet::{Direction, PacketId, Task, Transport};
use crate::pair::{PairOptions, Pairer, Status};
use dnscribe_dns::rtype::{A, AAAA, DNSKEY};
use dnscribe_dns::{Answer, Flags};
use dnscribe_record::time::Timestamp;
use std::collections::HashMap;
use std::net::SocketAddr;

mod property;
mod scenarios;

const UNBOUND: u32 = 53;
const DIG: u32 = 1000;
const START_NS: u64 = 1_000_000_000_000_000;
const TO_CLIENT: u16 = 0x8180;
const FROM_SERVER: u16 = 0x8400;

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10], port))
}

fn resolver(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 53], port))
}

fn server() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 53))
}

/// A message as captured by one hook.
#[derive(Clone, Copy, Debug)]
struct TestMessage<'a> {
    direction: Direction,
    pid: Option<u32>,
    from: SocketAddr,
    to: SocketAddr,
    id: u16,
    flags: u16,
    qname: &'a str,
    qtype: u16,
    cname: Option<&'a str>,
    stale: bool,
}

/// Pairing and correlation, with a clock that advances with each message.
struct TestHost {
    pairer: Pairer,
    joiner: CorrelateStage,
    now_us: u64,
    /// Outcome of each query, by message number.
    ended: HashMap<u64, (Status, TransactionLinks)>,
}

impl TestHost {
    fn new() -> Self {
        Self {
            pairer: Pairer::new(PairOptions::default()),
            joiner: CorrelateStage::new(CorrelationMode::Auto),
            now_us: 0,
            ended: HashMap::new(),
        }
    }

    fn pass(&mut self, by_us: u64) {
        self.now_us += by_us;
    }

    /// Handles a message. Returns its number.
    fn see(&mut self, seen: TestMessage<'_>) -> u64 {
        self.now_us += 1;
        let message = message(&seen, self.now_us).to_message();
        let message = message.message();
        let Self { pairer, joiner, ended, .. } = self;
        let began = pairer.observe(&message, &mut |transaction| {
            let links = joiner.end_transaction(transaction);
            if let Some(query) = transaction.query {
                ended.insert(query.envelope.id.packet.seq, (transaction.status, links));
            }
        });
        if began {
            joiner.start_transaction(&message);
        }
        self.now_us
    }

    /// Sends a client's query. Returns the numbers of its egress and ingress.
    fn ask(&mut self, port: u16, qname: &str, qtype: u16) -> (u64, u64) {
        let query = TestMessage { qtype, ..query(client(port), resolver(53), 7, qname) };
        let left = self.see(TestMessage { direction: Direction::Egress, pid: Some(DIG), ..query });
        (left, self.see(TestMessage { direction: Direction::Ingress, pid: Some(UNBOUND), ..query }))
    }

    /// Sends the resolver's answer.
    fn reply(&mut self, port: u16, qname: &str, qtype: u16, change: impl Fn(&mut TestMessage<'_>)) {
        let mut answer =
            TestMessage { flags: TO_CLIENT, qtype, ..query(resolver(53), client(port), 7, qname) };
        change(&mut answer);
        self.see(TestMessage { direction: Direction::Egress, pid: Some(UNBOUND), ..answer });
        self.see(TestMessage { direction: Direction::Ingress, pid: Some(DIG), ..answer });
    }

    /// Sends an upstream query from a port.
    fn send(&mut self, port: u16, qname: &str, qtype: u16) -> u64 {
        let query = query(resolver(port), server(), 9, qname);
        self.see(TestMessage {
            direction: Direction::Egress,
            pid: Some(UNBOUND),
            flags: 0,
            qtype,
            ..query
        })
    }

    fn receive(&mut self, port: u16, qname: &str, qtype: u16, cname: Option<&str>) {
        let answer = query(server(), resolver(port), 9, qname);
        let answer = TestMessage { flags: FROM_SERVER, qtype, cname, ..answer };
        self.see(TestMessage { direction: Direction::Ingress, pid: Some(UNBOUND), ..answer });
    }

    /// Runs a complete cache miss, so that the resolver is known.
    fn warm_up(&mut self) {
        self.ask(1, "warm.test", A);
        self.send(2, "warm.test", A);
        self.receive(2, "warm.test", A, None);
        self.reply(1, "warm.test", A, |_| ());
    }

    /// Ends the capture.
    fn finish(&mut self) {
        let Self { pairer, joiner, ended, now_us } = self;
        pairer.finish(Timestamp::from_nanos(START_NS + *now_us * 1000), &mut |transaction| {
            let links = joiner.end_transaction(transaction);
            if let Some(query) = transaction.query {
                ended.insert(query.envelope.id.packet.seq, (transaction.status, links));
            }
        });
    }

    fn parent(&self, number: u64) -> Option<(u64, ParentMatch)> {
        self.ended[&number].1.parent.map(|parent| (parent.id.packet.seq, parent.by))
    }

    fn cache(&self, number: u64) -> Option<AnswerSource> {
        self.ended[&number].1.cache
    }
}

fn query(from: SocketAddr, to: SocketAddr, id: u16, qname: &str) -> TestMessage<'_> {
    TestMessage {
        direction: Direction::Passive,
        pid: None,
        from,
        to,
        id,
        flags: 0x100,
        qname,
        qtype: A,
        cname: None,
        stale: false,
    }
}

fn message(seen: &TestMessage<'_>, now_us: u64) -> Draft {
    let answers = seen.cname.map(|target| Answer {
        name: seen.qname,
        class: 1,
        rtype: 5,
        ttl_seconds: 60,
        data: target,
    });
    Draft {
        envelope: Envelope {
            id: MessageId { packet: PacketId { cpu: 0, seq: now_us }, index: 0 },
            ts: Timestamp::from_nanos(START_NS + now_us * 1000),
            scope: 0,
            direction: seen.direction,
            task: seen.pid.map(|pid| Task { pid, ..Task::default() }),
            cgroup_id: 0,
            transport: Transport::Udp,
            src: seen.from,
            dst: seen.to,
            report: None,
            seen_by: None,
        },
        dns: DraftDns {
            id: seen.id,
            flags: Flags(seen.flags),
            question: Some(DraftQuestion {
                qname: seen.qname.into(),
                qtype: seen.qtype,
                qclass: 1,
            }),
            answers: answers.into_iter().collect(),
            // Stale Answer (RFC 8914, 4.4).
            options: if seen.stale { vec![(15, vec![0, 3])] } else { Vec::new() },
            ..DraftDns::default()
        },
        wire_bytes: 30,
    }
}
