//! Creates the streams' topics, for `dnscribe kafka init` and `dnscribe check --create-topics`.
//!
//! Existing topics are compared and stay as they are.

mod spec;

pub use spec::{Retention, TopicSpec};

use super::super::KafkaConfig;
use super::diagnose::Diagnosis;
use super::{probe, settings};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;
use serde::Serialize;
use spec::{CLEANUP, RECEIVED, RETENTION, TIMESTAMPS};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for each request.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time limit until every broker knows a new topic.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(10);

/// The broker's setting that lets it create topics.
pub(super) const AUTO_CREATE: &str = "auto.create.topics.enable";

/// What was done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicOutcome {
    /// It was created.
    Created,
    /// It exists as wanted.
    Exists,
    /// It exists and differs.
    Differs,
    /// The brokers rejected the request.
    Failed,
}

/// A difference between a topic and its specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `partitions`, `replication_factor`, `retention.ms`, `cleanup.policy` or
    /// `message.timestamp.type`.
    pub setting: &'static str,
    /// The topic's value.
    pub found: String,
    /// The wanted value.
    pub wanted: String,
}

/// A topic and what was done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// The wanted topic.
    #[serde(flatten)]
    pub spec: TopicSpec,
    /// What was done.
    pub outcome: TopicOutcome,
    /// Differences found.
    pub differences: Vec<Difference>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How to fix the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl TopicReport {
    fn new(
        spec: TopicSpec,
        differences: Vec<Difference>,
        result: Result<TopicOutcome, Diagnosis>,
    ) -> Self {
        let (outcome, (problem, remedy)) = match result {
            Ok(outcome) => (outcome, (None, None)),
            Err(why) => (TopicOutcome::Failed, (Some(why.problem), Some(why.remedy))),
        };
        Self { spec, outcome, differences, problem, remedy }
    }
}

/// Creates the missing topics of all streams.
///
/// # Errors
/// Returns an error if Kafka is unreachable. Failures of single topics are in their reports.
pub fn create_topics(config: &KafkaConfig) -> Result<Vec<TopicReport>, Diagnosis> {
    create(config, spec::topic_specs(config))
}

/// Creates one topic if it is missing; an existing one stays as it is. Returns whether it was
/// created.
///
/// # Errors
/// Returns an error if Kafka is unreachable or refuses.
pub fn create_topic(config: &KafkaConfig, wish: TopicSpec) -> Result<bool, Diagnosis> {
    let metadata = probe::metadata(config, PATIENCE)?;
    if found(&metadata, &wish.topic).is_some() {
        return Ok(false);
    }
    let reports = create(config, vec![wish])?;
    match reports.into_iter().find_map(|report| report.problem.zip(report.remedy)) {
        Some((problem, remedy)) => Err(Diagnosis::new(problem, remedy)),
        None => Ok(true),
    }
}

/// Returns whether the brokers create topics that a producer wants and that are missing. Asks the first broker, for at most
/// `timeout`.
///
/// # Errors
/// Returns why that is not known.
pub(super) fn creates_missing(
    config: &KafkaConfig,
    metadata: &Metadata,
    timeout: Duration,
) -> Result<bool, String> {
    let broker = metadata.brokers().first().ok_or("there is no broker")?.id();
    let admin = Admin::new(config, metadata).map_err(|why| why.problem)?;
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let place = ResourceSpecifier::Broker(broker);
    let answer = admin.runtime.block_on(admin.client.describe_configs([&place], &options));
    let answer = answer.map_err(|error| settings::describe_error(config, &error))?;
    let configured = answer.into_iter().next().ok_or("no answer")?;
    let configured = configured.map_err(|code| code.to_string())?;
    let value = configured.get(AUTO_CREATE).and_then(|entry| entry.value.as_deref());
    match value {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(format!("no {AUTO_CREATE}")),
    }
}

fn create(
    config: &KafkaConfig,
    topic_specs: Vec<TopicSpec>,
) -> Result<Vec<TopicReport>, Diagnosis> {
    let metadata = probe::metadata(config, PATIENCE)?;
    let admin = Admin::new(config, &metadata)?;
    let reports = topic_specs.into_iter().map(|wish| match found(&metadata, &wish.topic) {
        None => admin.create(wish),
        Some(topic) => admin.compare(wish, topic),
    });
    let reports: Vec<_> = reports.collect();
    admin.wait_for(&reports);
    Ok(reports)
}

fn found<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a MetadataTopic> {
    metadata.topics().iter().find(|topic| topic.name() == name && !topic.partitions().is_empty())
}

struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    brokers: usize,
}

