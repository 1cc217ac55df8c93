//! The faults: what is measured, what must be found, and who else can tell.

use super::web::{self, CLOSE, RESET, SILENT, SLOW_HTTP, SLOW_TLS, TRICKLE};
use super::{Fault, FaultLab, NOBODY, Peer, SHOP};

/// All faults, in the order of the page that shows them.
pub(super) fn faults(lab: &FaultLab) -> Vec<Fault> {
    [healthy(lab), dnssec(lab), resolvers(lab), names(lab), authority(lab), certificates(lab)]
        .into_iter()
        .chain([handshakes(lab), paths(lab), responses(lab)])
        .flatten()
        .collect()
}

fn healthy(lab: &FaultLab) -> Vec<Fault> {
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
    let peer = Peer::new(&delv(lab, SHOP), "; fully validated");
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
    vec![healthy]
}

fn dnssec(lab: &FaultLab) -> Vec<Fault> {
    let bogus = |name, title, domain: &str, telling| {
        let peer = Peer::new(&delv(lab, domain), telling);
        let mut fault = fault(name, title, &[dns(domain, "[good, lying]")], peer);
        fault.failures = &[("dns", "dns", "bogus")];
        fault.fields = &[("dnssec", "bogus")];
        fault.cause = Some("dnssec");
        fault
    };
    let mut insecure = fault(
        "dnssec-unsigned",
        "zone without signatures, where the configuration wants them",
        &["dns: { name: www.insecure.test, resolvers: [good], require_secure: true }".to_owned()],
        Peer::new(&delv(lab, "www.insecure.test"), "; unsigned answer"),
    );
    insecure.failures = &[("dns", "dns", "not_secure")];
    insecure.fields = &[("dnssec", "insecure")];
    insecure.cause = Some("dnssec");
    vec![
        bogus("dnssec-expired", "signatures have expired", "www.expired.test", "resolution failed"),
        bogus(
            "dnssec-future",
            "signatures are not valid yet",
            "www.future.test",
            "resolution failed",
        ),
        bogus(
            "dnssec-wrong-ds",
            "DS at the parent matches no key",
            "www.wrongds.test",
            "resolution failed",
        ),
        bogus(
            "dnssec-stripped",
            "DS at the parent, no signatures",
            "www.stripped.test",
            "resolution failed",
        ),
        insecure,
    ]
}

fn resolvers(lab: &FaultLab) -> Vec<Fault> {
    let lying = lab.lying();
    let dig = |server: &str, more: &str, telling| {
        Peer::new(&format!("dig @{server} +tries=1 +time=2 www.good.test{more}"), telling)
    };
    let service = |name, title, target, peer, failures| {
        let mut fault = fault(name, title, &[target], peer);
        fault.failures = failures;
        fault.cause = Some("resolver");
        fault
    };
    let mut disagree = fault(
        "resolver-disagrees",
        "resolver with another answer for an unsigned name",
        &[dns("shop.insecure.test", "[good, lying]")],
        Peer::new(&format!("dig @{lying} shop.insecure.test"), "203.0.113.66"),
    );
    disagree.fields = &[("answers.0", "203.0.113.66"), ("differs_from.0", "good")];
    vec![
        service(
            "resolver-lies",
            "resolver with a false answer for a signed name",
            dns(SHOP, "[good, dot, lying]"),
            Peer::new(&format!("dig @{lying} {SHOP}"), "203.0.113.66"),
            &[("dns", "dns", "bogus")],
        ),
        disagree,
        service(
            "resolver-closed",
            "no resolver at the port",
            dns("www.good.test", "[good, dot, closed]"),
            dig(&lab.lab.closed_addr().to_string(), "", "connection refused"),
            &[("dns", "dns", "port_unreachable")],
        ),
        service(
            "resolver-silent",
            "resolver that never answers",
            dns("www.good.test", "[good, dot, blackhole]"),
            dig(&lab.lab.blackhole_addr().to_string(), "", "timed out"),
            &[("dns", "dns", "timeout")],
        ),
        service(
            "resolver-certificate",
            "DNS over TLS with an expired certificate",
            dns("www.good.test", "[good, dot, expired]"),
            Peer::new(
                &format!(
                    "kdig @{lying} +tls-ca={} +tls-hostname={SHOP} +retry=0 www.good.test",
                    lab.authority().display()
                ),
                "Error in the certificate",
            ),
            &[("dns", "tls", "certificate_expired")],
        ),
    ]
}

