//! Faults of certificates and of TLS handshakes.

use super::super::web::{self, CLOSE, RESET, SILENT, SLOW_TLS, SMTP, SMTP_EXPIRED};
use super::super::{Fault, FaultLab, Peer, SHOP};
use super::{dns, fault};

/// Returns these faults, in the order of the page that shows them.
pub(super) fn faults(lab: &FaultLab) -> Vec<Fault> {
    [certificates(lab), clients(lab), handshakes(lab), mail(lab)].into_iter().flatten().collect()
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
    let mut by_list = service(
        "certificate-revoked-by-list",
        "revoked certificate, by its authority's list",
        "revoked-by-list",
        "certificate revoked",
        &[("tls", "tls", "certificate_revoked")],
    );
    let download = "-crl_check -crl_download -verify_return_error";
    by_list.peer =
        Peer::new(&s_client(lab, web::port("revoked-by-list"), download), "certificate revoked");
    by_list.fields = &[
        ("cert.revocation", "revoked"),
        ("cert.revocation_source", "crl"),
        ("cert.revocation_reason", "superseded"),
    ];
    let away = web::port("list-away");
    let mut away = fault(
        "certificate-list-away",
        "certificate whose revocation list cannot be fetched",
        &tls(lab, away),
        Peer::new(&s_client(lab, away, download), "unable to get certificate CRL"),
    );
    away.fields =
        &[("ok", "true"), ("cert.revocation", "unknown"), ("cert.revocation_reason", "crl_status")];
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
        by_list,
        away,
        soon,
    ]
}

/// A server that wants a certificate of its clients.
fn clients(lab: &FaultLab) -> Vec<Fault> {
    let folder = lab.authority();
    let file = |name: &str| folder.with_file_name(name).display().to_string();
    let (own, key) = (file("client.pem"), file("client.key"));
    let url = format!("https://{}/health", lab.web(web::port("mutual")));
    let service = |name, title, more: &str, options: &str, telling| {
        let target = format!("http: {{ url: \"{url}\", server_name: {SHOP}{more} }}");
        let command = format!("curl -sSk{options} {url}");
        fault(name, title, &[dns(SHOP, "[good, dot]"), target], Peer::new(&command, telling))
    };
    let mut good = service(
        "client-certificate",
        "server that wants a certificate of its clients, and gets one",
        &format!(", client_certificate: {{ certificate: {own}, key: {key} }}"),
        &format!(" --cert {own} --key {key}"),
        "status ok",
    );
    good.fields = &[("ok", "true"), ("http_status", "200")];
    let mut none = service(
        "client-certificate-none",
        "server that wants a certificate of its clients, and gets none",
        "",
        "",
        "400 No required SSL certificate was sent",
    );
    none.failures = &[("http", "http", "status")];
    none.fields = &[("cert.chain_ok", "true")];
    none.cause = Some("hosting");
    vec![good, none]
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
            "tls-long-chain",
            "more than 128 KiB of certificates",
            web::port("long-chain"),
            openssl(web::port("long-chain"), "SSL routines"),
            &[("tls", "tls", "handshake_failed")],
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

/// STARTTLS at a mail server.
fn mail(lab: &FaultLab) -> Vec<Fault> {
    let service = |name, title, port, telling| {
        let target = format!(
            "tls: {{ address: \"{}\", server_name: {SHOP}, starttls: smtp }}",
            lab.web(port)
        );
        fault(name, title, &[target], Peer::new(&s_client(lab, port, "-starttls smtp"), telling))
    };
    let mut good =
        service("smtp", "mail server with STARTTLS, and nothing wrong", SMTP, "Verification: OK");
    good.fields =
        &[("tls_version", "TLSv1.3"), ("cert.chain_ok", "true"), ("cert.san_match", "true")];
    let mut expired = service(
        "smtp-expired",
        "expired certificate behind STARTTLS",
        SMTP_EXPIRED,
        "verify error",
    );
    expired.failures = &[("tls", "tls", "certificate_expired")];
    expired.cause = Some("certificate");
    vec![good, expired]
}

/// A healthy name and the TLS server at a port.
fn tls(lab: &FaultLab, port: u16) -> Vec<String> {
    let address = lab.web(port);
    vec![
        dns(SHOP, "[good, dot]"),
        format!("tls: {{ address: \"{address}\", server_name: {SHOP} }}"),
    ]
}

fn s_client(lab: &FaultLab, port: u16, more: &str) -> String {
    let words = format!(
        "openssl s_client -connect {} -servername {SHOP} -verify_hostname {SHOP} -CAfile {} {more}",
        lab.web(port),
        lab.authority().display()
    );
    words.trim_end().to_owned()
}
