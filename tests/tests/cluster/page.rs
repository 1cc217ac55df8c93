//! `docs/pods.md`, command by command.

use crate::{NODE, cgroup, cluster, id, start};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::cluster::Cluster;
use dnscribe_tests::container::{clean, remove};
use dnscribe_tests::kubelet::{self, Setting};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::prometheus::Prometheus;
use dnscribe_tests::{http, page, shell};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Time limit for values in Prometheus, which scrapes each second here.
const SHOWN: Duration = Duration::from_secs(90);
/// Address of the page that answers nothing.
const SILENT: &str = "192.0.2.53";
/// Address of the agent's pages, in the host's network.
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9353);

/// Every command of the page that needs no registry and no kubelet works, and gives what the page says: the chart is installed, its
/// pod runs with the rights that the chart gives it, a Prometheus with what the operator makes of monitor and rules scrapes it, and
/// the pod that fails is the one that is shown.
#[test]
fn page_of_pods_works() {
    let Some((mut cluster, _alone)) = cluster() else { return };
    let lab = Lab::up().unwrap();
    let (text, folder) = (page::read("pods").unwrap(), tempfile::tempdir().unwrap());
    cluster.start_operator().unwrap();
    monitor(&cluster);

    let mut agent = None;
    let mut failing = None;
    for command in page::commands(&text) {
        let left_out = ["cargo ", "skopeo ", "kubectl -n monitoring port-forward"];
        if left_out.iter().any(|start| command.starts_with(start)) {
            continue;
        }
        if command.contains("rollout status") {
            agent = Some(Installed::start(&cluster, &folder.path().join("agent")));
        }
        let said = shell::output(&mut cluster.shell(&command).unwrap()).unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        if command.contains("get prometheus") {
            assert_eq!(
                said.matches(r#"{"matchLabels":{"release":"prometheus"}}"#).count(),
                2,
                "{said}"
            );
        }
        if command.contains("create deployment") {
            let pod = cluster.scheduled("default", "app=dns-failure").unwrap();
            failing = Some(fail(&cluster, &lab, &folder.path().join("failing"), pod));
        }
    }
    let agent = agent.unwrap();
    let (pod, _container) = failing.unwrap();

    let prometheus = folder.path().join("prometheus");
    fs::create_dir(&prometheus).unwrap();
    let prometheus = scrape(&cluster, &prometheus);
    let [first, second] = &page::blocks(&text, "promql")[..] else { panic!("other queries") };
    let [nodes, unnamed, rate] = first.lines().collect::<Vec<_>>()[..] else { panic!("{first}") };
    let wait = |what: &str, holds: &dyn Fn() -> anyhow::Result<bool>| {
        let shown = shell::wait_for(what, SHOWN, || Ok(holds()?.then_some(())));
        shown.unwrap_or_else(|error| {
            let up = prometheus.query("up").unwrap();
            let files = ["prometheus/prometheus.yml", "prometheus/prometheus.log", "agent/log"];
            let files = files.map(|file| fs::read_to_string(folder.path().join(file)).unwrap());
            panic!("{error}: {up:?}\n{}", files.join("\n"))
        });
    };
    wait("one agent", &|| Ok(prometheus.value(nodes)? == Some(1.0)));
    wait("its pods", &|| Ok(prometheus.value(unnamed)? == Some(0.0)));
    wait("queries", &|| Ok(prometheus.value(rate)?.is_some_and(|rate| rate > 0.0)));
    wait("the failing pod", &|| Ok(!prometheus.query(second.trim())?.is_empty()));
    let found = prometheus.query(second.trim()).unwrap();
    let name = &pod["metadata"]["name"];
    assert!(name.as_str().unwrap().starts_with("dns-failure-"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["metric"], json!({ "namespace": "default", "pod": name }));
    let up = &prometheus.query("up{job=\"dnscribe\"}").unwrap()[0]["metric"];
    assert_eq!(up["instance"], NODE, "{up}");
    // The operator's rules run: the page's alert waits for its ten minutes.
    wait("the rules", &|| Ok(!prometheus.query("dnscribe:queries:rate5m")?.is_empty()));
    let alerts = prometheus.query("ALERTS{alertname=\"DnscribeWorkloadFailing\"}");
    assert!(alerts.unwrap().len() <= 1);

    let delete = text.split('`').find(|part| part.starts_with("kubectl delete deployment"));
    shell::output(&mut cluster.shell(delete.unwrap()).unwrap()).unwrap();
    agent.end();
}

/// Creates what a cluster with the chart kube-prometheus-stack, installed as `prometheus`, has. The version is that of the
/// Prometheus that reads what the operator writes.
fn monitor(cluster: &Cluster) {
    let token = cluster.write_token().unwrap();
    let selector = json!({ "matchLabels": { "release": "prometheus" } });
    let name = json!({ "name": "prometheus", "namespace": "monitoring" });
    cluster
        .create(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "monitoring" },
        }))
        .unwrap();
    cluster
        .create(&json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": name,
            "spec": {
                "version": "v3.7.3",
                "podMonitorSelector": selector, "podMonitorNamespaceSelector": {},
                "ruleSelector": selector, "ruleNamespaceSelector": {},
                // It runs outside of the cluster.
                "apiserverConfig": {
                    "host": format!("https://{}", cluster.address()),
                    "authorization": { "credentialsFile": token },
                    "tlsConfig": { "caFile": cluster.authority() },
                },
            },
        }))
        .unwrap();
}