fn names(lab: &FaultLab) -> Vec<Fault> {
    let at = lab.validating();
    let mut nxdomain = fault(
        "name-missing",
        "name that does not exist",
        &[dns("gone.good.test", "[good, dot]")],
        Peer::new(&format!("dig @{at} gone.good.test"), "status: NXDOMAIN"),
    );
    nxdomain.failures = &[("dns", "dns", "nxdomain")];
    nxdomain.fields = &[("dnssec", "secure")];
    nxdomain.cause = Some("dns");
    let mut no_data = fault(
        "name-without-data",
        "name without a record of the type",
        &["dns: { name: mail.good.test, type: AAAA, resolvers: [good, dot] }".to_owned()],
        Peer::new(&format!("dig @{at} mail.good.test AAAA"), "ANSWER: 0"),
    );
    no_data.failures = &[("dns", "dns", "no_data")];
    no_data.cause = Some("dns");
    vec![nxdomain, no_data]
}

fn authority(lab: &FaultLab) -> Vec<Fault> {
    let second = lab.lab.address_number(super::SECONDARY);
    let closed = lab.lab.closed_addr();
    let dig = |words: String, telling| Peer::new(&format!("dig +tries=1 {words}"), telling);
    let zone = |name, title, zone: &str, peer, failures| {
        let target = format!("authority: {{ zone: {zone}, resolver: good }}");
        let mut fault = fault(name, title, &[target], peer);
        fault.failures = failures;
        fault.cause = Some("delegation");
        fault
    };
    let primary = lab.lab.address_number(super::PRIMARY);
    vec![
        zone(
            "lame",
            "nameserver that does not have the zone",
            "lame.test",
            dig(format!("@{second} lame.test SOA +norec"), "status: REFUSED"),
            &[("authority", "dns", "lame")],
        ),
        zone(
            "serial-lag",
            "secondary that has an old zone",
            "lag.test",
            dig(format!("@{second} lag.test SOA +norec +short"), "2019"),
            &[("authority", "dns", "serial_lag")],
        ),
        zone(
            "nameserver-closed",
            "nameserver that refuses queries",
            "dead.test",
            dig(format!("@{closed} dead.test SOA +norec"), "connection refused"),
            &[("authority", "dns", "unreachable")],
        ),
        zone(
            "delegation",
            "nameserver at the parent that the zone does not know",
            "nsdiff.test",
            dig(format!("@{primary} nsdiff.test NS +norec +short"), "ns1"),
            &[("authority", "dns", "delegation_mismatch")],
        ),
        zone(
            "glue",
            "address at the parent that the nameserver no longer has",
            "glue.test",
            dig(format!("@{primary} ns1.glue.test A +norec +short"), "198."),
            &[("authority", "dns", "glue_mismatch"), ("authority", "dns", "unreachable")],
        ),
        zone(
            "glue-missing",
            "delegation without the address of its nameserver",
            "noglue.test",
            dig(format!("@{} www.noglue.test", lab.validating()), "status: SERVFAIL"),
            &[("authority", "dns", "glue_missing")],
        ),
    ]
}

