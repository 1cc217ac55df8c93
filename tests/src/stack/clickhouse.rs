//! `ClickHouse`: the engine from `PyPI` with the HTTP interface of a server.

use super::service::{self, Service};
use crate::{cache, environment, http};
use anyhow::Result;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of the engine.
pub const VERSION: &str = "26.1.0";
/// Port of the HTTP interface.
pub const PORT: u16 = 8123;

/// Downloads the engine if it is missing.
pub fn prepare() -> Result<PathBuf> {
    cache::folder("clickhouse", VERSION, |scratch| {
        let requirements = environment::workspace().join("tests/clickhouse/requirements.txt");
        cache::python_alone(scratch, &requirements)
    })
}

/// Starts the engine, at its previous address if it had one; its data is kept in `folder`.
pub fn start(folder: &Path, previous: Option<SocketAddr>) -> Result<Service> {
    let address = service::address(previous, PORT)?;
    Service::start(&command(folder, address)?, address, &folder.join("log"), || {
        http::get(address, None, "/ping").is_ok_and(|(status, _)| status == 200)
    })
}

/// Starts the engine with TLS. The certificate and its key are PEM files.
pub fn start_with_tls(folder: &Path, certificate: &Path, key: &Path) -> Result<Service> {
    let address = service::free_address(PORT)?;
    let mut command = command(folder, address)?;
    command.arg(certificate).arg(key);
    Service::start(&command, address, &folder.join("log"), || TcpStream::connect(address).is_ok())
}

fn command(folder: &Path, address: SocketAddr) -> Result<Command> {
    let python = prepare()?.join("bin/python");
    fs::create_dir_all(folder)?;
    let mut command = Command::new(python);
    command.arg(environment::workspace().join("tests/clickhouse/server.py"));
    command.args([address.ip().to_string(), address.port().to_string()]);
    command.arg(folder.join("data"));
    Ok(command)
}
