//! A control plane of Kubernetes: etcd, the API server, the controllers and the scheduler, built from the Go module proxy, with the
//! Prometheus operator. It has no kubelet: a test adds nodes, starts what runs on them, and says so to the API.

use crate::prometheus::start;
use crate::{agent, cache, environment, go, manifests, otel, shell};
use anyhow::{Context as _, Result, bail};
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::{Value, json};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Version of Kubernetes. Must change whenever `tests/cluster` does.
const KUBERNETES: &str = "v1.34.2";
/// Version of the Prometheus operator.
const OPERATOR: &str = "v0.85.0";
const OPERATOR_MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
/// Programs of the control plane: names of one file.
const PROGRAMS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
/// Controllers that make what a chart installs work. That of nodes is not one: nothing renews a node's lease here.
const CONTROLLERS: &str = "daemonset-controller,deployment-controller,replicaset-controller,\
     namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,\
     statefulset-controller,job-controller,garbage-collector-controller";
/// Token of the administrator.
const TOKEN: &str = "administrator-of-the-test";
/// Time limit for what controllers do.
const SETTLED: Duration = Duration::from_mins(1);

/// Builds the programs if they are missing, which takes minutes.
///
/// # Errors
/// There is no Go, or a module cannot be downloaded.
pub fn prepare() -> Result<()> {
    control_plane()?;
    operator()?;
    otel::prometheus_of_kubernetes().map(drop)
}

/// Folder of the programs of the control plane.
fn control_plane() -> Result<PathBuf> {
    cache::folder("kubernetes", KUBERNETES, |scratch| {
        let sources = environment::workspace().join("tests/cluster");
        let set = format!("-ldflags={}", flags()?);
        go::build(scratch, &sources, &[&go::FAST[..], &[&set]].concat(), ".", "cluster")?;
        let ready = scratch.join("ready");
        PROGRAMS.iter().try_for_each(|name| Ok(symlink("cluster", ready.join(name))?))
    })
}

/// Flags of the linker: the version that the programs say is theirs.
fn flags() -> Result<String> {
    let mut numbers = KUBERNETES.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next(), numbers.next());
    let (major, minor) = major.zip(minor).context("a version without numbers")?;
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let version = [set("gitVersion", KUBERNETES), set("gitMajor", major), set("gitMinor", minor)];
    Ok(format!("-s -w {}", version.join(" ")))
}

/// Folder with the operator and the definitions of its kinds.
fn operator() -> Result<PathBuf> {
    cache::folder("prometheus-operator", OPERATOR, |scratch| {
        let sources = go::copy(scratch, OPERATOR_MODULE, OPERATOR)?;
        // Folders beside these sources, which are modules of their own and not published with it.
        let own = ["apis/monitoring", "client"];
        let own = own.map(|name| format!("-dropreplace={OPERATOR_MODULE}/pkg/{name}"));
        go::run(&sources, &["mod", "edit", &own[0], &own[1]])?;
        let flags = [&go::PLAIN[..], &["-mod=mod"]].concat();
        go::build(scratch, &sources, &flags, "./cmd/operator", "operator")?;
        let kinds = sources.join("example/prometheus-operator-crd");
        Ok(fs::rename(kinds, scratch.join("ready/kinds"))?)
    })
}

/// Folder of the definitions of the Prometheus operator's kinds.
///
/// # Errors
/// As [`prepare`].
pub fn monitoring_definitions() -> Result<PathBuf> {
    Ok(operator()?.join("kinds"))
}

/// A control plane. Dropping it kills it.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    address: SocketAddr,
    etcd: SocketAddr,
    api: Option<Child>,
    others: Vec<Child>,
}

impl Cluster {
    /// Starts one, with a node.
    pub fn start(node: &str) -> Result<Self> {
        let mut cluster = Self {
            folder: tempfile::tempdir()?,
            programs: control_plane()?,
            address: agent::free_address()?,
            etcd: agent::free_address()?,
            api: None,
            others: Vec::new(),
        };
        cluster.start_etcd()?;
        let token = format!("{TOKEN},administrator,1,system:masters\n");
        fs::write(cluster.file("tokens.csv"), token)?;
        let key = PKey::from_rsa(Rsa::generate(2048)?)?;
        fs::write(cluster.file("accounts.key"), key.private_key_to_pem_pkcs8()?)?;
        fs::write(cluster.file("accounts.pub"), key.public_key_to_pem()?)?;
        cluster.resume()?;
        cluster.write_kubeconfig(&cluster.file("kubeconfig"), TOKEN)?;
        cluster.start_controllers()?;
        cluster.add_node(node)?;
        Ok(cluster)
    }