fn certificates(lab: &FaultLab) -> Vec<Fault> {
    let service = |name: &'static str, title, server: &str, telling, failures| {
        let port = web::port(server);
        let peer = Peer::new(&s_client(lab, port, "-verify_return_error"), telling);
        let mut fault = fault(name, title, &tls(lab, port), peer);
        fault.failures = failures;
        fault.cause = Some("certificate");
        fault
    };
    let soon = web::port("soon");
    let pipe =
        format!("{} 2>/dev/null | openssl x509 -noout -checkend 1209600", s_client(lab, soon, ""));
    let mut soon = fault(
        "certificate-soon",
        "certificate that expires in 13 days",
        &tls(lab, soon),
        Peer::shell(&pipe, "Certificate will expire"),
    );
    soon.fields = &[("ok", "true"), ("cert.chain_ok", "true")];
    let mut revoked = service(
        "certificate-revoked",
        "revoked certificate, with a stapled OCSP response",
        "revoked",
        "Cert Status",
        &[("tls", "tls", "certificate_revoked")],
    );
    revoked.peer = Peer::new(&s_client(lab, web::port("revoked"), "-status"), "Cert Status");
    revoked.fields = &[("cert.ocsp_status", "revoked"), ("cert.ocsp_stapled", "true")];
    let verify = "verify error";
    vec![
        service(
            "certificate-expired",
            "expired certificate",
            "expired",
            verify,
            &[("tls", "tls", "certificate_expired")],
        ),
        service(
            "certificate-future",
            "certificate that is not valid yet",
            "future",
            verify,
            &[("tls", "tls", "certificate_not_yet_valid")],
        ),
        service(
            "certificate-name",
            "certificate for another name",
            "wrong-name",
            verify,
            &[("tls", "tls", "name_mismatch")],
        ),
        service(
            "certificate-chain",
            "intermediate certificate left out",
            "incomplete",
            verify,
            &[("tls", "tls", "chain_incomplete")],
        ),
        service(
            "certificate-self-signed",
            "certificate that signs itself",
            "self-signed",
            verify,
            &[("tls", "tls", "self_signed")],
        ),
        service(
            "certificate-untrusted",
            "certificate of an unknown authority",
            "untrusted",
            verify,
            &[("tls", "tls", "certificate_untrusted")],
        ),
        revoked,
        soon,
    ]
}

fn handshakes(lab: &FaultLab) -> Vec<Fault> {
    let openssl = |port, telling| Peer::new(&s_client(lab, port, ""), telling);
    let service = |name, title, port, peer, failures| {
        let mut fault = fault(name, title, &tls(lab, port), peer);
        fault.failures = failures;
        fault.cause = Some("hosting");
        fault
    };
    let curl =
        |port, telling| Peer::new(&format!("curl -sSk -m 3 https://{}/", lab.web(port)), telling);
    let mut tls12 = fault(
        "tls-1.2-only",
        "server without TLS 1.3",
        &tls(lab, web::port("tls12")),
        openssl(web::port("tls12"), "New, TLSv1.2"),
    );
    tls12.fields = &[("tls_version", "TLSv1.2")];
    let mut slow = fault(
        "tls-slow",
        "handshake after 0.7 s",
        &tls(lab, SLOW_TLS),
        openssl(SLOW_TLS, "New, TLSv1.3"),
    );
    slow.fields = &[("ok", "true"), ("tls_version", "TLSv1.3")];
    vec![
        tls12,
        slow,
        service(
            "tls-1.1-only",
            "server without TLS 1.2",
            web::port("tls11"),
            openssl(web::port("tls11"), "SSL routines"),
            &[("tls", "tls", "version")],
        ),
        service(
            "tls-reset",
            "reset in mid-handshake",
            RESET,
            curl(RESET, "curl: "),
            &[("tls", "tls", "reset")],
        ),
        service(
            "tls-closed",
            "connection closed in mid-handshake",
            CLOSE,
            curl(CLOSE, "curl: "),
            &[("tls", "tls", "closed")],
        ),
        service(
            "tls-silent",
            "server that accepts and says nothing",
            SILENT,
            curl(SILENT, "curl: "),
            &[("tls", "tls", "handshake_timeout")],
        ),
    ]
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
    ]
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

/// A healthy name and the TLS server at a port.
fn tls(lab: &FaultLab, port: u16) -> Vec<String> {
    let address = lab.web(port);
    vec![
        dns(SHOP, "[good, dot]"),
        format!("tls: {{ address: \"{address}\", server_name: {SHOP} }}"),
    ]
}

fn delv(lab: &FaultLab, name: &str) -> String {
    let anchors = lab.delv_anchors().display().to_string();
    // The other resolver does not tell the truth about this name.
    let at = if name == SHOP { lab.validating() } else { lab.lying() };
    format!("delv @{at} -a {anchors} +root=. {name}")
}

fn s_client(lab: &FaultLab, port: u16, more: &str) -> String {
    let words = format!(
        "openssl s_client -connect {} -servername {SHOP} -verify_hostname {SHOP} -CAfile {} {more}",
        lab.web(port),
        lab.authority().display()
    );
    words.trim_end().to_owned()
}
