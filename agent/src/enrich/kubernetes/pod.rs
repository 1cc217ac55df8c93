//! Pods as the API describes them, and the properties that are kept.

use dnscribe_analysis::attribution::{MAX_CONTAINERS, Pod, PodContainer, Runtime, Workload};
use kube::core::Object;
use serde::Deserialize;

/// The cgroups of pods from static manifests are named after this annotation, not after the uid.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// Label that identifies the ReplicaSet of a pod within its Deployment.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A pod as the API returns it, with the fields that are read.
pub(super) type ApiPod = Object<Spec, ApiStatus>;

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    containers: Vec<ContainerSpec>,
    init_containers: Vec<ContainerSpec>,
    ephemeral_containers: Vec<ContainerSpec>,
}

/// A container in `spec`.
#[derive(Clone, Debug, Deserialize)]
struct ContainerSpec {
    name: String,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiStatus {
    #[serde(rename = "containerStatuses")]
    usual: Vec<ContainerStatus>,
    #[serde(rename = "initContainerStatuses")]
    init: Vec<ContainerStatus>,
    #[serde(rename = "ephemeralContainerStatuses")]
    ephemeral: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    /// `containerd://ID`; absent until the container has been started.
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

/// Reads a pod with the configured `labels`. Returns `None` if it has no namespace, name or uid.
pub(super) fn read_pod(api: &ApiPod, labels: &[String]) -> Option<Pod> {
    let meta = &api.metadata;
    let (namespace, name) = (meta.namespace.as_deref()?, meta.name.as_deref()?);
    let annotated = meta.annotations.as_ref().and_then(|all| all.get(CONFIG_HASH));
    let status = api.status.as_ref();
    let statuses = status.into_iter().flat_map(|status| {
        let ApiStatus { usual, init, ephemeral } = status;
        usual.iter().chain(init).chain(ephemeral)
    });
    let given = meta.labels.as_ref();
    let wanted = labels.iter().filter_map(|label| {
        given.and_then(|given| given.get(label)).map(|value| (label.clone(), value.clone()))
    });
    let Spec { containers, init_containers, ephemeral_containers } = &api.spec;
    let single_container = match (&**containers, &**init_containers, &**ephemeral_containers) {
        ([only], [], []) => Some(only.name.as_str().into()),
        _ => None,
    };
    Some(Pod {
        uid: annotated.or(meta.uid.as_ref())?.as_str().into(),
        namespace: namespace.into(),
        name: name.into(),
        path: format!("{namespace}/{name}").into(),
        workload: workload(api),
        labels: wanted.collect(),
        containers: statuses.filter_map(pod_container).take(MAX_CONTAINERS).collect(),
        single_container,
    })
}

fn pod_container(status: &ContainerStatus) -> Option<PodContainer> {
    let (scheme, id) = status.container_id.as_deref()?.split_once("://")?;
    let runtime = Runtime::ALL.into_iter().find(|runtime| runtime.name() == scheme);
    Some(PodContainer { id: id.into(), name: status.name.as_str().into(), runtime })
}

/// Returns the controlling owner of a pod. Instead of a ReplicaSet or Job, returns the Deployment or
/// CronJob that its name shows.
fn workload(api: &ApiPod) -> Option<Workload> {
    let meta = &api.metadata;
    let owners = meta.owner_references.as_deref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let hash = meta.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
    let (kind, name) = match &*owner.kind {
        "ReplicaSet" => hash
            .and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'))
            .map_or(("ReplicaSet", &*owner.name), |name| ("Deployment", name)),
        "Job" => {
            let created = meta.creation_timestamp.as_ref().map(|time| time.0.as_second());
            scheduled(&owner.name, created).map_or(("Job", &*owner.name), |name| ("CronJob", name))
        }
        kind => (kind, &*owner.name),
    };
    Some(Workload { kind: kind.into(), name: name.into() })
}

/// Returns the CronJob of a Job. The CronJob controller names Jobs after the scheduled minute; other
/// numbers are not within a week of the creation time.
fn scheduled(job: &str, created_seconds: Option<i64>) -> Option<&str> {
    const WEEK: i64 = 7 * 24 * 60;
    let (name, minute) = job.rsplit_once('-')?;
    let is_number = minute.len() == 8 && minute.bytes().all(|digit| digit.is_ascii_digit());
    let minute: i64 = minute.parse().ok().filter(|_| is_number)?;
    let created = created_seconds? / 60;
    (created - WEEK..=created + 1).contains(&minute).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const WEB: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn pod(owner: &Value, more: Value) -> Pod {
        let mut metadata = json!({
            "name": "web-7d4b9c6f5-x2x9z", "namespace": "shop", "uid": "u-1",
            "creationTimestamp": "2026-11-20T10:00:30Z",
            "labels": { "app": "web", "team": "a", "pod-template-hash": "7d4b9c6f5" },
        });
        if !owner.is_null() {
            metadata["ownerReferences"] = json!([owner]);
        }
        if let Value::Object(more) = more {
            metadata.as_object_mut().unwrap().extend(more);
        }
        let api: ApiPod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": { "containers": [{ "name": "app", "image": "x" }], "nodeName": "n" },
            "status": {
                "phase": "Running",
                "containerStatuses": [
                    { "name": "app", "containerID": format!("containerd://{WEB}"), "ready": true },
                    { "name": "later", "ready": false },
                ],
            },
        }))
        .unwrap();
        read_pod(&api, &["team".to_owned(), "absent".to_owned()]).unwrap()
    }

    fn workload_of(kind: &str, name: &str) -> Option<(String, String)> {
        let owner = json!({ "apiVersion": "v1", "kind": kind, "name": name, "uid": "o", "controller": true });
        let workload = pod(&owner, Value::Null).workload?;
        Some((workload.kind.into(), workload.name.into()))
    }

    #[test]
    fn keeps_fields_of_records() {
        let pod = pod(&Value::Null, Value::Null);
        assert_eq!((&*pod.path, &*pod.uid), ("shop/web-7d4b9c6f5-x2x9z", "u-1"));
        assert_eq!(pod.labels, [("team".to_owned(), "a".to_owned())].into());
        assert_eq!(pod.workload, None);
        assert_eq!(pod.single_container.as_deref(), Some("app"));
        let [container] = &*pod.containers else { panic!("one has been started: {pod:?}") };
        assert_eq!((&*container.id, &*container.name), (WEB, "app"));
        assert_eq!(container.runtime, Some(Runtime::Containerd));
    }

    #[test]
    fn static_pod_has_manifest_hash_as_uid() {
        let annotations = json!({ "annotations": { "kubernetes.io/config.hash": "c0ffee" } });
        assert_eq!(&*pod(&Value::Null, annotations).uid, "c0ffee");
    }

    #[test]
    fn finds_workload_of_owner() {
        let expected = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));
        assert_eq!(workload_of("ReplicaSet", "web-7d4b9c6f5"), expected("Deployment", "web"));
        assert_eq!(workload_of("ReplicaSet", "web-other"), expected("ReplicaSet", "web-other"));
        assert_eq!(workload_of("StatefulSet", "db"), expected("StatefulSet", "db"));
        // 2026-11-20T10:00:00Z is minute 29920440 of the Unix epoch.
        let minute = 1_795_168_800 / 60;
        assert_eq!(workload_of("Job", &format!("backup-{minute}")), expected("CronJob", "backup"));
        assert_eq!(workload_of("Job", "import-20261120"), expected("Job", "import-20261120"));
        assert_eq!(workload_of("Job", "migrate"), expected("Job", "migrate"));
    }

    #[test]
    fn ignores_owner_that_is_not_controller() {
        let owner = json!({ "apiVersion": "v1", "kind": "Thing", "name": "t", "uid": "o" });
        assert_eq!(pod(&owner, Value::Null).workload, None);
    }

    #[test]
    fn former_containers_are_bounded() {
        let first = pod(&Value::Null, Value::Null);
        let mut next = Pod { containers: Vec::new(), ..first.clone() };
        for number in 0..100 {
            let (id, name) = (number.to_string().into(), "app".into());
            next.containers = vec![PodContainer { id, name, runtime: None }];
            let before = Pod { containers: next.containers.clone(), ..next.clone() };
            next.remember(&first);
            next.remember(&before);
            assert!(next.has(WEB) && next.containers.len() == 2);
        }
        let mut full = first.clone();
        full.containers = (0..MAX_CONTAINERS)
            .map(|id| PodContainer { id: id.to_string().into(), name: "x".into(), runtime: None })
            .collect();
        full.remember(&first);
        assert_eq!(full.containers.len(), MAX_CONTAINERS);
    }
}