/// Starts a Prometheus with the configuration and the rules that the operator wrote. Only times are others: a second for 30.
fn scrape(cluster: &Cluster, folder: &Path) -> Prometheus {
    let written = shell::wait_for("what the operator writes", SHOWN, || {
        let get = |kind, name| cluster.get(&[kind, name, "--namespace", "monitoring"]).ok();
        let (Some(secret), Some(rules)) = (
            get("secret", "prometheus-prometheus"),
            get("configmap", "prometheus-prometheus-rulefiles-0"),
        ) else {
            return Ok(None);
        };
        let packed = secret["data"]["prometheus.yaml.gz"].as_str().unwrap_or_default();
        let mut config = String::new();
        flate2::read::GzDecoder::new(&STANDARD.decode(packed)?[..]).read_to_string(&mut config)?;
        Ok(config.contains("podMonitor/dnscribe/").then_some((config, rules)))
    });
    let (config, rules) = written.unwrap();
    let place = "/etc/prometheus/rules/prometheus-prometheus-rulefiles-0/";
    assert!(config.contains(place), "{config}");
    let config = config
        .replace(place, &format!("{}/", folder.display()))
        .replace("$(POD_NAME)", "prometheus-prometheus-0")
        .replace("$(SHARD)", "0")
        .replace("scrape_timeout: 10s", "scrape_timeout: 1s")
        .replace("30s", "1s");
    for (name, text) in rules["data"].as_object().unwrap() {
        fs::write(folder.join(name), text.as_str().unwrap()).unwrap();
    }
    Prometheus::up_in_cluster(folder, &config).unwrap()
}

/// Runs the command of the page's deployment as its pod has it, on a host whose router knows no way to the page's server.
fn fail(
    cluster: &Cluster,
    lab: &Lab,
    folder: &Path,
    pod: Value,
) -> (Value, dnscribe_tests::container::Container) {
    let words = pod["spec"]["containers"][0]["command"].as_array().unwrap();
    let [shell, option, script] = &words[..] else { panic!("{words:?}") };
    assert_eq!((shell, option), (&json!("sh"), &json!("-c")));
    let script = script.as_str().unwrap();
    assert!(script.contains(SILENT), "{script}");
    let (silent, router) = (format!("{SILENT}/32"), lab.server_addr().to_string());
    let route = ["ip", "route", "add", &silent, "via", &router];
    assert!(lab.run(Host::Client, &route).unwrap().status.success());
    fs::create_dir(folder).unwrap();
    let container = start(cluster, lab, folder, &pod, script);
    (pod, container)
}

