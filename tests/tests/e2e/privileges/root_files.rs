//! Files that only root may open, which an agent without privileges still uses.

use super::{
    REFUSALS, assert_confined, children_named, inject, load, start_agent, threads, without_children,
};
use crate::support::{RECORD_LIMIT, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::{environment, shell};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files that only root may open: the configuration, a password, a certificate, and a file sink with its directory. No
/// thread of the agent keeps a capability for them; another process opens exactly these files.
#[test]
fn files_of_root_are_opened_by_another_process() {
    let Some((lab, _alone)) = lab() else { return };
    let files = RootFiles::new();
    let agent = start_agent(&files.arguments());
    assert_confined(&threads(agent.pid()).unwrap());
    let openers = children_named(agent.pid(), "dnscribe-files");
    assert_eq!(openers.len(), 1, "{}", agent.log());
    for thread in threads(openers[0]).unwrap() {
        // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER: bits 0, 1, 3.
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(thread[set], "000000000000000b", "{set}");
        }
        assert_eq!((&*thread["NoNewPrivs"], &*thread["Seccomp"]), ("1", "2"));
        assert!(thread["Uid"].starts_with("65534\t65534"), "{}", thread["Uid"]);
    }
    // More than fits into one file.
    lab.dnsperf(&Load { queries: 1000, ..load() }).unwrap();
    shell::wait_for("a rotated and compressed file", RECORD_LIMIT, || {
        let is_packed = |path: &PathBuf| path.extension().is_some_and(|name| name == "zst");
        Ok(files.records().iter().any(is_packed).then_some(()))
    })
    .unwrap();
    // As logrotate does.
    // The agent may just have rotated it, and have made no new one yet.
    shell::wait_for("a file to move", RECORD_LIMIT, || {
        Ok(fs::rename(&files.sink, files.sink.with_file_name("moved")).ok())
    })
    .unwrap();
    files.configure("pairing: { query_timeout: 2s }\n");
    agent.signal(Signal::HUP).unwrap();
    shell::wait_for("the new file", RECORD_LIMIT, || Ok(files.sink.exists().then_some(())))
        .unwrap();
    lab.dnsperf(&Load { queries: 1000, ..load() }).unwrap();
    for (thread, call, result) in inject(agent.pid(), true).unwrap() {
        assert!(REFUSALS.contains(&result), "{call} by thread {thread}: {result}");
    }
    assert_confined(&threads(agent.pid()).unwrap());
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    assert!(end.stderr.contains("configuration reloaded"), "{}", end.stderr);
    assert!(end.stderr.contains("opens for the agent"), "{}", end.stderr);
    // The broker of the configuration cannot be reached.
    let unexpected = |line: &str| {
        (line.contains("ERROR") || line.contains("WARN")) && !line.to_lowercase().contains("kafka")
    };
    assert!(!end.stderr.lines().any(unexpected), "{}", end.stderr);
    let mut records = files.records();
    records.push(files.sink.with_file_name("moved"));
    for file in &records {
        let found = file.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o640), "{}", file.display());
    }
    let verify = Command::new(environment::binary().unwrap())
        .args(["ledger", "verify"])
        .args(&records)
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    shell::wait_for("the end of the other process", RECORD_LIMIT, || {
        Ok((!Path::new(&format!("/proc/{}", openers[0])).exists()).then_some(()))
    })
    .unwrap();
}

