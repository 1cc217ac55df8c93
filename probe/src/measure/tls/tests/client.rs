//! Certificates of the probe at servers of openssl that want one.

use super::{NAME, Openssl, Pki, probe_with, reason};
use crate::measure::testing::{authority, client_certificate as client, identity, server_params};
use rcgen::date_time_ymd;

#[tokio::test]
async fn servers_accept_or_refuse_the_probe_and_are_described_anyway() {
    let pki = Pki::new();
    let clients = authority("Clients", "Lab", None);
    let stranger = authority("Stranger", "Elsewhere", None);
    // openssl s_server sends the server's own certificate only.
    let server = identity(&server_params(NAME), &pki.root, &[]);
    let good = client(&clients, |_| ());
    let expired = client(&clients, |params| params.not_after = date_time_ymd(2021, 5, 6));
    let foreign = client(&stranger, |_| ());
    let refused = "client_certificate_refused";
    let words = "-Verify 2 -verify_return_error -CAfile clients.pem -quiet";
    for (version, table) in [
        (
            "-tls1_3",
            [
                // Who only wants to know the server's certificate has it.
                (None, "", ""),
                (Some(good.clone()), "", ""),
                (Some(expired.clone()), refused, "certificate_expired"),
                (Some(foreign.clone()), refused, "unknown_ca"),
            ],
        ),
        (
            "-tls1_2",
            [
                (None, "handshake_failed", "handshake_failure"),
                (Some(good), "", ""),
                (Some(expired), refused, "certificate_expired"),
                (Some(foreign), refused, "unknown_ca"),
            ],
        ),
    ] {
        let server = Openssl::serve(&server, &format!("{version} {words}"), Some(&clients)).await;
        for (client, expected, alert) in table {
            let which = format!("{version} {expected} {alert}");
            let fields =
                probe_with(pki.trusted(), server.address, |tls, _| tls.client = client).await;
            assert_eq!(reason(&fields).1, expected, "{which}: {:?}", fields.error);
            assert!(reason(&fields).2.contains(alert), "{which}: {:?}", fields.error);
            let cert = fields.cert.unwrap();
            assert_eq!((cert.san_match, cert.chain_ok), (Some(true), true), "{which}");
        }
    }
}

#[tokio::test]
async fn servers_that_do_not_ask_see_no_certificate() {
    let pki = Pki::new();
    let server = identity(&server_params(NAME), &pki.root, &[]);
    let server = Openssl::serve(&server, "-tls1_3 -quiet", None).await;
    let own = client(&authority("Clients", "Lab", None), |_| ());
    let fields = probe_with(pki.trusted(), server.address, |tls, _| tls.client = Some(own)).await;
    assert_eq!(reason(&fields), ("", "", ""));
    // No time was spent on waiting for a refusal.
    assert!(fields.duration_ms < 900.0, "{} ms", fields.duration_ms);
}
