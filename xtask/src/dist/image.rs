//! The container image as an OCI archive: the binary, its shared libraries, and certificates. Built without a
//! container engine.

use super::archive::Archive;
use super::program::Program;
use super::stage::gzip;
use super::{Release, sha256_hex};
use crate::architecture::Architecture;
use crate::{console, shared_libraries};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Largest size of a compressed image layer in bytes.
const MAX_BYTES: usize = 30_000_000;

/// Media type of an image index.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Paths of the CA certificates in Debian and in Fedora.
const CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Path of the CA certificates in the image. OpenSSL gets it by a variable; librdkafka searches it by itself.
const CERTIFICATES_INSIDE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Writes the image of an architecture.
pub fn write(release: &Release) -> Result<()> {
    let docker = release.architecture.debian();
    let layer = layer(release)?;
    // For deploy/image/Dockerfile.
    let file = release.program.stage.replace("stage", "image") + ".tar";
    fs::write(release.stage.with_file_name(file), &layer)?;
    let packed = gzip(&layer)?;
    ensure!(
        packed.len() < MAX_BYTES,
        "the image has {} bytes; the limit is {MAX_BYTES}",
        packed.len()
    );
    console::progress(&format!("dist: image has {} bytes, {} unpacked", packed.len(), layer.len()));
    let mut archive = new_archive(release.epoch)?;
    let config = config(release, docker, &sha256_hex(&layer)).to_string();
    let layer = blob(&mut archive, "application/vnd.oci.image.layer.v1.tar+gzip", &packed)?;
    let config = blob(&mut archive, "application/vnd.oci.image.config.v1+json", config.as_bytes())?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let mut manifest = blob(&mut archive, kind, manifest.to_string().as_bytes())?;
    manifest["platform"] = json!({ "architecture": docker, "os": "linux" });
    let written = finish_archive(archive, manifest, release.program.name, &release.version)?;
    fs::write(release.dist.join(format!("{}.oci.tar", release.name())), written)?;
    Ok(())
}

/// Writes one archive with the images of all architectures in a folder, if there are several.
pub fn write_multi_arch(name: &str, version: &str, epoch: u64, folder: &Path) -> Result<()> {
    let names = Architecture::value_variants()
        .iter()
        .map(|it| folder.join(format!("{name}-{version}-linux-{}.oci.tar", it.machine())));
    let files: Vec<_> = names.filter(|file| file.exists()).collect();
    if files.len() < 2 {
        return Ok(());
    }
    let (mut blobs, mut manifests) = (BTreeMap::new(), Vec::new());
    for file in files {
        let mut files = read_files(&file)?;
        let index = files.remove("index.json").context("an image without an index")?;
        let index: Value = serde_json::from_slice(&index)?;
        let mut manifest = index["manifests"][0].clone();
        manifest.as_object_mut().context("an image without a manifest")?.remove("annotations");
        manifests.push(manifest);
        files.retain(|name, _| name.starts_with("blobs/"));
        blobs.extend(files);
    }
    let mut archive = new_archive(epoch)?;
    for (name, bytes) in blobs {
        archive.file(&name, 0o644, &bytes)?;
    }
    let all = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let all = blob(&mut archive, INDEX, all.to_string().as_bytes())?;
    let written = finish_archive(archive, all, name, version)?;
    fs::write(folder.join(format!("{name}-{version}-linux.oci.tar")), written)?;
    Ok(())
}

/// Reads the files of an archive, by name.
pub fn read_files(archive: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(File::open(archive)?).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        found.insert(path, bytes);
    }
    Ok(found)
}

/// Returns an archive with the layout file.
fn new_archive(epoch: u64) -> Result<Archive> {
    let mut archive = Archive::new(epoch);
    let layout = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    archive.file("oci-layout", 0o644, layout.as_bytes())?;
    Ok(archive)
}

