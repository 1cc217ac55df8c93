//! The faults: what is measured, what must be found, and who else can tell.

mod names;
mod tls;

use super::web::{BOMB, ENDLESS_HEAD, SLOW_HTTP, TRICKLE};
use super::{Fault, FaultLab, NOBODY, Peer, SHOP};

/// All faults, in the order of the page that shows them.
pub(super) fn faults(lab: &FaultLab) -> Vec<Fault> {
    [vec![healthy(lab)], names::faults(lab), tls::faults(lab)]
        .into_iter()
        .chain([paths(lab), responses(lab)])
        .flatten()
        .collect()
}

fn healthy(lab: &FaultLab) -> Fault {
    let (web, page) = (lab.web(443), lab.web(80));
    let targets = [
        dns(SHOP, "[good, dot, doh]"),
        "authority: { zone: good.test, resolver: good }".to_owned(),
        format!("tcp: {{ address: \"{SHOP}:443\", resolver: good }}"),
        format!("tls: {{ address: \"{web}\", server_name: {SHOP}, alpn: [h2] }}"),
        format!("http: {{ url: \"https://{SHOP}/health\", resolver: good, body: \"status ok\" }}"),
        format!("http: {{ url: \"http://{page}/health\", status: [200], body: \"status ok\" }}"),
        format!("ping: {{ address: {}, count: 3 }}", web.ip()),
    ];
    let peer = Peer::new(&names::delv(lab, SHOP), "; fully validated");
    let mut healthy = fault("healthy", "nothing", &targets, peer);
    healthy.fields = &[
        ("dnssec", "secure"),
        ("protocol", "tls"),
        ("protocol", "https"),
        ("soa_serial", "2026"),
        ("alpn", "h2"),
        ("tls_version", "TLSv1.3"),
        ("cert.chain_ok", "true"),
        ("cert.san_match", "true"),
        ("http_status", "200"),
        ("received", "3"),
    ];
    healthy
}

fn paths(lab: &FaultLab) -> Vec<Fault> {
    let (closed, blackhole) = (lab.lab.closed_addr(), lab.lab.blackhole_addr());
    let nobody = lab.lab.address_number(NOBODY);
    let curl = |host: &str| Peer::new(&format!("curl -sS -m 5 http://{host}:443/"), "curl: ");
    let service = |name, title, host: &str, failures, cause| {
        let mut targets = vec![dns("www.good.test", "[good, dot]")];
        targets.push(format!("tcp: {{ address: \"{host}:443\" }}"));
        let mut fault = fault(name, title, &targets, curl(host));
        fault.failures = failures;
        fault.cause = Some(cause);
        fault
    };
    let mut dead = service(
        "host-silent",
        "host that drops everything",
        &blackhole.to_string(),
        &[("tcp", "connect", "timeout"), ("ping", "connect", "timeout")],
        "path",
    );
    dead.targets.push(format!("ping: {{ address: {blackhole}, count: 3 }}"));
    dead.fields = &[("received", "0"), ("loss_ratio", "1.0")];
    vec![
        service(
            "port-closed",
            "host that refuses connections",
            &closed.to_string(),
            &[("tcp", "connect", "refused")],
            "hosting",
        ),
        dead,
        service(
            "host-unreachable",
            "address that no host has",
            &nobody.to_string(),
            &[("tcp", "connect", "host_unreachable")],
            "path",
        ),
        service(
            "network-unreachable",
            "network without a route",
            "203.0.113.1",
            &[("tcp", "connect", "network_unreachable")],
            "path",
        ),
        dual_stack(lab),
    ]
}

fn dual_stack(lab: &FaultLab) -> Fault {
    let target = |family: &str| {
        format!(
            "tcp: {{ address: \"dual.insecure.test:443\", resolver: good, address_family: {family} }}"
        )
    };
    let address = lab.lab.blackhole_ipv6();
    let peer = Peer::new(&format!("curl -sS -m 3 http://[{address}]:443/"), "curl: (28)");
    let title = "name whose IPv6 packets are dropped on the way, while IPv4 works";
    let mut fault = fault("ipv6-dropped", title, &[target("ipv4"), target("ipv6")], peer);
    fault.failures = &[("tcp", "connect", "timeout")];
    fault.fields = &[("ok", "true")];
    fault.cause = Some("path");
    fault
}

