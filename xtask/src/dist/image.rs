//! The image, as an OCI archive: the binary, the libraries that it loads, certificates, and nothing
//! else. Made without a daemon or a container engine.

use super::archive::Archive;
use super::stage::compressed;
use super::{Release, digest};
use crate::architecture::Architecture;
use crate::{loaded, say};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// The most that an image may take, in octets, as it is handed out.
const MOST: usize = 30_000_000;

/// What an index of images is.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Where certificates are kept, by Debian and by Fedora.
const CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Where they are in the image, for OpenSSL by its variable and for librdkafka by its own search.
const CERTIFICATES_INSIDE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Writes the archive.
pub fn write(release: &Release) -> Result<()> {
    let docker = release.architecture.debian();
    let layer = layer(release)?;
    // For who makes the image by other means.
    fs::write(release.stage.with_file_name("image.tar"), &layer)?;
    let packed = compressed(&layer)?;
    ensure!(packed.len() < MOST, "the image takes {} octets, more than {MOST}", packed.len());
    say::progress(&format!("dist: image of {} octets, {} unpacked", packed.len(), layer.len()));
    let mut archive = begun(release.epoch)?;
    let config = config(release, docker, &digest(&layer)).to_string();
    let layer = blob(&mut archive, "application/vnd.oci.image.layer.v1.tar+gzip", &packed)?;
    let config = blob(&mut archive, "application/vnd.oci.image.config.v1+json", config.as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let mut manifest = blob(&mut archive, kind, manifest.to_string().as_bytes())?;
    manifest["platform"] = json!({ "architecture": docker, "os": "linux" });
    let written = ended(archive, manifest, &release.version)?;
    fs::write(release.dist.join(format!("{}.oci.tar", release.name())), written)?;
    Ok(())
}

/// Writes an archive of the images of all architectures that are in a folder, where there are several.
pub fn join(version: &str, epoch: u64, folder: &Path) -> Result<()> {
    let names = Architecture::value_variants()
        .iter()
        .map(|it| folder.join(format!("dnscribe-{version}-linux-{}.oci.tar", it.machine())));
    let files: Vec<_> = names.filter(|file| file.exists()).collect();
    if files.len() < 2 {
        return Ok(());
    }
    let (mut blobs, mut manifests) = (BTreeMap::new(), Vec::new());
    for file in files {
        let mut one = entries(&file)?;
        let index = one.remove("index.json").context("an image without an index")?;
        let index: Value = serde_json::from_slice(&index)?;
        let mut manifest = index["manifests"][0].clone();
        manifest.as_object_mut().context("an image without a manifest")?.remove("annotations");
        manifests.push(manifest);
        one.retain(|name, _| name.starts_with("blobs/"));
        blobs.extend(one);
    }
    let mut archive = begun(epoch)?;
    for (name, octets) in blobs {
        archive.file(&name, 0o644, &octets)?;
    }
    let all = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let all = blob(&mut archive, INDEX, all.to_string().as_bytes())?;
    let written = ended(archive, all, version)?;
    fs::write(folder.join(format!("dnscribe-{version}-linux.oci.tar")), written)?;
    Ok(())
}

/// The files of an archive, by name.
pub fn entries(archive: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(File::open(archive)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut octets = Vec::new();
        entry.read_to_end(&mut octets)?;
        found.insert(path, octets);
    }
    Ok(found)
}

fn begun(epoch: u64) -> Result<Archive> {
    let mut archive = Archive::new(epoch);
    let layout = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    archive.file("oci-layout", 0o644, layout.as_bytes())?;
    Ok(archive)
}

/// The archive, with what it holds under the name of a version.
fn ended(mut archive: Archive, mut what: Value, version: &str) -> Result<Vec<u8>> {
    what["annotations"] = json!({ "org.opencontainers.image.ref.name": version });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [what] });
    archive.file("index.json", 0o644, index.to_string().as_bytes())?;
    archive.finish()
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
    let libraries = loaded::libraries(&program, release.sysroot.as_ref())?;
    ensure!(!libraries.is_empty(), "the agent is said to load no libraries");
    for library in libraries {
        let what = || format!("cannot read {}", library.file.display());
        let octets = fs::read(&library.file).with_context(what)?;
        let place = library.place.to_string_lossy();
        files.push((place.trim_start_matches('/').to_owned(), 0o755, octets));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_two_architectures_are_joined() {
        let folder = tempfile::tempdir().unwrap();
        let one = |name: &str, architecture: &str| {
            let mut archive = begun(1).unwrap();
            let mut manifest = blob(&mut archive, "manifest", architecture.as_bytes()).unwrap();
            manifest["platform"] = json!({ "architecture": architecture });
            let file = folder.path().join(format!("dnscribe-1.2.3-linux-{name}.oci.tar"));
            fs::write(file, ended(archive, manifest, "1.2.3").unwrap()).unwrap();
        };
        let joined = folder.path().join("dnscribe-1.2.3-linux.oci.tar");
        one("x86_64", "amd64");
        join("1.2.3", 1, folder.path()).unwrap();
        assert!(!joined.exists(), "there is nothing to join");
        one("aarch64", "arm64");
        join("1.2.3", 1, folder.path()).unwrap();
        let found = entries(&joined).unwrap();
        let named = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            found[&format!("blobs/{digest}")].clone()
        };
        let index: Value = serde_json::from_slice(&found["index.json"]).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "one name, one thing");
        let all: Value = serde_json::from_slice(&named(&index["manifests"][0])).unwrap();
        let inside = all["manifests"].as_array().unwrap().iter().map(|manifest| {
            assert_eq!(
                manifest["platform"]["architecture"].as_str().unwrap().as_bytes(),
                named(manifest)
            );
            named(manifest)
        });
        assert_eq!(inside.collect::<Vec<_>>(), [b"amd64", b"arm64"]);
    }
}
