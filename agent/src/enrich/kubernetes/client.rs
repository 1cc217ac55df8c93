//! The way to the API: a client from the service account of this pod, or from a kubeconfig; and what
//! `dnscribe check` asks of it.

use super::KubernetesConfig;
use super::pod::ApiPod;
use super::trouble::{Reason, Trouble, chain};
use kube::api::{ListParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, ObjectList};
use kube::{Api, Client, Config};
use std::time::Duration;

/// How long the API server keeps a watch open; then it is asked anew, from where it was.
pub(super) const WATCH_SECONDS: u32 = 60;

/// The pods of a node, asked for.
pub(super) struct PodsApi {
    api: Api<ApiPod>,
    selector: String,
    timeout: Duration,
    /// Where the API is.
    pub(super) url: String,
}

impl PodsApi {
    /// Reads the credentials and makes a client. Must run in a runtime.
    pub(super) async fn open(config: &KubernetesConfig) -> Result<Self, Trouble> {
        let mut way = match &config.kubeconfig {
            Some(path) => {
                let wrong = |error: kube::config::KubeconfigError| {
                    let why = format!("kubeconfig {}: {}", path.display(), chain(&error));
                    Trouble::new(Reason::Config, why)
                };
                let file = Kubeconfig::read_from(path).map_err(wrong)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(wrong)?
            }
            None => Config::incluster_env().map_err(|error| {
                Trouble::new(Reason::Config, format!("no service account: {}", chain(&error)))
            })?,
        };
        way.connect_timeout = Some(config.timeout);
        way.write_timeout = Some(config.timeout);
        // Who asks again, and when, is decided where it is told and counted.
        way.default_retry = false;
        let url = way.cluster_url.to_string();
        let client = Client::try_from(way)?;
        let kind = ApiResource::from_gvk_with_plural(
            &kube::core::GroupVersionKind::gvk("", "v1", "Pod"),
            "pods",
        );
        let selector = format!("spec.nodeName={}", config.node_name);
        Ok(Self { api: Api::all_with(client, &kind), selector, timeout: config.timeout, url })
    }

    /// All pods of the node, from the API server's own memory rather than from etcd.
    pub(super) async fn list(&self) -> Result<ObjectList<ApiPod>, Trouble> {
        let wanted = ListParams::default().fields(&self.selector).match_any();
        let answer = tokio::time::timeout(self.timeout, self.api.list(&wanted)).await;
        Ok(answer.map_err(|_| Trouble::timeout("list of pods"))??)
    }

    /// What happens to them from a version on.
    pub(super) async fn watch(
        &self,
        version: &str,
    ) -> Result<
        impl futures_util::Stream<Item = kube::Result<kube::core::WatchEvent<ApiPod>>>,
        Trouble,
    > {
        let wanted = WatchParams::default().fields(&self.selector).timeout(WATCH_SECONDS);
        let answer = tokio::time::timeout(self.timeout, self.api.watch(&wanted, version)).await;
        Ok(answer.map_err(|_| Trouble::timeout("answer to a watch"))??)
    }
}

/// Whether the pods of this node can be listed: what was found, or what is wrong and the remedy.
pub fn probe(config: &KubernetesConfig) -> Result<String, (String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (error.to_string(), "see what limits this user's threads".to_owned()))?;
    runtime.block_on(async {
        let told = |trouble: Trouble| (trouble.what, trouble.reason.remedy().to_owned());
        let pods = PodsApi::open(config).await.map_err(told)?;
        let list = pods.list().await.map_err(|trouble| {
            (format!("{}: {}", pods.url, trouble.what), trouble.reason.remedy().to_owned())
        })?;
        match list.items.len() {
            0 => Err((
                format!("{}: no pod is on node {}", pods.url, config.node_name),
                NO_PODS.to_owned(),
            )),
            count => Ok(format!("{}: {count} pods on node {}", pods.url, config.node_name)),
        }
    })
}

/// What to do where a node has no pods.
pub(super) const NO_PODS: &str = "give the node's name as `kubectl get nodes` has it with \
                                  kubernetes.node_name, or NODE_NAME from the downward API";
