//! A server of openssl whose certificate another authority issues from one moment on.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn new_issuer_is_noticed() -> Result<()> {
    let changed = replace(&[Authority::new("First CA")?, Authority::new("Second CA")?])?;
    ensure!(
        changed == ("CN=Second CA".into(), "CN=First CA".into(), "warning".into()),
        "{changed:?}"
    );
    Ok(())
}

/// As at most renewals of certificates of public authorities.
#[test]
fn new_intermediate_of_the_same_organization_is_an_info() -> Result<()> {
    let of = |name| Authority::of_organization(name, "Acme Trust");
    let (issuer, previous, severity) = replace(&[of("R12")?, of("R13")?])?;
    ensure!(issuer.as_str().is_some_and(|name| name.contains("CN=R13")), "{issuer}");
    ensure!(previous.as_str().is_some_and(|name| name.contains("CN=R12")), "{previous}");
    ensure!(severity == "info", "{severity}");
    Ok(())
}

/// Lets the certificate of the first authority become known, and replaces it by one of the second. Returns the issuer of
/// the record that says so, the one before, and the severity of the alert.
fn replace(authorities: &[Authority; 2]) -> Result<(Value, Value, Value)> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut roots = String::new();
    for (authority, name) in authorities.iter().zip(["first", "second"]) {
        let server = authority.server(&["shop.test"], Validity::Current)?;
        fs::write(folder.join(format!("{name}.pem")), server.certificate)?;
        fs::write(folder.join(format!("{name}.key")), server.key)?;
        roots += &authority.pem()?;
    }
    fs::write(folder.join("roots.pem"), roots)?;
    let config = folder.join("probes.yaml");
    let text = format!(
        "version: 1\nmetrics: {{ listen: \"off\" }}\nsinks: [\"file:{folder}/records\"]\n\
         trust: {{ roots: [{folder}/roots.pem] }}\nmemory: {{ directory: {folder}, learn_after: 1s }}\n\
         defaults: {{ interval: 200ms }}\nservices:\n  - name: shop\n    targets:\n      \
         - tls: {{ address: \"127.0.0.1:{port}\", server_name: shop.test }}\n",
        folder = folder.display()
    );
    fs::write(&config, text)?;
    let mut server = serve(folder, "first", port)?;
    let mut probe = Command::new(environment::probe_binary()?);
    probe.args(["run", "--config"]).arg(&config).stderr(Stdio::null());
    let mut probe = probe.spawn()?;
    let changed = measure(folder, &mut server, port);
    shell::signal(&probe, Signal::TERM)?;
    shell::wait(&mut probe, LIMIT)?;
    shell::end(&mut server);
    let records = changed?;
    let changed = records.iter().find(|record| record["issuer_changed"] == true);
    let changed = changed.context("no new issuer")?;
    let mut alerts = records.iter().filter(|record| record["rule"] == "issuer_changed");
    let alert = alerts.next().context("no alert")?;
    Ok((
        changed["cert"]["issuer"].clone(),
        changed["previous_issuer"].clone(),
        alert["severity"].clone(),
    ))
}

/// Lets the first certificate become known, replaces it, and returns all records once the alert is there.
fn measure(folder: &Path, server: &mut Child, port: u16) -> Result<Vec<Value>> {
    let good = |record: &Value| record["ok"] == true;
    wait_for(folder, |records| records.iter().filter(|record| good(record)).count() > 15)?;
    let known = wait_for(folder, |records| !records.is_empty())?;
    ensure!(known.iter().all(|record| record["issuer_changed"] != true), "{known:#?}");
    shell::end(server);
    *server = serve(folder, "second", port)?;
    wait_for(folder, |records| records.iter().any(|record| record["rule"] == "issuer_changed"))
}

fn wait_for(folder: &Path, is_there: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
    shell::wait_for("records of the probe", LIMIT, || {
        let text = fs::read_to_string(folder.join("records")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let records: Vec<Value> =
            whole.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(is_there(&records).then_some(records))
    })
}

fn serve(folder: &Path, name: &str, port: u16) -> Result<Child> {
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-cert"]);
    server.arg(folder.join(format!("{name}.pem"))).arg("-key");
    server.arg(folder.join(format!("{name}.key")));
    Ok(server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}
