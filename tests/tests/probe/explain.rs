//! `dnscribe-probe explain` on the laboratory's real services, as an operator runs it.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::environment;
use dnscribe_tests::faults::{FaultLab, SHOP};
use dnscribe_tests::lab::Host;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Number of an address that no host of the laboratory has.
const UNUSED: u8 = 200;
/// Kinds of targets.
const KINDS: [&str; 6] = ["dns", "authority", "tcp", "tls", "http", "ping"];

#[test]
fn explains_names_and_services() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let lab = FaultLab::up()?;
    let config = write_config(&lab)?;
    let (code, text) = explain(&lab, &config, &[SHOP])?;
    ensure!(code == Some(0) && text.contains("No fault found in "), "{code:?}: {text}");
    // All that the name depends on: addresses, zone, ports, certificate, page and path.
    for kind in KINDS {
        ensure!(text.lines().any(|line| line.split_whitespace().nth(2) == Some(kind)), "{text}");
    }

    // By default, addresses that are not public are not contacted: those of the laboratory.
    let binary = environment::probe_binary()?.display().to_string();
    let path = config.display().to_string();
    let output = lab.lab.run(Host::Client, &[&binary, "explain", "--config", &path, SHOP])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kinds = text.lines().filter_map(|line| line.split_whitespace().nth(2));
    let kinds: BTreeSet<&str> = kinds.filter(|kind| KINDS.contains(kind)).collect();
    ensure!(kinds == BTreeSet::from(["dns"]), "{kinds:?}: {text}");

    let (code, text) = explain(&lab, &config, &["www.expired.test"])?;
    ensure!(code == Some(1) && text.contains("dnssec"), "{code:?}: {text}");
    ensure!(text.contains("signature of www.expired.test A expired at "), "{text}");
    let (code, text) = explain(&lab, &config, &["www.lame.test"])?;
    ensure!(code == Some(1) && text.contains("delegation"), "{code:?}: {text}");
    ensure!(text.contains("ns2.lame.test"), "{text}");
    let (code, text) = explain(&lab, &config, &["gone.good.test"])?;
    ensure!(code == Some(1) && text.contains("nxdomain"), "{code:?}: {text}");

    // A resolver that the configuration does not have, and a service by its name.
    let lying = format!("udp://{}", lab.lying());
    let words = [SHOP, "--resolver", &lying, "-o", "json"];
    let (code, text) = explain(&lab, &config, &words)?;
    ensure!(code == Some(1), "{code:?}: {text}");
    ensure!(rules(&text)? == ["verdict_resolver"], "{text}");
    let (code, text) = explain(&lab, &config, &["old", "-o", "json"])?;
    ensure!(code == Some(1), "{code:?}: {text}");
    ensure!(rules(&text)? == ["verdict_certificate"], "{text}");
    asks_each_nameserver(&lab)
}

/// Without resolvers in the configuration, those of the host are asked, and named by their addresses: the first answers nothing,
/// and the second is there twice.
fn asks_each_nameserver(lab: &FaultLab) -> Result<()> {
    let (dead, living) = (lab.lab.address_number(UNUSED).to_string(), lab.validating().to_string());
    let hosts = format!("nameserver {dead}\nnameserver {living}\nnameserver {living}\n");
    let stub = lab.lab.configure_stub(Host::Client, &hosts)?;
    let config = lab.lab.folder().join("nameservers.yaml");
    let (roots, anchors) = (lab.authority(), lab.anchors());
    let trust =
        format!("{{ roots: [{}], dnssec_anchors: [{}] }}", roots.display(), anchors.display());
    fs::write(&config, format!("version: 1\ntrust: {trust}\ndefaults: {{ timeout: 1s }}\n"))?;
    let (code, text) = explain(lab, &config, &[SHOP])?;
    drop(stub);
    ensure!(code == Some(1), "{code:?}: {text}");
    let asked = |server: &str| {
        let lines = text.lines().filter(|line| line.split_whitespace().nth(2) == Some("dns"));
        lines.filter(|line| line.split_whitespace().any(|word| word == server)).count()
    };
    // The zone is asked for at the living one. Addresses at both: A and AAAA.
    ensure!(text.lines().filter(|line| line.starts_with("FAIL")).count() == 2, "{text}");
    ensure!(asked(&dead) == 2 && asked(&living) == 2, "{text}");
    ensure!(
        text.contains("verdict_resolver") && text.contains(&format!("at {dead} timeout")),
        "{text}"
    );
    Ok(())
}

fn write_config(lab: &FaultLab) -> Result<PathBuf> {
    let path = lab.lab.folder().join("explain.yaml");
    let text = format!(
        "version: 1\ntrust: {{ roots: [{}], dnssec_anchors: [{}] }}\ndefaults: {{ timeout: 4s }}\n\
         resolvers: {{ good: \"udp://{}:53\" }}\nservices:\n  - name: old\n    targets:\n      \
         - tls: {{ address: \"{}\", server_name: {SHOP} }}\n",
        lab.authority().display(),
        lab.anchors().display(),
        lab.validating(),
        // The server with an expired certificate.
        lab.web(8401),
    );
    fs::write(&path, text)?;
    Ok(path)
}

fn explain(lab: &FaultLab, config: &Path, words: &[&str]) -> Result<(Option<i32>, String)> {
    let (binary, config) =
        (environment::probe_binary()?.display().to_string(), config.display().to_string());
    // All addresses of the laboratory are special ones.
    let options = ["explain", "--config", &config, "--contact", "all"];
    let command = [&[binary.as_str()][..], &options, words].concat();
    let output = lab.lab.run(Host::Client, &command)?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((output.status.code(), text))
}

/// Rules of the alerts among records.
fn rules(text: &str) -> Result<Vec<String>> {
    let read = |line: &str| serde_json::from_str::<Value>(line).with_context(|| line.to_owned());
    let records: Vec<Value> =
        text.lines().filter(|line| line.starts_with('{')).map(read).collect::<Result<_>>()?;
    let alerts = records.iter().filter(|record| record["schema"] == "dns.alert/1");
    let verdicts = alerts.filter_map(|alert| alert["rule"].as_str().map(str::to_owned));
    Ok(verdicts.filter(|rule| rule.starts_with("verdict_")).collect())
}
