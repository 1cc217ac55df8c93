//! The image, as an OCI archive: the binary, the libraries that it loads, certificates, and nothing
//! else. Made without a daemon or a container engine.

use super::archive::Archive;
use super::stage::compressed;
use super::{Release, architecture, digest};
use crate::say;
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The most that an image may take, in octets, as it is handed out.
const MOST: usize = 30_000_000;

/// Where certificates are kept, by Debian and by Fedora.
const CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Where they are in the image, for OpenSSL by its variable and for librdkafka by its own search.
const CERTIFICATES_INSIDE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Writes the archive.
pub fn write(release: &Release) -> Result<()> {
    let (docker, machine) = architecture()?;
    let layer = layer(release)?;
    // For who makes the image by other means.
    fs::write(release.stage.with_file_name("image.tar"), &layer)?;
    let packed = compressed(&layer)?;
    ensure!(packed.len() < MOST, "the image takes {} octets, more than {MOST}", packed.len());
    say::progress(&format!("dist: image of {} octets, {} unpacked", packed.len(), layer.len()));
    let mut archive = Archive::new(release.epoch);
    archive.file(
        "oci-layout",
        0o644,
        json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes(),
    )?;
    let config = config(release, docker, &digest(&layer)).to_string();
    let layer = blob(&mut archive, "application/vnd.oci.image.layer.v1.tar+gzip", &packed)?;
    let config = blob(&mut archive, "application/vnd.oci.image.config.v1+json", config.as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let mut manifest = blob(&mut archive, kind, manifest.to_string().as_bytes())?;
    manifest["platform"] = json!({ "architecture": docker, "os": "linux" });
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": release.version });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest] });
    archive.file("index.json", 0o644, index.to_string().as_bytes())?;
    let name = format!("dnscribe-{}-linux-{machine}.oci.tar", release.version);
    fs::write(release.dist.join(name), archive.finish()?)?;
    Ok(())
}

/// Adds octets under their digest and gives their descriptor.
fn blob(archive: &mut Archive, kind: &str, octets: &[u8]) -> Result<Value> {
    let digest = digest(octets);
    archive.file(&format!("blobs/sha256/{digest}"), 0o644, octets)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": octets.len() }))
}

/// `layer`: the digest of the layer's plain octets.
fn config(release: &Release, architecture: &str, layer: &str) -> Value {
    json!({
        "architecture": architecture, "os": "linux",
        "config": {
            // Capabilities given to a container reach root alone; the runtime takes all others away.
            "User": "0:0",
            "Entrypoint": ["/usr/bin/dnscribe"],
            "Cmd": ["run"],
            "Env": [format!("SSL_CERT_FILE=/{CERTIFICATES_INSIDE}"), "PATH=/usr/bin"],
            "Volumes": { "/var/lib/dnscribe": {} },
            "Labels": {
                "org.opencontainers.image.title": "dnscribe",
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
    })
}

/// The files of the image, as a tar archive.
fn layer(release: &Release) -> Result<Vec<u8>> {
    let program = release.stage.join("usr/bin/dnscribe");
    let mut files = vec![
        ("usr/bin/dnscribe".to_owned(), 0o755, fs::read(&program)?),
        (CERTIFICATES_INSIDE.to_owned(), 0o644, certificates()?),
        ("etc/passwd".to_owned(), 0o644, b"root:x:0:0::/:/sbin/nologin\n".to_vec()),
        ("etc/group".to_owned(), 0o644, b"root:x:0:\n".to_vec()),
    ];
    for library in libraries(&program)? {
        let octets = fs::read(&library).with_context(|| format!("cannot read {library}"))?;
        files.push((library.trim_start_matches('/').to_owned(), 0o755, octets));
    }
    for name in ["LICENSE-APACHE", "LICENSE-MIT", "third-party-licences.txt"] {
        let path = format!("usr/share/doc/dnscribe/{name}");
        let octets = fs::read(release.stage.join(&path))?;
        files.push((path, 0o644, octets));
    }
    files.sort();
    let mut folders: BTreeSet<String> =
        ["tmp", "var", "var/lib", "var/lib/dnscribe", "proc", "sys"].map(str::to_owned).into();
    for (path, ..) in &files {
        let above = Path::new(path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        folders.extend(above.map(|path| path.to_string_lossy().into_owned()));
    }
    let mut archive = Archive::new(release.epoch);
    for folder in folders {
        archive.folder(&folder, if folder == "tmp" { 0o1777 } else { 0o755 })?;
    }
    for (path, mode, octets) in files {
        archive.file(&path, mode, &octets)?;
    }
    archive.finish()
}

fn certificates() -> Result<Vec<u8>> {
    let found = CERTIFICATES.iter().find_map(|path| fs::read(path).ok());
    found
        .context("no certificates of authorities on this host: install the package ca-certificates")
}

/// What a program loads at its start, the loader itself too, at the paths where it looks for them.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let told = shell::output(Command::new("ldd").arg(program))?;
    loaded(&String::from_utf8(told.stdout)?)
}

/// From lines such as `libz.so.1 => /lib/libz.so.1 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`.
fn loaded(told: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in told.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a library is missing here: {line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if let Some(path) = path.split(" (").next().filter(|path| path.starts_with('/')) {
            found.push(path.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let told = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibz.so.1 => /lib/x/libz.so.1 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(loaded(told).unwrap(), ["/lib/x/libz.so.1", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(loaded("\tlibq.so.1 => not found\n").is_err());
    }
}
