//! `dnscribe kafka init`: creates topics.

use crate::cli::InitArgs;
use dnscribe_agent::config::Config;
use dnscribe_cli::exit::Exit;
use dnscribe_cli::print;
use dnscribe_config::log;
use dnscribe_config::value::Output;
use dnscribe_delivery::kafka::topics::{TopicOutcome, TopicReport, create_topics};
use std::fmt::Write;

/// Creates missing topics and prints the result for each.
pub(super) fn init(args: &InitArgs) -> Result<(), Exit> {
    let config = Config::load(&args.sources())?;
    log::start(config.log);
    if config.kafka.brokers.is_empty() {
        let why = "`kafka init` needs brokers: give --brokers HOST:PORT or kafka.brokers";
        return Err(Exit::usage(why));
    }
    let topics = create_topics(&config.kafka)
        .map_err(|why| Exit::failed(why.problem).with_remedy(why.remedy))?;
    let failed = topics.iter().filter(|topic| topic.outcome == TopicOutcome::Failed).count();
    print(&match args.output.unwrap_or(Output::Text) {
        Output::Json => {
            let ok = failed == 0;
            let report = serde_json::json!({ "ok": ok, "topics": topics });
            format!("{report}\n")
        }
        Output::Auto | Output::Text => text(&topics),
    })?;
    match failed {
        0 => Ok(()),
        1 => Err(Exit::failed("1 topic could not be created")),
        _ => Err(Exit::failed(format!("{failed} topics could not be created"))),
    }
}

/// Returns one line for each topic.
fn text(topics: &[TopicReport]) -> String {
    let width = topics.iter().map(|topic| topic.spec.topic.len()).max().unwrap_or(0);
    let mut text = String::new();
    for topic in topics {
        let word = match topic.outcome {
            TopicOutcome::Created => "created",
            TopicOutcome::Exists => "exists",
            TopicOutcome::Differs => "differs",
            TopicOutcome::Failed => "failed",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{word:<12}  {:<width$}  {}", topic.spec.topic, detail(topic));
    }
    text
}

fn detail(topic: &TopicReport) -> String {
    let wish = &topic.spec;
    let mut parts = Vec::new();
    if let (Some(problem), Some(remedy)) = (&topic.problem, &topic.remedy) {
        parts.push(format!("{problem}; remedy: {remedy}"));
    }
    for one in &topic.differences {
        parts.push(format!("{} is {}, not {}", one.setting, one.found, one.wanted));
    }
    match topic.outcome {
        TopicOutcome::Created | TopicOutcome::Exists => {
            let noun = if wish.partitions == 1 { "partition" } else { "partitions" };
            let partitions = wish.partitions;
            let (retention, policy) = (wish.retention, wish.cleanup_policy);
            parts.push(format!("{partitions} {noun}, retention {retention}, {policy}"));
        }
        TopicOutcome::Differs => parts.push("left alone".to_owned()),
        TopicOutcome::Failed => {}
    }
    parts.join("; ")
}
