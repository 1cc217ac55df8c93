//! Small databases of places and networks for tests: those of `MaxMind`'s Python library, stored
//! under `target/geo`.

use crate::{cache, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the library. Its source distribution has the databases.
const VERSION: &str = "5.3.0";

/// Downloads the databases if they are missing. Returns their folder.
pub fn prepare() -> Result<PathBuf> {
    cache::folder("geo", VERSION, fetch)
}

fn fetch(scratch: &Path) -> Result<()> {
    let package = format!("geoip2=={VERSION}");
    let mut download = Command::new("python3");
    download.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "geoip2"]);
    download.arg("--dest").arg(scratch).arg(&package);
    shell::output(&mut download).with_context(|| format!("cannot get {package} from PyPI"))?;
    let archive = scratch.join(format!("geoip2-{VERSION}.tar.gz"));
    let ready = scratch.join("ready");
    fs::create_dir(&ready)?;
    let folder = format!("geoip2-{VERSION}/tests/data/test-data");
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(archive).arg("-C").arg(ready);
    shell::output(unpack.args(["--strip-components=4", &folder])).map(drop)
}