fn responses(lab: &FaultLab) -> Vec<Fault> {
    let service = |name, title, path: &str, more: &str, telling, failures| {
        let url = format!("http://{}{path}", lab.web(80));
        let target = format!("http: {{ url: \"{url}\"{more} }}");
        let mut fault =
            fault(name, title, &[target], Peer::new(&format!("curl -sSiL {url}"), telling));
        fault.failures = failures;
        fault.cause = Some("hosting");
        fault
    };
    let slow_url = format!("http://{}/", lab.web(SLOW_HTTP));
    let mut slow = fault(
        "http-slow",
        "first byte after 0.7 s, the rest 0.5 s later",
        &[format!("http: {{ url: \"{slow_url}\", body: \"status ok\" }}")],
        Peer::new(&format!("curl -sSi {slow_url}"), "HTTP/1.1 200 OK"),
    );
    slow.fields = &[("http_status", "200"), ("body_bytes", "10")];
    let trickle_url = format!("http://{}/", lab.web(TRICKLE));
    let mut trickle = fault(
        "http-trickle",
        "a byte each second",
        &[format!("http: {{ url: \"{trickle_url}\" }}")],
        Peer::new(&format!("curl -sSi -m 3 {trickle_url}"), "curl: "),
    );
    trickle.failures = &[("http", "http", "timeout")];
    trickle.cause = Some("hosting");
    let bomb_url = format!("http://{}/", lab.web(BOMB));
    let mut bomb = fault(
        "http-bomb",
        "8 MiB of zeros, compressed, where no compression was asked for",
        &[format!("http: {{ url: \"{bomb_url}\", body: \"status ok\" }}")],
        Peer::new(&format!("curl -sSi -m 3 {bomb_url}"), "Content-Encoding: gzip"),
    );
    bomb.failures = &[("http", "http", "body_mismatch")];
    bomb.cause = Some("hosting");
    let endless_url = format!("http://{}/", lab.web(ENDLESS_HEAD));
    let mut endless = fault(
        "http-endless-head",
        "headers without end",
        &[format!("http: {{ url: \"{endless_url}\" }}")],
        Peer::new(&format!("curl -sS -m 3 {endless_url}"), "curl: "),
    );
    endless.failures = &[("http", "http", "malformed")];
    endless.cause = Some("hosting");
    let status: &[_] = &[("http", "http", "status")];
    let mut unavailable = service("http-503", "status 503", "/503", "", "HTTP/1.1 503", status);
    unavailable.fields = &[("http_status", "503")];
    vec![
        unavailable,
        service("http-404", "page that does not exist", "/gone", "", "HTTP/1.1 404", status),
        service(
            "http-body",
            "body without the expected text",
            "/health",
            ", body: \"all systems go\"",
            "status ok",
            &[("http", "http", "body_mismatch")],
        ),
        service(
            "http-loop",
            "endless redirects",
            "/loop",
            "",
            "Maximum (50) redirects",
            &[("http", "http", "redirect_loop")],
        ),
        private_redirect(lab),
        slow,
        trickle,
        bomb,
        endless,
    ]
}

fn private_redirect(lab: &FaultLab) -> Fault {
    let url = format!("http://{}/private", lab.web(80));
    let mut fault = fault(
        "http-private",
        "redirect to a private address",
        &[format!("http: {{ url: \"{url}\" }}")],
        Peer::new(&format!("curl -sSi {url}"), "Location: http://10.0.0.1/"),
    );
    fault.failures = &[("http", "http", "redirect_private")];
    fault.cause = Some("hosting");
    fault
}

fn fault(name: &'static str, title: &'static str, targets: &[String], peer: Peer) -> Fault {
    let targets = targets.to_vec();
    Fault { name, title, targets, failures: &[], fields: &[], cause: None, peer }
}

fn dns(name: &str, resolvers: &str) -> String {
    format!("dns: {{ name: {name}, resolvers: {resolvers} }}")
}
