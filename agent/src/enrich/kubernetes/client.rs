//! Client of the Kubernetes API, with the credentials of this pod's service account or of a
//! kubeconfig; also used by `dnscribe check`.

use super::KubernetesConfig;
use super::error::{ApiError, ApiErrorReason, error_chain};
use super::pod::ApiPod;
use futures_util::Stream;
use kube::api::{ListParams, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, ObjectList, WatchEvent};
use kube::{Api, Client, Config};
use std::time::Duration;

/// Time after which the API server ends a watch, in seconds. It is then resumed.
pub(super) const WATCH_SECONDS: u32 = 60;

/// Requests for the pods of a node.
pub(super) struct PodsApi {
    api: Api<ApiPod>,
    selector: String,
    timeout: Duration,
    /// URL of the API server.
    pub(super) url: String,
}

impl PodsApi {
    /// Reads the credentials and creates a client. Must run in a tokio runtime.
    pub(super) async fn open(config: &KubernetesConfig) -> Result<Self, ApiError> {
        let mut api_config = match &config.kubeconfig {
            Some(path) => {
                let wrong = |error: kube::config::KubeconfigError| {
                    let why = format!("kubeconfig {}: {}", path.display(), error_chain(&error));
                    ApiError::new(ApiErrorReason::Config, why)
                };
                let file = Kubeconfig::read_from(path).map_err(wrong)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                    .await
                    .map_err(wrong)?
            }
            None => Config::incluster_env().map_err(|error| {
                let why = format!("no service account: {}", error_chain(&error));
                ApiError::new(ApiErrorReason::Config, why)
            })?,
        };
        api_config.connect_timeout = Some(config.timeout);
        api_config.write_timeout = Some(config.timeout);
        // The watch retries itself, so that failures are counted and logged.
        api_config.default_retry = false;
        let url = api_config.cluster_url.to_string();
        let client = Client::try_from(api_config)?;
        let kind = GroupVersionKind::gvk("", "v1", "Pod");
        let kind = ApiResource::from_gvk_with_plural(&kind, "pods");
        let selector = format!("spec.nodeName={}", config.node_name);
        Ok(Self { api: Api::all_with(client, &kind), selector, timeout: config.timeout, url })
    }

    /// Lists all pods of the node, from the API server's cache instead of etcd.
    pub(super) async fn list(&self) -> Result<ObjectList<ApiPod>, ApiError> {
        let wanted = ListParams::default().fields(&self.selector).match_any();
        let answer = tokio::time::timeout(self.timeout, self.api.list(&wanted)).await;
        Ok(answer.map_err(|_| ApiError::timeout("list of pods"))??)
    }

    /// Watches the pods of the node from a version on.
    pub(super) async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = kube::Result<WatchEvent<ApiPod>>>, ApiError> {
        let wanted = WatchParams::default().fields(&self.selector).timeout(WATCH_SECONDS);
        let answer = tokio::time::timeout(self.timeout, self.api.watch(&wanted, version)).await;
        Ok(answer.map_err(|_| ApiError::timeout("answer to a watch"))??)
    }
}

/// Checks that the pods of this node can be listed. Returns a summary.
///
/// # Errors
/// Returns what is wrong, and the remedy.
pub fn probe(config: &KubernetesConfig) -> Result<String, (String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| (error.to_string(), "check this user's limit of threads".to_owned()))?;
    runtime.block_on(async {
        let with_remedy = |error: ApiError| (error.message, error.reason.remedy().to_owned());
        let pods = PodsApi::open(config).await.map_err(with_remedy)?;
        let list = pods.list().await.map_err(|error| {
            (format!("{}: {}", pods.url, error.message), error.reason.remedy().to_owned())
        })?;
        let (url, node) = (&pods.url, &config.node_name);
        match list.items.len() {
            0 => Err((format!("{url}: no pods on node {node}"), NO_PODS.to_owned())),
            count => Ok(format!("{url}: {count} pods on node {node}")),
        }
    })
}

/// Remedy for a node without pods.
pub(super) const NO_PODS: &str = "set kubernetes.node_name to the name that `kubectl get nodes` \
                                  shows, or NODE_NAME from the downward API";
