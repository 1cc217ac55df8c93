//! A configuration file of blackbox_exporter as modules.

use crate::config::modules::TargetRequest;
use crate::config::{Config, Sources};
use crate::target::{AddressFamily, TargetKind};

fn load(blackbox: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blackbox.yml");
    std::fs::write(&path, blackbox).unwrap();
    let own = directory.path().join("probes.yaml");
    let resolvers = "resolvers: { corp: \"udp://192.0.2.53\" }";
    let yaml = format!("version: 1\nmodules_file: {}\n{resolvers}\n", path.display());
    std::fs::write(&own, yaml).unwrap();
    let sources = Sources { file: Some(own), ..Sources::default() };
    Config::load(&sources).map_err(|error| error.to_string())
}

const FILE: &str = r#"
modules:
  http_health:
    prober: http
    timeout: 5s
    http:
      valid_status_codes: [200, 204]
      method: GET
      headers: { Accept: application/json }
      fail_if_not_ssl: true
      fail_if_body_not_matches_regexp: ["stat(us)?: ok"]
      preferred_ip_protocol: "ip4"
      tls_config: { insecure_skip_verify: false }
  tcp_tls:
    prober: tcp
    tcp: { tls: true, ip_protocol_fallback: false, tls_config: { server_name: shop.example.com, insecure_skip_verify: true } }
  dns_soa:
    prober: dns
    dns:
      query_name: "example.com"
      query_type: "SOA"
      dns_over_tls: true
      source_ip_address: 192.0.2.7
      valid_rcodes: [NOERROR, NXDOMAIN]
      validate_answer_rrs:
        fail_if_not_matches_regexp: ["example.com.\t300\tIN\t.*"]
  icmp: { prober: icmp, icmp: { preferred_ip_protocol: ip4, ttl: 5, source_ip_address: 192.0.2.7 } }
  smtp_starttls:
    prober: tcp
    tcp:
      query_response:
      - expect: "^220 ([^ ]+) ESMTP (.+)$"
      - send: "EHLO prober\r"
      - expect: "^250-STARTTLS"
      - send: "STARTTLS\r"
      - expect: "^220"
      - starttls: true
      - send: "QUIT\r"
  ssh_banner: { prober: tcp, tcp: { query_response: [{ expect: "^SSH-2.0-", send: "SSH-2.0-blackbox-ssh-check" }] } }
  ssh_banner_extract:
    prober: tcp
    tcp:
      query_response:
      - expect: "^SSH-2.0-([^ -]+)(?: (.*))?$"
        labels:
        - name: ssh_version
          value: "${1}"
        - name: ssh_comments
          value: "${2}"
"#;

#[test]
fn reads_modules_of_blackbox_exporter() {
    let modules = load(FILE).unwrap().modules;
    let target = |module: &str, target: &str| {
        let request = TargetRequest { target: target.into(), ..Default::default() };
        modules.target(module, &request).unwrap()
    };
    let (http, checks) = target("http_health", "https://shop.example.com/");
    assert_eq!((http.timeout.as_secs(), checks.tls), (5, Some(true)));
    let TargetKind::Http(http) = http.kind else { panic!("not http") };
    assert_eq!(http.headers["accept"], "application/json");
    assert_eq!((http.family, http.verify), (AddressFamily::PreferIpv4, true));
    assert_eq!((http.status, http.body.unwrap().0.as_str()), (vec![200, 204], "stat(us)?: ok"));
    let TargetKind::Tls(tls) = target("tcp_tls", "192.0.2.10:443").0.kind else {
        panic!("not tls")
    };
    assert_eq!((tls.server_name.as_str(), tls.verify), ("shop.example.com", false));
    assert_eq!(tls.host.family, AddressFamily::Ipv6);
    let TargetKind::Tls(smtp) = target("smtp_starttls", "mail.example.com:25").0.kind else {
        panic!("not tls")
    };
    assert_eq!(smtp.query_response.iter().position(|step| step.starttls), Some(5));
    for (module, labels) in [("ssh_banner", 0), ("ssh_banner_extract", 2)] {
        let TargetKind::Tcp(ssh) = target(module, "192.0.2.1:22").0.kind else { panic!("not tcp") };
        assert_eq!((ssh.query_response.len(), ssh.query_response[0].labels.len()), (1, labels));
    }
    let (dns, checks) = target("dns_soa", "192.0.2.53");
    assert_eq!((dns.name.as_str(), checks.answers.len()), ("example.com SOA from 192.0.2.7", 1));
    let TargetKind::Dns(dns) = dns.kind else { panic!("not dns") };
    assert_eq!(dns.resolvers[0].source.to_string(), "192.0.2.7");
    assert_eq!((dns.resolvers[0].port, dns.rcodes.len()), (853, 2));
    let ping = target("icmp", "192.0.2.1").0;
    assert_eq!(ping.name, "192.0.2.1 prefer_ipv4 from 192.0.2.7");
    assert!(matches!(ping.kind, TargetKind::Ping(ping) if (ping.count, ping.ttl) == (1, Some(5))));
}

