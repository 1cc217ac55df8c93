//! The pods of a node, by container and by their own id. A pure state machine: time comes in as an
//! argument.

use super::pod::{Place, Pod};
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a pod is remembered after its end: the outcome of its last query comes with the query
/// timeout, its last lookup and window some seconds later.
pub(super) const KEEP: Duration = Duration::from_secs(300);

/// Pods known at a time: more than any kubelet runs (110 unless told otherwise), those that ended
/// lately included.
const MAX_PODS: usize = 4096;

/// What is known at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pods: HashMap<Box<str>, Arc<Pod>, RandomState>,
    /// The pod of each container, and which of its containers that is.
    containers: HashMap<Box<str>, (Arc<Pod>, usize), RandomState>,
}

/// A directory in the making.
#[derive(Debug, Default)]
pub(super) struct Register {
    directory: Directory,
    /// Pods that have ended, in the order in which they did.
    ended: VecDeque<(Instant, Box<str>)>,
    refused: u64,
}

impl Directory {
    /// The place of a container. A pod is known before its containers' ids are; then, and for a
    /// container made inside of one, the cgroup's path tells the pod.
    pub(super) fn find(&self, container: &str, pod_uid: Option<&str>) -> Option<Place> {
        if let Some((pod, index)) = self.containers.get(container) {
            let known = pod.containers.get(*index);
            return Some(Place {
                pod: Arc::clone(pod),
                container: known.map(|known| Arc::clone(&known.name)),
                runtime: known.and_then(|known| known.runtime),
            });
        }
        let pod = self.pods.get(pod_uid?)?;
        Some(Place { pod: Arc::clone(pod), container: pod.only.clone(), runtime: None })
    }

    /// How many pods there are.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
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

impl Register {
    /// What is known now.
    pub(super) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Pods for which there was no room.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// A pod is there, or has changed.
    pub(super) fn apply(&mut self, mut pod: Pod) {
        self.ended.retain(|(_, uid)| *uid != pod.uid);
        if let Some(before) = self.directory.pods.get(&pod.uid) {
            pod.remember(before);
        } else if self.directory.len() >= MAX_PODS {
            let Some((_, oldest)) = self.ended.pop_front() else {
                self.refused += 1;
                return;
            };
            self.directory.remove(&oldest);
        }
        self.directory.insert(Arc::new(pod));
    }

    /// A pod has ended.
    pub(super) fn end(&mut self, now: Instant, uid: &str) {
        if self.directory.pods.contains_key(uid) && !self.ended.iter().any(|(_, one)| **one == *uid)
        {
            self.ended.push_back((now, uid.into()));
        }
    }

    /// These are all the pods that there are: others have ended.
    pub(super) fn replace(&mut self, now: Instant, pods: Vec<Pod>) {
        let there = |uid: &str| pods.iter().any(|pod| *pod.uid == *uid);
        let gone: Vec<Box<str>> =
            self.directory.pods.keys().filter(|uid| !there(uid)).cloned().collect();
        for uid in gone {
            self.end(now, &uid);
        }
        for pod in pods {
            self.apply(pod);
        }
    }

    /// Forgets what ended long ago; whether there was anything.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.ended.len();
        while let Some((ended, _)) = self.ended.front()
            && now.saturating_duration_since(*ended) >= KEEP
        {
            if let Some((_, uid)) = self.ended.pop_front() {
                self.directory.remove(&uid);
            }
        }
        self.ended.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::PodContainer;
    use super::*;

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
            only: (containers.len() < 2).then(|| "only".into()),
        }
    }

    fn found(register: &Register, container: &str, uid: Option<&str>) -> Option<(String, String)> {
        let place = register.directory().find(container, uid)?;
        let name = place.container.as_deref().unwrap_or_default().to_owned();
        Some((place.pod.name.to_string(), name))
    }

    fn named(pod: &str, container: &str) -> (String, String) {
        (pod.to_owned(), container.to_owned())
    }

    #[test]
    fn finds_by_container_and_else_by_pod() {
        let mut register = Register::default();
        register.apply(pod("a", &["1", "2"]));
        register.apply(pod("b", &[]));
        assert_eq!(found(&register, "2", None), Some(named("a", "name-2")));
        assert_eq!(found(&register, "9", Some("a")), Some(named("a", "")), "one of two");
        assert_eq!(found(&register, "9", Some("b")), Some(named("b", "only")));
        assert_eq!(found(&register, "9", Some("c")), None);
        assert_eq!(found(&register, "9", None), None);
    }

    #[test]
    fn a_restarted_container_is_known_by_both_ids() {
        let mut register = Register::default();
        register.apply(pod("a", &["1"]));
        register.apply(pod("a", &["2"]));
        assert_eq!(found(&register, "1", None), Some(named("a", "name-1")));
        assert_eq!(found(&register, "2", None), Some(named("a", "name-2")));
    }

    #[test]
    fn an_ended_pod_is_kept_for_a_while() {
        let (mut register, start) = (Register::default(), Instant::now());
        register.apply(pod("a", &["1"]));
        register.end(start, "a");
        register.end(start + KEEP / 2, "a");
        assert!(!register.expire(start + KEEP / 2));
        assert!(found(&register, "1", None).is_some());
        assert!(register.expire(start + KEEP));
        assert_eq!(found(&register, "1", Some("a")), None);
        assert_eq!((register.directory.len(), register.directory.containers.len()), (0, 0));
    }

    #[test]
    fn a_list_ends_what_is_not_in_it_and_revives_what_is() {
        let (mut register, start) = (Register::default(), Instant::now());
        register.replace(start, vec![pod("a", &["1"]), pod("b", &["2"])]);
        register.replace(start, vec![pod("b", &["2"])]);
        register.replace(start + KEEP / 2, vec![pod("a", &["1"])]);
        register.expire(start + KEEP);
        assert!(found(&register, "1", None).is_some(), "it is there again");
        register.expire(start + KEEP + KEEP / 2);
        assert_eq!(found(&register, "2", None), None);
    }

    #[test]
    fn pods_are_bounded_and_those_that_ended_make_room() {
        let (mut register, now) = (Register::default(), Instant::now());
        for number in 0..MAX_PODS {
            register.apply(pod(&format!("p{number}"), &[]));
        }
        register.apply(pod("more", &["1"]));
        assert_eq!((found(&register, "1", None), register.refused()), (None, 1));
        register.end(now, "p7");
        register.apply(pod("more", &["1"]));
        assert_eq!(found(&register, "1", None), Some(named("more", "name-1")));
        assert_eq!(register.directory.len(), MAX_PODS);
    }
}
