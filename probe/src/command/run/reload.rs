//! SIGHUP: reloads the configuration and applies what can change while the probe runs.

use super::engine::{Engine, context};
use crate::config::Config;
use dnscribe_delivery::{SinkWatch, open_changes};
use dnscribe_record::time::Timestamp;

impl Engine {
    /// Reopens files, and applies targets, resolvers, limits, masking and sinks of the configuration. An invalid one, or one
    /// whose sinks or key cannot be opened, changes nothing; files are reopened anyway.
    pub(super) fn reload(&mut self) {
        self.rounds.pipeline.router.reopen();
        let new = match Config::load(&self.sources) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                return;
            }
        };
        if let Err(error) = self.apply_sinks(&new) {
            tracing::error!("the configuration stays as it was: {error}");
            return;
        }
        self.rounds.context = context(&new);
        self.rounds.set_services(&new);
        let pipeline = &mut self.rounds.pipeline;
        let gone = pipeline.verdicts.reload(Timestamp::now(), new.rules.clone(), &new.services);
        pipeline.export_alerts(&gone);
        pipeline.memory.configure(new.memory.clone());
        pipeline.metrics.retain(|service, kind, target| new.has_target(service, kind, target));
        self.endpoint.reload(&new, &self.rounds.context);
        self.on_demand.reload(&new);
        let left = needs_restart(&self.config, &new);
        if left.is_empty() {
            tracing::info!("configuration reloaded");
        } else {
            let left = left.join(", ");
            tracing::warn!("configuration reloaded; these changes need a restart: {left}");
        }
        self.config.services = new.services;
        self.config.drain_timeout = new.drain_timeout;
    }

    /// Opens sinks that are new or have other settings, masks as the configuration says, and flushes sinks that are not
    /// wanted any more. An error leaves sinks and masking as they were: the old sinks get no field that they must not.
    fn apply_sinks(&mut self, new: &Config) -> Result<(), String> {
        let changed = self.config.clone().with_sinks_of(new);
        let (before, after) = (self.config.sink_plans(), changed.sink_plans());
        let router = &mut self.rounds.pipeline.router;
        let opened = if before == after {
            None
        } else {
            let sinks = open_changes(&router.sinks.names(), &before, &after);
            Some(sinks.map_err(|error| error.to_string())?)
        };
        if let Err(why) = router.set_privacy(new.privacy.clone()) {
            router.sinks.discard(opened.unwrap_or_default());
            return Err(format!("the key of the pseudonyms {why}"));
        }
        if let Some(sinks) = opened {
            router.replace(sinks, new.drain_timeout);
            // The name of a sink that has failed may now be that of another.
            self.rounds.pipeline.watch = SinkWatch::default();
        }
        self.config = changed;
        Ok(())
    }
}

/// Sections and keys of a configuration that need a restart.
fn needs_restart(now: &Config, new: &Config) -> Vec<&'static str> {
    let differs = [
        ("node", now.node != new.node),
        ("region", now.region != new.region),
        ("labels", now.labels != new.labels),
        ("sinks", now.sink_plans() != new.clone().with_identity_of(now).sink_plans()),
        ("metrics.listen", now.metrics_listen != new.metrics_listen),
        ("probe_endpoint", now.probe_requests != new.probe_requests),
        ("memory.directory", now.memory.directory != new.memory.directory),
        ("health.window", now.health_window != new.health_window),
        ("log", now.log != new.log),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
