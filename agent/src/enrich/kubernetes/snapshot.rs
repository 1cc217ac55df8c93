//! The pods of a node, by container id and pod uid. A pure state machine that takes time as an
//! argument.

use dnscribe_analysis::attribution::{Pod, PodRef};
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that an ended pod is remembered: its last query times out later, and lookups and windows
/// follow some seconds after that.
pub(super) const ENDED_RETENTION: Duration = Duration::from_mins(5);

/// Maximum number of pods, including recently ended ones; a kubelet runs 110 by default.
const MAX_PODS: usize = 4096;

/// Snapshot of the pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) pods: HashMap<Box<str>, Arc<Pod>, RandomState>,
    /// Pod of each container, and the container's index in it.
    containers: HashMap<Box<str>, (Arc<Pod>, usize), RandomState>,
}

/// Builds snapshots.
#[derive(Debug, Default)]
pub(super) struct SnapshotBuilder {
    /// The current pods.
    pub(super) snapshot: Snapshot,
    /// Ended pods, in the order of their ends.
    ended: VecDeque<(Instant, Box<str>)>,
    /// Number of pods not stored because the table was full.
    pub(super) refused: u64,
}

impl Snapshot {
    /// Returns the pod of a container. A pod is known before its containers' ids are. Until then, and
    /// for a container inside a container, it is found by the pod uid in the cgroup path.
    pub(super) fn find(&self, container: &str, pod_uid: Option<&str>) -> Option<PodRef> {
        if let Some((pod, index)) = self.containers.get(container) {
            let known = pod.containers.get(*index);
            return Some(PodRef {
                pod: Arc::clone(pod),
                container: known.map(|known| Arc::clone(&known.name)),
                runtime: known.and_then(|known| known.runtime),
            });
        }
        let pod = self.pods.get(pod_uid?)?;
        let (pod, container) = (Arc::clone(pod), pod.single_container.clone());
        Some(PodRef { pod, container, runtime: None })
    }

