//! Revocation lists of an authority of openssl, by HTTP.

use super::{NAME, openssl, probe_in, reason, serve_tls, simple};
use crate::measure::Context;
use crate::measure::testing::{Identity, context_with, listen, roots};
use crate::revocation::RevocationOptions;
use dnscribe_record::{CertificateFields, ProbeFields};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the web server has by path, and the paths that it was asked for.
#[derive(Clone, Default)]
struct Web {
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// Serves whole responses, or status 404.
    async fn start(&self) -> SocketAddr {
        let Self { files, asked } = self.clone();
        listen(move |mut stream| {
            let (files, asked) = (Arc::clone(&files), Arc::clone(&asked));
            async move {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let file = files.lock().unwrap().get(&path).cloned();
                asked.lock().unwrap().push(path);
                let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
                let _ = stream.write_all(&file.unwrap_or(missing)).await;
            }
        })
        .await
    }

    fn put(&self, path: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.put_response(path, [head.as_bytes(), body].concat());
    }

    fn put_response(&self, path: &str, response: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), response);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// An authority of openssl in a folder.
struct Issuer(TempDir);

impl Issuer {
    fn new(subject: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ncrlnumber = number\n\
                      default_md = sha256\nprivate_key = ca.key\ncertificate = ca.pem\n";
        std::fs::write(folder.path().join("ca.cnf"), config).unwrap();
        std::fs::write(folder.path().join("number"), "01\n").unwrap();
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
                     -days 30 -addext keyUsage=critical,keyCertSign,cRLSign -subj";
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.push(subject);
        openssl(folder.path(), &words);
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path().join("ca.pem")).unwrap()
    }

    /// Issues a server's certificate with these extensions, and returns its serial number too.
    fn server(&self, extensions: &str) -> (Identity, String) {
        let path = self.path();
        let subject = format!("/CN={NAME}");
        let words = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -out own.csr -subj";
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.push(&subject);
        openssl(path, &words);
        let extensions = format!("subjectAltName = DNS:{NAME}\n{extensions}\n");
        std::fs::write(path.join("own.ext"), extensions).unwrap();
        let words = "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 \
                     -extfile own.ext -out own.pem";
        openssl(path, &words.split_whitespace().collect::<Vec<_>>());
        let serial = openssl(path, &["x509", "-in", "own.pem", "-noout", "-serial"]);
        let own = CertificateDer::from_pem_file(path.join("own.pem")).unwrap();
        let key = std::fs::read_to_string(path.join("own.key")).unwrap();
        let identity = Identity { chain: vec![own], key: KeyPair::from_pem(&key).unwrap() };
        (identity, serial.trim().strip_prefix("serial=").unwrap().to_owned())
    }

    /// Signs a list of revoked certificates, with these extensions of it and these words of the command.
    fn list(&self, revoked: Option<&str>, extensions: &str, words: &str) -> Vec<u8> {
        let path = self.path();
        let line = |serial| {
            format!("R\t491231235959Z\t261001000000Z,keyCompromise\t{serial}\tunknown\t/CN=x\n")
        };
        std::fs::write(path.join("index.txt"), revoked.map(line).unwrap_or_default()).unwrap();
        let extensions = format!("[list]\nauthorityKeyIdentifier = keyid\n{extensions}\n");
        let config = std::fs::read_to_string(path.join("ca.cnf")).unwrap();
        std::fs::write(path.join("list.cnf"), config + &extensions).unwrap();
        let command = format!("ca -config list.cnf -gencrl -crlexts list -out list.pem {words}");
        openssl(path, &command.split_whitespace().collect::<Vec<_>>());
        openssl(path, &["crl", "-in", "list.pem", "-outform", "DER", "-out", "list.der"]);
        std::fs::read(path.join("list.der")).unwrap()
    }
}

