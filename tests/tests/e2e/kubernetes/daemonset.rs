//! The security context of the DaemonSet's manifest in a real container: with it, the agent
//! captures and names pods.

use super::{ask, id, pod};
use crate::support::{RECORD_LIMIT, lab};
use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::container::{clean, remove};
use dnscribe_tests::kubelet::{self, Setting};
use dnscribe_tests::kubernetes::Api;
use dnscribe_tests::lab::Host;
use dnscribe_tests::{http, manifests, shell};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Uid of the agent's own pod.
const OWN: &str = "0a1b2c3d-0000-4000-8000-00000000000f";

/// Returns the process of a container, by its cgroup.
fn pid(mount: &Path) -> u32 {
    let file = mount.join(format!("kubepods/pod{OWN}/{}/cgroup.procs", id('f')));
    fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
}

#[test]
fn daemonset_captures_with_its_security_context() {
    let Some((lab, _alone)) = lab() else { return };
    let namespace = lab.namespace_path(Host::Client);
    let api = Api::start_in(&namespace).unwrap();
    api.apply(pod("web-7d4b9c6f5-x2x9z", super::WEB, &[("app", Some(id('a')))]));
    let folder = tempfile::tempdir().unwrap();
    let kube = folder.path().join("kubeconfig");
    fs::create_dir(&kube).unwrap();
    let kubeconfig = kube.join("config");
    api.write_kubeconfig(&kubeconfig).unwrap();

    let base = fs::read_to_string(manifests::base().join("dnscribe.yaml")).unwrap();
    let documents = manifests::read("1.37", &base).unwrap();
    let spec = &manifests::of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"]["spec"];
    let (spool, config) = (folder.path().join("spool"), manifests::base().join("config"));
    fs::create_dir(&spool).unwrap();
    let cgroups = Path::new("/sys/fs/cgroup");
    let setting = Setting {
        node: super::NODE,
        cgroup: &format!("/kubepods/pod{OWN}/{}", id('f')),
        volumes: &[("config", &config), ("cgroup", cgroups), ("spool", &spool)],
        // In place of the service account.
        variables: &["DNSCRIBE_KUBERNETES__KUBECONFIG=/kube/config".to_owned()],
    };
    let mut bundle = kubelet::container(folder.path(), spec, setting).unwrap();
    bundle.bind(&kube, "/kube", true);
    assert_eq!(spec["hostNetwork"], Value::Null);
    bundle.join_network(&namespace);

    let (records, log) = (folder.path().join("records"), folder.path().join("log"));
    let mut command = bundle.command("kube-daemonset").unwrap();
    command.stdin(Stdio::null());
    command.stdout(File::create(&records).unwrap()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, 9353));
    let ready = shell::wait_for("the agent to be ready", Duration::from_mins(1), || {
        Ok(http::get(admin, Some(&namespace), "/readyz")
            .is_ok_and(|(code, _)| code == 200)
            .then_some(()))
    });
    let mount = cgroup2_mount().unwrap();
    if ready.is_ok() {
        privileges(pid(&mount), spec);
        ask(&lab, &format!("/kubepods/pod{}/{}", super::WEB, id('a')), &id('a'), "www.a.test");
    }
    let read = || fs::read_to_string(&records).unwrap();
    let found = ready.and_then(|()| {
        shell::wait_for("a record", RECORD_LIMIT, || {
            let text = read();
            let mut lines = text.lines().filter(|line| line.contains("www.a.test"));
            Ok(lines.find(|line| line.contains("\"client\"")).map(str::to_owned))
        })
    });
    let ended = found.is_ok().then(|| {
        shell::signal_pid(pid(&mount), Signal::TERM).unwrap();
        shell::wait(&mut child, Duration::from_secs(30))
    });
    remove(folder.path(), "kube-daemonset");
    shell::end(&mut child);
    clean(&mount.join(format!("kubepods/pod{OWN}/{}", id('f'))));

    let log = fs::read_to_string(&log).unwrap();
    let record: Value =
        serde_json::from_str(&found.unwrap_or_else(|why| panic!("{why}: {log}"))).unwrap();
    assert_eq!(record["k8s"]["pod"], "web-7d4b9c6f5-x2x9z", "{record}");
    assert_eq!(record["k8s"]["container"], "app", "{record}");
    assert_eq!(record["node"], super::NODE, "{record}");
    assert_eq!(record["process"]["comm"], "nslookup", "{record}");
    assert!(ended.unwrap().unwrap().success(), "{log}");
    assert!(log.contains("every identity closes"), "{log}");
    // The spool waits for a Kafka that is not there.
    let warnings = log.lines().filter(|line| line.contains(" WARN "));
    assert_eq!(warnings.filter(|line| line.contains("privileges")).count(), 0, "{log}");
}

/// Checks that the agent got exactly the privileges of its manifest, and has none left.
fn privileges(pid: u32, spec: &Value) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().to_owned()
    };
    let added = &spec["containers"][0]["securityContext"]["capabilities"]["add"];
    // Bit numbers of capability.h.
    let number = |name: &str| match name {
        "BPF" => 39,
        "DAC_READ_SEARCH" => 2,
        "NET_ADMIN" => 12,
        "NET_RAW" => 13,
        "PERFMON" => 38,
        "SYS_PTRACE" => 19,
        other => unreachable!("a capability that the test does not know: {other}"),
    };
    let bits = added.as_array().unwrap().iter().map(|name| 1_u64 << number(name.as_str().unwrap()));
    let wanted = format!("{:016x}", bits.sum::<u64>());
    assert_eq!(field("CapBnd"), wanted);
    // It has attached and then dropped its capabilities.
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(field(set), format!("{:016x}", 0), "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
}
