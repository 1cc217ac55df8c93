//! The kind `tls` against servers on loopback.

mod client;
mod keys;
mod revocation;

use crate::measure::testing::{
    Authority, Identity, authority, context_with, host, identity, listen, reset, roots,
    server_config, server_params,
};
use crate::measure::{Context, Round, measure};
use crate::target::{DialogueStep, SecretText, Target, TargetKind, TlsTarget};
use dnscribe_record::ProbeFields;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, NameConstraints, SanType,
    date_time_ymd,
};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

const NAME: &str = "shop.example";

/// A root that is trusted, its intermediate, and the name of a server.
struct Pki {
    root: Authority,
    intermediate: Authority,
}

impl Pki {
    fn new() -> Self {
        let root = authority("Root", "Lab", None);
        let intermediate = authority("Intermediate", "Lab", Some(&root));
        Self { root, intermediate }
    }

    fn trusted(&self) -> RootCertStore {
        roots(&[self.root.der()])
    }

    fn identity(&self, params: &CertificateParams) -> Identity {
        identity(params, &self.intermediate, &[&self.intermediate])
    }
}

fn simple(identity: &Identity) -> ServerConfig {
    server_config(identity, &[&TLS12, &TLS13], &[], Vec::new())
}

async fn serve_tls(config: ServerConfig) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.read(&mut [0]).await;
            }
        }
    })
    .await
}

async fn probe_with(
    trusted: RootCertStore,
    address: SocketAddr,
    change: impl FnOnce(&mut TlsTarget, &mut Duration),
) -> ProbeFields {
    probe_in(&context_with(trusted), address, change).await
}

async fn probe_in(
    context: &Context,
    address: SocketAddr,
    change: impl FnOnce(&mut TlsTarget, &mut Duration),
) -> ProbeFields {
    let mut timeout = Duration::from_secs(5);
    let mut tls = TlsTarget {
        host: host(&address.ip().to_string(), address.port()),
        server_name: NAME.to_owned(),
        alpn: Vec::new(),
        starttls: false,
        query_response: Vec::new(),
        verify: true,
        client: None,
    };
    change(&mut tls, &mut timeout);
    let target = Target {
        service: "shop".into(),
        name: address.to_string(),
        interval: Duration::from_mins(1),
        timeout,
        retries: 0,
        kind: TargetKind::Tls(tls),
    };
    let Round { found, skipped, .. } = measure(context, &Arc::new(target)).await;
    assert_eq!((found.len(), skipped), (1, None));
    found.into_iter().next().unwrap()
}

async fn probe(trusted: RootCertStore, address: SocketAddr) -> ProbeFields {
    probe_with(trusted, address, |_, _| ()).await
}

fn reason(fields: &ProbeFields) -> (&str, &str, &str) {
    assert_eq!(fields.ok, fields.error.is_none());
    fields.error.as_ref().map_or(("", "", ""), |error| {
        (error.stage.as_str(), error.reason.as_str(), error.detail.as_deref().unwrap_or_default())
    })
}

