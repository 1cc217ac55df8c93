use super::*;
use crate::config::{Config, Sources};

fn load(target: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "token hunter3\n").unwrap();
    let target = target.replace("SECRET", &secret.display().to_string());
    let file = folder.path().join("probes.yaml");
    let text = format!("version: 1\nservices:\n- name: shop\n  targets:\n  - {target}\n");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file), ..Sources::default() };
    Config::load(&sources).map_err(|error| error.to_string())
}

#[test]
fn secrets_of_a_url_become_headers() {
    let target =
        "http: { url: \"https://me:hun%40ter2@shop.example/x\", header_files: { X-Key: SECRET } }";
    let config = load(target).unwrap();
    let target = &config.services[0].targets[0];
    assert_eq!(target.name, "https://shop.example/x");
    let TargetKind::Http(http) = &target.kind else { unreachable!() };
    assert_eq!(http.url.as_str(), "https://shop.example/x");
    let login = format!("Basic {}", BASE64_STANDARD.encode("me:hun@ter2"));
    assert_eq!(http.headers[AUTHORIZATION], login.as_str());
    assert_eq!(http.headers["x-key"], "token hunter3");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hun") && !shown.contains(&login), "{shown}");
}

#[test]
fn labels_of_a_dialogue_are_checked() {
    let load = |step: &str| {
        load(&format!("tcp: {{ address: \"192.0.2.1:22\", query_response: [{step}] }}"))
    };
    assert!(load("{ expect: a, labels: [{ name: a, value: b }] }").is_ok());
    for (step, expected) in [
        ("{ expect: a, labels: [{ name: a }] }", "a label needs name and value"),
        ("{ labels: [{ name: a, value: b }] }", "tcp.query_response.labels needs expect"),
        ("{ expect: a, labels: [{ name: A-B, value: b }] }", "the name of a label"),
    ] {
        let why = load(step).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}

/// A map has no order of its own.
#[test]
fn zone_without_a_resolver_uses_the_first_by_name() {
    let resolvers = "resolvers: { b: \"udp://192.0.2.2\", a: \"udp://192.0.2.1\" }";
    let config = load(&format!("authority: {{ zone: shop.example }}\n{resolvers}")).unwrap();
    let TargetKind::Authority(authority) = &config.services[0].targets[0].kind else {
        unreachable!()
    };
    assert_eq!(authority.resolver.name, "a");
}

#[test]
fn errors_do_not_repeat_secrets() {
    for wrong in [
        "http: { url: \"ftp://me:hunter2@shop.example/\" }",
        "http: { url: \"https://me:hunter2@shop.example:99999/\" }",
        "http: { url: \"https://shop.example/\", headers: { Authorization: \"hunter2\\n\" } }",
        "http: { url: \"https://shop.example/\", header_files: { \"X Y\": SECRET } }",
    ] {
        let error = load(wrong).unwrap_err();
        assert!(error.contains("not ") && !error.contains("hunter"), "{wrong}: {error}");
    }
}

#[test]
fn topics_have_labels_and_region() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probes.yaml");
    let load = |text: &str| {
        std::fs::write(&file, format!("version: 1\n{text}")).unwrap();
        let sources = Sources { file: Some(file.clone()), ..Sources::default() };
        Config::load(&sources).map_err(|error| error.to_string())
    };
    let topics = "kafka: { topics: { probes: \"dns.probes.{environment}-{region}\" } }\n";
    let config = load(&format!("region: eu\nlabels: {{ environment: prod }}\n{topics}")).unwrap();
    let topic = config.kafka.topic(dnscribe_delivery::Stream::Probes);
    assert_eq!(topic, "dns.probes.prod-eu");
    let many = (0..17).map(|n| format!("a{n}: b")).collect::<Vec<_>>().join(", ");
    let many = load(&format!("labels: {{ {many} }}\n")).unwrap_err();
    assert!(many.contains("at most 16"), "{many}");
}

#[test]
fn impossible_targets_are_refused() {
    let head = "http: { url: \"https://shop.example/\", method: HEAD, body: ok }";
    assert!(load(head).unwrap_err().contains("need the method GET"));
    let name = "tls: { address: \"192.0.2.1:443\", server_name: \"-shop-\" }";
    assert!(load(name).unwrap_err().contains("is not a name of a certificate"));
    assert!(load("http: { url: \"https://shop.example/\", method: PUT }").is_err());
    let body = "http: { url: \"https://shop.example/\", request_body: x }";
    assert!(load(body).unwrap_err().contains("needs the method POST"));
    let ping = |count: u32| load(&format!("ping: {{ address: 192.0.2.1, count: {count} }}"));
    assert!(ping(1000).is_ok());
    assert!(ping(1001).unwrap_err().contains("ping.count must be at most 1000"));
    let alpn = |protocols: &[String]| {
        let protocols = protocols.join(", ");
        load(&format!("tls: {{ address: \"192.0.2.1:443\", alpn: [{protocols}] }}"))
    };
    assert!(alpn(&["x".repeat(255)]).is_ok());
    assert!(alpn(&["x".repeat(256)]).unwrap_err().contains("has 256 bytes"));
    let many: Vec<String> = (0..65).map(|number| format!("p{number}")).collect();
    assert!(alpn(&many[..64]).is_ok());
    assert!(alpn(&many).unwrap_err().contains("at most 64 protocols"));
}

