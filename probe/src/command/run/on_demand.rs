//! Alerts and changes from Kafka while the probe runs, and the rounds that alerts ask for.

use super::engine::Rounds;
use super::pipeline::Pipeline;
use crate::config::Config;
use crate::measure::Round;
use crate::trigger::{Listener, Notice, Request, Trigger};
use dnscribe_config::ConfigError;
use dnscribe_record::time::Timestamp;
use std::future::pending;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

/// Listens where brokers are configured, and measures what alerts ask for.
pub(super) struct OnDemand {
    trigger: Trigger,
    /// Stops listening when it is dropped.
    listening: Option<(Listener, Receiver<Notice>)>,
    tasks: JoinSet<(Request, Result<Vec<Round>, ConfigError>)>,
}

/// What has happened.
pub(super) enum Event {
    Notice(Notice),
    Measured(Box<Request>, Vec<Round>),
}

impl OnDemand {
    pub(super) fn start(config: &Config) -> Self {
        let listening = (!config.kafka.brokers.is_empty()).then(|| Listener::start(&config.kafka));
        let listening = listening.and_then(|started| {
            started.inspect_err(|why| tracing::warn!("alerts and changes are not read: {why}")).ok()
        });
        Self { trigger: trigger(config), listening, tasks: JoinSet::new() }
    }

    /// Applies a new configuration. Brokers need a restart.
    pub(super) fn reload(&mut self, config: &Config) {
        self.trigger.reload(trigger(config));
    }

    /// Waits for what happens next.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let Self { listening, tasks, .. } = self;
            let notice = async {
                match listening {
                    Some((_, receiver)) => receiver.recv().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                notice = notice => match notice {
                    Some(notice) => return Event::Notice(notice),
                    // The thread has ended, and has logged why.
                    None => self.listening = None,
                },
                Some(ended) = tasks.join_next() => match ended {
                    Ok((request, Ok(rounds))) => {
                        return Event::Measured(Box::new(request), rounds);
                    }
                    Ok((_, Err(why))) => tracing::warn!("cannot measure on demand: {why}"),
                    Err(why) => tracing::error!("measuring on demand has failed inside: {why}"),
                },
            }
        }
    }

    /// Handles what has happened.
    pub(super) fn handle(&mut self, event: Event, rounds: &mut Rounds) {
        let now = Timestamp::now();
        match event {
            Event::Notice(Notice::Change(change)) => {
                rounds.pipeline.memory.announce(change.announces());
                rounds.pipeline.verdicts.announce(now, *change);
            }
            Event::Notice(Notice::Alert(alert)) => {
                let over = self.trigger.resolve(now, &alert);
                rounds.pipeline.export_alerts(over.as_slice());
                if let Some(mut request) = self.trigger.observe(now, &alert) {
                    let context = Arc::clone(&rounds.context);
                    self.tasks.spawn(async move {
                        let measured = request.measure(&context).await;
                        (request, measured)
                    });
                }
            }
            Event::Measured(request, measured) => {
                let ids = rounds.pipeline.observe_on_demand(&measured);
                let records = ids.iter().map(|ids| ids.len() as u64).sum();
                // A round without a record was skipped.
                let count = ids.iter().filter(|ids| !ids.is_empty()).count() as u64;
                rounds.scheduler.count_on_demand(count, records);
                let result = self.trigger.finish(now, &request, &measured, ids);
                rounds.pipeline.export_alerts(&[result]);
            }
        }
    }

    /// Ends results whose alerts did not end in time.
    pub(super) fn expire(&mut self, pipeline: &mut Pipeline) {
        pipeline.export_alerts(&self.trigger.expire(Timestamp::now()));
    }
}

fn trigger(config: &Config) -> Trigger {
    Trigger::new(config.trigger, &config.services, &config.ad_hoc)
}
