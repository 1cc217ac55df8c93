//! What the pictures show: a node of Kubernetes in a lab, with pods of which one asks a dead resolver, and a client whose first
//! resolver is that one. dnsperf and kdig play the programs of the pods, under other names.

use crate::cgroup::Cgroup;
use anyhow::{Context as _, Result};
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::kubernetes::Api;
use dnscribe_tests::lab::{Host, Lab, StubConfig};
use dnscribe_tests::shell;
use dnscribe_tests::tmux::Terminal;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Longest duration of traffic.
const LIMIT: Duration = Duration::from_secs(400);
/// Name of the node in the pictures.
const NODE: &str = "worker-1";
/// Resolver that never answers: an address for documentation (RFC 5737).
pub const DEAD: &str = "192.0.2.1";
/// Address of the web server, and its network.
const WEB: (&str, &str) = ("192.0.2.8", "192.0.2.0/24");
/// Cgroup of all pods, below that of the pictures.
const PODS: &str = "kubepods.slice";
/// Name of the web server.
pub const SITE: &str = "shop.example";

/// The lab with its traffic. Dropping it ends both.
pub struct Scenario {
    processes: Vec<Child>,
    cgroups: Vec<PathBuf>,
    environment: Vec<(&'static str, String)>,
    _stub: StubConfig,
    _api: Api,
    lab: Lab,
    // Last: it is removed when all processes have ended.
    cgroup: Cgroup,
}

/// A pod whose program sends queries.
struct Pod {
    namespace: &'static str,
    name: &'static str,
    workload: &'static str,
    /// Digit of which its uid and the id of its container consist.
    digit: char,
}

const STOREFRONT: Pod =
    Pod { namespace: "shop", name: "storefront-6c9f7-x2x9z", workload: "storefront", digit: 'a' };
const SEARCH: Pod =
    Pod { namespace: "shop", name: "search-58d6b-7kq4m", workload: "search", digit: 'b' };
const PAYMENTS: Pod =
    Pod { namespace: "shop", name: "payments-7d4b9-p8wlt", workload: "payments", digit: 'c' };

impl Scenario {
    /// Starts the lab, the pods and their traffic.
    pub fn start() -> Result<Self> {
        // Other processes on this host must not appear in the documentation.
        let cgroup = Cgroup::enter("pictures")?;
        let records = [
            format!("local-zone: \"{SITE}.\" static"),
            format!("local-data: \"{SITE}. A {}\"", WEB.0),
        ];
        let lab = Lab::up_with(&[&records[0], &records[1]])?;
        let server = lab.server_addr().to_string();
        let (client, host) = (lab.namespace(Host::Client), lab.namespace(Host::Server));
        let address = format!("{}/32", WEB.0);
        shell::run(&["ip", "-n", &host, "address", "add", &address, "dev", "eth0"])?;
        shell::run(&["ip", "-n", &client, "route", "add", WEB.1, "via", &server])?;
        serve(lab.inside(Host::Server, || TcpListener::bind((WEB.0, 80)))??);
        let servers = format!("nameserver {DEAD}\nnameserver {}\n", lab.resolver_addr());
        let stub = lab.configure_stub(Host::Client, &(servers + "options timeout:4\n"))?;
        let api = Api::start_in(&lab.namespace_path(Host::Client))?;
        for pod in [&STOREFRONT, &SEARCH, &PAYMENTS] {
            api.apply(pod.describe());
        }
        let kubeconfig = lab.folder().join("kubeconfig");
        api.write_kubeconfig(&kubeconfig)?;
        let environment = vec![
            ("DNSCRIBE_LOG__LEVEL", "error".to_owned()),
            ("DNSCRIBE_NODE", NODE.to_owned()),
            ("DNSCRIBE_CAPTURE__CGROUP", cgroup.path().join(PODS).display().to_string()),
            ("DNSCRIBE_KUBERNETES__NODE_NAME", NODE.to_owned()),
            ("DNSCRIBE_KUBERNETES__KUBECONFIG", kubeconfig.display().to_string()),
        ];
        let (processes, cgroups) = (Vec::new(), Vec::new());
        let mut scenario =
            Self { processes, cgroups, environment, _stub: stub, _api: api, lab, cgroup };
        scenario.start_traffic()?;
        Ok(scenario)
    }

    /// Starts much successful traffic to two servers, and a little to the dead one.
    fn start_traffic(&mut self) -> Result<()> {
        let load = |qps| Load { queries: 200_000, qps: Some(qps), limit: LIMIT, ..Load::mixed() };
        let single = Load { questions: vec!["www.example.com A".into()], ..load(40) };
        let (resolver, server) = (self.lab.resolver_addr(), self.lab.server_addr());
        for (pod, load, server) in [(&STOREFRONT, load(300), resolver), (&SEARCH, single, server)] {
            let data = self.lab.folder().join(format!("{}.txt", pod.workload));
            fs::write(&data, load.data())?;
            let mut words = load.command(server, &data);
            words[0] = self.program("dnsperf", pod.workload)?;
            self.run_in(pod, &words)?;
        }
        let program = self.program("kdig", PAYMENTS.workload)?;
        let ask = format!("{program} +retry=0 +timeout=1 @{DEAD} payments.example.com");
        let script = format!("while :; do {ask} >/dev/null; sleep 0.2; done");
        self.run_in(&PAYMENTS, &["sh".into(), "-c".into(), script])
    }