    fn insert(&mut self, pod: Arc<Pod>) {
        self.remove(&pod.uid);
        for (index, container) in pod.containers.iter().enumerate() {
            self.containers.insert(container.id.clone(), (Arc::clone(&pod), index));
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    fn remove(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        for container in &pod.containers {
            self.containers.remove(&container.id);
        }
    }
}

impl SnapshotBuilder {
    /// Adds or updates a pod.
    pub(super) fn apply(&mut self, mut pod: Pod) {
        self.ended.retain(|(_, uid)| *uid != pod.uid);
        if let Some(before) = self.snapshot.pods.get(&pod.uid) {
            pod.remember(before);
        } else if self.snapshot.pods.len() >= MAX_PODS {
            let Some((_, oldest)) = self.ended.pop_front() else {
                self.refused += 1;
                return;
            };
            self.snapshot.remove(&oldest);
        }
        self.snapshot.insert(Arc::new(pod));
    }

    /// Records that a pod has ended.
    pub(super) fn end(&mut self, now: Instant, uid: &str) {
        if self.snapshot.pods.contains_key(uid) && !self.ended.iter().any(|(_, one)| **one == *uid)
        {
            self.ended.push_back((now, uid.into()));
        }
    }

    /// Replaces the list of pods; those not in it have ended.
    pub(super) fn replace(&mut self, now: Instant, pods: Vec<Pod>) {
        let there = |uid: &str| pods.iter().any(|pod| *pod.uid == *uid);
        let gone: Vec<Box<str>> =
            self.snapshot.pods.keys().filter(|uid| !there(uid)).cloned().collect();
        for uid in gone {
            self.end(now, &uid);
        }
        for pod in pods {
            self.apply(pod);
        }
    }

    /// Removes pods that ended long ago. Returns whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.ended.len();
        while let Some((ended, _)) = self.ended.front()
            && now.saturating_duration_since(*ended) >= ENDED_RETENTION
        {
            if let Some((_, uid)) = self.ended.pop_front() {
                self.snapshot.remove(&uid);
            }
        }
        self.ended.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_analysis::attribution::PodContainer;

    fn pod(uid: &str, containers: &[&str]) -> Pod {
        let container = |id: &&str| PodContainer {
            id: (*id).into(),
            name: format!("name-{id}").into(),
            runtime: None,
        };
        Pod {
            uid: uid.into(),
            namespace: "shop".into(),
            name: uid.into(),
            path: format!("shop/{uid}").into(),
            workload: None,
            labels: std::collections::BTreeMap::new(),
            containers: containers.iter().map(container).collect(),
            single_container: (containers.len() < 2).then(|| "only".into()),
        }
    }

    fn found(
        builder: &SnapshotBuilder,
        container: &str,
        uid: Option<&str>,
    ) -> Option<(String, String)> {
        let place = builder.snapshot.find(container, uid)?;
        let name = place.container.as_deref().unwrap_or_default().to_owned();
        Some((place.pod.name.to_string(), name))
    }

    fn named(pod: &str, container: &str) -> (String, String) {
        (pod.to_owned(), container.to_owned())
    }

    #[test]
    fn finds_by_container_or_pod_uid() {
        let mut builder = SnapshotBuilder::default();
        builder.apply(pod("a", &["1", "2"]));
        builder.apply(pod("b", &[]));
        assert_eq!(found(&builder, "2", None), Some(named("a", "name-2")));
        assert_eq!(found(&builder, "9", Some("a")), Some(named("a", "")), "one of two");
        assert_eq!(found(&builder, "9", Some("b")), Some(named("b", "only")));
        assert_eq!(found(&builder, "9", Some("c")), None);
        assert_eq!(found(&builder, "9", None), None);
    }

    #[test]
    fn restarted_container_is_found_by_both_ids() {
        let mut builder = SnapshotBuilder::default();
        builder.apply(pod("a", &["1"]));
        builder.apply(pod("a", &["2"]));
        assert_eq!(found(&builder, "1", None), Some(named("a", "name-1")));
        assert_eq!(found(&builder, "2", None), Some(named("a", "name-2")));
    }

    #[test]
    fn ended_pod_is_kept_for_retention_time() {
        let (mut builder, start) = (SnapshotBuilder::default(), Instant::now());
        builder.apply(pod("a", &["1"]));
        builder.end(start, "a");
        builder.end(start + ENDED_RETENTION / 2, "a");
        assert!(!builder.expire(start + ENDED_RETENTION / 2));
        assert!(found(&builder, "1", None).is_some());
        assert!(builder.expire(start + ENDED_RETENTION));
        assert_eq!(found(&builder, "1", Some("a")), None);
        assert_eq!((builder.snapshot.pods.len(), builder.snapshot.containers.len()), (0, 0));
    }

    #[test]
    fn list_ends_missing_and_revives_present_pods() {
        let (mut builder, start) = (SnapshotBuilder::default(), Instant::now());
        builder.replace(start, vec![pod("a", &["1"]), pod("b", &["2"])]);
        builder.replace(start, vec![pod("b", &["2"])]);
        builder.replace(start + ENDED_RETENTION / 2, vec![pod("a", &["1"])]);
        builder.expire(start + ENDED_RETENTION);
        assert!(found(&builder, "1", None).is_some(), "it is there again");
        builder.expire(start + ENDED_RETENTION + ENDED_RETENTION / 2);
        assert_eq!(found(&builder, "2", None), None);
    }

    #[test]
    fn ended_pods_are_replaced_at_limit() {
        let (mut builder, now) = (SnapshotBuilder::default(), Instant::now());
        for number in 0..MAX_PODS {
            builder.apply(pod(&format!("p{number}"), &[]));
        }
        builder.apply(pod("more", &["1"]));
        assert_eq!((found(&builder, "1", None), builder.refused), (None, 1));
        builder.end(now, "p7");
        builder.apply(pod("more", &["1"]));
        assert_eq!(found(&builder, "1", None), Some(named("more", "name-1")));
        assert_eq!(builder.snapshot.pods.len(), MAX_PODS);
    }
}
