//! What is measured on demand, how often, and how its result ends.

use super::*;
use crate::config::{Config, Sources};
use crate::dns::testing::{a, response, udp};
use crate::measure::Round;
use dnscribe_record::{ProbeError, ProbeFields};
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::io::Write as _;

const CONFIG: &str = "
version: 1
resolvers: { a: 'udp://192.0.2.1', b: 'udp://192.0.2.2' }
services:
  - name: shop
    targets:
      - dns: { name: shop.example.com, resolvers: [a] }
      - tcp: { address: 'shop.example.com:443' }
  - name: mail
    targets:
      - dns: { name: mail.example.net, resolvers: [b] }
";

fn load(text: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
    Config::load(&sources).unwrap()
}

fn trigger(options: TriggerOptions) -> Trigger {
    let config = load(CONFIG);
    Trigger::new(options, &config.services, &config.ad_hoc)
}

/// An alert of an agent about an entity; its ids are made of `number`.
fn alert(number: u8, parts: &[(&str, &str)], state: &str) -> TriggeringAlert {
    let id = format!("{number:032x}");
    let mut record = serde_json::json!({
        "schema": "dns.alert/1", "event_id": id, "alert_id": id, "scope": "node", "rule": "servfail",
        "state": state, "summary": "far more SERVFAIL", "entity": format!("{parts:?}"),
    });
    for (name, value) in parts {
        record[*name] = (*value).into();
    }
    serde_json::from_value(record).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos((1_795_000_000 + seconds) * 1_000_000_000)
}

fn targets(request: &Request) -> Vec<(&str, usize)> {
    let targets = request.services.iter().flat_map(|service| &service.targets);
    let resolvers = |target: &Target| match &target.kind {
        TargetKind::Dns(dns) => dns.resolvers.len(),
        _ => 0,
    };
    targets.map(|target| (target.name.as_str(), resolvers(target))).collect()
}

/// Kinds of the targets that are measured for a name that resolves to 127.0.0.1.
async fn kinds_measured(contact: Contact) -> BTreeSet<String> {
    let resolver = udp(|query| {
        let mut message = response(&query);
        if query.queries[0].query_type() == RecordType::A {
            message.add_answer(a("evil.example.", [127, 0, 0, 1]));
        }
        vec![message.to_vec().unwrap()]
    })
    .await;
    let config = format!(
        "version: 1\nresolvers: {{ a: 'udp://{resolver}' }}\ndefaults: {{ timeout: 1s, dnssec: false }}\n\
         services: [{{ name: x, targets: [{{ ping: {{ address: 127.0.0.1 }} }}] }}]\n"
    );
    let config = load(&config);
    let mut trigger = Trigger::new(
        TriggerOptions { contact, ..TriggerOptions::default() },
        &config.services,
        &config.ad_hoc,
    );
    let alert = alert(1, &[("qname", "evil.example")], "firing");
    let mut request = trigger.observe(at(0), &alert).unwrap();
    let context = Context::new("test".to_owned(), config.trust);
    let rounds = request.measure(&context).await.unwrap();
    rounds.iter().map(|round| round.target.kind.name().to_owned()).collect()
}

