//! Resolvers over QUIC beside a server of another library: `AdGuard`'s dnsproxy (quic-go) in front of unbound.

use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::faults::FaultLab;
use dnscribe_tests::lab::Host;
use dnscribe_tests::{dnsproxy, environment, shell};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// UDP port of the server: unbound has 853, though it only speaks TLS there.
const PORT: u16 = 8853;

#[test]
fn asks_a_server_of_another_library() -> Result<()> {
    if !environment::privileged() {
        return Ok(());
    }
    let (mut lab, binary, proxy) =
        (FaultLab::up()?, environment::probe_binary()?, dnsproxy::prepare()?);
    let address = lab.validating();
    let file = |ending| lab.lab.folder().join(format!("tls/resolver.{ending}"));
    let words = [
        proxy.display().to_string(),
        format!("--listen={address}"),
        "--port=0".to_owned(),
        format!("--quic-port={PORT}"),
        format!("--tls-crt={}", file("pem").display()),
        format!("--tls-key={}", file("key").display()),
        format!("--upstream={address}:53"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    lab.lab.start_server_named("dnsproxy", Host::Resolver, &words)?;
    let config = lab.lab.folder().join("quic.yaml");
    let text = format!(
        "version: 1\ntrust: {{ roots: [{ca}], dnssec_anchors: [{anchors}] }}\nresolvers:\n  \
         good: \"quic://{address}:{PORT}#dns.good.test\"\n  wrong: \"quic://{address}:{PORT}#{shop}\"\nservices:\n  \
         - name: shop\n    targets: [{{ dns: {{ name: {shop}, require_secure: true }} }}]\n",
        ca = lab.authority().display(),
        anchors = lab.anchors().display(),
        shop = dnscribe_tests::faults::SHOP,
    );
    fs::write(&config, text)?;
    shell::wait_for("dnsproxy", Duration::from_mins(1), || {
        let output = lab.run_probe(&binary, &config, &["-o", "json"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let records: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context(text.clone())?;
        let by = |name: &str| records.iter().find(|record| record["resolver"] == name).cloned();
        let (Some(good), Some(wrong)) = (by("good"), by("wrong")) else {
            bail!("two records are missing: {text}");
        };
        // Until the server listens.
        if good["error"]["stage"] == "connect" {
            return Ok(None);
        }
        ensure!(good["ok"] == true && good["protocol"] == "quic", "{good:#}");
        ensure!(good["dnssec"] == "secure" && good["handshake_ms"].is_f64(), "{good:#}");
        ensure!(wrong["error"]["reason"] == "name_mismatch", "{wrong:#}");
        Ok(Some(()))
    })
}