fn context(issuer: &Issuer, from_private: bool) -> Context {
    let mut context = context_with(roots(&[&issuer.certificate()]));
    let options = RevocationOptions { enabled: true, from_private };
    context.trust = context.trust.with_revocation(options);
    context
}

fn revocation(fields: &ProbeFields) -> (&str, &str, &str) {
    let cert: &CertificateFields = fields.cert.as_ref().unwrap();
    let text = |field: &'_ Option<String>| field.clone().unwrap_or_default().leak() as &str;
    (text(&cert.revocation), text(&cert.revocation_source), text(&cert.revocation_reason))
}

const NEXT_WEEK: &str = "-crldays 7";

#[tokio::test]
async fn lists_of_the_issuer_tell_what_is_revoked() {
    let web = Web::default();
    let at = web.start().await;
    let issuer = Issuer::new("/O=Lab/CN=Issuing");
    let twin = Issuer::new("/O=Lab/CN=Issuing");
    let other = Issuer::new("/O=Lab/CN=Other");
    let url = format!("http://{at}/own.crl");
    let (identity, serial) = issuer.server(&format!("crlDistributionPoints = URI:{url}"));
    let server = serve_tls(simple(&identity)).await;
    let own = Some(serial.as_str());
    let part = |url: &str| {
        format!("issuingDistributionPoint = critical, @part\n[part]\nfullname = URI:{url}")
    };
    let old = "-crl_lastupdate 20260101000000Z -crl_nextupdate 20260108000000Z";
    let good = issuer.list(None, "", NEXT_WEEK);
    let revoked = issuer.list(own, "", NEXT_WEEK);
    let mut forged = revoked.clone();
    let date = forged.windows(6).position(|bytes| bytes == b"261001").unwrap();
    forged[date] = b'1';
    let delta = issuer.list(own, "2.5.29.27 = critical, DER:020101", NEXT_WEEK);
    for (name, list, expected, failure) in [
        ("good", good, ("good", "crl", ""), ""),
        ("revoked", revoked, ("revoked", "crl", "key_compromise"), "certificate_revoked"),
        ("one of another", issuer.list(Some("00AA"), "", NEXT_WEEK), ("good", "crl", ""), ""),
        (
            "own part",
            issuer.list(own, &part(&url), NEXT_WEEK),
            ("revoked", "crl", "key_compromise"),
            "certificate_revoked",
        ),
        (
            "other part",
            issuer.list(own, &part("http://x/other.crl"), NEXT_WEEK),
            ("unknown", "", "crl_other_scope"),
            "",
        ),
        ("out of date", issuer.list(own, "", old), ("unknown", "", "crl_expired"), ""),
        ("other key", twin.list(own, "", NEXT_WEEK), ("unknown", "", "crl_signature"), ""),
        ("changed on the way", forged, ("unknown", "", "crl_signature"), ""),
        ("other issuer", other.list(own, "", NEXT_WEEK), ("unknown", "", "crl_other_scope"), ""),
        ("delta", delta, ("unknown", "", "crl_delta"), ""),
        ("no list", b"<html>".to_vec(), ("unknown", "", "crl_malformed"), ""),
        ("too long", vec![0x30; (32 << 20) + 1], ("unknown", "", "crl_too_large"), ""),
    ] {
        web.put("/own.crl", &list);
        let fields = probe_in(&context(&issuer, true), server, |_, _| ()).await;
        assert_eq!(revocation(&fields), expected, "{name}");
        assert_eq!(reason(&fields).1, failure, "{name}: {:?}", fields.error);
        if !failure.is_empty() {
            let detail = format!("CN={NAME} is revoked since 2026-10-01, key_compromise ({url})");
            assert_eq!(reason(&fields).2, detail, "{name}");
        }
    }
    // openssl, of the same certificate and list.
    let path = issuer.path();
    issuer.list(own, "", NEXT_WEEK);
    let all = ["ca.pem", "list.pem"].map(|name| std::fs::read(path.join(name)).unwrap()).concat();
    std::fs::write(path.join("all.pem"), all).unwrap();
    let verify = ["verify", "-crl_check", "-CAfile", "all.pem", "own.pem"];
    let output =
        std::process::Command::new("openssl").args(verify).current_dir(path).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate revoked"), "{output:?}");
}

