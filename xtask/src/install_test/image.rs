//! The image's files, and nothing else, in a chroot.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{environment, shell};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Unpacks the layer and runs what the image would.
pub fn test(archive: &Path) -> Result<()> {
    let root = tempfile::Builder::new().prefix("image-").tempdir_in(environment::target())?;
    unpack(archive, root.path())?;
    let version =
        shell::output(Command::new("chroot").arg(root.path()).args(ENTRY).arg("--version"))?;
    ensure!(version.stdout.starts_with(b"dnscribe "), "not our version: {version:?}");
    replay(root.path())?;
    live(root.path())
}

const ENTRY: [&str; 1] = ["/usr/bin/dnscribe"];

/// Puts the files of the archive's only layer below `root`, checking every digest on the way.
fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let mut blobs = BTreeMap::new();
    for entry in tar::Archive::new(File::open(archive)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut octets = Vec::new();
        entry.read_to_end(&mut octets)?;
        blobs.insert(path, octets);
    }
    let named = |name: &str| blobs.get(name).with_context(|| format!("no {name} in the image"));
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap_or_default().replace("sha256:", "");
        let octets = named(&format!("blobs/sha256/{digest}"))?;
        ensure!(crate::dist::digest(octets) == digest, "{digest} is not that of its blob");
        ensure!(descriptor["size"] == octets.len(), "{digest} has not its size");
        Ok(octets)
    };
    let index: Value = serde_json::from_slice(named("index.json")?)?;
    let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])?)?;
    let config: Value = serde_json::from_slice(blob(&manifest["config"])?)?;
    ensure!(
        config["config"]["Entrypoint"] == Value::from(ENTRY.to_vec()),
        "another entry: {config}"
    );
    let mut layer = Vec::new();
    GzDecoder::new(blob(&manifest["layers"][0])?.as_slice()).read_to_end(&mut layer)?;
    let digest = format!("sha256:{}", crate::dist::digest(&layer));
    ensure!(config["rootfs"]["diff_ids"][0] == digest, "the layer is not the configuration's");
    tar::Archive::new(layer.as_slice()).unpack(root)?;
    Ok(())
}

/// A capture file gives the records that it gives outside.
fn replay(root: &Path) -> Result<()> {
    let goldens = environment::workspace().join("tests/goldens");
    let mut inside = Command::new("chroot");
    inside.arg(root).args(ENTRY).args(["replay", "-", "-o", "json"]);
    inside.args(["--stream", "messages,transactions,dlq,ledger"]);
    let output = inside.stdin(File::open(goldens.join("lab.pcap"))?).output()?;
    ensure!(output.status.success(), "replay failed: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.stdout == fs::read(goldens.join("lab.ndjson"))?,
        "replay in the image gives other records than outside"
    );
    Ok(())
}

/// `check` and a live capture, with `/proc` and `/sys` as a runtime gives them.
fn live(root: &Path) -> Result<()> {
    let script = "mount --rbind /sys \"$0/sys\" && mount --bind /proc \"$0/proc\" && \
                  exec chroot \"$0\" /usr/bin/dnscribe \"$@\"";
    let inside = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-ec", script]).arg(root).args(words);
        command.stdin(Stdio::null());
        command
    };
    shell::output(&mut inside(&["check", "--metrics-listen", "off"]))?;
    let run = ["run", "--duration", "4s", "--metrics-listen", "off", "-o", "json"];
    let child = inside(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Until the end, so that one of them comes after the attachment: nobody listens, which is told too.
    let query = "for _ in 1 2 3 4 5 6; do { exec 3<>/dev/udp/127.0.0.1/53; printf \
                 '\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x05image\\x07example\\x04test\\x00\\x00\\x01\\x00\\x01' \
                 >&3; } 2> /dev/null || true; sleep 0.5; done";
    shell::output(Command::new("bash").args(["-c", query]))?;
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        told.contains("\"image.example.test\""),
        "no record of the query: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