#[tokio::test]
async fn describes_a_good_server() {
    let pki = Pki::new();
    let mut params = server_params(NAME);
    params.not_after = date_time_ymd(2098, 2, 3);
    params.distinguished_name.push(DnType::OrganizationName, "Shop, Inc.");
    let identity = pki.identity(&params);
    let own = identity.chain[0].clone();
    let config = server_config(&identity, &[&TLS12, &TLS13], &["h2", "http/1.1"], Vec::new());
    let address = serve_tls(config).await;
    let offer = |tls: &mut TlsTarget, _: &mut Duration| tls.alpn = vec!["h2".to_owned()];
    let fields = probe_with(pki.trusted(), address, offer).await;
    assert_eq!(reason(&fields), ("", "", ""));
    assert_eq!(fields.tls_version.as_deref(), Some("TLSv1.3"));
    assert!(fields.cipher.as_ref().unwrap().starts_with("TLS_AES_"), "{:?}", fields.cipher);
    assert_eq!(fields.alpn.as_deref(), Some("h2"));
    assert!(fields.handshake_ms.unwrap() > 0.0 && fields.connect_ms.is_some());
    let cert = fields.cert.unwrap();
    assert_eq!(cert.subject, "O=Shop\\, Inc.,CN=shop.example");
    assert_eq!(cert.issuer, "CN=Intermediate,O=Lab");
    assert_eq!(cert.not_after.unwrap().to_string(), "2098-02-03T00:00:00.000000000Z");
    assert!(cert.expiry_days.unwrap() > 20_000.0);
    assert_eq!(cert.earliest_not_after, cert.not_after);
    assert_eq!((cert.san_match, cert.chain_length, cert.chain_ok), (Some(true), 2, true));
    assert_eq!((cert.ocsp_stapled, cert.ocsp_status), (false, None));
    // What openssl says of the same certificate.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.der");
    std::fs::write(&path, &own).unwrap();
    let arguments = "x509 -inform DER -noout -fingerprint -sha256 -subject -nameopt RFC2253 -in";
    let text = openssl(folder.path(), &[arguments.split(' ').collect(), vec!["own.der"]].concat());
    let fingerprint = text.lines().find_map(|line| line.split_once("ingerprint=")).unwrap().1;
    assert_eq!(cert.sha256, fingerprint.replace(':', "").to_lowercase());
    assert!(text.contains(&format!("subject={}", cert.subject)), "{text}");
}

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn names_what_is_wrong_with_a_certificate() {
    let pki = Pki::new();
    let stranger = authority("Stranger", "Elsewhere", None);
    let good = server_params(NAME);
    let mut expired = server_params(NAME);
    expired.not_after = date_time_ymd(2021, 5, 6);
    let mut future = server_params(NAME);
    future.not_before = date_time_ymd(2090, 1, 1);
    let other = server_params("other.example");
    let mut bad = expired.clone();
    bad.subject_alt_names.clone_from(&other.subject_alt_names);
    let key = KeyPair::generate().unwrap();
    let own = good.self_signed(&key).unwrap().der().clone();
    let self_signed = Identity { chain: vec![own.clone()], key };
    let mut of_client = server_params(NAME);
    of_client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut of_authority = server_params(NAME);
    of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let mut server = server_params("other.example");
    server.is_ca = IsCa::ExplicitNoCa;
    let server = CertifiedIssuer::signed_by(server, key, &pki.intermediate).unwrap();
    let table = [
        ("", "", pki.identity(&good)),
        ("certificate_expired", "expired on 2021-05-06", pki.identity(&expired)),
        ("certificate_not_yet_valid", "valid from 2090-01-01", pki.identity(&future)),
        ("name_mismatch", "not in the certificate, which has other.example", pki.identity(&other)),
        (
            "certificate_expired",
            "expired on 2021-05-06; shop.example is not in the certificate",
            pki.identity(&bad),
        ),
        (
            "chain_incomplete",
            "issuer CN=Intermediate,O=Lab was not sent (CN=Root,O=Lab is trusted)",
            identity(&good, &pki.intermediate, &[]),
        ),
        (
            "certificate_untrusted",
            "the issuer CN=Stranger,O=Elsewhere is not trusted",
            identity(&good, &stranger, &[]),
        ),
        (
            "certificate_untrusted",
            "the root CN=Stranger,O=Elsewhere is not trusted",
            identity(&good, &stranger, &[&stranger]),
        ),
        ("self_signed", "signed with its own key", self_signed),
        ("certificate_unsuitable", "CN=shop.example is not for servers", pki.identity(&of_client)),
        ("certificate_unsuitable", "is one of an authority", pki.identity(&of_authority)),
        (
            "certificate_unsuitable",
            "has an issuer that is no authority",
            identity(&good, &server, &[&server, &pki.intermediate]),
        ),
    ];
    for (expected, detail, identity) in table {
        let address = serve_tls(simple(&identity)).await;
        let fields = probe(pki.trusted(), address).await;
        let found = reason(&fields);
        assert_eq!((found.0, found.1), (if expected.is_empty() { "" } else { "tls" }, expected));
        assert!(found.2.contains(detail), "{expected}: {}", found.2);
        // The rest is known whatever is wrong.
        assert_eq!(fields.tls_version.as_deref(), Some("TLSv1.3"));
        let cert = fields.cert.as_ref().unwrap();
        assert_eq!(cert.san_match, Some(!detail.contains("not in the certificate")), "{expected}");
        let untrusted =
            ["chain_incomplete", "certificate_untrusted", "self_signed", "certificate_unsuitable"];
        let is_trusted = !untrusted.contains(&expected);
        assert_eq!(cert.chain_ok, is_trusted, "{expected}");
    }
    // Authorities without an organization are compared by the first word of their names.
    let root = authority("Acme Root CA", "", None);
    let issuing = authority("Acme Issuing CA", "", Some(&root));
    let address = serve_tls(simple(&identity(&good, &issuing, &[]))).await;
    assert_eq!(reason(&probe(roots(&[root.der()]), address).await).1, "chain_incomplete");
    assert_eq!(reason(&probe(pki.trusted(), address).await).1, "certificate_untrusted");
    // One that is trusted itself is none of these.
    let key = KeyPair::generate().unwrap();
    let trusted = good.self_signed(&key).unwrap().der().clone();
    let identity = Identity { chain: vec![trusted.clone()], key };
    let fields = probe(roots(&[&trusted]), serve_tls(simple(&identity)).await).await;
    assert_eq!(reason(&fields), ("", "", ""));
}

