use super::*;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::{X509, X509NameBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);

fn config(broker: &str, options: &[(&str, &str)]) -> KafkaConfig {
    let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    KafkaConfig { brokers: vec![broker.into()], options, ..KafkaConfig::default() }
}

/// Somebody who does this with every connection; the address.
fn listener(serve: impl Fn(&mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            serve(&mut stream);
            open.push(stream);
        }
    });
    address
}

/// Answers `SaslHandshake` as a broker whose listener takes these mechanisms, or none.
fn broker(mechanisms: &'static [&'static str]) -> String {
    listener(move |stream| {
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
        // A client that speaks TLS is cut off.
        if request.len() > 1000 || stream.read_exact(&mut request).is_err() {
            return stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        assert_eq!(request[..4], [0, 17, 0, 1]);
        let error: i16 = if mechanisms.is_empty() { 34 } else { 33 };
        let mut response = [&[0; 4][..], &error.to_be_bytes()].concat();
        response.extend(u32::try_from(mechanisms.len()).unwrap().to_be_bytes());
        for name in mechanisms {
            response.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
            response.extend(name.as_bytes());
        }
        let size = u32::try_from(response.len()).unwrap().to_be_bytes();
        stream.write_all(&[&size[..], &response].concat()).unwrap();
    })
}

fn problem(config: &KafkaConfig) -> String {
    diagnose(config, None, LIMIT).unwrap().problem
}

#[test]
fn tells_brokers_that_are_not_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let told = problem(&config(&free, &[]));
    assert!(told.contains(&free) && told.contains("refused"), "{told}");
    let told = problem(&config("no-such-host.invalid:9092", &[]));
    assert!(told.contains("no-such-host.invalid:9092 cannot be resolved"), "{told}");
    let silent = listener(|_| ());
    assert!(problem(&config(&silent, &[])).ends_with("accepts connections and does not answer"));
    let closed = listener(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap());
    assert!(problem(&config(&closed, &[])).ends_with("accepts connections and closes them"));
    let other = listener(|stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap());
    assert!(problem(&config(&other, &[])).ends_with("accepts connections and closes them"));
    for tls in [&silent, &closed] {
        let told = problem(&config(tls, &[("security.protocol", "SSL")]));
        assert!(told.contains("accepts connections and"), "{told}");
    }
}

#[test]
fn says_nothing_where_nothing_is_wrong() {
    let well = config(&broker(&[]), &[]);
    assert_eq!(diagnose(&well, None, LIMIT), None);
    assert_eq!(diagnose(&well, Some("something new"), LIMIT).unwrap().problem, "something new");
}

#[test]
fn a_name_that_only_the_brokers_gave_is_theirs_to_correct() {
    let words = "inside.invalid:9092/1: Failed to resolve 'inside.invalid:9092'";
    let found = diagnose(&config("127.0.0.1:1", &[]), Some(words), LIMIT).unwrap();
    assert!(found.problem.contains("inside.invalid:9092"), "{found}");
    assert!(found.remedy.contains("advertised.listeners"), "{found}");
}

#[test]
fn tells_what_a_listener_wants() {
    let plain = [("security.protocol", "plaintext")];
    let user = [("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "PLAIN")];
    let tls = [("security.protocol", "ssl")];
    for (broker, options, expected) in [
        (broker(&["PLAIN", "SCRAM-SHA-512"]), &plain[..], Some("asks for a user")),
        (broker(&["SCRAM-SHA-512"]), &user, Some("does not take SASL mechanism PLAIN")),
        (broker(&["PLAIN"]), &user, None),
        (broker(&[]), &user, Some("knows no users")),
        (broker(&[]), &plain, None),
        (broker(&[]), &tls, Some("does not speak TLS")),
    ] {
        let found = diagnose_lasting(&config(&broker, options), None, LIMIT);
        match (expected, found) {
            (None, None) => {}
            (Some(words), Some(found)) => assert!(found.problem.contains(words), "{found}"),
            (expected, found) => panic!("{expected:?}, {found:?}"),
        }
    }
}

#[test]
fn a_refused_user_is_named_unless_hidden() {
    let words = "sasl_ssl://k:9093/bootstrap: SASL authentication error: Authentication failed";
    let options =
        [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "me")];
    let mut config = config("k:9093", &options);
    let told = diagnose(&config, Some(words), LIMIT).unwrap().problem;
    assert_eq!(told, "k:9093 refuses user \"me\" (SASL PLAIN): unknown user or wrong password");
    config.hidden = BTreeSet::from(["sasl.username".to_owned()]);
    let told = diagnose(&config, Some(words), LIMIT).unwrap().problem;
    assert_eq!(told, "k:9093 refuses user (SASL PLAIN): unknown user or wrong password");
}

/// A certificate and its key, as PEM.
fn identity() -> (Vec<u8>, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "client").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (builder.build().to_pem().unwrap(), key)
}

#[test]
fn tells_which_file_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, octets: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, octets).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = identity();
    let (_, other) = identity();
    let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"sesame").unwrap();
    let certificate = file("certificate", &certificate);
    let (locked, other) =
        (file("locked", &locked), file("other", &other.private_key_to_pem_pkcs8().unwrap()));
    let key = file("key", &key.private_key_to_pem_pkcs8().unwrap());
    let text = file("text", b"hunter2");
    let told = |options: &[(&str, &str)]| {
        let mut all = BTreeMap::from([("security.protocol".to_owned(), "ssl".to_owned())]);
        all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let told = settings(&KafkaConfig { options: all, ..KafkaConfig::default() });
        let told = told.map(|found| found.to_string()).unwrap_or_default();
        assert!(!told.contains("hunter2"), "{told}");
        told
    };
    let pair =
        |certificate, key| [("ssl.certificate.location", certificate), ("ssl.key.location", key)];
    let with =
        |key, password| [&pair(&*certificate, key)[..], &[("ssl.key.password", password)]].concat();
    assert_eq!(told(&pair(&certificate, &key)), "");
    assert_eq!(told(&with(&locked, "sesame")), "");
    for (options, words) in [
        (with(&locked, "hunter2"), "cannot be decrypted with ssl.key.password"),
        (pair(&certificate, &locked).into(), "is encrypted, and there is no password"),
        (pair(&certificate, &other).into(), "does not belong to the certificate"),
        (pair(&certificate, &text).into(), "holds no private key"),
        (pair(&text, &key).into(), "holds no certificate"),
        (pair("/nowhere", &key).into(), "cannot read /nowhere: No such file"),
        (vec![("ssl.key.location", &*key)], "only one of certificate and key"),
        (vec![("ssl.ca.location", &*text)], "holds no certificate as PEM"),
        (vec![("ssl.ca.location", "/nowhere")], "cannot read /nowhere: No such file"),
        (vec![("ssl.ca.pem", "hunter2")], "ssl.ca.pem: no certificate in it"),
        (vec![("ssl.keystore.location", &*text)], "it is no PKCS #12"),
    ] {
        let told = told(&options);
        assert!(told.contains(words), "{words}: {told}");
    }
    let kerberos = config("k:1", &[("security.protocol", "sasl_ssl")]);
    assert!(settings(&kerberos).unwrap().problem.contains("GSSAPI"));
    assert_eq!(settings(&config("k:1", &[("ssl.ca.location", "/nowhere")])), None);
}

#[test]
fn foreign_text_disturbs_no_terminal() {
    assert_eq!(tls::visible("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
}