#[tokio::test]
async fn certificates_are_good_while_lists_are_away() {
    let web = Web::default();
    let at = web.start().await;
    let issuer = Issuer::new("/O=Lab/CN=Issuing");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    let silent = listen(|stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let redirect = |to: &str| {
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        head.into_bytes()
    };
    web.put("/good.crl", &issuer.list(None, "", NEXT_WEEK));
    web.put_response("/moved.crl", redirect("/good.crl"));
    web.put_response("/loop.crl", redirect("/loop.crl"));
    web.put_response("/https.crl", redirect(&format!("https://{at}/good.crl")));
    let points = |urls: &[String]| {
        let urls: Vec<_> = urls.iter().map(|url| format!("URI:{url}")).collect();
        format!("crlDistributionPoints = {}", urls.join(", "))
    };
    let of = |path: &str| points(&[format!("http://{at}{path}")]);
    let second = points(&[format!("http://{closed}/"), format!("http://{at}/good.crl")]);
    for (extensions, from_private, expected) in [
        (of("/good.crl"), true, ("good", "crl", "")),
        (of("/moved.crl"), true, ("good", "crl", "")),
        (second, true, ("good", "crl", "")),
        (of("/good.crl"), false, ("unknown", "", "crl_address_private")),
        (of("/gone.crl"), true, ("unknown", "", "crl_status")),
        (of("/loop.crl"), true, ("unknown", "", "crl_status")),
        (of("/https.crl"), true, ("unknown", "", "crl_unreachable")),
        (points(&[format!("http://{closed}/")]), true, ("unknown", "", "crl_unreachable")),
        (points(&[format!("http://{silent}/")]), true, ("unknown", "", "crl_pending")),
        (points(&[format!("https://{at}/good.crl")]), true, ("unknown", "", "no_crl")),
        (String::new(), true, ("unknown", "", "no_crl")),
    ] {
        let server = serve_tls(simple(&issuer.server(&extensions).0)).await;
        let fields = probe_in(&context(&issuer, from_private), server, |_, timeout| {
            *timeout = std::time::Duration::from_secs(2);
        })
        .await;
        assert_eq!(reason(&fields), ("", "", ""), "{extensions}");
        assert_eq!(revocation(&fields), expected, "{extensions}");
    }
}

#[tokio::test]
async fn lists_are_fetched_once_and_for_trusted_certificates_only() {
    let web = Web::default();
    let at = web.start().await;
    let issuer = Issuer::new("/O=Lab/CN=Issuing");
    let stranger = Issuer::new("/O=Elsewhere/CN=Stranger");
    web.put("/own.crl", &issuer.list(None, "", NEXT_WEEK));
    let extensions = format!("crlDistributionPoints = URI:http://{at}/own.crl");
    let context = context(&issuer, true);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(serve_tls(simple(&issuer.server(&extensions).0)).await);
    }
    for _ in 0..2 {
        let rounds = servers.iter().map(|server| probe_in(&context, *server, |_, _| ()));
        for fields in futures_util::future::join_all(rounds).await {
            assert_eq!(revocation(&fields), ("good", "crl", ""));
        }
    }
    assert_eq!(web.asked(), 1);
    // Whoever made a certificate could make the probe ask any host.
    let foreign = serve_tls(simple(&stranger.server(&extensions.replace("own", "trap")).0)).await;
    let fields = probe_in(&context, foreign, |_, _| ()).await;
    assert_eq!(reason(&fields).1, "certificate_untrusted");
    assert_eq!(revocation(&fields), ("", "", ""));
    assert_eq!(web.asked(), 1);
}
