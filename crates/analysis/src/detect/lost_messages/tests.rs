use super::*;
use crate::detect::tests::helpers::{at, findings};
use crate::heap;
use crate::losses::NO_SOCKET;
use crate::view::ProcessView;
use crate::view::testing::example;
use dnscribe_transaction::packet::{LossStage, NetfilterHook};
use dnscribe_transaction::pair::Status;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

fn lost(is_response: bool, stage: LossStage, reason: &str) -> Lost {
    let hook = (stage == LossStage::Netfilter).then_some(NetfilterHook::Output);
    let loss = Loss { stage, reason: reason.into(), hook, function: None };
    Lost { ts: Timestamp::default(), is_response, loss: Arc::new(loss), count: 1 }
}

/// Passes this many transactions within a second, the first `lost_count` of which lost a message.
fn pass(
    detector: &mut LostMessages,
    seconds: f64,
    vantage: Vantage,
    (lost_count, all): (u32, u32),
    lost: &Lost,
) {
    for number in 0..all {
        let is_lost = number < lost_count;
        detector.observe(&TransactionView {
            vantage,
            status: if is_lost { Status::Timeout } else { Status::Answered },
            process: Some(ProcessView { pid: 7, comm: "unbound" }),
            lost: is_lost.then_some(lost),
            ..example(at(seconds + f64::from(number) / 1e6))
        });
    }
}

#[test]
fn full_buffer_is_reported_by_its_share() {
    let full = lost(false, LossStage::Socket, BUFFER_FULL);
    for (lost_count, all, expected) in [
        (9, 9, None),
        (10, 20_000, None),
        (10, 10_000, Some(Severity::Warning)),
        (100, 2_001, Some(Severity::Warning)),
        (100, 2_000, Some(Severity::Critical)),
    ] {
        let mut detector = LostMessages::default();
        pass(&mut detector, 0.0, Vantage::Server, (lost_count, all), &full);
        assert_eq!(findings(&mut detector, 29.0), [], "the share is not known yet");
        let found = findings(&mut detector, 61.0);
        let levels: Vec<_> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, Vec::from_iter(expected), "{lost_count} of {all}");
        assert_eq!(findings(&mut detector, 200.0), [], "it is over");
    }
}

/// Timeouts are known after the answers of their time, and of the next minute.
#[test]
fn share_is_one_of_all() {
    let full = lost(false, LossStage::Socket, BUFFER_FULL);
    let rule = lost(false, LossStage::Netfilter, "NETFILTER_DROP");
    for vantage in [Vantage::Server, Vantage::Client] {
        let lost = if vantage == Vantage::Server { &full } else { &rule };
        let mut detector = LostMessages::default();
        pass(&mut detector, 0.0, vantage, (0, 3_000), lost);
        pass(&mut detector, 58.0, vantage, (0, 9), lost);
        assert_eq!(findings(&mut detector, 60.0), []);
        pass(&mut detector, 61.0, vantage, (0, 1), lost);
        pass(&mut detector, 58.0, vantage, (21, 21), lost);
        let found = findings(&mut detector, 110.0);
        if vantage == Vantage::Server {
            let [server] = &found[..] else { panic!("{found:#?}") };
            assert_eq!(server.level, Severity::Warning, "{}", server.summary);
            assert!(server.summary.ends_with(" 0.7 % of all"), "{}", server.summary);
        } else {
            assert_eq!(found, [], "below a hundredth");
        }
        assert_eq!(findings(&mut detector, 120.0), [], "those of the first minute are forgotten");
    }
}

#[test]
fn late_response_is_no_other_query() {
    let mut detector = LostMessages::default();
    let full = lost(false, LossStage::Socket, BUFFER_FULL);
    pass(&mut detector, 0.0, Vantage::Server, (10, 200), &full);
    for number in 0..10_000 {
        let ts = at(1.0 + f64::from(number) / 1e6);
        let (vantage, status) = (Vantage::Server, Status::Late);
        detector.observe(&TransactionView { vantage, status, ..example(ts) });
    }
    let found = findings(&mut detector, 31.0);
    assert_eq!(found.iter().map(|one| one.level).collect::<Vec<_>>(), [Severity::Critical]);
}

#[test]
fn names_server_and_place() {
    let mut detector = LostMessages::default();
    pass(
        &mut detector,
        0.0,
        Vantage::Server,
        (40, 1_000),
        &lost(false, LossStage::Socket, BUFFER_FULL),
    );
    let rule = lost(false, LossStage::Netfilter, "NETFILTER_DROP");
    pass(&mut detector, 0.0, Vantage::Client, (5, 100), &rule);
    pass(
        &mut detector,
        1.0,
        Vantage::Client,
        (2, 100),
        &lost(true, LossStage::Socket, BUFFER_FULL),
    );
    let found = findings(&mut detector, 61.0);
    let [server, client] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(server.entity.to_string(), "resolver=192.0.2.53,vantage=server");
    assert_eq!(
        server.summary,
        "192.0.2.53 lost 40 queries within 2 min since its socket's buffer was full: 4.0 % of all"
    );
    assert_eq!(server.evidence.processes, ["unbound[7]".into()]);
    assert_eq!(client.entity.to_string(), "process=unbound");
    assert_eq!(
        client.summary,
        "7 transactions of unbound within 10 min lost messages on this host, mostly at netfilter/output \
         (NETFILTER_DROP): 3.5 % of all"
    );
    assert_eq!(findings(&mut detector, 250.0).len(), 1, "that of the client");
    assert_eq!(findings(&mut detector, 700.0), []);
}

#[test]
fn losses_of_others_are_not_the_clients() {
    for (is_response, stage, reason) in [
        (false, LossStage::Socket, BUFFER_FULL),
        (false, LossStage::Socket, NO_SOCKET),
        (true, LossStage::Socket, NO_SOCKET),
    ] {
        let mut detector = LostMessages::default();
        pass(&mut detector, 0.0, Vantage::Client, (50, 50), &lost(is_response, stage, reason));
        pass(&mut detector, 0.0, Vantage::Passive, (50, 50), &lost(is_response, stage, reason));
        assert_eq!(findings(&mut detector, 61.0), [], "{reason}");
    }
    let mut detector = LostMessages::default();
    let rule = lost(false, LossStage::Netfilter, "NETFILTER_DROP");
    pass(&mut detector, 0.0, Vantage::Client, (5, 501), &rule);
    assert_eq!(findings(&mut detector, 61.0), [], "below a hundredth");
}

#[test]
fn memory_is_bounded() {
    let rule = lost(false, LossStage::Netfilter, "NETFILTER_DROP");
    let (detector, bytes) = heap::measure(|| {
        let mut detector = LostMessages::default();
        for number in 0..100_000_u32 {
            let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(number)), 4000);
            detector.observe(&TransactionView {
                client,
                process: None,
                lost: Some(&rule),
                ..example(at(f64::from(number) / 1e3))
            });
        }
        detector
    });
    assert!(bytes < 8 << 20, "{bytes}");
    drop(detector);
}
