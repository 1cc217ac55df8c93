//! The chart, the pages about Kubernetes and the agent with a real control plane: API server, controllers, scheduler and the
//! Prometheus operator. What a kubelet would start, the tests start.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test's helpers cannot do fails the test"
)]

#[path = "cluster/objects.rs"]
mod objects;
#[path = "cluster/page.rs"]
mod page;
#[path = "cluster/watch.rs"]
mod watch;

use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::cluster::Cluster;
use dnscribe_tests::container::{Bundle, Container};
use dnscribe_tests::environment;
use dnscribe_tests::lab::{Host, Lab};
use serde_json::Value;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Name of the cluster's only node.
const NODE: &str = "node-1";

/// Two labs, agents and control planes at the same time would disturb each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Starts a control plane for one test, and prevents the others from running.
fn cluster() -> Option<(Cluster, MutexGuard<'static, ()>)> {
    if !environment::privileged() {
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Some((Cluster::start(NODE).unwrap(), alone))
}

/// Returns an id for a pod's container: 64 digits.
fn id(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap().replace('-', "").repeat(2)
}

/// Returns the cgroup that a kubelet makes for a container of a pod.
fn cgroup(pod: &Value, id: &str) -> String {
    format!("/kubepods/besteffort/pod{}/{id}", pod["metadata"]["uid"].as_str().unwrap())
}

/// Starts a pod's container on the lab's client, with busybox in place of its image, and says so to the API.
fn start(cluster: &Cluster, lab: &Lab, folder: &Path, pod: &Value, script: &str) -> Container {
    let id = id(pod);
    let mut bundle = Bundle::busybox(folder, &cgroup(pod, &id), &["sh", "-c", script]).unwrap();
    bundle.join_network(&lab.namespace_path(Host::Client));
    let container = bundle.start(&id, &cgroup2_mount().unwrap()).unwrap();
    cluster.set_running(pod, &id, "10.244.0.7").unwrap();
    container
}
