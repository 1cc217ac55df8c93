use super::*;
use dnscribe_transaction::packet::Loss;
use std::sync::Arc;

/// An answered query for an address, seen at the client, with 12 ms latency.
pub(crate) fn example(ts: Timestamp) -> TransactionView<'static> {
    TransactionView {
        id: MessageId::default(),
        query: Some(MessageId::default()),
        ts,
        response_ts: Some(ts.plus(std::time::Duration::from_millis(12))),
        vantage: Vantage::Client,
        transport: Transport::Udp,
        client: SocketAddr::from(([192, 0, 2, 1], 40_000)),
        server: SocketAddr::from(([192, 0, 2, 53], 53)),
        resolver: "192.0.2.53",
        opcode: 0,
        qname: Some("www.example.com"),
        zone: Some("example.com"),
        qtype: Some(1),
        status: Status::Answered,
        rcode: Some(0),
        flags: Flags(0x8180),
        latency_ms: Some(12.0),
        retries: 0,
        dnssec_ok: false,
        client_subnet: false,
        answer_count: Some(1),
        answers: Answers::NONE,
        min_ttl_seconds: Some(300),
        query_bytes: Some(33),
        response_bytes: Some(49),
        conflict: false,
        sample_ratio: 1.0,
        rejected: 0,
        orphan_reason: None,
        resembles: None,
        tcp_fallback_of: None,
        parent: None,
        cache: None,
        process: Some(ProcessView { pid: 4242, comm: "curl" }),
        pod: None,
        attribution: None,
        lost: None,
        indicators: &[],
    }
}

/// What this host lost of a transaction: this many queries, or a response.
pub(crate) fn lost(is_response: bool, stage: LossStage, count: u32) -> Lost {
    let loss = Loss { stage, reason: "REASON".into(), hook: None, function: None };
    Lost { ts: Timestamp::default(), is_response, loss: Arc::new(loss), count }
}