    /// Copies a program, so that its processes have another name; returns its path.
    fn program(&self, program: &str, name: &str) -> Result<String> {
        let source = shell::which(program).with_context(|| format!("{program} is missing"))?;
        let copy = self.lab.folder().join(name);
        fs::copy(source, &copy).with_context(|| copy.display().to_string())?;
        Ok(copy.display().to_string())
    }

    /// Starts a program on the lab's client in the cgroup of a pod's container.
    fn run_in(&mut self, pod: &Pod, words: &[String]) -> Result<()> {
        let folder = self.cgroup.path().join(pod.cgroup());
        fs::create_dir_all(&folder)?;
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", folder.display());
        // The cgroup comes first: a namespace of the lab has no /sys/fs/cgroup.
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let inner = self.lab.command(Host::Client, &words);
        let mut command = Command::new("sh");
        command.args(["-c", &enter, "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.push(command.spawn()?);
        self.cgroups.push(folder);
        Ok(())
    }

    /// Writes a program `dnscribe` that calls `binary` with the configuration of the command; returns its folder.
    fn configured(&self, binary: &Path) -> Result<PathBuf> {
        let folder = self.lab.folder().join("bin");
        fs::create_dir_all(&folder)?;
        // What the resolver of the lab asks, on the same host, is left out: `trace` shows the client alone, `top` the pods.
        let mut script = "#!/bin/sh\n[ \"$1\" = trace ] && export DNSCRIBE_JOIN=off\n".to_owned();
        for (name, value) in &self.environment {
            let value = shell::quote(value);
            // Writing to a String cannot fail.
            let _ = writeln!(script, "[ \"$1\" = top ] && export {name}={value}");
        }
        let _ = writeln!(script, "exec {} \"$@\"", shell::quote(binary));
        let file = folder.join("dnscribe");
        fs::write(&file, script)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }

    /// Starts a shell of the client on a terminal, for which `dnscribe` is that of `binary`.
    pub fn shell(&self, size: (u16, u16), binary: &Path) -> Result<Terminal> {
        // `ip netns exec` would hide the cgroups.
        let files = format!("/etc/netns/{}", self.lab.namespace(Host::Client));
        let mounts = format!(
            "mount --bind {files}/resolv.conf /etc/resolv.conf; mount --bind {files}/nsswitch.conf /etc/nsswitch.conf"
        );
        self.open(size, binary, &format!("{mounts}; clear"), "sh -i")
    }

    /// Starts `dnscribe top` on a terminal.
    pub fn top(&self, size: (u16, u16), binary: &Path) -> Result<Terminal> {
        self.open(size, binary, "clear", "dnscribe top")
    }

    /// Starts a command in the network of the client, after `first` in a mount namespace of its own.
    fn open(
        &self,
        size: (u16, u16),
        binary: &Path,
        first: &str,
        command: &str,
    ) -> Result<Terminal> {
        let folder = self.configured(binary)?;
        let network = self.lab.namespace_path(Host::Client);
        let inner = format!("{first}; exec nsenter --net={} {command}", network.display());
        let (path, inner) = (shell::quote(folder), shell::quote(inner));
        Terminal::start(size, &format!("export PATH={path}:$PATH; unshare --mount sh -c {inner}"))
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(shell::end);
        for cgroup in &self.cgroups {
            // The loop's children and a service's process may have outlived their parent.
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            thread::sleep(Duration::from_millis(100));
            let parents = cgroup.ancestors().take_while(|path| *path != self.cgroup.path());
            for path in parents {
                // One that another pod still needs stays until that pod's turn.
                let _ = fs::remove_dir(path);
            }
        }
    }
}

impl Pod {
    fn uid(&self) -> String {
        let part = |length| self.digit.to_string().repeat(length);
        format!("{}-{}-4{}-8{}-{}", part(8), part(4), part(3), part(3), part(12))
    }

    fn container(&self) -> String {
        self.digit.to_string().repeat(64)
    }

    /// Returns the cgroup that a kubelet gives to the container with systemd.
    fn cgroup(&self) -> PathBuf {
        let slice = format!("{PODS}/kubepods-burstable.slice");
        let uid = self.uid().replace('-', "_");
        let scope = format!("cri-containerd-{}.scope", self.container());
        PathBuf::from(format!("{slice}/kubepods-burstable-pod{uid}.slice/{scope}"))
    }

    /// Returns the pod as the API describes it.
    fn describe(&self) -> Value {
        let container = json!({ "name": "app", "image": "app" });
        let status = json!({
            "name": "app", "image": "app", "imageID": "", "ready": true, "restartCount": 0,
            "started": true, "state": {}, "lastState": {},
            "containerID": format!("containerd://{}", self.container()),
        });
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": self.namespace, "uid": self.uid(),
                "creationTimestamp": "2026-11-20T10:00:30Z", "labels": { "app": self.workload },
            },
            "spec": { "nodeName": NODE, "containers": [container] },
            "status": { "phase": "Running", "containerStatuses": [status] },
        })
    }
}

/// Answers HTTP in the background, as long as this process runs.
fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // A client that goes away is not an error.
            let _ = stream.read(&mut request);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<h1>Shop</h1>\n",
            );
        }
    });
}
