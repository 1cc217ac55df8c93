use super::*;
use crate::Sink;
use dnscribe_record::ledger::Delivery;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

const SOON: Duration = Duration::from_secs(10);

pub(super) fn config(url: &str) -> AlertmanagerConfig {
    AlertmanagerConfig {
        urls: vec![url.to_owned()],
        authorization: None,
        ca_file: None,
        timeout: Duration::from_secs(5),
        resend: Duration::from_mins(1),
        labels: BTreeMap::new(),
        generator_url: None,
    }
}

/// Accepts one request per connection and answers each with the next code. Returns its URL and the
/// requests.
fn server(codes: &'static [u16]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for code in codes {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut some = [0; 4096];
            loop {
                let read = stream.read(&mut some).unwrap();
                request.extend_from_slice(&some[..read]);
                let text = String::from_utf8_lossy(&request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if body.len() >= length.unwrap_or(0) {
                    break;
                }
            }
            let answer =
                format!("HTTP/1.1 {code} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).unwrap();
            sender.send(String::from_utf8(request).unwrap()).unwrap();
        }
    });
    (url, requests)
}

/// A batch of alerts with these ids, and one record of another stream.
fn batch(ids: &[&str]) -> Arc<Batch> {
    let mut batch = Batch::default();
    batch.push_json(Stream::Transactions, 1, &json!({ "not": "ours" }), b"k");
    for (number, id) in ids.iter().enumerate() {
        let record = json!({
            "ts": "2026-11-20T07:30:30Z", "node": "n", "alert_id": id, "rule": "tunnel",
            "state": "firing", "severity": "warning", "started": "2026-11-20T07:30:10Z",
            "summary": format!("alert {id}"),
        });
        batch.push_json(Stream::Alerts, number as u128, &record, b"k");
    }
    Arc::new(batch)
}

fn sink(config: &AlertmanagerConfig, patience: Option<Duration>) -> ThreadedSink {
    open("alertmanager".into(), StreamSet::ALERTS, config, patience).unwrap()
}

fn counters(sink: &ThreadedSink) -> Delivery {
    sink.counters()["alerts"].clone()
}

#[test]
fn counts_accepted_alerts_as_delivered() {
    let (url, requests) = server(&[200]);
    let token = Authorization::Bearer(Password("hunter2".into()));
    let config = AlertmanagerConfig { authorization: Some(token), ..config(&url) };
    let mut sink = sink(&config, None);
    sink.offer(&batch(&["a", "b"]));
    assert!(sink.flush(SOON));
    let request = requests.recv_timeout(SOON).unwrap();
    assert!(request.starts_with("POST /api/v2/alerts HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("\r\nauthorization: bearer hunter2\r\n"), "{request}");
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let to_json: Value = serde_json::from_str(body).unwrap();
    assert_eq!(to_json.as_array().unwrap().len(), 2);
    assert_eq!(to_json[1]["annotations"]["summary"], "alert b");
    let counted = counters(&sink);
    assert_eq!((counted.records, counted.delivered, counted.in_flight), (2, 2, 0));
    sink.close();
}

#[test]
fn retries_after_temporary_errors() {
    let (url, requests) = server(&[503, 401, 200]);
    let mut sink = sink(&config(&url), None);
    sink.offer(&batch(&["a"]));
    assert!(sink.flush(SOON));
    assert_eq!(requests.iter().take(3).count(), 3);
    let gauges = sink.gauges();
    let of = |name: &str| gauges.iter().find(|gauge| gauge.name.ends_with(name)).unwrap().value;
    assert_eq!([of("failed_total"), of("sent_total")].map(|count| format!("{count}")), ["2", "1"]);
    assert_eq!(counters(&sink).delivered, 1);
}

#[test]
fn drops_only_the_rejected_alert() {
    let (url, _requests) = server(&[400, 200, 400]);
    let mut sink = sink(&config(&url), None);
    sink.offer(&batch(&["a", "b"]));
    assert!(sink.flush(SOON));
    let counted = counters(&sink);
    assert_eq!((counted.delivered, counted.dropped["rejected"]), (1, 1));
}

#[test]
fn drops_waiting_alerts_after_the_time_limit() {
    let mut sink = sink(&config("http://127.0.0.1:1"), Some(Duration::from_secs(1)));
    sink.offer(&batch(&["a", "a", "b"]));
    assert!(sink.flush(SOON));
    let counted = counters(&sink);
    assert_eq!((counted.records, counted.dropped["message_timed_out"]), (3, 3));
    assert!(matches!(sink.failure(), Some(Failure::Broken(_))));
    sink.offer(&batch(&["c"]));
    assert!(sink.flush(SOON));
    assert_eq!(counters(&sink).dropped["message_timed_out"], 4);
}

#[test]
fn counts_waiting_alerts_as_dropped_on_close() {
    let mut sink = sink(&config("http://127.0.0.1:1"), None);
    sink.offer(&batch(&["a"]));
    assert!(!sink.flush(Duration::from_millis(200)));
    sink.close();
    assert_eq!(counters(&sink).dropped["shutdown"], 1);
}

#[test]
fn delivers_if_one_of_several_accepts() {
    let (url, _requests) = server(&[200]);
    let urls = vec!["http://127.0.0.1:1".to_owned(), url];
    let mut sink = sink(&AlertmanagerConfig { urls, ..config("") }, None);
    sink.offer(&batch(&["a"]));
    assert!(sink.flush(SOON));
    assert_eq!(counters(&sink).delivered, 1);
}

#[test]
fn names_the_setting_of_a_certificate_that_is_not_trusted() {
    let (tls, _) = crate::testing::acceptor("127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || drop(tls.accept(listener.accept().unwrap().0)));
    let (why, remedy) = probe(&config(&url)).unwrap_err();
    server.join().unwrap();
    assert!(why.ends_with("certificate verify failed: self-signed certificate"), "{why}");
    assert!(remedy.is_some_and(|remedy| remedy.contains("alertmanager.ca_file")));
}