/// Targets of which each differs from all others, many in one setting alone.
const DIFFERENT: &[&str] = &[
    "dns: { name: shop.example }",
    "dns: { name: shop.example, type: AAAA }",
    "dns: { name: shop.example, resolvers: [a] }",
    "dns: { name: shop.example, rcodes: [NXDOMAIN] }",
    "dns: { name: shop.example, dnssec: false }",
    "dns: { name: shop.example, require_secure: true }",
    "dns: { name: shop.example, recursion_desired: false }",
    "dns: { name: shop.example, interval: 5s }",
    "dns: { name: shop.example, retries: 0 }",
    "dns: { name: shop.example, answers: [192.0.2.1] }",
    "dns: { name: shop.example, source_address: 192.0.2.1 }",
    "authority: { zone: shop.example, servers: [192.0.2.1] }",
    "tcp: { address: \"shop.example:443\", source_address: 192.0.2.1 }",
    "http: { url: \"https://shop.example/\", source_address: \"2001:db8::1\" }",
    "authority: { zone: shop.example }",
    "authority: { zone: shop.example, port: 5353 }",
    "authority: { zone: shop.example, resolver: b }",
    "authority: { zone: shop.example, max_serial_lag: 1 }",
    "tcp: { address: \"shop.example:443\" }",
    "tcp: { address: \"shop.example:443\", address_family: ipv4 }",
    "tcp: { address: \"shop.example:443\", address_family: ipv6 }",
    "tcp: { address: \"shop.example:443\", resolver: a }",
    "tcp: { address: \"shop.example:443\", query_response: [{ expect: a }] }",
    "tls: { address: \"shop.example:443\" }",
    "tls: { address: \"shop.example:443\", server_name: www.example }",
    "tls: { address: \"shop.example:443\", alpn: [h2] }",
    "tls: { address: \"shop.example:443\", starttls: smtp }",
    "tls: { address: \"shop.example:443\", verify: false }",
    "tls: { address: \"shop.example:443\", address_family: ipv6 }",
    "http: { url: \"https://shop.example/\" }",
    "http: { url: \"https://shop.example/\", address_family: ipv4 }",
    "http: { url: \"https://shop.example/\", address_family: ipv6 }",
    "http: { url: \"https://shop.example/\", connect_to: \"192.0.2.1:443\" }",
    "http: { url: \"https://shop.example/\", connect_to: \"192.0.2.2:443\" }",
    "http: { url: \"https://shop.example/\", method: POST }",
    "http: { url: \"https://shop.example/\", method: POST, request_body: a }",
    "http: { url: \"https://shop.example/\", headers: { A: b } }",
    "http: { url: \"https://shop.example/\", server_name: www.example }",
    "http: { url: \"https://shop.example/\", status: [404] }",
    "http: { url: \"https://shop.example/\", body: a }",
    "http: { url: \"https://shop.example/?a\" }",
    "http: { url: \"https://shop.example/?b\" }",
    "http: { url: \"https://a@shop.example/\" }",
    "ping: { address: shop.example }",
    "ping: { address: shop.example, count: 2 }",
    "ping: { address: shop.example, address_family: prefer_ipv6 }",
];

/// Resolves the services of one service with these targets, one a line from line 6.
fn resolve_targets(targets: &[&str]) -> Result<Vec<String>, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let targets: Vec<_> = targets.iter().map(|target| format!("  - {{ {target} }}\n")).collect();
    let targets = targets.concat();
    let head = "version: 1\nresolvers: { a: \"udp://192.0.2.1\", b: \"udp://192.0.2.2\" }";
    let text = format!("{head}\nservices:\n- name: shop\n  targets:\n{targets}");
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let read = dnscribe_config::source::file(file.path(), |layer: &Layer| layer.version.is_some());
    let services = read.and_then(|layer| resolve(&layer, Some(file.path())));
    let mut services = services.map_err(|error| error.to_string())?;
    let targets = services.remove(0).targets;
    Ok(targets.iter().map(|target| target.name.clone()).collect())
}

#[test]
fn different_targets_have_different_names_or_are_refused() {
    let mut refused = 0;
    for (index, one) in DIFFERENT.iter().enumerate() {
        for other in &DIFFERENT[index..] {
            match resolve_targets(&[one, other]) {
                Ok(names) => assert_ne!(names[0], names[1], "{one} and {other}"),
                Err(why) => {
                    refused += 1;
                    let place = "line 7, column 5: services, shop: the target in line 6 is \"";
                    assert!(why.contains(place) && why.contains("such as name: "), "{why}");
                    let named = resolve_targets(&[one, &format!("name: other, {other}")]);
                    assert_eq!(named.unwrap()[1], "other");
                }
            }
        }
    }
    assert!(refused > DIFFERENT.len(), "each is refused beside itself");
}