/// The agent of the chart's pod, in a container with what the pod has.
struct Installed {
    folder: PathBuf,
    log: PathBuf,
    cgroup: PathBuf,
    child: Child,
}

impl Installed {
    const NAME: &str = "cluster-daemonset";

    /// Starts the pod that the DaemonSet's controller has made, and says so to the API once the agent is ready.
    fn start(cluster: &Cluster, folder: &Path) -> Self {
        let pod = cluster.scheduled("dnscribe", "app.kubernetes.io/name=dnscribe").unwrap();
        let spec = &pod["spec"];
        assert_eq!(spec["nodeName"], NODE);
        let (config, account) = (folder.join("config"), folder.join("account"));
        for folder in [&config, &account] {
            fs::create_dir_all(folder).unwrap();
        }
        let own = |kind, name: &str| cluster.get(&[kind, name, "--namespace", "dnscribe"]).unwrap();
        for (name, text) in own("configmap", "dnscribe")["data"].as_object().unwrap() {
            fs::write(config.join(name), text.as_str().unwrap()).unwrap();
        }
        let name = spec["serviceAccountName"].as_str().unwrap();
        let token = cluster.ask(&["create", "token", name, "--namespace", "dnscribe"]).unwrap();
        fs::write(account.join("token"), String::from_utf8(token.stdout).unwrap().trim()).unwrap();
        let authority = own("configmap", "kube-root-ca.crt")["data"]["ca.crt"].clone();
        fs::write(account.join("ca.crt"), authority.as_str().unwrap()).unwrap();
        fs::write(account.join("namespace"), "dnscribe").unwrap();
        let id = id(&pod);
        let cgroup = cgroup(&pod, &id);
        let address = cluster.address();
        let setting = Setting {
            node: NODE,
            cgroup: &cgroup,
            volumes: &[
                ("config", &config),
                ("cgroup", Path::new("/sys/fs/cgroup")),
                ("kube-api-access-", &account),
            ],
            variables: &[
                format!("KUBERNETES_SERVICE_HOST={}", address.ip()),
                format!("KUBERNETES_SERVICE_PORT={}", address.port()),
            ],
        };
        let mut bundle = kubelet::container(folder, spec, setting).unwrap();
        // The API server listens on this host alone.
        bundle.use_host_namespace("network");
        let log = folder.join("log");
        let mut command = bundle.command(Self::NAME).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        let cgroup = cgroup2_mount().unwrap().join(cgroup.trim_start_matches('/'));
        let agent = Self { folder: folder.to_owned(), log, cgroup, child };
        let ready = shell::wait_for("the agent to be ready", Duration::from_mins(1), || {
            let answer = http::get(SocketAddr::from(ADMIN), None, "/readyz");
            Ok(answer.is_ok_and(|(code, _)| code == 200).then_some(()))
        });
        ready
            .unwrap_or_else(|error| panic!("{error}: {}", fs::read_to_string(&agent.log).unwrap()));
        cluster.set_running(&pod, &id, &SocketAddr::from(ADMIN).ip().to_string()).unwrap();
        agent
    }

    /// Ends the agent as a kubelet does; its ledger must close.
    fn end(mut self) {
        let processes = fs::read_to_string(self.cgroup.join("cgroup.procs")).unwrap();
        let first = processes.lines().next().unwrap().parse().unwrap();
        shell::signal_pid(first, rustix::process::Signal::TERM).unwrap();
        let ended = shell::wait(&mut self.child, Duration::from_secs(30)).unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(ended.success(), "{log}");
        assert!(log.contains("every identity closes"), "{log}");
        assert!(!log.contains(" WARN "), "{log}");
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        remove(&self.folder, Self::NAME);
        shell::end(&mut self.child);
        clean(&self.cgroup);
    }
}
