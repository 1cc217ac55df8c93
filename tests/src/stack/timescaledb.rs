//! `PostgreSQL` with `TimescaleDB`: Debian's packages, in a root file system of their own because
//! they need a newer C library than older hosts have.

use super::service::{self, Service};
use crate::{cache, shell};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian release of the packages.
const RELEASE: &str = "trixie";
/// Keys that sign Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Major version of `PostgreSQL` in that release.
pub const MAJOR: &str = "17";
/// Port of `PostgreSQL`.
pub const PORT: u16 = 5432;
/// User id of the server inside its root file system.
const USER_ID: u32 = 101;
/// Runs a program as [`USER_ID`] in the root file system `$1`, with the data folder `$2` at `/data`.
/// The mount is visible to this program only.
const INSIDE: &str = "mount --bind \"$2\" \"$1/data\"; mount --bind /dev \"$1/dev\"; \
    root=$1; user=$3; shift 3; exec chroot --userspec=\"$user:$user\" \"$root\" \"$@\"";

/// Role and database that [`start`] creates.
pub const DATABASE: &str = "dns";

/// Downloads the packages if they are missing.
pub fn prepare() -> Result<PathBuf> {
    cache::folder("timescaledb", RELEASE, fetch)
}

fn fetch(scratch: &Path) -> Result<()> {
    for (program, package) in [("mmdebstrap", "mmdebstrap"), ("apt-get", "apt")] {
        if shell::which(program).is_none() {
            bail!("TimescaleDB needs {program}; on Debian and Ubuntu: apt-get install {package}");
        }
    }
    let sources = scratch.join("sources.list");
    let source = format!("deb [signed-by={KEYRING}] http://deb.debian.org/debian {RELEASE} main\n");
    fs::write(&sources, source)?;
    let ready = scratch.join("ready");
    let packages = format!("postgresql-{MAJOR},postgresql-{MAJOR}-timescaledb,dash,tzdata");
    let mut unpack = Command::new("mmdebstrap");
    unpack.args(["--mode=root", "--variant=extract", "--include", &packages, RELEASE]);
    shell::output(unpack.arg(&ready).arg(&sources))
        .context("cannot get PostgreSQL and TimescaleDB from Debian's archive")?;
    // Unpacked packages are not configured, so that some of these are missing.
    let link = |target: &str, name: &str| match ready.join(name).symlink_metadata() {
        Ok(_) => Ok(()),
        Err(_) => symlink(target, ready.join(name)),
    };
    for name in ["bin", "lib", "lib64", "sbin"] {
        link(&format!("usr/{name}"), name)?;
    }
    link("dash", "usr/bin/sh")?;
    fs::write(ready.join("etc/passwd"), format!("postgres:x:{USER_ID}:{USER_ID}::/:/bin/sh\n"))?;
    fs::create_dir(ready.join("data"))?;
    // Lock files of the server's socket, which is not used.
    fs::set_permissions(ready.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

/// Starts the server, at its previous address if it had one; its data is kept in `folder`. The user
/// [`DATABASE`] owns the database of this name, and needs no password on the loopback address.
pub fn start(folder: &Path, previous: Option<SocketAddr>) -> Result<Service> {
    if !rustix::process::geteuid().is_root() {
        bail!("TimescaleDB in a root file system of its own needs root: run this with sudo");
    }
    let root = prepare()?;
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    chown(&data, Some(USER_ID), Some(USER_ID))?;
    if !data.join("PG_VERSION").exists() {
        let words = ["--pgdata=/data", "--username=dns", "--auth=trust", "--no-sync"];
        let mut init = inside(&root, &data, "initdb");
        shell::output(init.args(words).args(["--locale=C.UTF-8", "--encoding=UTF8"]))
            .context("cannot prepare PostgreSQL's data folder")?;
    }
    let address = service::address(previous, PORT)?;
    let mut server = inside(&root, &data, "postgres");
    server.args(["-D", "/data", "-p", &address.port().to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "shared_preload_libraries=timescaledb",
        "timescaledb.telemetry_level=off",
        "shared_buffers=128MB",
        "max_worker_processes=8",
        "timezone=UTC",
        "log_timezone=UTC",
    ] {
        server.args(["-c", setting]);
    }
    let service = Service::start(&server, address, &folder.join("log"), || {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        log.contains("database system is ready to accept connections")
            && TcpStream::connect(address).is_ok()
    })?;
    let made = create_database(&root, &data, address.port());
    if made.is_err() {
        service.stop(Signal::INT)?;
    }
    made.map(|()| service)
}

/// Creates the database with the extension, if it is missing.
fn create_database(root: &Path, data: &Path, port: u16) -> Result<()> {
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
    if psql(root, data, port, "postgres", &exists)?.is_empty() {
        psql(root, data, port, "postgres", &format!("CREATE DATABASE {DATABASE}"))?;
    }
    psql(root, data, port, DATABASE, "CREATE EXTENSION IF NOT EXISTS timescaledb").map(drop)
}

/// Runs a statement on the server whose data is in `folder`; returns its rows, one a line with `|`
/// between columns.
pub fn query(folder: &Path, server: &Service, statement: &str) -> Result<String> {
    psql(&prepare()?, &folder.join("data"), server.address.port(), DATABASE, statement)
}

/// Runs a statement as another user or in another database, as `connection` says: the words of a
/// connection string of `PostgreSQL`'s library, without the server's address.
pub fn query_as(
    folder: &Path,
    server: &Service,
    connection: &str,
    statement: &str,
) -> Result<String> {
    let mut psql = inside(&prepare()?, &folder.join("data"), "psql");
    let address = format!("host=127.0.0.1 port={} {connection}", server.address.port());
    psql.args([&address, "-v", "ON_ERROR_STOP=1", "-Atqc", statement]);
    Ok(String::from_utf8(shell::output(&mut psql)?.stdout)?)
}

/// Makes the server accept TLS, with a certificate and its key as PEM, and puts lines before those of
/// its `pg_hba.conf`.
pub fn secure(folder: &Path, server: &Service, identity: [&str; 2], rules: &str) -> Result<()> {
    let data = folder.join("data");
    for (name, pem) in ["server.crt", "server.key"].into_iter().zip(identity) {
        let file = data.join(name);
        fs::write(&file, pem)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        chown(&file, Some(USER_ID), Some(USER_ID))?;
    }
    let file = data.join("pg_hba.conf");
    fs::write(&file, rules.to_owned() + &fs::read_to_string(&file)?)?;
    query(folder, server, "ALTER SYSTEM SET ssl = on")?;
    query(folder, server, "SELECT pg_reload_conf()").map(drop)
}

fn psql(root: &Path, data: &Path, port: u16, database: &str, statement: &str) -> Result<String> {
    let mut psql = inside(root, data, "psql");
    psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", DATABASE, "-d", database]);
    let output = shell::output(psql.args(["-v", "ON_ERROR_STOP=1", "-Atqc", statement]))?;
    Ok(String::from_utf8(output.stdout)?)
}

fn inside(root: &Path, data: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", INSIDE, "sh"]).args([root, data]);
    command.arg(USER_ID.to_string());
    command.arg(format!("/usr/lib/postgresql/{MAJOR}/bin/{program}"));
    command
}
