//! Runs an image in a chroot that holds only the image's files.

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

/// Path of QEMU in the root of an image for another architecture.
const EMULATOR: &str = "/emulator";

/// An unpacked image.
struct Image {
    root: TempDir,
    /// Whether its programs need an emulator on this host.
    is_foreign: bool,
}

/// Unpacks an image and tests version, replay and live capture. An image for another architecture is not tested
/// with live capture.
pub fn test(archive: &Path, architecture: Architecture) -> Result<()> {
    let root = tempfile::Builder::new().prefix("image-").tempdir_in(environment::target())?;
    let bytes = unpack(archive, architecture, root.path())?;
    crate::console::result(&format!(
        "install-test: image for {}: {bytes} bytes unpacked",
        architecture.debian()
    ));
    let is_foreign = architecture.is_foreign();
    if is_foreign {
        fs::copy(sysroot::emulator(architecture)?, root.path().join(&EMULATOR[1..]))?;
    }
    let image = Image { root, is_foreign };
    let version = shell::output(image.command().arg("--version"))?;
    ensure!(version.stdout.starts_with(b"dnscribe "), "unexpected version: {version:?}");
    replay(&image)?;
    // QEMU's user-mode emulator does not support bpf(2).
    if is_foreign { Ok(()) } else { live(image.root.path()) }
}

/// Checks that the multi-architecture archive contains the same images as the single archives.
pub fn test_multi_arch(archive: &Path, single: &[(Architecture, PathBuf)]) -> Result<()> {
    let blobs = dist::image_files(archive)?;
    let index: Value = serde_json::from_slice(named(&blobs, "index.json")?)?;
    let all: Value = serde_json::from_slice(blob(&blobs, &index["manifests"][0])?)?;
    for (architecture, file) in single {
        let own = dist::image_files(file)?;
        let own: Value = serde_json::from_slice(named(&own, "index.json")?)?;
        let mut here = all["manifests"].as_array().into_iter().flatten();
        let here = here.find(|it| it["platform"]["architecture"] == architecture.debian());
        let here =
            here.with_context(|| format!("no image for {}: {all}", architecture.debian()))?;
        ensure!(
            here["digest"] == own["manifests"][0]["digest"],
            "differs from the single archive: {here}"
        );
        blob(&blobs, here)?;
    }
    Ok(())
}

impl Image {
    /// Returns a command that runs the image's entry point.
    fn command(&self) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.root.path());
        if self.is_foreign {
            command.arg(EMULATOR);
        }
        command.args(ENTRY);
        command
    }
}

/// Files of an archive, by name.
type Blobs = std::collections::BTreeMap<String, Vec<u8>>;

const ENTRY: [&str; 1] = ["/usr/bin/dnscribe"];

/// Query for the address of image.example.test.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05image\x07example\x04test\0\0\x01\0\x01";

/// Returns a file of an archive.
fn named<'a>(blobs: &'a Blobs, name: &str) -> Result<&'a [u8]> {
    blobs.get(name).map(Vec::as_slice).with_context(|| format!("no {name} in the image"))
}

/// Returns the blob of a descriptor, with digest and size checked.
fn blob<'a>(blobs: &'a Blobs, descriptor: &Value) -> Result<&'a [u8]> {
    let digest = descriptor["digest"].as_str().unwrap_or_default().replace("sha256:", "");
    let bytes = named(blobs, &format!("blobs/sha256/{digest}"))?;
    ensure!(dist::sha256_hex(bytes) == digest, "blob {digest} has another digest");
    ensure!(descriptor["size"] == bytes.len(), "blob {digest} has another size");
    Ok(bytes)
}

/// Unpacks the archive's only layer to `root` and checks every digest. Returns the bytes of the uncompressed layer.
fn unpack(archive: &Path, architecture: Architecture, root: &Path) -> Result<u64> {
    let blobs = dist::image_files(archive)?;
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
        "unexpected entry point: {config}"
    );
    let mut layer = Vec::new();
    GzDecoder::new(blob(&manifest["layers"][0])?).read_to_end(&mut layer)?;
    let digest = format!("sha256:{}", dist::sha256_hex(&layer));
    ensure!(
        config["rootfs"]["diff_ids"][0] == digest,
        "the layer's digest differs from the configuration"
    );
    tar::Archive::new(layer.as_slice()).unpack(root)?;
    Ok(layer.len() as u64)
}

/// Checks that replay in the image gives the same records as outside.
fn replay(image: &Image) -> Result<()> {
    let goldens = environment::workspace().join("tests/goldens");
    let mut inside = image.command();
    inside.args(["replay", "-", "-o", "json"]);
    inside.args(["--stream", "messages,transactions,dlq,ledger"]);
    let output = inside.stdin(File::open(goldens.join("lab.pcap"))?).output()?;
    ensure!(output.status.success(), "replay failed: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.stdout == fs::read(goldens.join("lab.ndjson"))?,
        "replay in the image gives different records"
    );
    Ok(())
}

/// Tests `check` and a live capture, with `/proc` and `/sys` mounted as by a container runtime.
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
    // Repeat until the agent ends, so that some queries come after the attachment. The port is closed, which is
    // recorded, too.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    while child.try_wait()?.is_none() {
        socket.send_to(QUERY, "127.0.0.1:53")?;
        thread::sleep(Duration::from_millis(200));
    }
    let output = child.wait_with_output()?;
    let records = String::from_utf8_lossy(&output.stdout);
    ensure!(
        records.contains("\"image.example.test\""),
        "no record of the query: {records}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
