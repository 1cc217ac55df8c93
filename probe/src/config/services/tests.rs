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
}