impl Admin {
    fn new(config: &KafkaConfig, metadata: &Metadata) -> Result<Self, Diagnosis> {
        let client = settings::producer(config, false)
            .create::<AdminClient<DefaultClientContext>>()
            .map_err(|error| settings::cannot_start(config, &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| Diagnosis::general(format!("cannot wait for Kafka: {error}")))?;
        Ok(Self { client, runtime, brokers: metadata.brokers().len() })
    }

    fn create(&self, wish: TopicSpec) -> TopicReport {
        let replicas = wish.replication_factor.map_or(-1, i32::from);
        let partitions = i32::from(wish.partitions);
        let mut topic = NewTopic::new(&wish.topic, partitions, TopicReplication::Fixed(replicas));
        let configured = wish.topic_settings();
        for (key, value) in &configured {
            topic = topic.set(key, value);
        }
        let options =
            AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let answer = self.runtime.block_on(self.client.create_topics([&topic], &options));
        let result = match answer.map(only) {
            // Another client created it meanwhile.
            Ok(Some(Err(RDKafkaErrorCode::TopicAlreadyExists))) => Ok(TopicOutcome::Exists),
            answer => self.check(&wish, "make", answer).map(|_| TopicOutcome::Created),
        };
        TopicReport::new(wish, Vec::new(), result)
    }

    fn compare(&self, wish: TopicSpec, topic: &MetadataTopic) -> TopicReport {
        let configured = match self.describe(&wish) {
            Ok(configured) => configured,
            Err(why) => return TopicReport::new(wish, Vec::new(), Err(why)),
        };
        let differences = differences(&wish, topic, &configured);
        let outcome =
            if differences.is_empty() { TopicOutcome::Exists } else { TopicOutcome::Differs };
        TopicReport::new(wish, differences, Ok(outcome))
    }

    fn describe(&self, wish: &TopicSpec) -> Result<ConfigResource, Diagnosis> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let place = ResourceSpecifier::Topic(&wish.topic);
        let answer = self.runtime.block_on(self.client.describe_configs([&place], &options));
        let answer = answer.map(|answers| answers.into_iter().next());
        self.check(wish, "look at", answer)?
            .ok_or_else(|| Diagnosis::general(format!("no answer on topic {}", wish.topic)))
    }

    /// The brokers' answer to a request to `what` a topic, or why there is none.
    fn check<T>(
        &self,
        wish: &TopicSpec,
        what: &str,
        answer: KafkaResult<Option<Result<T, RDKafkaErrorCode>>>,
    ) -> Result<Option<T>, Diagnosis> {
        match answer {
            Ok(answer) => answer.transpose().map_err(|code| self.refused(wish, what, code)),
            Err(error) => {
                Err(Diagnosis::general(format!("cannot {what} topic {}: {error}", wish.topic)))
            }
        }
    }

    /// Explains a rejection by the brokers.
    fn refused(&self, wish: &TopicSpec, what: &str, code: RDKafkaErrorCode) -> Diagnosis {
        use RDKafkaErrorCode as Code;
        let topic = &wish.topic;
        match code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Diagnosis::new(
                format!("this client is not authorised to {what} topic {topic}"),
                "let its user Create, Describe and DescribeConfigs the topic, or have an \
                 administrator make it",
            ),
            Code::InvalidReplicationFactor => {
                let wanted = wish
                    .replication_factor
                    .map_or_else(|| "the brokers' default".to_owned(), |factor| factor.to_string());
                Diagnosis::new(
                    format!(
                        "cannot {what} topic {topic}: replication factor {wanted} with {} brokers",
                        self.brokers
                    ),
                    "give a --replication-factor of at most the number of brokers",
                )
            }
            code => Diagnosis::new(
                format!("the brokers refuse to {what} topic {topic}: {code}"),
                "see the broker's log and its policies",
            ),
        }
    }

    /// Waits until every created topic is known, so that a producer finds them all.
    fn wait_for(&self, reports: &[TopicReport]) {
        let made = || reports.iter().filter(|report| report.outcome == TopicOutcome::Created);
        let start = Instant::now();
        while start.elapsed() < PROPAGATION_TIMEOUT && made().next().is_some() {
            let metadata = self.client.inner().fetch_metadata(None, PATIENCE);
            let known = |report: &TopicReport| {
                metadata.as_ref().is_ok_and(|all| found(all, &report.spec.topic).is_some())
            };
            if made().all(known) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The only answer, without the name that an error repeats.
fn only<T, N>(
    answers: Vec<Result<T, (N, RDKafkaErrorCode)>>,
) -> Option<Result<T, RDKafkaErrorCode>> {
    answers.into_iter().next().map(|answer| answer.map_err(|(_, code)| code))
}

fn differences(
    wish: &TopicSpec,
    topic: &MetadataTopic,
    configured: &ConfigResource,
) -> Vec<Difference> {
    let value = |name| {
        let entry = configured.get(name).and_then(|entry| entry.value.as_deref());
        entry.unwrap_or_default().to_owned()
    };
    let mut differences = Vec::new();
    let mut compare = |setting, found: String, wanted: String| {
        if found != wanted {
            differences.push(Difference { setting, found, wanted });
        }
    };
    let partitions = topic.partitions().len();
    compare("partitions", partitions.to_string(), wish.partitions.to_string());
    if let (Some(wanted), Some(first)) = (wish.replication_factor, topic.partitions().first()) {
        let found = first.replicas().len().to_string();
        compare("replication_factor", found, wanted.to_string());
    }
    compare(RETENTION, value(RETENTION), wish.retention.millis());
    let found = spec::sorted(&value(CLEANUP));
    compare(CLEANUP, found, spec::sorted(wish.cleanup_policy));
    compare(TIMESTAMPS, value(TIMESTAMPS), RECEIVED.to_owned());
    differences
}
