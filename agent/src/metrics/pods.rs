//! Transactions and latency by Kubernetes pod and workload, in bounded memory.

use super::transactions::{BOUNDS, OTHER};
use dnscribe_admin::histogram::Histogram;
use dnscribe_admin::page::Page;
use dnscribe_analysis::attribution::Pod;
use dnscribe_analysis::lookup::Outcome;
use dnscribe_record::time::Timestamp;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of pods with counters of their own: more than run on a node at a time (110 by default, 500 at most
/// where a cloud provider allows it).
const MAX_PODS: usize = 512;

/// Maximum number of workloads with a histogram of their own.
const MAX_WORKLOADS: usize = 128;

/// A pod without queries for this long gives its place to another one.
const IDLE: Duration = Duration::from_mins(10);

/// Time between two searches for idle pods while all places are taken.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

type Counts = [u64; Outcome::ALL.len()];

/// Counters of one pod.
struct PodCounts {
    pod: Arc<Pod>,
    latest: Timestamp,
    outcomes: Counts,
}

/// Queries that pods sent, by outcome, and their latencies by workload.
#[derive(Default)]
pub struct PodMetrics {
    /// By `namespace/name`.
    pods: HashMap<Box<str>, PodCounts, RandomState>,
    other: Counts,
    /// By `namespace/name` of the workload, with the time of the latest query.
    durations: HashMap<Box<str>, (Timestamp, Histogram), RandomState>,
    /// Latencies of all workloads without a place.
    other_durations: Option<Histogram>,
    next_search: Timestamp,
    /// Pods that gave their place to another one.
    removed: u64,
    key: String,
}

impl PodMetrics {
    /// Counts a query of `pod` that ended at `now`; `latency` where a response came in time.
    pub fn query(
        &mut self,
        now: Timestamp,
        pod: &Arc<Pod>,
        outcome: Outcome,
        latency: Option<Duration>,
    ) {
        self.counts(now, pod)[outcome as usize] += 1;
        let Some(latency) = latency else { return };
        self.durations_of(now, pod).observe(latency.as_secs_f64());
    }

    /// Returns the histogram of a pod's workload, or that of all workloads without a place.
    fn durations_of(&mut self, now: Timestamp, pod: &Pod) -> &mut Histogram {
        self.key.clear();
        for part in [&*pod.namespace, "/", workload(pod)] {
            self.key.push_str(part);
        }
        if !self.durations.contains_key(&*self.key) {
            if self.durations.len() >= MAX_WORKLOADS {
                self.remove_idle(now);
            }
            if self.durations.len() < MAX_WORKLOADS {
                self.durations.insert(self.key.as_str().into(), (now, Histogram::new(BOUNDS)));
            }
        }
        match self.durations.get_mut(&*self.key) {
            Some((latest, histogram)) => {
                *latest = now;
                histogram
            }
            None => self.other_durations.get_or_insert_with(|| Histogram::new(BOUNDS)),
        }
    }

    /// Returns the counters of a pod, or those of all pods without a place.
    fn counts(&mut self, now: Timestamp, pod: &Arc<Pod>) -> &mut Counts {
        if !self.pods.contains_key(&pod.path) {
            if self.pods.len() >= MAX_PODS {
                self.remove_idle(now);
            }
            if self.pods.len() >= MAX_PODS {
                return &mut self.other;
            }
            let counts =
                PodCounts { pod: Arc::clone(pod), latest: now, outcomes: Counts::default() };
            self.pods.insert(pod.path.clone(), counts);
        }
        match self.pods.get_mut(&pod.path) {
            Some(counts) => {
                counts.latest = now;
                // It may have got another workload since, or be another pod of that name.
                if !Arc::ptr_eq(&counts.pod, pod) {
                    counts.pod = Arc::clone(pod);
                }
                &mut counts.outcomes
            }
            None => &mut self.other,
        }
    }

    /// Removes the pods and workloads that have been idle, most of which have ended.
    fn remove_idle(&mut self, now: Timestamp) {
        if now < self.next_search {
            return;
        }
        self.next_search = now.plus(SEARCH_EVERY);
        let before = self.pods.len();
        self.pods.retain(|_, counts| now.since(counts.latest) < IDLE);
        self.removed += (before - self.pods.len()) as u64;
        self.durations.retain(|_, (latest, _)| now.since(*latest) < IDLE);
    }

    /// Writes all families.
    pub(super) fn write(&self, page: &mut Page) {
        let mut pods: Vec<_> = self.pods.values().collect();
        pods.sort_unstable_by(|one, other| one.pod.path.cmp(&other.pod.path));
        let named = pods.into_iter().map(|PodCounts { pod, outcomes, .. }| {
            ([&*pod.namespace, &*pod.name, workload(pod)], outcomes)
        });
        let mut family = page.family("dns_pod_transactions_total");
        for ([namespace, pod, workload], outcomes) in named.chain([([OTHER; 3], &self.other)]) {
            for (outcome, count) in Outcome::ALL.into_iter().zip(outcomes) {
                if *count > 0 {
                    let labels = &[
                        ("namespace", namespace),
                        ("pod", pod),
                        ("workload", workload),
                        ("outcome", outcome.name()),
                    ];
                    family.count(labels, *count);
                }
            }
        }
        let mut durations: Vec<_> = self.durations.iter().collect();
        durations.sort_unstable_by_key(|(key, _)| *key);
        let named = durations.into_iter().filter_map(|(key, (_, histogram))| {
            key.split_once('/').map(|(namespace, workload)| ([namespace, workload], histogram))
        });
        let other = self.other_durations.iter().map(|histogram| ([OTHER; 2], histogram));
        let mut family = page.family("dns_pod_transaction_duration_seconds");
        for ([namespace, workload], histogram) in named.chain(other) {
            family.histogram(&[("namespace", namespace), ("workload", workload)], histogram);
        }
        page.count("dnscribe_pod_series_removed_total", self.removed);
    }
}

/// Returns the name of a pod's workload; empty without one.
fn workload(pod: &Pod) -> &str {
    pod.workload.as_ref().map_or("", |workload| &workload.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: usize) -> Arc<Pod> {
        Arc::new(Pod::named("shop", &format!("web-{number}"), Some(("Deployment", "web"))))
    }

    fn page(metrics: &PodMetrics) -> String {
        let mut page = Page::new(crate::metrics::dictionary::metric);
        metrics.write(&mut page);
        page.into_text()
    }

    #[test]
    fn counts_by_pod_and_outcome() {
        let mut metrics = PodMetrics::default();
        let now = Timestamp::from_nanos(1);
        metrics.query(now, &pod(1), Outcome::Answered, Some(Duration::from_millis(1)));
        metrics.query(now, &pod(1), Outcome::Nxdomain, Some(Duration::from_millis(1)));
        metrics.query(now, &pod(2), Outcome::Timeout, None);
        let text = page(&metrics);
        for line in [
            r#"dns_pod_transactions_total{namespace="shop",pod="web-1",workload="web",outcome="answered"} 1"#,
            r#"dns_pod_transactions_total{namespace="shop",pod="web-1",workload="web",outcome="nxdomain"} 1"#,
            r#"dns_pod_transactions_total{namespace="shop",pod="web-2",workload="web",outcome="timeout"} 1"#,
            r#"dns_pod_transaction_duration_seconds_count{namespace="shop",workload="web"} 2"#,
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_pod_has_its_newest_workload() {
        let mut metrics = PodMetrics::default();
        let bare = Arc::new(Pod::named("shop", "web-1", None));
        for pod in [bare, pod(1)] {
            metrics.query(Timestamp::default(), &pod, Outcome::Answered, None);
        }
        let line = r#"{namespace="shop",pod="web-1",workload="web",outcome="answered"} 2"#;
        assert!(page(&metrics).contains(line), "{}", page(&metrics));
    }

    #[test]
    fn workloads_that_ended_give_their_place() {
        let mut metrics = PodMetrics::default();
        let job = |number: usize| {
            let name = format!("job-{number}");
            Arc::new(Pod::named("ci", &name, Some(("Job", &name))))
        };
        let (start, latency) = (Timestamp::from_nanos(1), Some(Duration::from_millis(1)));
        for number in 0..2 * MAX_WORKLOADS {
            metrics.query(start, &job(number), Outcome::Answered, latency);
        }
        let text = page(&metrics);
        let other =
            "dns_pod_transaction_duration_seconds_count{namespace=\"other\",workload=\"other\"}";
        assert!(text.contains(&format!("{other} {MAX_WORKLOADS}")), "{text}");
        metrics.query(start.plus(IDLE), &pod(1), Outcome::Answered, latency);
        assert!(page(&metrics).contains("_count{namespace=\"shop\",workload=\"web\"} 1"));
    }

    /// Cron jobs make a new pod each minute: those that ended must not keep the places of those that run.
    #[test]
    fn pods_that_ended_give_their_place_and_none_is_uncounted() {
        let mut metrics = PodMetrics::default();
        let start = Timestamp::from_nanos(1);
        for number in 0..2 * MAX_PODS {
            metrics.query(start, &pod(number), Outcome::Answered, None);
        }
        assert_eq!(metrics.pods.len(), MAX_PODS);
        assert_eq!(metrics.other.iter().sum::<u64>(), MAX_PODS as u64);
        let later = start.plus(IDLE);
        metrics.query(later, &pod(9999), Outcome::Answered, None);
        assert_eq!((metrics.pods.len(), metrics.removed), (1, MAX_PODS as u64));
        assert!(page(&metrics).contains("web-9999"));
    }
}