/// Where the other process cannot be started, what only root may open is refused, with the remedy.
#[test]
fn files_of_root_are_refused_without_another_process() {
    let Some((_lab, _alone)) = lab() else { return };
    let files = RootFiles::new();
    let mut command = without_children("run");
    let config = files.config.to_str().unwrap();
    command.args(["--config", config, "--sink", "stdout", "--stream", "ledger"]);
    let agent = Agent::start(&mut command).unwrap();
    assert_confined(&threads(agent.pid()).unwrap());
    agent.signal(Signal::HUP).unwrap();
    shell::wait_for("the refusal", RECORD_LIMIT, || {
        Ok(agent.log().contains("the configuration stays as it was").then_some(()))
    })
    .unwrap();
    let end = agent.kill().unwrap();
    for said in ["may not open", config, "give these files to that user", "Permission denied"] {
        assert!(end.stderr.contains(said), "{said}: {}", end.stderr);
    }
    let mut command = without_children("run");
    let sink = format!("file:{}", files.sink.display());
    let refused = command.args(["--sink", &sink, "--metrics-listen", "off"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("give these files to that user"), "{said}");
}

/// Capabilities that the configuration names stay, and no others.
#[test]
fn named_capabilities_are_kept() {
    let Some((_lab, _alone)) = lab() else { return };
    let files = RootFiles::new();
    files.configure("privileges: { drop: strict, keep: [CAP_DAC_OVERRIDE, CAP_CHOWN] }\n");
    let agent = start_agent(&files.arguments());
    assert_eq!(children_named(agent.pid(), "dnscribe-files"), Vec::<u32>::new());
    for thread in threads(agent.pid()).unwrap() {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(thread[set], "0000000000000003", "{set} of thread {}", thread["Name"]);
        }
    }
    let end = agent.terminate().unwrap();
    assert!(end.stderr.contains("capabilities: CAP_CHOWN CAP_DAC_OVERRIDE"), "{}", end.stderr);
    assert!(end.stderr.contains("are kept by privileges.keep"), "{}", end.stderr);
}

/// Files in a directory that only root may enter.
struct RootFiles {
    directory: tempfile::TempDir,
    config: PathBuf,
    sink: PathBuf,
}

impl RootFiles {
    /// Makes them. The file of records is there before, so that its owner and mode are those of all that follow.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let at = |name: &str| directory.path().join(name);
        let (config, sink) = (at("dnscribe.yaml"), at("records"));
        for (name, content, mode) in [("records", "", 0o640), ("password", "secret\n", 0o600)] {
            fs::write(at(name), content).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let (key, certificate) = (at("key.pem"), at("ca.pem"));
        let paths = [&key, &certificate].map(|path| path.to_str().unwrap());
        let words = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 2 -keyout";
        let words: Vec<_> = words.split(' ').chain([paths[0], "-out", paths[1]]).collect();
        shell::run(&words).unwrap();
        fs::set_permissions(&certificate, fs::Permissions::from_mode(0o600)).unwrap();
        let files = Self { directory, config, sink };
        files.configure("");
        files
    }

    /// Writes the configuration: TLS with the certificate and the password, rotation, and more keys.
    fn configure(&self, more: &str) {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        let text = format!(
            "version: 1\n{more}file: {{ rotate_bytes: 64KiB, compress: zstd }}\nkafka:\n  brokers: [127.0.0.1:1]\n  \
             options: {{ security.protocol: sasl_ssl, sasl.mechanisms: PLAIN, sasl.username: a, ssl.ca.location: {} }}\n  \
             option_files: {{ sasl.password: {} }}\n",
            at("ca.pem"),
            at("password"),
        );
        // Like an editor, replaces the file by another one.
        let other = self.directory.path().join("other.yaml");
        fs::write(&other, text).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&other, &self.config).unwrap();
    }

    /// Arguments of an agent that uses all of them.
    fn arguments(&self) -> Vec<String> {
        let words = format!(
            "--config {} --sink file:{} --sink kafka --sink stdout --stream transactions,ledger",
            self.config.display(),
            self.sink.display()
        );
        words.split(' ').map(str::to_owned).collect()
    }

    /// The file of records and those rotated from it.
    fn records(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.directory.path()).unwrap().map(|one| one.unwrap().path());
        let is_record = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("records") && path.extension().is_none_or(|form| form != "tmp")
        };
        all.filter(is_record).collect()
    }
}