/// Adds the index with `descriptor`, and returns the archive's bytes. `podman load`, containerd and kind call the image
/// `docker.io/library/NAME:VERSION`, which is what `NAME:VERSION` means in commands; the other annotation is the tag inside of the archive,
/// and all that older tools know.
fn finish_archive(
    mut archive: Archive,
    mut descriptor: Value,
    name: &str,
    version: &str,
) -> Result<Vec<u8>> {
    descriptor["annotations"] = json!({
        "io.containerd.image.name": format!("docker.io/library/{name}:{version}"),
        "org.opencontainers.image.ref.name": version,
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
    archive.file("index.json", 0o644, index.to_string().as_bytes())?;
    archive.finish()
}

/// Adds a blob under its digest and returns its descriptor.
fn blob(archive: &mut Archive, kind: &str, bytes: &[u8]) -> Result<Value> {
    let digest = sha256_hex(bytes);
    archive.file(&format!("blobs/sha256/{digest}"), 0o644, bytes)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

/// Returns the image configuration of a program. `layer` is the digest of the uncompressed layer.
fn config(release: &Release, architecture: &str, layer: &str) -> Value {
    let Program { name, user: (id, _), arguments, .. } = release.program;
    let mut volumes = serde_json::Map::new();
    volumes.insert(format!("/var/lib/{name}"), json!({}));
    json!({
        "architecture": architecture, "os": "linux",
        "config": {
            "User": format!("{id}:{id}"),
            "Entrypoint": [format!("/usr/bin/{name}")],
            "Cmd": arguments,
            "Env": [format!("SSL_CERT_FILE=/{CERTIFICATES_INSIDE}"), "PATH=/usr/bin"],
            "Volumes": volumes,
            "Labels": {
                "org.opencontainers.image.title": name,
                "org.opencontainers.image.version": release.version,
                "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
    })
}

/// Returns the files of the image as a tar archive.
fn layer(release: &Release) -> Result<Vec<u8>> {
    let Program { name, user: (id, user), .. } = release.program;
    let program = release.binary();
    let mut files = vec![
        (format!("usr/bin/{name}"), 0o755, fs::read(&program)?),
        (CERTIFICATES_INSIDE.to_owned(), 0o644, certificates()?),
        (
            "etc/passwd".to_owned(),
            0o644,
            format!("{user}:x:{id}:{id}::/:/sbin/nologin\n").into_bytes(),
        ),
        ("etc/group".to_owned(), 0o644, format!("{user}:x:{id}:\n").into_bytes()),
    ];
    let libraries = shared_libraries::find(&program, release.sysroot.as_ref())?;
    ensure!(!libraries.is_empty(), "the loader lists no libraries of the program");
    for library in libraries {
        let what = || format!("cannot read {}", library.file.display());
        let bytes = fs::read(&library.file).with_context(what)?;
        let load_path = library.load_path.to_string_lossy();
        files.push((load_path.trim_start_matches('/').to_owned(), 0o755, bytes));
    }
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "third-party-licences.txt"] {
        let path = format!("usr/share/doc/{name}/{file}");
        let bytes = fs::read(release.stage.join(&path))?;
        files.push((path, 0o644, bytes));
    }
    files.sort();
    let mut folders: BTreeSet<String> =
        ["tmp", "var", "var/lib", "proc", "sys"].map(str::to_owned).into();
    for (path, ..) in &files {
        let above = Path::new(path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        folders.extend(above.map(|path| path.to_string_lossy().into_owned()));
    }
    let mut archive = Archive::new(release.epoch);
    for folder in folders {
        archive.folder(&folder, if folder == "tmp" { 0o1777 } else { 0o755 })?;
    }
    archive.folder_of(&format!("var/lib/{name}"), 0o755, *id)?;
    for (path, mode, bytes) in files {
        archive.file(&path, mode, &bytes)?;
    }
    archive.finish()
}

fn certificates() -> Result<Vec<u8>> {
    let found = CERTIFICATES.iter().find_map(|path| fs::read(path).ok());
    found.context("this host has no CA certificates: install the package ca-certificates")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Engines look for the name of the program and its version, which the commands of docs/install.md have.
    #[test]
    fn archive_names_program_and_version() {
        for name in ["dnscribe", "dnscribe-probe"] {
            let folder = tempfile::tempdir().unwrap();
            let mut archive = new_archive(1).unwrap();
            let manifest = blob(&mut archive, "manifest", b"{}").unwrap();
            let file = folder.path().join("image.oci.tar");
            fs::write(&file, finish_archive(archive, manifest, name, "1.2.3").unwrap()).unwrap();
            let index = read_files(&file).unwrap().remove("index.json").unwrap();
            let index: Value = serde_json::from_slice(&index).unwrap();
            let annotations = &index["manifests"][0]["annotations"];
            let engine = annotations["io.containerd.image.name"].as_str().unwrap();
            assert_eq!(engine, format!("docker.io/library/{name}:1.2.3"));
            // A tag, not a whole name: `skopeo copy oci-archive:FILE:1.2.3` finds it.
            assert_eq!(annotations["org.opencontainers.image.ref.name"], "1.2.3");
        }
    }

    #[test]
    fn writes_multi_arch_archive_for_two_images() {
        let folder = tempfile::tempdir().unwrap();
        let write_image = |name: &str, architecture: &str| {
            let mut archive = new_archive(1).unwrap();
            let mut manifest = blob(&mut archive, "manifest", architecture.as_bytes()).unwrap();
            manifest["platform"] = json!({ "architecture": architecture });
            let file = folder.path().join(format!("dnscribe-1.2.3-linux-{name}.oci.tar"));
            fs::write(file, finish_archive(archive, manifest, "dnscribe", "1.2.3").unwrap())
                .unwrap();
        };
        let joined = folder.path().join("dnscribe-1.2.3-linux.oci.tar");
        write_image("x86_64", "amd64");
        write_multi_arch("dnscribe", "1.2.3", 1, folder.path()).unwrap();
        assert!(!joined.exists(), "one image only");
        write_image("aarch64", "arm64");
        write_multi_arch("dnscribe", "1.2.3", 1, folder.path()).unwrap();
        let found = read_files(&joined).unwrap();
        let named = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            found[&format!("blobs/{digest}")].clone()
        };
        let index: Value = serde_json::from_slice(&found["index.json"]).unwrap();
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "one entry in the index");
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