#[tokio::test]
async fn generic_names_of_authorities_are_no_evidence() {
    let root = authority("Root A", "", None);
    let first = authority("Int 1", "", Some(&root));
    let second = authority("Int 2", "", Some(&first));
    let stranger = authority("Root B", "", None);
    let good = server_params(NAME);
    for (identity, expected, detail) in [
        (
            identity(&good, &stranger, &[]),
            "certificate_untrusted",
            "the issuer CN=Root B is not trusted, and was not sent",
        ),
        (
            identity(&good, &second, &[&first]),
            "chain_incomplete",
            "the issuer CN=Int 2 was not sent (CN=Int 1 was, of CN=Root A, which is trusted)",
        ),
        (
            identity(&good, &stranger, &[&root]),
            "certificate_untrusted",
            "the issuer CN=Root B is not trusted, and was not sent",
        ),
    ] {
        let address = serve_tls(simple(&identity)).await;
        let fields = probe(roots(&[root.der()]), address).await;
        assert_eq!(reason(&fields), ("tls", expected, detail));
    }
}

#[tokio::test]
async fn constraints_of_issuers_are_named() {
    let root = authority("Root", "Lab", None);
    let constrained = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Constrained");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap()
    };
    let good = server_params(NAME);
    let names = constrained(|params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("other.example".to_owned())];
        let excluded_subtrees = Vec::new();
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
    });
    let length = constrained(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = authority("Below", "Lab", Some(&length));
    let extended = constrained(|params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    for (identity, detail) in [
        (
            identity(&good, &names, &[&names]),
            "CN=shop.example has a name that an issuer may not certify (name constraints)",
        ),
        (
            identity(&good, &below, &[&below, &length]),
            "CN=shop.example has more issuers than one of them allows (path length constraint)",
        ),
        (
            identity(&good, &extended, &[&extended]),
            "CN=Constrained has a critical extension that clients do not know",
        ),
    ] {
        let address = serve_tls(simple(&identity)).await;
        let fields = probe(roots(&[root.der()]), address).await;
        assert_eq!(reason(&fields), ("tls", "certificate_unsuitable", detail));
    }
}

#[tokio::test]
async fn a_name_that_resembles_an_address_is_no_address() {
    let pki = Pki::new();
    let mut params = server_params(NAME);
    params.subject_alt_names = vec![SanType::DnsName("127.0.0.1".try_into().unwrap())];
    let address = serve_tls(simple(&pki.identity(&params))).await;
    let by_address =
        |tls: &mut TlsTarget, _: &mut Duration| "127.0.0.1".clone_into(&mut tls.server_name);
    let fields = probe_with(pki.trusted(), address, by_address).await;
    let detail = "127.0.0.1 is not in the certificate, which has DNS:127.0.0.1";
    assert_eq!(reason(&fields), ("tls", "name_mismatch", detail));
}

#[tokio::test]
async fn certificates_need_not_be_valid() {
    let pki = Pki::new();
    let address = serve_tls(simple(&pki.identity(&server_params(NAME)))).await;
    let fields = probe_with(RootCertStore::empty(), address, |tls, _| tls.verify = false).await;
    assert!(fields.ok, "{:?}", fields.error);
    let cert = fields.cert.unwrap();
    assert_eq!((cert.chain_ok, cert.san_match), (false, Some(true)));
}

#[tokio::test]
async fn reads_stapled_ocsp_responses() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let identity = pki.identity(&server_params(NAME));
    let write = |name: &str, text: String| std::fs::write(path.join(name), text).unwrap();
    write("ca.pem", pki.intermediate.pem());
    write("ca.key", pki.intermediate.key().serialize_pem());
    std::fs::write(path.join("leaf.der"), &identity.chain[0]).unwrap();
    openssl(path, &["x509", "-inform", "DER", "-in", "leaf.der", "-out", "leaf.pem"]);
    let serial = openssl(path, &["x509", "-in", "leaf.pem", "-noout", "-serial"]);
    let serial = serial.trim().strip_prefix("serial=").unwrap().to_owned();
    let request = "ocsp -issuer ca.pem -cert leaf.pem -no_nonce -reqout request.der";
    openssl(path, &request.split(' ').collect::<Vec<_>>());
    let respond = |index: String, extra: &str| {
        std::fs::write(path.join("index.txt"), index).unwrap();
        let respond = format!(
            "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin request.der \
             -respout response.der {extra}"
        );
        openssl(path, &respond.split_whitespace().collect::<Vec<_>>());
        std::fs::read(path.join("response.der")).unwrap()
    };
    let good = respond(format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=x\n"), "-ndays 1");
    let revoked =
        format!("R\t491231235959Z\t261001000000Z,keyCompromise\t{serial}\tunknown\t/CN=x\n");
    let revoked = respond(revoked, "-ndays 1");
    let unknown = respond(String::new(), "-ndays 1");
    let mut forged = revoked.clone();
    let time = forged.windows(8).position(|bytes| bytes == b"20261001").unwrap();
    forged[time + 3] = b'5';
    let table = [
        (good, "good", ""),
        (revoked, "revoked", "certificate_revoked"),
        (unknown, "unknown", ""),
        (forged, "invalid", ""),
        (b"junk".to_vec(), "invalid", ""),
    ];
    for (response, status, expected) in table {
        for version in [&TLS12, &TLS13] {
            let config = server_config(&identity, &[version], &[], response.clone());
            let fields = probe(pki.trusted(), serve_tls(config).await).await;
            let cert = fields.cert.as_ref().unwrap();
            assert_eq!((cert.ocsp_stapled, cert.ocsp_status.as_deref()), (true, Some(status)));
            assert_eq!(reason(&fields).1, expected, "{:?}", fields.error);
        }
    }
}

#[tokio::test]
async fn agrees_on_tls_1_2_and_protocols() {
    let pki = Pki::new();
    let identity = pki.identity(&server_params(NAME));
    let old = serve_tls(server_config(&identity, &[&TLS12], &[], Vec::new())).await;
    let fields = probe(pki.trusted(), old).await;
    assert_eq!(reason(&fields), ("", "", ""));
    assert_eq!(fields.tls_version.as_deref(), Some("TLSv1.2"));
    assert!(fields.cipher.unwrap().starts_with("TLS_ECDHE_ECDSA_WITH_"));
    let offer = |tls: &mut TlsTarget, _: &mut Duration| tls.alpn = vec!["h2".to_owned()];
    let fields = probe_with(pki.trusted(), old, offer).await;
    assert_eq!(reason(&fields), ("tls", "alpn_mismatch", "the server chose none of h2"));
    let other = serve_tls(server_config(&identity, &[&TLS13], &["imap"], Vec::new())).await;
    let fields = probe_with(pki.trusted(), other, offer).await;
    let detail = "the server sent the alert no_application_protocol";
    assert_eq!(reason(&fields), ("tls", "alpn_mismatch", detail));
}

/// A running `openssl s_server`.
struct Openssl {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Openssl {
    /// Starts the server with these words of its command line; it trusts the clients of `clients`.
    async fn serve(identity: &Identity, words: &str, clients: Option<&Authority>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        write("own.der", &identity.chain[0]);
        write("own.key", identity.key.serialize_pem().as_bytes());
        write("clients.pem", clients.map_or_else(String::new, CertifiedIssuer::pem).as_bytes());
        Self::start(folder, words).await
    }

    /// Starts the server with `own.der` and `own.key` of a folder.
    async fn start(folder: TempDir, words: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let accept = address.to_string();
        let child = Command::new("openssl")
            .args(["s_server", "-accept", &accept, "-cert", "own.der", "-certform", "DER"])
            .args(["-key", "own.key"])
            .args(words.split(' '))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "openssl s_server does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, address, _folder: folder }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `openssl s_server` has the versions of TLS that rustls has not.
#[tokio::test]
async fn old_versions_are_named() {
    let pki = Pki::new();
    let identity = pki.identity(&server_params(NAME));
    let server = Openssl::serve(&identity, "-tls1_1 -cipher ALL:@SECLEVEL=0 -quiet", None).await;
    let fields = probe(pki.trusted(), server.address).await;
    assert_eq!((reason(&fields).0, reason(&fields).1), ("tls", "version"), "{:?}", fields.error);
}

/// Reads the beginning of a handshake, then ends the connection in some way.
async fn interrupted(mut stream: TcpStream, ending: &str) {
    let mut hello = [0; 4096];
    assert!(stream.read(&mut hello).await.unwrap() > 0, "the client sent nothing");
    match ending {
        "reset" => reset(&stream),
        "plain" => stream.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n").await.unwrap(),
        "alert" => stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap(),
        "slow" => {
            // A record that would be 16 KiB long.
            for byte in [22, 3, 3, 64, 0].into_iter().chain([0; 60]) {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn names_broken_handshakes() {
    let table = [
        ("reset", "reset", ""),
        ("close", "closed", "eof"),
        ("plain", "handshake_failed", "this is not TLS"),
        ("alert", "handshake_failed", "the alert handshake_failure"),
        ("slow", "handshake_timeout", ""),
    ];
    for (ending, expected, detail) in table {
        let address = listen(move |stream| interrupted(stream, ending)).await;
        let begin = Instant::now();
        let hurry =
            |_: &mut TlsTarget, timeout: &mut Duration| *timeout = Duration::from_millis(700);
        let fields = probe_with(RootCertStore::empty(), address, hurry).await;
        let found = reason(&fields);
        assert_eq!((found.0, found.1), ("tls", expected), "{ending}: {}", found.2);
        assert!(found.2.contains(detail), "{ending}: {}", found.2);
        assert!(begin.elapsed() < Duration::from_secs(1), "{ending}: {:?}", begin.elapsed());
        assert!(fields.connect_ms.is_some() && fields.handshake_ms.is_some());
    }
}

#[tokio::test]
async fn long_chains_are_bounded() {
    let pki = Pki::new();
    let leaf = pki.identity(&server_params(NAME));
    for (bytes, expected) in [(60 << 10, ""), (80 << 10, "handshake_failed")] {
        let mut chain = leaf.chain.clone();
        while chain.iter().map(|one| one.len() + 5).sum::<usize>() < bytes {
            chain.push(authority("Intermediate", "Lab", Some(&pki.root)).der().clone());
        }
        let (count, key) = (chain.len(), leaf.key.serialize_pem());
        let long = Identity { chain, key: KeyPair::from_pem(&key).unwrap() };
        let begin = Instant::now();
        let fields = probe(pki.trusted(), serve_tls(simple(&long)).await).await;
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        assert_eq!(reason(&fields).1, expected, "{count} certificates: {:?}", fields.error);
    }
}

/// Plays an SMTP server that offers `extension`, and adds `injected` to the reply to STARTTLS.
async fn smtp(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    extension: &'static str,
    injected: &'static str,
) {
    let mut command = [0; 512];
    stream.write_all(b"220-mail.example ESMTP\r\n220 ready\r\n").await.unwrap();
    let read = stream.read(&mut command).await.unwrap();
    assert_eq!(&command[..read], b"EHLO [127.0.0.1]\r\n");
    let reply = format!("250-mail.example\r\n250-PIPELINING\r\n250 {extension}\r\n");
    stream.write_all(reply.as_bytes()).await.unwrap();
    let read = stream.read(&mut command).await.unwrap();
    if read == 0 {
        return;
    }
    assert_eq!(&command[..read], b"STARTTLS\r\n");
    stream.write_all(format!("220 go ahead\r\n{injected}").as_bytes()).await.unwrap();
    if let Ok(mut stream) = acceptor.accept(stream).await {
        let _ = stream.read(&mut command).await;
    }
}

#[tokio::test]
async fn smtp_begins_tls() {
    let pki = Pki::new();
    let acceptor = TlsAcceptor::from(Arc::new(simple(&pki.identity(&server_params(NAME)))));
    let table = [
        ("STARTTLS", "", ""),
        ("8BITMIME", "", "starttls_unsupported"),
        ("STARTTLS", "250 injected\r\n", "starttls_failed"),
    ];
    let starttls = |tls: &mut TlsTarget, _: &mut Duration| tls.starttls = true;
    for (extension, injected, expected) in table {
        let acceptor = acceptor.clone();
        let address =
            listen(move |stream| smtp(stream, acceptor.clone(), extension, injected)).await;
        let fields = probe_with(pki.trusted(), address, starttls).await;
        assert_eq!(reason(&fields).1, expected, "{:?}", fields.error);
        assert_eq!(fields.cert.is_some(), expected.is_empty());
    }
    let address = listen(|stream| interrupted(stream, "plain")).await;
    let hurry = |tls: &mut TlsTarget, timeout: &mut Duration| {
        tls.starttls = true;
        *timeout = Duration::from_millis(300);
    };
    let fields = probe_with(pki.trusted(), address, hurry).await;
    assert_eq!(reason(&fields).1, "handshake_timeout");
    // What a terminal would obey does not get there.
    let address = listen(|mut stream| async move {
        stream.write_all(b"554 \x1b[2J no service\r\n").await.unwrap();
    });
    let fields = probe_with(pki.trusted(), address.await, starttls).await;
    let detail = "the server replied 554 \u{fffd}[2J no service";
    assert_eq!(reason(&fields), ("tls", "starttls_failed", detail));
}

#[tokio::test]
async fn dialogues_begin_tls_and_go_on_in_it() {
    let pki = Pki::new();
    let acceptor = TlsAcceptor::from(Arc::new(simple(&pki.identity(&server_params(NAME)))));
    let step = |expect: &str, send: &str| DialogueStep {
        expect: Some(expect.parse().unwrap()),
        send: Some(SecretText(send.to_owned())),
        ..DialogueStep::default()
    };
    let begin = DialogueStep { starttls: true, ..DialogueStep::default() };
    let steps = vec![
        step("^220 ready", "EHLO [127.0.0.1]\r"),
        step("^250 STARTTLS", "STARTTLS\r"),
        DialogueStep { expect: Some("^220".parse().unwrap()), ..begin },
        step("^250 after TLS", "QUIT\r"),
    ];
    for (after, expected) in [("250 after TLS\r\n", ""), ("500 no\r\n", "response_mismatch")] {
        let acceptor = acceptor.clone();
        let address = listen(move |stream| smtp_then(stream, acceptor.clone(), after)).await;
        let dialogue =
            |tls: &mut TlsTarget, _: &mut Duration| tls.query_response.clone_from(&steps);
        let fields = probe_with(pki.trusted(), address, dialogue).await;
        assert_eq!(reason(&fields).1, expected, "{:?}", fields.error);
        assert!(fields.cert.is_some());
    }
}

/// Plays an SMTP server that says one thing once TLS has begun.
async fn smtp_then(mut stream: TcpStream, acceptor: TlsAcceptor, after: &'static str) {
    let mut command = [0; 512];
    stream.write_all(b"220-mail.example ESMTP\r\n220 ready\r\n").await.unwrap();
    let _ = stream.read(&mut command).await.unwrap();
    stream.write_all(b"250-mail.example\r\n250 STARTTLS\r\n").await.unwrap();
    let _ = stream.read(&mut command).await.unwrap();
    stream.write_all(b"220 go ahead\r\n").await.unwrap();
    if let Ok(mut stream) = acceptor.accept(stream).await {
        stream.write_all(after.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
    }
}
