//! The image's files, and nothing else, in a chroot.

use crate::architecture::Architecture;
use crate::debian::sysroot;
use crate::dist;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{environment, shell};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Where QEMU is in the root of an image for another architecture.
const EMULATOR: &str = "/emulator";

/// The image of an architecture, unpacked.
struct Image {
    root: TempDir,
    /// Whether its programs need an emulator here.
    foreign: bool,
}

/// Unpacks the layer and runs what the image would: of another architecture, all but a capture.
pub fn test(archive: &Path, architecture: Architecture) -> Result<()> {
    let root = tempfile::Builder::new().prefix("image-").tempdir_in(environment::target())?;
    let octets = unpack(archive, architecture, root.path())?;
    crate::say::result(&format!(
        "install-test: image for {}: {octets} octets unpacked",
        architecture.debian()
    ));
    let foreign = architecture.is_foreign();
    if foreign {
        fs::copy(sysroot::emulator(architecture)?, root.path().join(&EMULATOR[1..]))?;
    }
    let image = Image { root, foreign };
    let version = shell::output(image.command().arg("--version"))?;
    ensure!(version.stdout.starts_with(b"dnscribe "), "not our version: {version:?}");
    replay(&image)?;
    // QEMU has no bpf(2) for programs of others.
    if foreign { Ok(()) } else { live(image.root.path()) }
}

/// The archive of all architectures: one name, behind which each finds what its own archive holds.
pub fn joined(archive: &Path, single: &[(Architecture, PathBuf)]) -> Result<()> {
    let blobs = dist::image_entries(archive)?;
    let index: Value = serde_json::from_slice(named(&blobs, "index.json")?)?;
    let all: Value = serde_json::from_slice(blob(&blobs, &index["manifests"][0])?)?;
    for (architecture, file) in single {
        let own = dist::image_entries(file)?;
        let own: Value = serde_json::from_slice(named(&own, "index.json")?)?;
        let mut here = all["manifests"].as_array().into_iter().flatten();
        let here = here.find(|it| it["platform"]["architecture"] == architecture.debian());
        let here = here.with_context(|| format!("no {}: {all}", architecture.debian()))?;
        ensure!(here["digest"] == own["manifests"][0]["digest"], "another image: {here}");
        blob(&blobs, here)?;
    }
    Ok(())
}

impl Image {
    /// The image's entry point, in the image's files.
    fn command(&self) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root.path());
        if self.foreign {
            command.arg(EMULATOR);
        }
        command.args(ENTRY);
        command
    }
}

/// The files of an archive, by name.
type Blobs = std::collections::BTreeMap<String, Vec<u8>>;

const ENTRY: [&str; 1] = ["/usr/bin/dnscribe"];

/// Asks for the address of a name that nobody else asks for.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05image\x07example\x04test\0\0\x01\0\x01";

/// The octets of a file of an archive.
fn named<'a>(blobs: &'a Blobs, name: &str) -> Result<&'a [u8]> {
    blobs.get(name).map(Vec::as_slice).with_context(|| format!("no {name} in the image"))
}

/// What a descriptor describes, its digest and size checked.
fn blob<'a>(blobs: &'a Blobs, descriptor: &Value) -> Result<&'a [u8]> {
    let digest = descriptor["digest"].as_str().unwrap_or_default().replace("sha256:", "");
    let octets = named(blobs, &format!("blobs/sha256/{digest}"))?;
    ensure!(dist::digest(octets) == digest, "{digest} is not that of its blob");
    ensure!(descriptor["size"] == octets.len(), "{digest} has not its size");
    Ok(octets)
}

/// Puts the files of the archive's only layer below `root`, checking every digest on the way, and gives
/// how many octets they are, as an archive.
fn unpack(archive: &Path, architecture: Architecture, root: &Path) -> Result<u64> {
    let blobs = dist::image_entries(archive)?;
    let named = |name: &str| named(&blobs, name);
    let blob = |descriptor: &Value| blob(&blobs, descriptor);
    let index: Value = serde_json::from_slice(named("index.json")?)?;
    ensure!(
        index["manifests"][0]["platform"]["architecture"] == architecture.debian(),
        "for another architecture: {index}"
    );
    let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0])?)?;
    let config: Value = serde_json::from_slice(blob(&manifest["config"])?)?;
    ensure!(
        config["config"]["Entrypoint"] == Value::from(ENTRY.to_vec()),
        "another entry: {config}"
    );
    let mut layer = Vec::new();
    GzDecoder::new(blob(&manifest["layers"][0])?).read_to_end(&mut layer)?;
    let digest = format!("sha256:{}", dist::digest(&layer));
    ensure!(config["rootfs"]["diff_ids"][0] == digest, "the layer is not the configuration's");
    tar::Archive::new(layer.as_slice()).unpack(root)?;
    Ok(layer.len() as u64)
}

/// A capture file gives the records that it gives outside.
fn replay(image: &Image) -> Result<()> {
    let goldens = environment::workspace().join("tests/goldens");
    let mut inside = image.command();
    inside.args(["replay", "-", "-o", "json"]);
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
    let mut child = inside(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Until the end, so that one of them comes after the attachment. Nobody listens, which is told too.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    while child.try_wait()?.is_none() {
        socket.send_to(QUERY, "127.0.0.1:53")?;
        thread::sleep(Duration::from_millis(200));
    }
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        told.contains("\"image.example.test\""),
        "no record of the query: {told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