    /// Address of the API server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// File of the certificates that a client of the API trusts.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("certificates/apiserver.crt")
    }

    /// Writes the administrator's token; returns the file.
    pub fn write_token(&self) -> Result<PathBuf> {
        let file = self.file("token");
        fs::write(&file, TOKEN)?;
        Ok(file)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_etcd(&mut self) -> Result<()> {
        let (clients, peers) =
            (format!("http://{}", self.etcd), format!("http://{}", agent::free_address()?));
        let mut command = self.program("etcd");
        command.arg("--data-dir").arg(self.file("etcd"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        command.args(["--log-level", "warn", "--unsafe-no-fsync"]);
        let address = self.etcd;
        let answers = || {
            crate::http::get(address, None, "/health").is_ok_and(|(_, body)| body.contains("true"))
        };
        self.others.push(start(&mut command, &self.file("etcd.log"), answers)?);
        Ok(())
    }

    /// Starts the API server.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.program("kube-apiserver");
        command.arg(format!("--etcd-servers=http://{}", self.etcd));
        command.arg(format!("--secure-port={}", self.address.port()));
        command.args(["--bind-address=127.0.0.1", "--service-cluster-ip-range=10.96.0.0/16"]);
        command.args(["--authorization-mode=RBAC", "--allow-privileged=true"]);
        // Of clusters whose addresses other hosts reach.
        command.arg("--endpoint-reconciler-type=none");
        command.arg("--service-account-issuer=https://kubernetes.default.svc");
        for (option, file) in [
            ("cert-dir", "certificates"),
            ("token-auth-file", "tokens.csv"),
            ("service-account-signing-key-file", "accounts.key"),
            ("service-account-key-file", "accounts.pub"),
        ] {
            command.arg(format!("--{option}={}", self.file(file).display()));
        }
        let ready = || {
            let ask = self.kubectl(&["get", "--raw", "/readyz"]).output();
            ask.is_ok_and(|output| output.status.success())
        };
        // The first kubectl needs it.
        self.write_kubeconfig(&self.file("kubeconfig"), TOKEN)?;
        self.api = Some(start(&mut command, &self.file("kube-apiserver.log"), ready)?);
        Ok(())
    }

    /// Kills the API server.
    pub fn stop(&mut self) {
        self.api.iter_mut().for_each(shell::end);
        self.api = None;
    }

    fn start_controllers(&mut self) -> Result<()> {
        let kubeconfig = self.file("kubeconfig");
        let common = |command: &mut Command| {
            command.arg(format!("--kubeconfig={}", kubeconfig.display()));
            command.args(["--leader-elect=false", "--secure-port=0"]);
        };
        let mut controllers = self.program("kube-controller-manager");
        common(&mut controllers);
        controllers.arg(format!("--controllers={CONTROLLERS}"));
        controllers.arg(format!("--root-ca-file={}", self.authority().display()));
        let key = self.file("accounts.key");
        controllers.arg(format!("--service-account-private-key-file={}", key.display()));
        let mut scheduler = self.program("kube-scheduler");
        common(&mut scheduler);
        for (mut command, log) in [(controllers, "controllers.log"), (scheduler, "scheduler.log")] {
            let child = start(&mut command, &self.file(log), || true)?;
            self.others.push(child);
        }
        // The controllers work: pods of this namespace can be made.
        shell::wait_for("the first service account", SETTLED, || {
            let account = self.get(&["serviceaccount", "default", "--namespace", "default"]);
            Ok(account.ok())
        })
        .map(drop)
        .with_context(|| fs::read_to_string(self.file("controllers.log")).unwrap_or_default())
    }

    /// Starts the Prometheus operator with the definitions of its kinds.
    pub fn start_operator(&mut self) -> Result<()> {
        let folder = operator()?;
        let kinds = monitoring_definitions()?.display().to_string();
        self.ask(&["create", "--filename", &kinds])?;
        self.ask(&["wait", "--for=condition=Established", "--all", "crd", "--timeout=60s"])?;
        let web = agent::free_address()?;
        let mut command = killed_with_parent(&folder.join("operator"));
        command.env("KUBECONFIG", self.file("kubeconfig"));
        command.arg(format!("--web.listen-address={web}"));
        let ready = || crate::http::get(web, None, "/healthz").is_ok_and(|(code, _)| code == 200);
        self.others.push(start(&mut command, &self.file("operator.log"), ready)?);
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        killed_with_parent(&self.programs.join(name))
    }

    /// Writes a kubeconfig with a token.
    pub fn write_kubeconfig(&self, file: &Path, token: &str) -> Result<()> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://{}", self.address), "certificate-authority": self.authority(),
            } }],
            "users": [{ "name": "test", "user": { "token": token } }],
        });
        fs::write(file, config.to_string()).with_context(|| file.display().to_string())
    }

    /// Returns a command for kubectl.
    #[must_use]
    pub fn kubectl(&self, words: &[&str]) -> Command {
        let mut command = self.program("kubectl");
        command.arg("--kubeconfig").arg(self.file("kubeconfig")).args(words);
        command
    }

    /// Runs kubectl.
    pub fn ask(&self, words: &[&str]) -> Result<Output> {
        shell::output(&mut self.kubectl(words))
    }

    /// Runs kubectl with objects, as JSON or YAML, on its standard input.
    pub fn give(&self, words: &[&str], objects: &str) -> Result<Output> {
        let mut command = self.kubectl(&[words, &["--filename", "-"]].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start kubectl")?;
        child.stdin.take().context("no standard input")?.write_all(objects.as_bytes())?;
        Ok(child.wait_with_output()?)
    }

    /// Creates objects.
    pub fn create(&self, objects: &Value) -> Result<()> {
        let output = self.give(&["create"], &objects.to_string())?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Returns what `kubectl get` prints.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let output = self.ask(&[&["get", "--output", "json"], words].concat())?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs a command of a page in the folder of the repository, with kubectl and Helm of this cluster.
    pub fn shell(&self, text: &str) -> Result<Command> {
        let mut path = OsString::from(&self.programs);
        path.push(":");
        path.push(manifests::helm()?.parent().context("no folder")?);
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut command = killed_with_parent(Path::new("bash"));
        command.args(["-ec", text]).current_dir(environment::workspace());
        command.env("PATH", path).env("KUBECONFIG", self.file("kubeconfig"));
        // Helm's own files.
        command.env("HOME", self.folder.path()).stdin(Stdio::null());
        Ok(command)
    }

    fn add_node(&self, name: &str) -> Result<()> {
        let labels = json!({ "kubernetes.io/os": "linux", "kubernetes.io/hostname": name });
        self.create(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels },
        }))?;
        let room = json!({ "cpu": "8", "memory": "16Gi", "pods": "110" });
        let status = json!({ "status": {
            "capacity": room, "allocatable": room,
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
        } });
        self.patch_status("node", name, &status)?;
        // The API gives it to every new node, and the controller of nodes, which does not run, would take it.
        self.ask(&["taint", "node", name, "node.kubernetes.io/not-ready:NoSchedule-"]).map(drop)
    }

    fn patch_status(&self, kind: &str, name: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        self.ask(&["patch", kind, name, "--subresource=status", "--type=merge", "--patch", &patch])
            .map(drop)
    }

    /// Waits for a pod that is on a node and does not run yet, by its labels.
    pub fn scheduled(&self, namespace: &str, selector: &str) -> Result<Value> {
        let what = format!("a pod of {selector} on a node");
        shell::wait_for(&what, SETTLED, || {
            let pods = self.get(&["pods", "--namespace", namespace, "--selector", selector])?;
            let pods = pods["items"].as_array().context("no pods")?;
            let waits = |pod: &&Value| {
                pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] == "Pending"
            };
            Ok(pods.iter().find(waits).cloned())
        })
    }

    /// Says of a pod, as a kubelet does, that its only container runs, with this id.
    pub fn set_running(&self, pod: &Value, id: &str, ip: &str) -> Result<()> {
        let name = |value: &Value| value.as_str().map(str::to_owned).context("no name");
        let container = &pod["spec"]["containers"][0];
        let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status = json!({ "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "startTime": since,
            "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": since },
                { "type": "ContainersReady", "status": "True", "lastTransitionTime": since },
            ],
            "containerStatuses": [{
                "name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                "restartCount": 0, "started": true, "containerID": format!("containerd://{id}"),
                "state": { "running": { "startedAt": since } },
            }],
        } });
        let namespace = name(&pod["metadata"]["namespace"])?;
        let patch = status.to_string();
        let pod = name(&pod["metadata"]["name"])?;
        let words = ["patch", "pod", &pod, "--namespace", &namespace, "--subresource=status"];
        self.ask(&[&words[..], &["--type=merge", "--patch", &patch]].concat()).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.others.iter_mut().chain(self.api.iter_mut()).rev().for_each(shell::end);
    }
}

/// Returns a command that is killed when the thread that starts it ends.
fn killed_with_parent(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}
