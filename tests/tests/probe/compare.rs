//! Values of the probe's records beside those of dig, delv, openssl and curl.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::environment;
use dnscribe_tests::faults::{Fault, FaultLab, Peer, SHOP, read_records, web};
use dnscribe_tests::lab::Host;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Names and types that both are asked for, and the state of validation that delv names.
const QUESTIONS: [(&str, &str); 37] = [
    ("www.good.test", "A"),
    ("www.good.test", "AAAA"),
    ("good.test", "MX"),
    ("good.test", "TXT"),
    ("good.test", "NS"),
    ("good.test", "SOA"),
    ("www.insecure.test", "A"),
    ("www.expired.test", "A"),
    ("www.wrongds.test", "A"),
    ("test", "SOA"),
    // Wildcards, and names and types that do not exist: NSEC, NSEC3, and NSEC3 with opt-out.
    ("x.wild.good.test", "A"),
    ("x.wild.nsec3.test", "A"),
    ("x.wild.optout.test", "A"),
    ("gone.good.test", "A"),
    ("gone.nsec3.test", "A"),
    ("gone.optout.test", "A"),
    ("www.optout.test", "TXT"),
    ("dangling.good.test", "A"),
    // Aliases that wildcards make, whose proofs stand beside those of the target.
    ("x.walias.good.test", "A"),
    ("x.walias.nsec3.test", "A"),
    ("x.wgone.good.test", "A"),
    ("x.wgone.nsec3.test", "A"),
    ("x.waway.good.test", "A"),
    ("www.good.test", "TXT"),
    ("www.nsec3.test", "TXT"),
    ("x.wild.nsec3.test", "TXT"),
    ("www.nsec3.test", "A"),
    ("www.sub.optout.test", "A"),
    // Aliases inside a zone and between signed, unsigned and broken ones.
    ("alias.good.test", "A"),
    ("cross.good.test", "A"),
    ("signed.insecure.test", "A"),
    ("broken.good.test", "A"),
    ("www.moved.good.test", "A"),
    ("www.moved.nsec3.test", "A"),
    ("www.away.good.test", "A"),
    ("www.moved.insecure.test", "A"),
    ("moved.good.test", "DNAME"),
];

/// What delv says where it cannot validate a part of an answer.
const UNTRUSTED: [&str; 3] =
    ["broken trust chain", "no valid signature found", "RRSIG failed to verify"];

#[test]
fn answers_are_those_of_dig_and_delv() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let lab = FaultLab::up()?;
    let targets = QUESTIONS
        .map(|(name, kind)| format!("dns: {{ name: {name}, type: {kind}, resolvers: [lying] }}"));
    let records = probe(&lab, targets.to_vec())?;
    ensure!(records.len() == QUESTIONS.len(), "{records:#?}");
    for (name, kind) in QUESTIONS {
        let record = record_of(&records, &format!("{name} {kind}"))?;
        let at = format!("@{}", lab.lying());
        let dig = run(&lab, &["dig", &at, "+short", name, kind])?;
        // Records have names without the final dot.
        let mut expected: Vec<_> = dig.lines().map(without_final_dots).collect();
        // dig lists the aliases too.
        expected.retain(|line| kind != "A" || line.parse::<Ipv4Addr>().is_ok());
        expected.sort();
        // Where nothing is found, the record has no list.
        let answers = record["answers"].as_array().into_iter().flatten();
        let mut found: Vec<_> =
            answers.filter_map(|text| Some(text.as_str()?.to_owned())).collect();
        found.sort();
        ensure!(found == expected, "{name} {kind}: {found:?}, dig says {expected:?}");
        let anchors = lab.delv_anchors().display().to_string();
        let delv = run(&lab, &["delv", &at, "-a", &anchors, "+root=.", name, kind])?;
        // An answer through aliases is as good as its weakest part.
        let state = match delv {
            text if UNTRUSTED.iter().any(|words| text.contains(words)) => "bogus",
            text if text.contains("unsigned answer") => "insecure",
            text if text.contains("fully validated") => "secure",
            text if text.contains("resolution failed") => "bogus",
            text => anyhow::bail!("delv says nothing of {name}: {text}"),
        };
        // delv takes a denial that leaves out unsigned zones for validated; resolvers must not set AD for it (RFC 5155,
        // section 9.2).
        let state = if name == "gone.optout.test" { "insecure" } else { state };
        ensure!(record["dnssec"] == state, "{name} {kind}: delv says {state}: {record:#}");
    }
    Ok(())
}

#[test]
fn certificates_are_those_of_openssl() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let lab = FaultLab::up()?;
    let address = lab.web(443);
    let target = format!("tls: {{ address: \"{address}\", server_name: {SHOP}, alpn: [h2] }}");
    let records = probe(&lab, vec![target])?;
    let record = records.first().context("no record")?;
    let ca = lab.authority().display().to_string();
    let line = format!(
        "openssl s_client -connect {address} -servername {SHOP} -alpn h2 -CAfile {ca} -showcerts | \
         tee /dev/stderr | openssl x509 -noout -subject -issuer -enddate -fingerprint -sha256 \
         -nameopt RFC2253 -dateopt iso_8601"
    );
    let text = run(&lab, &["sh", "-c", &line])?;
    let value = |name: &str| -> Result<String> {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(name));
        Ok(found.with_context(|| format!("openssl says no {name}: {text}"))?.trim().to_owned())
    };
    let cert = &record["cert"];
    ensure!(cert["subject"] == value("subject=")?, "{cert:#}: {text}");
    ensure!(cert["issuer"] == value("issuer=")?, "{cert:#}: {text}");
    let fingerprint = value("sha256 Fingerprint=")?.replace(':', "").to_lowercase();
    ensure!(cert["sha256"] == fingerprint, "{cert:#}: {text}");
    let digits = |text: &str| -> String {
        text.chars().filter(char::is_ascii_digit).take("20260102030405".len()).collect()
    };
    let not_after = cert["not_after"].as_str().context("no not_after")?;
    ensure!(digits(not_after) == digits(&value("notAfter=")?), "{cert:#}: {text}");
    ensure!(record["alpn"] == value("ALPN protocol: ")?, "{record:#}: {text}");
    let version = value("New, ")?;
    let (version, cipher) = version.split_once(", Cipher is ").context("no cipher")?;
    ensure!(record["tls_version"] == version, "{record:#}: {text}");
    // Only the names of both agree: which suite is chosen depends on what a client offers.
    ensure!(cipher.starts_with("TLS_"), "{cipher}");
    ensure!(record["cipher"].as_str().is_some_and(|ours| ours.starts_with("TLS_")), "{record:#}");
    let chain = text.matches("-----BEGIN CERTIFICATE-----").count();
    ensure!(cert["chain_length"] == chain, "{cert:#}: openssl saw {chain}");
    Ok(())
}

