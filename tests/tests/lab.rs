//! Test of the harness: the lab answers queries, and removes everything.

use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::environment;
use dnscribe_tests::lab::{Host, Lab};
use std::path::Path;

#[test]
fn lab_answers_and_cleans_up() {
    if !environment::privileged() {
        return;
    }
    let lab = Lab::up().unwrap();
    let other = Lab::up().unwrap();
    assert_ne!(lab.resolver_addr(), other.resolver_addr());
    assert!(lab.dig(&["www.example.com", "+short"]).unwrap().contains("192.0.2.80"));
    assert!(other.dig(&["alias.example.com", "AAAA", "+short"]).unwrap().contains("2001:db8::80"));
    for tcp in [false, true] {
        let load = Load { queries: 500, qps: Some(1000), tcp, ..Load::default() };
        let perf = lab.dnsperf(&load).unwrap();
        assert_eq!((perf.sent, perf.completed, perf.lost), (500, 500, 0));
    }
    let closed = format!("@{}", lab.closed_addr());
    let refused = lab.run(Host::Client, &["dig", "+tries=1", &closed, "example.com"]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stdout).contains("connection refused"));
    let namespace = Path::new("/run/netns").join(lab.namespace(Host::Client));
    assert!(namespace.exists());
    drop(lab);
    assert!(!namespace.exists());
}
