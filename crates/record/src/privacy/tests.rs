//! Tests that each field has a class, that nothing leaks, and that pseudonyms serve their purpose.

use super::fields::{self, Field, Kind};
use super::*;
use crate::json_schema;
use proptest::prelude::*;
use serde_json::{Value, json};

const HASHED: Mask = Mask {
    qname: MaskingMethod::Hash,
    client: MaskingMethod::Hash,
    server: MaskingMethod::Hash,
    answers: MaskingMethod::Hash,
    ecs: MaskingMethod::Hash,
    process: MaskingMethod::Hash,
    container: MaskingMethod::Hash,
};

const TRUNCATED: Mask = Mask {
    qname: MaskingMethod::Truncate,
    client: MaskingMethod::Truncate,
    server: MaskingMethod::Truncate,
    answers: MaskingMethod::Truncate,
    ecs: MaskingMethod::Truncate,
    process: MaskingMethod::Keep,
    container: MaskingMethod::Keep,
};

const DROPPED: Mask = Mask {
    qname: MaskingMethod::Drop,
    client: MaskingMethod::Drop,
    server: MaskingMethod::Drop,
    answers: MaskingMethod::Drop,
    ecs: MaskingMethod::Drop,
    process: MaskingMethod::Drop,
    container: MaskingMethod::Drop,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn privacy(mask: Mask) -> MaskingRules {
    let material = Some(KeyMaterial::new(KEY).unwrap());
    let keys = KeyOptions { material, period: Duration::from_hours(1) };
    MaskingRules { masks: [mask; Stream::ALL.len()], general: mask, keys }
}

fn masker(mask: Mask) -> Masker {
    Masker::new(privacy(mask)).unwrap()
}

/// Returns the masked record and its partitioning key.
fn mask_record(masker: &mut Masker, stream: Stream, record: &Value) -> (Value, String) {
    let render = |out: &mut Vec<u8>| out.extend(record.to_string().as_bytes());
    let record = masker.mask(stream, render, b"resolver.or.client");
    let key = String::from_utf8(record.key.to_vec()).unwrap();
    (serde_json::from_slice(record.json).unwrap(), key)
}

fn transaction() -> Value {
    json!({
        "schema": "dns.transaction/1", "event_id": "0".repeat(32), "ts": "2026-11-20T12:30:00.000000001Z",
        "node": "n", "vantage": "client", "transport": "udp",
        "client_ip": "192.0.2.77", "client_port": 4711, "server_ip": "2001:db8:1:2::53", "server_port": 53,
        "id": 9, "opcode": "QUERY", "qname": "www.shop.example.co.uk", "qtype": "A", "qclass": "IN",
        "qname_case": "WWW.shop.example.co.uk", "zone": "example.co.uk", "status": "answered",
        "rcode": "NOERROR", "latency_ms": 1.230_000_000_000_01, "retries": 0, "flags": ["rd", "ra"],
        "answers": [
            {"name": "WWW.shop.example.co.uk", "type": "CNAME", "ttl": 5, "data": "edge.cdn.example.net"},
            {"name": "edge.cdn.example.net", "type": "A", "ttl": 5, "data": "198.51.100.23"},
            {"name": "edge.cdn.example.net", "type": "TXT", "ttl": 5, "data": "\"for shop.example.co.uk\""},
        ],
        "edns": {
            "udp_size": 1232, "do": false, "version": 0, "ecs": "198.51.100.23/32",
            "ede": {"code": 22, "text": "at shop"}, "cookie": "c0ffee",
            "options": [{"code": 8, "name": "ECS", "length": 8, "data": "198.51.100.23/32"}],
        },
        "resolver": "2001:db8:1:2::53",
        "process": {"pid": 7, "uid": 0, "comm": "shopd", "exe": "/opt/shop/shopd"},
        "container": {"id": "ab".repeat(32), "runtime": "docker"},
    })
}

/// Compares one level of the table with the same level of a schema.
fn compare(place: &str, fields: &[Field], object: &Value, definitions: &Value) {
    let properties = object["properties"].as_object().unwrap();
    let required = |name: &str| {
        object["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
    };
    for (name, schema) in properties.iter().filter(|(name, _)| *name != "masking") {
        let place = format!("{place}.{name}");
        let field = fields.iter().find(|field| field.name == name);
        let field = field.unwrap_or_else(|| panic!("{place} is missing in privacy/fields.rs"));
        let is_public = matches!(field.kind, Kind::Public);
        assert!(is_public || field.required == required(name), "{place}: required");
        let inner = resolved(schema, definitions);
        match field.kind {
            Kind::Object(fields) | Kind::ObjectOf(_, fields) => {
                compare(&place, fields, inner, definitions);
            }
            _ if place.starts_with("dns.ledger/1.") => {}
            _ => assert!(inner.get("properties").is_none(), "{place} has fields of its own"),
        }
    }
    for field in fields {
        assert!(properties.contains_key(field.name), "{place}.{} is in no schema", field.name);
    }
}

/// Returns the schema of a field, or of the items of its list.
fn resolved<'a>(schema: &'a Value, definitions: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str() {
        return resolved(&definitions[name.rsplit('/').next().unwrap()], definitions);
    }
    if let Some(items) = schema.get("items") {
        return resolved(items, definitions);
    }
    schema
}

#[test]
fn table_matches_schemas() {
    for stream in Stream::ALL {
        let schema = json_schema(stream.schema()).unwrap();
        compare(stream.schema(), fields::of_stream(stream), &schema, &schema["$defs"]);
        assert_eq!(schema["properties"].get("masking").is_some(), stream != Stream::Ledger);
    }
}

#[test]
fn drops_unknown_field() {
    let record = json!({"ts": "2026-11-20T12:30:00Z", "schema": "x", "surprise": "shop.example"});
    let (masked, _) = mask_record(&mut masker(HASHED), Stream::Transactions, &record);
    assert_eq!(masked.get("surprise"), None);
    assert_eq!(masked["schema"], "x");
}

#[test]
fn equal_values_have_equal_pseudonyms() {
    let mut masker = masker(HASHED);
    let (record, key) = mask_record(&mut masker, Stream::Transactions, &transaction());
    let answers = record["answers"].as_array().unwrap();
    assert_eq!(answers[0]["name"], record["qname"], "whatever its case");
    assert_eq!(answers[0]["data"], answers[1]["name"], "a CNAME's target");
    assert_eq!(record["server_ip"], record["resolver"]);
    let pseudonym: std::net::Ipv6Addr = record["client_ip"].as_str().unwrap().parse().unwrap();
    assert_eq!(pseudonym.segments()[..4], [0x100, 0, 0, 0]);
    assert_eq!(record.get("qname_case"), None);
    assert_eq!(record["edns"]["options"][0], json!({"code": 8, "name": "ECS", "length": 8}));
    assert_eq!(record["edns"]["ede"], json!({"code": 22, "text": ""}));
    assert_eq!(record["latency_ms"], transaction()["latency_ms"]);
    assert_eq!(record["masking"]["qname"], "hash");
    assert_eq!(record["container"]["id"].as_str().unwrap().len(), 64);
    assert!(!key.contains("resolver"));
    let schema = json_schema("dns.transaction/1").unwrap();
    assert!(jsonschema::is_valid(&schema, &record), "{record:#}");

    let lookup = json!({"ts": "2026-11-20T12:59:59Z", "client_ip": "192.0.2.77", "qname": "www.shop.example.co.uk"});
    let (lookup, _) = mask_record(&mut masker, Stream::Lookups, &lookup);
    assert_eq!((&lookup["qname"], &lookup["client_ip"]), (&record["qname"], &record["client_ip"]));
}

#[test]
fn key_depends_on_period() {
    let mut masker = masker(HASHED);
    let mut at = |ts: &str| {
        let mut record = transaction();
        record["ts"] = ts.into();
        let (masked, key) = mask_record(&mut masker, Stream::Transactions, &record);
        (
            masked["qname"].clone(),
            masked["client_ip"].clone(),
            masked["masking"]["key_id"].clone(),
            key,
        )
    };
    let (first, second) = (at("2026-11-20T12:00:00Z"), at("2026-11-20T13:00:00Z"));
    assert!(
        first.0 != second.0 && first.1 != second.1 && first.2 != second.2 && first.3 != second.3
    );
    assert_eq!(at("2026-11-20T12:59:59.999999999Z"), first);
    for hour in 14..23 {
        at(&format!("2026-11-20T{hour}:00:00Z"));
    }
    assert_eq!(at("2026-11-20T12:10:00Z"), first);
}

#[test]
fn pseudonyms_depend_on_key_material() {
    let hashed = |privacy: MaskingRules| {
        mask_record(&mut Masker::new(privacy).unwrap(), Stream::Transactions, &transaction()).0
    };
    assert_eq!(hashed(privacy(HASHED)), hashed(privacy(HASHED)));
    let random = || {
        let keys = KeyOptions { material: None, ..privacy(HASHED).keys };
        hashed(MaskingRules { keys, ..privacy(HASHED) })
    };
    assert_ne!(random()["qname"], random()["qname"]);
}

#[test]
fn random_keys_survive_reload() {
    let random = MaskingRules { keys: KeyOptions::default(), ..privacy(HASHED) };
    let mut masker = Masker::new(random.clone()).unwrap();
    let (before, _) = mask_record(&mut masker, Stream::Transactions, &transaction());
    masker
        .reconfigure(MaskingRules { masks: [TRUNCATED; Stream::ALL.len()], ..random.clone() })
        .unwrap();
    let (meanwhile, _) = mask_record(&mut masker, Stream::Transactions, &transaction());
    masker.reconfigure(random).unwrap();
    let (after, _) = mask_record(&mut masker, Stream::Transactions, &transaction());
    assert_eq!(before, after);
    assert_eq!(meanwhile["qname"], "example.co.uk");
}

/// An alert that lasts keeps its id, also if the key or its lifetime is replaced meanwhile.
#[test]
fn alert_id_survives_another_key() {
    let alert = json!({"schema": "dns.alert/1", "ts": "2026-11-20T12:00:00Z", "alert_id": "a1"});
    let with = |text: &str, hours: u64| {
        let material = Some(KeyMaterial::new(text).unwrap());
        let keys = KeyOptions { material, period: Duration::from_hours(hours) };
        MaskingRules { keys, ..privacy(HASHED) }
    };
    let mut masker = Masker::new(with(KEY, 1)).unwrap();
    let id = |masker: &mut Masker| mask_record(masker, Stream::Alerts, &alert).0;
    let first = id(&mut masker);
    let other = "fedcba9876543210fedcba9876543210";
    for (text, hours) in [(other, 1), (other, 2), (KEY, 2)] {
        masker.reconfigure(with(text, hours)).unwrap();
        let now = id(&mut masker);
        assert_eq!(now["alert_id"], first["alert_id"], "{text} {hours}");
        assert_ne!(now["masking"]["key_id"], first["masking"]["key_id"], "{text} {hours}");
    }
    let fresh = id(&mut Masker::new(with(other, 1)).unwrap());
    assert_ne!(fresh["alert_id"], first["alert_id"], "another process");
}

#[test]
fn truncates_to_prefix_and_zone() {
    let (record, _) = mask_record(&mut masker(TRUNCATED), Stream::Transactions, &transaction());
    assert_eq!(record["client_ip"], "192.0.2.0");
    assert_eq!(record["server_ip"], "2001:db8:1::");
    assert_eq!(record["qname"], "example.co.uk");
    assert_eq!(record["answers"][0]["name"], "example.co.uk");
    assert_eq!(record["answers"][1]["data"], "198.51.100.0");
    assert_eq!(record["answers"][2]["data"], "");
    assert_eq!(record["edns"]["ecs"], "198.51.100.0/24");
    assert_eq!(record["process"]["comm"], "shopd");
    assert_eq!(record["masking"].get("key_id"), None);
    let mut tunnelled = transaction();
    tunnelled["client_ip"] = "2002:c000:201:1::5".into();
    tunnelled["edns"]["ecs"] = "2002:c000:201::/48".into();
    let (record, _) = mask_record(&mut masker(TRUNCATED), Stream::Transactions, &tunnelled);
    assert_eq!(record["client_ip"], "2002:c000:200::", "192.0.2.0 by 6to4");
    assert_eq!(record["edns"]["ecs"], "2002:c000:200::/40");
    let mut bare = transaction();
    bare["qname"] = "payroll".into();
    let (record, _) = mask_record(&mut masker(TRUNCATED), Stream::Transactions, &bare);
    assert_eq!(record.get("qname"), None, "a host's name without a domain");
}

#[test]
fn dropped_record_matches_schema() {
    let (record, _) = mask_record(&mut masker(DROPPED), Stream::Transactions, &transaction());
    for gone in ["qname", "zone", "answers", "process", "container"] {
        assert_eq!(record.get(gone), None, "{gone}");
    }
    assert_eq!(record["client_ip"], "::");
    let schema = json_schema("dns.transaction/1").unwrap();
    assert!(jsonschema::is_valid(&schema, &record), "{record:#}");
}

#[test]
fn documents_of_ecs_relate_no_masked_address() {
    for mask in [HASHED, DROPPED] {
        let (record, _) = mask_record(&mut masker(mask), Stream::Transactions, &transaction());
        let mut document = Vec::new();
        let encoder = crate::EcsEncoder::default();
        encoder.write(Stream::Transactions, record.to_string().as_bytes(), &mut document).unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(document["related"].get("ip"), None, "{document}");
        assert_eq!(document["network"].get("type"), None, "{document}");
    }
}

#[test]
fn keeps_public_fields_verbatim() {
    let mask = Mask { client: MaskingMethod::Hash, ..Mask::default() };
    let (mut record, _) = mask_record(&mut masker(mask), Stream::Transactions, &transaction());
    let mut before = transaction();
    for record in [&mut record, &mut before] {
        let fields = record.as_object_mut().unwrap();
        for other in ["client_ip", "masking", "edns"] {
            fields.shift_remove(other);
        }
    }
    assert_eq!(record.to_string(), before.to_string());
}

#[test]
fn kept_answers_hide_hashed_names() {
    let mask = Mask { qname: MaskingMethod::Hash, ..Mask::default() };
    let (record, _) = mask_record(&mut masker(mask), Stream::Transactions, &transaction());
    assert_eq!(record["answers"][1]["data"], "198.51.100.23");
    assert!(!record.to_string().contains("example"), "{record:#}");
}

#[test]
fn finds_client_of_message_by_qr() {
    let mask = Mask { client: MaskingMethod::Hash, ..Mask::default() };
    for (qr, kept, hidden) in [("query", "dst_ip", "src_ip"), ("response", "src_ip", "dst_ip")] {
        let record = json!({"ts": "2026-11-20T12:30:00Z", "src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "qr": qr});
        let (masked, _) = mask_record(&mut masker(mask), Stream::Messages, &record);
        assert_eq!(masked[kept], record[kept]);
        assert_ne!(masked[hidden], record[hidden]);
    }
}

#[test]
fn what_a_server_says_of_itself_is_masked_as_its_address() {
    let says = json!({ "identity": "ns1.corp.example", "version": "unbound on 192.0.2.53" });
    let record = json!({ "ts": "2026-11-20T12:30:00Z", "dnstap": says });
    let senders = json!([{ "name": "ns1.corp.example", "received": 7 }]);
    let ledger = json!({ "ts": "2026-11-20T12:30:00Z", "epoch": "e", "senders": senders });
    let masked = |method, stream, record: &Value| {
        let mask = Mask { server: method, ..Mask::default() };
        mask_record(&mut masker(mask), stream, record).0
    };
    for stream in [Stream::Messages, Stream::Transactions] {
        let dropped = masked(MaskingMethod::Drop, stream, &record);
        assert_eq!(dropped["dnstap"], json!({}));
        let hashed = masked(MaskingMethod::Hash, stream, &record);
        assert_ne!(hashed["dnstap"]["version"], says["version"]);
        let same = masked(MaskingMethod::Hash, Stream::Ledger, &ledger);
        assert_eq!(same["senders"][0]["name"], hashed["dnstap"]["identity"]);
    }
    let dropped = masked(MaskingMethod::Drop, Stream::Ledger, &ledger);
    assert_eq!(dropped["senders"], json!([{ "name": "", "received": 7 }]));
    assert_eq!((&dropped["epoch"], dropped.get("masking")), (&ledger["epoch"], None));
}

#[test]
fn rebuilds_alert_summary() {
    let alert = json!({
        "schema": "dns.alert/1", "event_id": "1".repeat(32), "ts": "2026-11-20T12:30:00Z", "node": "n",
        "alert_id": "2".repeat(32), "rule": "tunnel", "entity": "zone=exfil.example,process=nc,namespace=shop,pod=cart-1,client_ip=192.0.2.7",
        "zone": "exfil.example", "process": {"comm": "nc"}, "k8s": {"namespace": "shop", "pod": "cart-1"}, "client_ip": "192.0.2.7", "state": "firing", "severity": "critical",
        "started": "2026-11-20T12:29:00Z", "duration_seconds": 60.0,
        "summary": "192.0.2.7 sends 9 KB in names below exfil.example",
        "figures": [{"name": "payload_bytes", "value": 9000.0, "threshold": 4000.0}, {"name": "share", "value": 2.0 / 3.0}],
        "qnames": ["a.exfil.example"], "processes": ["nc[12]", "curl"], "clients": ["192.0.2.7"],
        "suppressed": 0, "runbook": "docs/runbooks/tunnel.md",
    });
    let mut masker = masker(HASHED);
    let (record, _) = mask_record(&mut masker, Stream::Alerts, &alert);
    let (zone, client) = (record["zone"].as_str().unwrap(), record["client_ip"].as_str().unwrap());
    let [process, namespace, pod] = ["/process/comm", "/k8s/namespace", "/k8s/pod"]
        .map(|path| record.pointer(path).and_then(Value::as_str).unwrap());
    assert!(!["nc", "shop", "cart-1"].iter().any(|name| [process, namespace, pod].contains(name)));
    let entity =
        format!("zone={zone},process={process},namespace={namespace},pod={pod},client_ip={client}");
    assert_eq!(record["entity"], entity);
    let summary = format!("tunnel of {entity}: payload bytes 9000 (threshold 4000), share 0.667");
    assert_eq!(record["summary"], summary);
    let mut contained = alert.clone();
    contained["container"] = json!({ "id": "4b6ee1d1c3c2" });
    contained.as_object_mut().unwrap().remove("k8s");
    let (contained, _) = mask_record(&mut masker, Stream::Alerts, &contained);
    let id = contained["container"]["id"].as_str().unwrap();
    assert!(
        id != "4b6ee1d1c3c2"
            && contained["entity"].as_str().unwrap().contains(&format!("container={id}"))
    );
    assert!(record["processes"][0].as_str().unwrap().ends_with("[12]"));
    assert_ne!(record["alert_id"], alert["alert_id"]);
    let mut later = alert.clone();
    later["ts"] = "2026-11-20T19:30:00Z".into();
    assert_eq!(mask_record(&mut masker, Stream::Alerts, &later).0["alert_id"], record["alert_id"]);
    let schema = json_schema("dns.alert/1").unwrap();
    assert!(jsonschema::is_valid(&schema, &record), "{record:#}");
}

#[test]
fn refuses_short_key_and_hides_keys() {
    assert_eq!(KeyMaterial::new(" short \n"), Err(KeyError::Short(5)));
    let key = KeyMaterial::new(KEY).unwrap();
    assert!(!format!("{key:?}").contains("0123"));
    assert_ne!(KeyMaterial::random(), KeyMaterial::random());
}

/// Returns a secret value in the form of a field kind, and the part that must not leak.
fn secret(kind: Kind, number: u32) -> (String, String) {
    let bytes = number.to_be_bytes();
    let address = format!("203.{}.{}.{}", bytes[1], bytes[2], bytes[3]);
    let word = format!("secret{number}word");
    match kind {
        Kind::Address(_) | Kind::Sender | Kind::Receiver | Kind::Peer | Kind::Found => {
            (address.clone(), address)
        }
        Kind::Resolver => (address.clone(), address),
        Kind::Subnet => (format!("{address}/32"), address),
        Kind::Name | Kind::Target => (format!("{word}.Secret.Example\\046x.org"), word),
        _ => (word.clone(), word),
    }
}

/// Returns a record with a value in every field, and collects the secrets in it.
fn filled(fields: &[Field], rng: &mut impl FnMut() -> u32, secrets: &mut Vec<String>) -> Value {
    let object = fields.iter().map(|field| {
        let value = match field.kind {
            Kind::Public if field.name == "ts" => "2026-11-20T12:30:00Z".into(),
            Kind::Public if field.name == "type" => {
                ["A", "CNAME", "TXT", "AAAA"][rng() as usize % 4].into()
            }
            Kind::Public if field.name == "qr" => ["query", "response"][rng() as usize % 2].into(),
            Kind::Public => 1.into(),
            Kind::Object(fields) | Kind::ObjectOf(_, fields) if rng().is_multiple_of(2) => {
                filled(fields, rng, secrets)
            }
            Kind::Object(fields) | Kind::ObjectOf(_, fields) => {
                (0..3).map(|_| filled(fields, rng, secrets)).collect()
            }
            kind => {
                let mut text = || {
                    let (text, part) = secret(kind, rng() % 0x00ff_ffff);
                    secrets.push(part);
                    text
                };
                if has_even_length(&text()) { text().into() } else { json!([text(), text()]) }
            }
        };
        (field.name.to_owned(), value)
    });
    Value::Object(object.collect())
}

fn has_even_length(text: &str) -> bool {
    text.len().is_multiple_of(2)
}

proptest! {
    #[test]
    fn no_record_leaks_secrets(seed: u64, is_dropped: bool) {
        let mut state = seed | 1;
        let mut rng = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state >> 33).unwrap()
        };
        let mut masker = masker(if is_dropped { DROPPED } else { HASHED });
        for stream in Stream::ALL {
            let mut secrets = Vec::new();
            let record = filled(fields::of_stream(stream), &mut rng, &mut secrets);
            let (masked, key) = mask_record(&mut masker, stream, &record);
            let is_marked = masked.get("masking").is_some();
            prop_assert!(is_marked == (stream != Stream::Ledger), "{masked:#}");
            let text = format!("{masked}{key}").to_ascii_lowercase();
            for secret in &secrets {
                prop_assert!(!text.contains(&**secret), "{secret} of {record:#} in {masked:#}");
            }
        }
    }
}

/// A record of a probe that fails, with names and addresses in all places where they can stand.
fn probe(kind: &str, target: &str) -> Value {
    json!({
        "schema": "dns.probe/1", "event_id": "0".repeat(32), "ts": "2026-11-20T12:30:00.000000001Z", "node": "n",
        "kind": kind, "service": "web", "target": target, "site": "s", "duration_ms": 1.5, "ok": false,
        "error": {"stage": "tls", "reason": "name_mismatch", "detail": "192.0.2.10 is not shop.example.com"},
        "attempt": 1, "resolver": "corp", "qname": "shop.example.com", "qtype": "A",
        "answers": ["192.0.2.10"], "cname_chain": ["cdn.shop.example.com"],
        "ede": [{"code": 22, "text": "at delegation shop.example.com"}],
        "answer_digest": "00ff00ff00ff00ff", "dnssec": "bogus",
        "signature": {
            "record": "shop.example.com A", "not_after": "2026-12-20T12:30:00Z", "expiry_days": 30.0,
            "lifetime_days": 30.0,
        },
        "dnssec_reason": "no DNSKEY of shop.example.com", "differs_from": ["198.51.100.7"],
        "nameserver": "ns.shop.example.com", "address": "192.0.2.10",
        "cert": {
            "subject": "CN=shop.example.com", "issuer": "CN=shop.example.com", "chain_length": 1,
            "chain_ok": false, "sha256": "ab".repeat(32), "ocsp_stapled": false,
        },
    })
}

#[test]
fn masked_probes_are_valid_and_tell_no_name_or_address() {
    let schema = json_schema("dns.probe/1").unwrap();
    for (kind, target) in [
        ("dns", "shop.example.com A"),
        ("authority", "shop.example.com"),
        ("tcp", "192.0.2.10:443"),
        ("tcp", "[2001:db8:7::a]:443"),
        ("tls", "192.0.2.10:443 shop.example.com"),
        ("http", "https://shop.example.com:8443/to/shop?host=192.0.2.10"),
        ("http", "http://[2001:db8:7::a]/"),
        ("ping", "2001:db8:7::a"),
        ("http", "POST https://shop.example.com/a via 192.0.2.10:443 from 2001:db8:7::a ipv6"),
        ("tcp", "front of shop"),
        ("tcp", "SHOP01 ACME"),
        ("ping", "2001:db8:7::10"),
        ("tcp", "shop from 192.0.2.10,2001:db8:7::10"),
    ] {
        for mask in [HASHED, TRUNCATED, DROPPED] {
            let (record, _) = mask_record(&mut masker(mask), Stream::Probes, &probe(kind, target));
            assert!(jsonschema::is_valid(&schema, &record), "{record:#}");
            let text = record.to_string();
            for hidden in [
                "shop",
                "192.0.2.10",
                "2001:db8:7::a",
                "2001:db8:7::10",
                ":10",
                "SHOP01",
                "ACME",
                "198.51.100.7",
                "00ff",
                "abab",
            ] {
                assert!(!text.contains(hidden), "{hidden}: {record:#}");
            }
            assert_eq!(record["error"]["reason"], "name_mismatch");
            assert_eq!(record["resolver"], "corp");
        }
        let clear = masker(Mask { client: MaskingMethod::Drop, ..Mask::default() });
        let (record, _) = mask_record(&mut { clear }, Stream::Probes, &probe(kind, target));
        assert_eq!(record["target"], target, "neither names nor servers are masked");
    }
}

#[test]
fn targets_of_probes_keep_what_is_public() {
    let target = |mask, kind, target| {
        let (record, _) = mask_record(&mut masker(mask), Stream::Probes, &probe(kind, target));
        record["target"].as_str().unwrap().to_owned()
    };
    let url = "https://shop.example.com:8443/health";
    assert_eq!(target(TRUNCATED, "http", url), "https://example.com:8443");
    assert_eq!(
        target(TRUNCATED, "tls", "192.0.2.10:443 shop.example.com"),
        "192.0.2.0:443 example.com"
    );
    assert_eq!(target(TRUNCATED, "tcp", "[2001:db8:7::a]:53"), "[2001:db8:7::]:53");
    assert_eq!(target(TRUNCATED, "tcp", "192.0.2.10:443 ipv4"), "192.0.2.0:443 ipv4");
    let truncated = target(TRUNCATED, "tcp", "a.example.com from 192.0.2.7,2001:db8:7::10");
    assert_eq!(truncated, "example.com from 192.0.2.0,2001:db8:7::");
    assert_eq!(target(DROPPED, "dns", "shop.example.com A"), "A");
    assert_eq!(target(DROPPED, "http", "http://192.0.2.10/"), "http:///");
    let hashed = target(HASHED, "dns", "shop.example.com MX");
    assert!(hashed.ends_with(" MX") && hashed.len() == 32 + 3, "{hashed}");
    assert_eq!(hashed, target(HASHED, "dns", "shop.example.com MX"));
}
