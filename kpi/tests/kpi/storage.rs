//! A real S3-compatible server: the same facts and values as in a folder, and commits that exclude each other.

use crate::world::{World, event};
use dnscribe_tests::{archive, environment, shell};
use object_store::ObjectStoreExt as _;
use object_store::aws::AmazonS3Builder;
use serde_json::json;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEY: &str = "dnscribe";
const SECRET: &str = "dnscribe-development";
const BUCKET: &str = "facts";

/// The Versity gateway with an empty bucket in a folder.
pub struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    pub fn up(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        for name in ["metadata", "buckets/facts"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut server = Command::new(archive::server().unwrap());
        server.args([
            "--access",
            KEY,
            "--secret",
            SECRET,
            "--port",
            &address,
            "posix",
            "--sidecar",
        ]);
        server.arg(folder.join("metadata")).arg(folder.join("buckets"));
        server.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        let child = server.spawn().unwrap();
        let give_up = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            let log = || fs::read_to_string(folder.join("log")).unwrap();
            assert!(Instant::now() < give_up, "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, address }
    }

    /// Stores an object.
    pub fn put(&self, key: &str, content: &str) {
        let builder = AmazonS3Builder::new().with_bucket_name(BUCKET).with_allow_http(true);
        let builder = builder.with_endpoint(format!("http://{}", self.address));
        let bucket =
            builder.with_access_key_id(KEY).with_secret_access_key(SECRET).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (key, content) = (key.into(), content.to_owned().into());
        runtime.block_on(bucket.put(&key, content)).unwrap();
    }

    /// Variables that describe the access.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Moves a store to the server.
    fn moved(&self, world: World, prefix: &str) -> World {
        world.with_store(&format!("s3://{BUCKET}/{prefix}"), self.environment())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn store_in_s3_has_the_values_of_a_folder() {
    if shell::which("go").is_none() {
        environment::skip("go is missing, which builds the S3-compatible server");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::up(folder.path());
    let (local, remote) = (World::new(), gateway.moved(World::new(), "teams/dns"));
    let file = local.sample(20, 40, &["--hostile"]);
    for world in [&local, &remote] {
        world.ok(&["import", &file]);
        assert!(world.ok(&["import", &file]).contains("imported before"));
        world.ok(&["compute", "--final"]);
    }
    let (one, other) = (local.serve(&["--no-auth"]), remote.serve(&["--no-auth"]));
    for kpi in one.get("/v1/kpis").1["kpis"].as_array().unwrap() {
        let path = format!("/v1/kpis/{}?grain=week", kpi["name"].as_str().unwrap());
        assert_eq!(World::values(&one, &path), World::values(&other, &path), "{path}");
    }
}

#[test]
fn imports_at_once_into_s3_all_count() {
    if shell::which("go").is_none() {
        environment::skip("go is missing, which builds the S3-compatible server");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::up(folder.path());
    let world = gateway.moved(World::with_kpis(&["registrations"]), "");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let row = event(number, "registration_completed", "2026-03-01T10:00:00Z", json!({}));
            let world = &world;
            scope.spawn(move || world.import(&format!("{number}.ndjson"), &[row]));
        }
    });
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 6);
}

#[test]
fn a_bucket_that_is_not_there_is_all_that_is_wrong() {
    if shell::which("go").is_none() {
        environment::skip("go is missing, which builds the S3-compatible server");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::up(folder.path());
    let world = World::new().with_store("s3://nowhere/kpi", gateway.environment());
    let output = world.run(&["compute"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("nowhere") && !error.contains("erased data"), "{error}");
}
