//! `InfluxDB` 2, built from the Go module proxy.

use super::service::{self, Service};
use crate::{cache, go, http, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of `InfluxDB`; later ones need a newer Go.
pub const VERSION: &str = "v2.7.12";
/// Module of `InfluxDB`.
const INFLUXDB: &str = "github.com/influxdata/influxdb/v2";
/// Module of the query language, which is partly in Rust.
const FLUX: &str = "github.com/influxdata/flux";
/// Program that builds the Rust part.
const PKG_CONFIG: &str = "github.com/influxdata/pkg-config@v0.2.14";
/// Files whose first line makes warnings of newer Rust compilers errors.
const DENY_WARNINGS: [&str; 2] = ["libflux/flux-core/src/lib.rs", "libflux/flux/src/lib.rs"];
/// Port of the HTTP interface.
pub const PORT: u16 = 8086;

/// Organisation that [`start`] creates.
pub const ORGANISATION: &str = "dnscribe";
/// Bucket that [`start`] creates.
pub const BUCKET: &str = "dns";
/// Token of the administrator, for a server that listens on the loopback address only.
pub const TOKEN: &str = "dnscribe-development";

/// Builds the program if it is missing: some minutes.
pub fn prepare() -> Result<PathBuf> {
    let folder = cache::folder("influxdb", VERSION, build)?;
    Ok(folder.join("influxd"))
}

fn build(scratch: &Path) -> Result<()> {
    for (program, remedy) in [("go", "golang"), ("rustc", "rustup"), ("cc", "gcc"), ("tar", "tar")]
    {
        if shell::which(program).is_none() {
            bail!("InfluxDB is built from source and needs {program}: install {remedy}");
        }
    }
    let ready = scratch.join("ready");
    fs::create_dir(&ready)?;
    fs::write(scratch.join("go.mod"), "module download\n")?;
    let command = |folder: &Path, words: &[&str]| {
        let mut go = Command::new("go");
        go.args(words).current_dir(folder).env("GOFLAGS", "-mod=mod -buildvcs=false");
        go.env("GOBIN", scratch.join("bin"));
        go
    };
    let module = |name: &str, version: &str, copy: &str| -> Result<PathBuf> {
        let wanted = format!("{name}@{version}");
        let output = shell::output(&mut command(scratch, &["mod", "download", "-json", &wanted]))
            .with_context(|| format!("cannot get {wanted} from the Go module proxy"))?;
        let downloaded: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let folder = downloaded["Dir"].as_str().context("no folder of the module")?;
        let copy = scratch.join(copy);
        // Modules are stored without write permission.
        shell::output(Command::new("cp").args(["-r", folder]).arg(&copy))?;
        shell::output(Command::new("chmod").args(["-R", "u+w"]).arg(&copy))?;
        Ok(copy)
    };
    let influxdb = module(INFLUXDB, VERSION, "influxdb")?;
    let words = ["list", "-m", "-f", "{{.Version}}", FLUX];
    let version = String::from_utf8(shell::output(&mut command(&influxdb, &words))?.stdout)?;
    let flux = module(FLUX, version.trim(), "flux")?;
    for name in DENY_WARNINGS {
        let file = flux.join(name);
        let text = fs::read_to_string(&file)?;
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        fs::write(&file, rest)?;
    }
    let replace = format!("{FLUX}={}", flux.display());
    shell::output(&mut command(&influxdb, &["mod", "edit", "-replace", &replace]))?;
    shell::output(&mut command(scratch, &["install", PKG_CONFIG]))?;
    let mut make = command(&influxdb, &[&["build"], &go::FAST[..], &["-o"]].concat());
    make.arg(ready.join("influxd")).arg("./cmd/influxd");
    make.env("PKG_CONFIG", scratch.join("bin/pkg-config"));
    // The Rust part is a workspace of its own: cargo's settings for this one do not apply.
    for name in ["CARGO_TARGET_DIR", "CARGO", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        make.env_remove(name);
    }
    make.env("RUSTUP_TOOLCHAIN", "stable");
    // A shorter build matters more than a faster program.
    let profile = [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")];
    make.envs(profile.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)));
    shell::output(&mut make).context("cannot build InfluxDB").map(drop)
}

/// Starts the server, at its previous address if it had one; its data is kept in `folder`.
pub fn start(folder: &Path, previous: Option<SocketAddr>) -> Result<Service> {
    let program = prepare()?;
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    let address = service::address(previous, PORT)?;
    let mut command = Command::new(program);
    command.arg("--bolt-path").arg(data.join("influxd.bolt"));
    command.arg("--engine-path").arg(data.join("engine"));
    command.args(["--http-bind-address", &address.to_string(), "--reporting-disabled"]);
    command.args(["--log-level", "warn", "--storage-cache-max-memory-size", "268435456"]);
    let service = Service::start(&command, address, &folder.join("log"), || {
        http::get(address, None, "/health").is_ok_and(|(status, _)| status == 200)
    })?;
    let made = create_bucket(address);
    if made.is_err() {
        service.kill()?;
    }
    made.map(|()| service)
}

/// Creates organisation, bucket and token at the first start.
fn create_bucket(address: SocketAddr) -> Result<()> {
    let (_, body) = http::get(address, None, "/api/v2/setup")?;
    let status: serde_json::Value = serde_json::from_str(&body)?;
    if status["allowed"] != true {
        return Ok(());
    }
    let setup = json!({
        "username": "dnscribe",
        "password": TOKEN,
        "token": TOKEN,
        "org": ORGANISATION,
        "bucket": BUCKET,
    });
    let kind = "Content-Type: application/json\r\n";
    let answer = http::send(address, "POST", "/api/v2/setup", kind, setup.to_string().as_bytes())?;
    if answer.status != 201 {
        bail!("InfluxDB refuses its setup ({}): {}", answer.status, answer.body);
    }
    Ok(())
}
