//! Keys and signatures that rustls does not take, in certificates of openssl.

use super::{NAME, Openssl, TlsTarget, openssl, probe_with, reason};
use crate::measure::testing::roots;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use tempfile::TempDir;

const P_256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P_521: &str = "ec -pkeyopt ec_paramgen_curve:P-521";

/// Makes a root and a server's certificate with keys of these kinds, and further words for its signature.
fn certify(root: &str, own: &str, words: &str) -> (TempDir, RootCertStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let run = |words: String| openssl(path, &words.split_whitespace().collect::<Vec<_>>());
    std::fs::write(path.join("own.ext"), format!("subjectAltName=DNS:{NAME}\n")).unwrap();
    run(format!(
        "req -x509 -newkey {root} -nodes -keyout root.key -subj /CN=Root -days 30 -out root.pem \
         -addext basicConstraints=critical,CA:TRUE"
    ));
    run("x509 -in root.pem -outform DER -out root.der".to_owned());
    run(format!("req -new -newkey {own} -nodes -keyout own.key -subj /CN={NAME} -out own.csr"));
    run(format!(
        "x509 -req -in own.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 \
         -extfile own.ext -outform DER -out own.der {words}"
    ));
    let root = CertificateDer::from(std::fs::read(path.join("root.der")).unwrap());
    (folder, roots(&[&root]))
}

#[tokio::test]
async fn keys_and_signatures_have_words() {
    let (weak, unknown) = ("certificate_unsuitable", "certificate_unsupported");
    for (root, own, words, expected, detail) in [
        (P_256, "rsa:2048", "", "", ""),
        (
            P_256,
            "rsa:1024",
            "",
            weak,
            "CN=shop.example has an RSA key of 1024 bits: clients want 2048",
        ),
        (
            P_256,
            P_521,
            "",
            unknown,
            "CN=shop.example has a key of type P-521, whose signatures this",
        ),
        (
            P_256,
            "ed448",
            "",
            unknown,
            "CN=shop.example has a key of type Ed448, whose signatures this",
        ),
        (
            P_256,
            "rsa-pss -pkeyopt rsa_keygen_bits:2048",
            "",
            unknown,
            "CN=shop.example has a key of type RSA-PSS, whose signatures this",
        ),
        (P_256, P_256, "-sha1", weak, "CN=shop.example is signed with SHA-1, which is too weak"),
        ("rsa:1024", P_256, "", weak, "CN=Root has an RSA key of 1024 bits: clients want 2048"),
        (
            P_521,
            P_256,
            "-sha512",
            unknown,
            "CN=Root has a key of type P-521, whose signatures this",
        ),
        (
            P_521,
            P_256,
            "-sha256",
            unknown,
            "CN=Root has a key of type P-521, whose signatures this",
        ),
    ] {
        let (folder, trusted) = certify(root, own, words);
        let server = Openssl::start(folder, "-tls1_3 -cipher ALL:@SECLEVEL=0 -quiet").await;
        let is_own_key = detail.starts_with("CN=shop.example has");
        for verify in [true, false] {
            let change = |tls: &mut TlsTarget, _: &mut Duration| tls.verify = verify;
            let fields = probe_with(trusted.clone(), server.address, change).await;
            let (_, reason, found) = reason(&fields);
            // Without a proof that the server has its key, nothing is agreed on.
            let expected = if verify || is_own_key { expected } else { "" };
            assert_eq!(reason, expected, "{own} by {root} {words}: {found}");
            assert!(found.starts_with(detail) || expected.is_empty(), "{own} by {root}: {found}");
            assert!(found.len() < 200, "{found}");
            let cert = fields.cert.unwrap();
            assert_eq!(cert.san_match, Some(true));
            assert_eq!(cert.chain_ok, is_own_key || detail.is_empty(), "{own} by {root}");
        }
    }
}

#[tokio::test]
async fn other_problems_of_a_certificate_weigh_more_than_its_key() {
    let (folder, trusted) = certify(P_256, P_521, "");
    let server = Openssl::start(folder, "-tls1_3 -quiet").await;
    let other =
        |tls: &mut TlsTarget, _: &mut Duration| "other.example".clone_into(&mut tls.server_name);
    let fields = probe_with(trusted, server.address, other).await;
    let (_, reason, detail) = reason(&fields);
    assert_eq!(reason, "name_mismatch", "{detail}");
    assert!(detail.contains("; CN=shop.example has a key of type P-521"), "{detail}");
}

/// A server of TLS 1.2 sends no certificate whose curve the client does not offer for the key exchange.
#[tokio::test]
async fn a_server_that_takes_nothing_of_the_offer_says_so() {
    let (folder, trusted) = certify(P_256, P_521, "");
    let server = Openssl::start(folder, "-tls1_2 -quiet").await;
    let fields = probe_with(trusted, server.address, |_, _| ()).await;
    let (_, reason, detail) = reason(&fields);
    assert_eq!(reason, "handshake_failed", "{detail}");
    assert!(detail.contains("alert handshake_failure: ") && detail.contains("P-521"), "{detail}");
}
