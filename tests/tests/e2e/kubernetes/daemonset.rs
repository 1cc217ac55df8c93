//! The security context of the DaemonSet's manifest in a real container: with it, the agent
//! captures and names pods.

use super::{ask, id, pod};
use crate::support::{RECORD_LIMIT, lab};
use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::container::{Bundle, clean, remove};
use dnscribe_tests::kubernetes::Api;
use dnscribe_tests::lab::Host;
use dnscribe_tests::{environment, http, manifests, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Uid of the agent's own pod.
const OWN: &str = "0a1b2c3d-0000-4000-8000-00000000000f";

/// Paths of /proc and /sys that a kubelet masks or makes read-only (CRI's defaults).
const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Path of the image's entry point.
const ENTRY: &str = "/dnscribe";

/// Creates a root file system with the libraries that this host's binary needs, in place of the
/// image.
fn root(folder: &Path) {
    let root = folder.join("rootfs");
    for mount in ["usr", "proc", "sys", "dev", "etc/dnscribe", "var/lib/dnscribe", "kube"] {
        fs::create_dir_all(root.join(mount)).unwrap();
    }
    for link in ["lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link)).unwrap();
    }
    fs::write(root.join("dnscribe"), "").unwrap();
}

/// Returns the seccomp profile of `RuntimeDefault` for a container with these capabilities on this
/// machine.
fn seccomp(capabilities: &[String]) -> Value {
    let profile = manifests::runtime_default().unwrap();
    let has = |names: &Value| {
        names.as_array().is_none_or(|names| {
            names.iter().all(|name| capabilities.iter().any(|other| *name == **other))
        })
    };
    let here = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let runs_here = |arches: &Value| {
        arches.as_array().is_none_or(|arches| arches.iter().any(|arch| *arch == here))
    };
    let applies = |rule: &&Value| {
        let (only, never) = (&rule["includes"], &rule["excludes"]);
        let excluded =
            |list: &Value, holds: &dyn Fn(&Value) -> bool| list.is_array() && holds(list);
        has(&only["caps"])
            && runs_here(&only["arches"])
            && !excluded(&never["caps"], &has)
            && !excluded(&never["arches"], &runs_here)
    };
    let rules = profile["syscalls"].as_array().unwrap().iter().filter(applies).map(|rule| {
        let mut rule = rule.clone();
        let fields = rule.as_object_mut().unwrap();
        fields.retain(|name, _| ["names", "action", "args", "errnoRet"].contains(&name.as_str()));
        rule
    });
    let rules: Vec<Value> = rules.collect();
    json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "syscalls": rules,
    })
}

/// Creates the agent's container from the manifest.
fn confined(folder: &Path, container: &Value, kubeconfig: &Path) -> Bundle {
    let context = &container["securityContext"];
    let added = context["capabilities"]["add"].as_array().unwrap();
    let capabilities: Vec<String> =
        added.iter().map(|name| format!("CAP_{}", name.as_str().unwrap())).collect();
    let words: Vec<&str> =
        container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let words = [&[ENTRY], &words[..]].concat();
    let mut bundle = Bundle::new(folder, &format!("/kubepods/pod{OWN}/{}", id('f')), &words);
    let process = &mut bundle.config["process"];
    process["capabilities"] =
        json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities });
    process["noNewPrivileges"] = (context["allowPrivilegeEscalation"] == false).into();
    process["user"] = json!({ "uid": context["runAsUser"], "gid": context["runAsGroup"] });
    let mut variables: Vec<Value> = vec!["PATH=/usr/bin:/bin".into()];
    for variable in container["env"].as_array().unwrap() {
        let value = variable["value"].as_str().unwrap_or(super::NODE);
        let value = value.replace("$(NODE_NAME)", super::NODE);
        variables.push(format!("{}={value}", variable["name"].as_str().unwrap()).into());
    }
    variables.push("DNSCRIBE_KUBERNETES__KUBECONFIG=/kube/config".into());
    process["env"] = variables.into();
    bundle.config["root"]["readonly"] = context["readOnlyRootFilesystem"].clone();
    bundle.config["linux"]["seccomp"] = seccomp(&capabilities);
    bundle.config["linux"]["maskedPaths"] = json!(MASKED);
    bundle.config["linux"]["readonlyPaths"] = json!(READ_ONLY);
    assert_eq!(context["privileged"], false);

    let spool = folder.join("spool");
    fs::create_dir(&spool).unwrap();
    let config = manifests::base().join("config");
    for mount in container["volumeMounts"].as_array().unwrap() {
        let source = match mount["name"].as_str().unwrap() {
            "config" => config.as_path(),
            "cgroup" => Path::new("/sys/fs/cgroup"),
            "spool" => spool.as_path(),
            other => unreachable!("a volume that the test does not know: {other}"),
        };
        bundle.bind(source, mount["mountPath"].as_str().unwrap(), mount["readOnly"] == true);
    }
    // Replaces the image and the service account.
    bundle.bind(Path::new("/usr"), "/usr", true);
    bundle.bind(&environment::binary().unwrap(), ENTRY, true);
    bundle.bind(kubeconfig.parent().unwrap(), "/kube", true);
    bundle
}

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
    root(folder.path());
    let mut bundle = confined(folder.path(), &spec["containers"][0], &kubeconfig);
    if spec["hostPID"] == true {
        bundle.use_host_namespace("pid");
    }
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