/// Delays of the servers are much larger than what other programs on a busy machine cause.
#[test]
fn times_are_those_of_curl() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let lab = FaultLab::up()?;
    // Other programs of the machine may delay one of the two: a difference that stays is one of the programs.
    let mut compared = compare_times(&lab);
    for _ in 0..4 {
        if compared.is_err() {
            compared = compare_times(&lab);
        }
    }
    compared
}

/// Measures two slow servers with the probe and with curl.
fn compare_times(lab: &FaultLab) -> Result<()> {
    let slow = format!("http://{}/", lab.web(web::SLOW_HTTP));
    let handshake = format!("https://{SHOP}:{}/health", web::SLOW_TLS);
    let targets = vec![
        format!("http: {{ url: \"{slow}\" }}"),
        format!("http: {{ url: \"{handshake}\", resolver: good }}"),
    ];
    let records = probe(lab, targets)?;
    let (slow_record, tls_record) = (record_of(&records, &slow)?, record_of(&records, &handshake)?);
    let resolve = format!("{SHOP}:{}:{}", web::SLOW_TLS, lab.web(0).ip());
    let ca = lab.authority().display().to_string();
    let times = curl(lab, &[&slow])?;
    let sum = |record: &Value, names: &[&str]| -> f64 {
        names.iter().filter_map(|name| record[*name].as_f64()).sum()
    };
    near("first byte", sum(slow_record, &["connect_ms", "ttfb_ms"]), times.first_byte)?;
    near("whole response", sum(slow_record, &["duration_ms"]), times.total)?;
    ensure!(sum(slow_record, &["ttfb_ms"]) >= milliseconds(web::SLOW), "{slow_record:#}");
    ensure!(sum(slow_record, &["transfer_ms"]) >= milliseconds(web::SLOW_BODY), "{slow_record:#}");
    let times = curl(lab, &["--resolve", &resolve, "--cacert", &ca, &handshake])?;
    near("handshake", sum(tls_record, &["handshake_ms"]), times.handshake)
}

fn without_final_dots(line: &str) -> String {
    let words: Vec<_> =
        line.split(' ').map(|word| word.strip_suffix('.').unwrap_or(word)).collect();
    words.join(" ")
}

/// Returns the record of a target: they are printed in the order in which the rounds end.
fn record_of<'a>(records: &'a [Value], target: &str) -> Result<&'a Value> {
    let found = records.iter().find(|record| record["target"] == target);
    found.with_context(|| format!("no record of {target}: {records:#?}"))
}

/// Times of a request in milliseconds.
struct CurlTimes {
    first_byte: f64,
    total: f64,
    /// From the end of the connection's start.
    handshake: f64,
}

fn curl(lab: &FaultLab, words: &[&str]) -> Result<CurlTimes> {
    let format = "times %{time_connect} %{time_appconnect} %{time_starttransfer} %{time_total}";
    let text = run(lab, &[&["curl", "-sS", "-o", "/dev/null", "-w", format], words].concat())?;
    let times = text.split("times ").nth(1).with_context(|| text.clone())?;
    let seconds: Vec<f64> = times.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [connect, handshake, first_byte, total] = seconds.as_slice() else {
        anyhow::bail!("curl says {text}")
    };
    Ok(CurlTimes {
        first_byte: first_byte * 1e3,
        total: total * 1e3,
        handshake: (handshake - connect) * 1e3,
    })
}

/// Requires that two times differ by 5 % at most.
fn near(what: &str, found: f64, expected: f64) -> Result<()> {
    let ratio = (found - expected).abs() / expected;
    ensure!(ratio <= 0.05, "{what}: {found:.1} ms, curl says {expected:.1} ms");
    eprintln!("{what}: {found:.1} ms, curl {expected:.1} ms, difference {:.2} %", ratio * 100.0);
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Measures targets as one service, and returns their records in order.
fn probe(lab: &FaultLab, targets: Vec<String>) -> Result<Vec<Value>> {
    let peer = Peer::new("true", "");
    let service = Fault {
        name: "compared",
        title: "nothing",
        targets,
        failures: &[],
        fields: &[],
        cause: None,
        peer,
    };
    let config = lab.write_config(&[service])?;
    let output = lab.run_probe(&environment::probe_binary()?, &config, &["-o", "json"])?;
    let mut records = read_records(&output)?;
    records.retain(|record| record["schema"] == "dns.probe/1");
    Ok(records)
}

fn run(lab: &FaultLab, words: &[&str]) -> Result<String> {
    let output = lab.lab.run(Host::Client, words)?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
