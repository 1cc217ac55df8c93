use super::*;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(10);

fn config(broker: &str, options: &[(&str, &str)]) -> KafkaConfig {
    let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    KafkaConfig { brokers: vec![broker.into()], options, ..KafkaConfig::default() }
}

/// Starts a listener that serves each connection with `serve`. Returns its address.
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

/// Starts a broker that answers `SaslHandshake` with these mechanisms, or none.
fn broker(mechanisms: &'static [&'static str]) -> String {
    listener(move |stream| {
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
        // Closes connections of TLS clients.
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
fn explains_unavailable_brokers() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let message = problem(&config(&free, &[]));
    assert!(message.contains(&free) && message.contains("refused"), "{message}");
    let message = problem(&config("no-such-host.invalid:9092", &[]));
    assert!(message.contains("no-such-host.invalid:9092 cannot be resolved"), "{message}");
    let silent = listener(|_| ());
    assert!(problem(&config(&silent, &[])).ends_with("accepts connections and does not answer"));
    let closed = listener(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap());
    assert!(problem(&config(&closed, &[])).ends_with("accepts connections and closes them"));
    let other = listener(|stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap());
    assert!(problem(&config(&other, &[])).ends_with("accepts connections and closes them"));
    for tls in [&silent, &closed] {
        let message = problem(&config(tls, &[("security.protocol", "SSL")]));
        assert!(message.contains("accepts connections and"), "{message}");
    }
}

#[test]
fn finds_nothing_if_the_broker_answers() {
    let well = config(&broker(&[]), &[]);
    assert_eq!(diagnose(&well, None, LIMIT), None);
    assert_eq!(diagnose(&well, Some("something new"), LIMIT).unwrap().problem, "something new");
}

#[test]
fn blames_advertised_listeners_for_an_unconfigured_name() {
    let words = "inside.invalid:9092/1: Failed to resolve 'inside.invalid:9092'";
    let found = diagnose(&config("127.0.0.1:1", &[]), Some(words), LIMIT).unwrap();
    assert!(found.problem.contains("inside.invalid:9092"), "{found}");
    assert!(found.remedy.contains("advertised.listeners"), "{found}");
}

#[test]
fn explains_listener_mismatches() {
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
        let found = diagnose_permanent(&config(&broker, options), None, LIMIT);
        match (expected, found) {
            (None, None) => {}
            (Some(words), Some(found)) => assert!(found.problem.contains(words), "{found}"),
            (expected, found) => panic!("{expected:?}, {found:?}"),
        }
    }
}

#[test]
fn names_a_refused_user_unless_hidden() {
    let words = "sasl_ssl://k:9093/bootstrap: SASL authentication error: Authentication failed";
    let options =
        [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "PLAIN"), ("sasl.username", "me")];
    let mut config = config("k:9093", &options);
    let message = diagnose(&config, Some(words), LIMIT).unwrap().problem;
    assert_eq!(message, "k:9093 refuses user \"me\" (SASL PLAIN): unknown user or wrong password");
    config.hidden = BTreeSet::from(["sasl.username".to_owned()]);
    let message = diagnose(&config, Some(words), LIMIT).unwrap().problem;
    assert_eq!(message, "k:9093 refuses user (SASL PLAIN): unknown user or wrong password");
}

#[test]
fn names_a_mechanism_that_is_not_built_in() {
    let kerberos = config("k:1", &[("security.protocol", "sasl_ssl")]);
    assert!(settings(&kerberos).unwrap().problem.contains("GSSAPI"));
    assert_eq!(settings(&config("k:1", &[])), None);
}

#[test]
fn replaces_control_characters() {
    assert_eq!(tls::printable("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
}