#[test]
fn requests_have_logins_and_bodies_and_responses_headers() {
    let file = r#"
modules:
  post: { prober: http, http: { method: POST, body: '{"a": 1}', valid_http_versions: [HTTP/1.1, HTTP/2.0],
    fail_if_header_not_matches: [{ header: age, regexp: "^0$", allow_missing: true }, { header: via, regexp: lab }],
    basic_auth: { username: me, password: hunter2 }, fail_if_body_matches_regexp: [sorry, "^a|b$"] } }
  token: { prober: http, http: { authorization: { type: Token, credentials: hunter3 } } }
  bearer: { prober: http, http: { bearer_token: hunter4 } }
"#;
    let config = load(file).unwrap();
    let shown = format!("{config:?}");
    let target = |module: &str| {
        let request = TargetRequest { target: "shop.example.com".into(), ..Default::default() };
        let (target, checks) = config.modules.target(module, &request).unwrap();
        let TargetKind::Http(http) = target.kind else { panic!("not http") };
        (http, checks)
    };
    let (post, checks) = target("post");
    assert_eq!(post.headers["authorization"], "Basic bWU6aHVudGVyMg==");
    assert_eq!(post.request_body.unwrap().0, r#"{"a": 1}"#);
    assert_eq!(checks.http_versions, ["1.1", "2"]);
    let [headers, if_present] = [post.response_headers, post.response_headers_if_present];
    assert_eq!((headers.len(), if_present.len()), (1, 1));
    assert_eq!((headers[0].0.as_str(), if_present[0].0.as_str()), ("via", "age"));
    let unwanted = post.body_not.unwrap().0;
    assert!(unwanted.is_match("so sorry") && unwanted.is_match("ab") && !unwanted.is_match("ba"));
    assert_eq!(target("token").0.headers["authorization"], "Token hunter3");
    assert_eq!(target("bearer").0.headers["authorization"], "Bearer hunter4");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[test]
fn leaves_out_modules_that_need_more_than_it_has() {
    for (yaml, expected) in [
        (
            "modules:\n  x:\n    prober: grpc\n",
            "line 3, column 13: prober: \"grpc\" is not a prober",
        ),
        (
            "modules:\n  x:\n    prober: http\n    http:\n      oauth2: {}\n",
            "line 5, column 7: http.oauth2: unknown key",
        ),
        (
            "modules:\n  x: { prober: dns, dns: { query_name: a.example, ip_protocol_fallback: false } }\n",
            "dns.ip_protocol_fallback: false is not supported",
        ),
        (
            "modules:\n  x: { prober: tcp, tcp: { query_response: [{ expect_bytes: a }] } }\n",
            "query_response.expect_bytes: unknown key",
        ),
        (
            "modules:\n  x: { prober: http, http: { bearer_token: a, basic_auth: { username: b } } }\n",
            "exclude each other",
        ),
        (
            "modules:\n  x: { prober: http, http: { basic_auth: { password_file: /none } } }\n",
            "http.basic_auth.password_file, /none: ",
        ),
        ("modules:\n  x: { prober: http, http: { valid_http_versions: [HTTP/3] } }\n", "HTTP/3"),
        ("modules:\n  x: { timeout: 5s }\n", "prober is missing"),
        ("modules:\n  x: { prober: dns }\n", "dns.query_name is missing"),
    ] {
        let modules = load(&format!("{yaml}  y: {{ prober: icmp }}\n")).unwrap().modules;
        let request = TargetRequest { target: "192.0.2.1".into(), ..Default::default() };
        let why = modules.target("x", &request).unwrap_err();
        assert!(why.contains("module \"x\"") && why.contains(expected), "{why}");
        assert!(modules.target("y", &request).is_ok());
    }
    assert!(load("modules: []\n").is_err());
}

#[test]
fn certificates_of_the_client_are_those_of_targets() {
    for prober in ["http", "tcp"] {
        let tls = if prober == "tcp" { "tls: true, " } else { "" };
        let files = "cert_file: /none.pem, key_file: /none.key";
        let own = format!("{prober}: {{ {tls}tls_config: {{ {files} }} }}");
        let modules = load(&format!("modules:\n  x: {{ prober: {prober}, {own} }}\n")).unwrap();
        let request = TargetRequest { target: "192.0.2.1:443".into(), ..Default::default() };
        let why = modules.modules.target("x", &request).unwrap_err();
        assert!(why.contains(".client_certificate: /none.pem: "), "{why}");
    }
}