#[test]
fn families_hosts_and_kinds_tell_targets_apart() {
    let names = resolve_targets(&[
        "dns: { name: shop.example }",
        "authority: { zone: shop.example }",
        "tcp: { address: \"shop.example:443\" }",
        "tcp: { address: \"shop.example:443\", address_family: ipv4 }",
        "tcp: { address: \"shop.example:443\", address_family: ipv6 }",
        "tls: { address: \"shop.example:443\" }",
        "http: { url: \"https://shop.example/\", address_family: ipv4 }",
        "http: { url: \"https://shop.example/\", address_family: ipv6 }",
        "http: { url: \"https://shop.example/\", connect_to: \"192.0.2.1:443\" }",
    ]);
    assert_eq!(
        names.unwrap(),
        [
            "shop.example A",
            "shop.example",
            "shop.example:443",
            "shop.example:443 ipv4",
            "shop.example:443 ipv6",
            "shop.example:443 shop.example",
            "https://shop.example/ ipv4",
            "https://shop.example/ ipv6",
            "https://shop.example/ via 192.0.2.1:443",
        ]
    );
}

#[test]
fn equal_names_of_services_have_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("probes.yaml");
    let target = "targets: [{ dns: { name: a.example } }]";
    let text =
        format!("version: 1\nservices:\n- {{ name: a, {target} }}\n- {{ name: a, {target} }}\n");
    std::fs::write(&file, text).unwrap();
    let why = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
    let why = why.to_string();
    assert!(
        why.contains("line 4, column 3: services, a: there is a service of this name in line 3"),
        "{why}"
    );
}

#[test]
fn settings_of_all_kinds_reach_the_target() {
    let at = |target: &str| {
        let config = load(target).unwrap();
        Target::clone(&config.services[0].targets[0])
    };
    let dns = at("dns: { name: shop.example }");
    assert_eq!((dns.retries, dns.kind.source()), (1, Source::default()));
    let sources = "source_address: [192.0.2.1, \"2001:db8::1\"]";
    for kind in [
        "dns: { name: shop.example",
        "authority: { zone: shop.example",
        "tcp: { address: \"192.0.2.9:443\"",
        "tls: { address: \"192.0.2.9:443\"",
        "http: { url: \"https://shop.example/\"",
        "ping: { address: 192.0.2.9",
    ] {
        let (retries, more) = if kind.starts_with("ping") { (0, "") } else { (3, ", retries: 3") };
        let target = at(&format!("{kind}, {sources}{more} }}"));
        assert_eq!(target.kind.source().to_string(), "192.0.2.1,2001:db8::1");
        assert_eq!(target.retries, retries);
        assert!(target.name.ends_with(" from 192.0.2.1,2001:db8::1"), "{}", target.name);
    }
    assert_eq!(at("tcp: { address: \"192.0.2.9:443\" }").retries, 0);
    // The source of all targets differs from site to site, and their names do not.
    let target = at("tcp: { address: \"192.0.2.9:443\" }\ndefaults: { source_address: 192.0.2.1 }");
    assert_eq!(
        (target.name.as_str(), target.kind.source().to_string().as_str()),
        ("192.0.2.9:443", "192.0.2.1")
    );
}

#[test]
fn wrong_settings_are_refused_with_the_remedy() {
    for (target, expected) in [
        ("dns: { name: a.example, type: MX, answers: [mail.example] }", "is no answer of type MX"),
        ("dns: { name: a.example, answers: [192.0.2.1], rcodes: [NXDOMAIN] }", "needs NOERROR"),
        ("dns: { name: a.example, answers: [] }", "give at least one answer"),
        (
            "tcp: { address: \"192.0.2.1:1\", source_address: [192.0.2.1, 192.0.2.2] }",
            "of one family",
        ),
        ("ping: { address: 192.0.2.1, retries: 1 }", "unknown key `retries`"),
        ("tcp: { address: \"192.0.2.1:1\", retries: 11 }", "a number from 0 to 10"),
    ] {
        let why = load(target).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn targets_that_can_never_be_good_are_refused() {
    for (target, expected) in [
        ("dns: { name: a.example, rcodes: [NOERORR] }", "NOERORR is no response code"),
        ("dns: { name: a.example, rcodes: [] }", "give at least one"),
        ("dns: { name: a.example, resolvers: [r, r] }", "dns.resolvers has r twice"),
        ("http: { url: \"http://a.example\", status: [] }", "give at least one"),
        ("http: { url: \"http://a.example\", status: [99] }", "99 is no status"),
        ("authority: { zone: a.example, port: 0 }", "authority.port must not be 0"),
    ] {
        let why = load(&format!("{target}\nresolvers: {{ r: \"udp://192.0.2.1\" }}")).unwrap_err();
        assert!(why.contains(expected), "{why}");
    }
    for name in ["BADVERS", "rcode12"] {
        let target = format!("dns: {{ name: a.example, rcodes: [{name}] }}");
        assert!(load(&format!("{target}\nresolvers: {{ r: \"udp://192.0.2.1\" }}")).is_ok());
    }
}
