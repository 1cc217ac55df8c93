use super::*;
use dnscribe_record::EventId;
use dnscribe_record::time::Timestamp;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

fn send(config: &KafkaConfig, topic: &str, text: &str) {
    let record = KeyedRecord {
        key: "k".to_owned(),
        schema: "dns.alert/1",
        event_id: EventId(1),
        value: Some(text.as_bytes().to_vec()),
    };
    publish(config, topic, "node-1", &[record]).unwrap();
}

#[test]
fn follows_new_records_and_new_topics() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("old", 2, 1).unwrap();
    let config = config(&cluster.bootstrap_servers(), &[]);
    send(&config, "old", "before");
    let (sender, received) = mpsc::channel();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let now = Timestamp::now();
            let topics = [("old".to_owned(), now), ("new".to_owned(), now)];
            follow(&config, &topics, &stop, &mut |topic, value| {
                let text = String::from_utf8(value.to_vec()).unwrap();
                sender.send(format!("{topic} {text}")).unwrap();
                ControlFlow::Continue(())
            })
        });
        let next = || received.recv_timeout(Duration::from_secs(40)).unwrap();
        // The follower says nothing when it has begun: records are sent until one arrives.
        let first = loop {
            send(&config, "old", "after");
            if let Ok(first) = received.recv_timeout(Duration::from_secs(1)) {
                break first;
            }
        };
        assert_eq!(first, "old after");
        cluster.create_topic("new", 1, 1).unwrap();
        let later = loop {
            send(&config, "new", "more");
            match received.recv_timeout(Duration::from_secs(1)) {
                Ok(later) if later != "old after" => break later,
                _ => {}
            }
        };
        assert_eq!(later, "new more");
        send(&config, "old", "last");
        while next() != "old last" {}
        stop.store(true, Ordering::Relaxed);
        assert_eq!(follower.join().unwrap(), Ok(true));
    });
}

#[test]
fn waits_for_a_broker_until_it_is_stopped() {
    let config = config("127.0.0.1:1", &[]);
    let stop = AtomicBool::new(false);
    let topics = [("old".to_owned(), Timestamp::now())];
    thread::scope(|scope| {
        let follower = scope.spawn(|| {
            follow(&config, &topics, &stop, &mut |_, _| unreachable!("there is no broker"))
        });
        thread::sleep(Duration::from_millis(200));
        assert!(!follower.is_finished());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(follower.join().unwrap(), Ok(false));
    });
}