#[tokio::test]
async fn names_of_alerts_are_asked_for_and_their_hosts_left_alone() {
    let kinds = |list: &[&str]| list.iter().map(|&kind| kind.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(TriggerOptions::default().contact, Contact::None);
    assert_eq!(kinds_measured(Contact::None).await, kinds(&["dns"]));
    // Its only address is special.
    assert_eq!(kinds_measured(Contact::Public).await, kinds(&["authority", "dns"]));
    let all = kinds_measured(Contact::All).await;
    assert!(all.is_superset(&kinds(&["authority", "dns", "ping", "tcp"])), "{all:?}");
}

#[test]
fn alert_triggers_matching_targets_at_all_resolvers() {
    let request = |parts: &[(&str, &str)]| {
        let mut trigger = trigger(TriggerOptions::default());
        trigger.observe(at(0), &alert(1, parts, "firing"))
    };
    let shop = [("shop.example.com A", 2), ("shop.example.com:443", 0)];
    assert_eq!(targets(&request(&[("qname", "shop.example.com")]).unwrap()), shop);
    assert_eq!(targets(&request(&[("zone", "example.com")]).unwrap()), shop);
    // A resolver by its address, and one that is not configured.
    let of_resolver = request(&[("resolver", "192.0.2.2")]).unwrap();
    assert_eq!(targets(&of_resolver), [("mail.example.net A", 2)]);
    let other = request(&[("zone", "example.com"), ("resolver", "198.51.100.53")]).unwrap();
    assert_eq!(targets(&other), [("shop.example.com A", 3), shop[1]]);
    // No target: the name itself.
    let name = request(&[("qname", "www.example.org")]).unwrap();
    assert_eq!(name.name.unwrap().to_ascii(), "www.example.org.");
    assert!(request(&[("client_ip", "192.0.2.7")]).is_none());
}

#[test]
fn own_alerts_and_switched_off_trigger_nothing() {
    let mut own = alert(1, &[("zone", "example.com")], "firing");
    own.scope = Some("probe".to_owned());
    assert!(trigger(TriggerOptions::default()).observe(at(0), &own).is_none());
    let mut impact = alert(1, &[("zone", "example.com")], "firing");
    impact.scope = Some("fleet".to_owned());
    impact.rule = "service_impact".to_owned();
    assert!(trigger(TriggerOptions::default()).observe(at(0), &impact).is_none());
    let off = TriggerOptions { enabled: false, ..TriggerOptions::default() };
    let request = trigger(off).observe(at(0), &alert(1, &[("zone", "example.com")], "firing"));
    assert!(request.is_none());
}

#[test]
fn requests_are_limited_in_all_and_by_entity() {
    let options = TriggerOptions { per_minute: 2, ..TriggerOptions::default() };
    let mut trigger = trigger(options);
    let mut ask = |number, seconds, zone: &str| {
        let alert = alert(number, &[("zone", zone)], "firing");
        trigger.observe(at(seconds), &alert).is_some()
    };
    assert!(ask(1, 0, "example.com"));
    assert!(!ask(2, 10, "example.com"), "within the gap of this entity");
    assert!(ask(3, 11, "example.net"));
    assert!(!ask(4, 12, "example.org"), "no token is left");
    assert!(ask(5, 60, "example.org"));
    assert!(ask(6, 400, "example.com"));
    assert_eq!(trigger.limited, 2);
}

/// Rounds of a request in which every target fails with this reason.
fn failed(request: &Request, reason: &str) -> Vec<Round> {
    let targets = request.services.iter().flat_map(|service| &service.targets);
    let fail = |target: &Arc<Target>| ProbeFields {
        kind: target.kind.name().to_owned(),
        service: target.service.to_string(),
        target: target.name.clone(),
        error: Some(ProbeError { stage: "connect".into(), reason: reason.into(), detail: None }),
        ..ProbeFields::default()
    };
    let round = |target: &Arc<Target>| Round {
        target: Arc::clone(target),
        start: at(1),
        found: vec![fail(target)],
        skipped: None,
        unrouted: 0,
    };
    targets.map(round).collect()
}

#[test]
fn result_refers_to_the_alert_and_ends_with_it() {
    let mut trigger = trigger(TriggerOptions::default());
    let firing = alert(7, &[("qname", "shop.example.com")], "firing");
    let request = trigger.observe(at(0), &firing).unwrap();
    let rounds = failed(&request, "refused");
    let result = trigger.finish(at(2), &request, &rounds, vec![vec![EventId(9)]; 2]);
    assert_eq!(result.triggered_by, Some(EventId(7)));
    assert_eq!(result.condition.rule, Rule::ProbeResult);
    assert!(result.condition.summary.contains("→ hosting"), "{}", result.condition.summary);
    assert!(result.condition.evidence[0].starts_with("asked for by servfail"));
    // Repetitions ask for nothing, and the end of the alert ends the result, once.
    assert!(trigger.observe(at(900), &firing).is_none());
    let over = alert(7, &[("qname", "shop.example.com")], "resolved");
    let end = trigger.resolve(at(901), &over).unwrap();
    assert_eq!((end.condition.started, end.ended), (at(2), Some(at(901))));
    assert!(trigger.resolve(at(902), &over).is_none());
    assert_eq!(trigger.expire(at(90_000)), []);
}

#[test]
fn result_without_an_end_expires() {
    let mut trigger = trigger(TriggerOptions::default());
    let firing = alert(7, &[("qname", "shop.example.com")], "firing");
    let request = trigger.observe(at(0), &firing).unwrap();
    let _ = trigger.finish(at(2), &request, &[], Vec::new());
    assert_eq!(trigger.expire(at(3600)), []);
    assert_eq!(trigger.expire(at(3602)).len(), 1);
}
