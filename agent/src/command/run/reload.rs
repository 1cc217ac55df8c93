//! SIGHUP: what can be changed while capture goes on, and what of it is.

use super::super::session::detection;
use super::{PortChange, Run, Watch};
use crate::capture::live::LiveOptions;
use crate::config::{Config, Drop};
use crate::pipeline::{Changes, Detects, Next, SinkChange};
use crate::sink::{Names, Plan, SinkError};

impl Run {
    /// Has files reopened and adopts what can be changed while running; a configuration that is
    /// wrong changes nothing, and files are reopened all the same.
    pub(super) fn reload(&mut self) {
        self.pipeline.outbox().reopen();
        let new = match Config::load(&self.sources) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                return;
            }
        };
        // In this order: no new sink gets what it shall not be told.
        if self.adopt_settings(&new) {
            self.adopt_sinks(&new);
        }
        if new.capture.ports != self.config.capture.ports {
            let ports = new.capture.ports.clone();
            self.port_change = PortChange::begin(ports, &mut self.pipeline, self.crew.as_mut());
            self.change_ports();
        }
        let left = left_over(&self.config, &new);
        if left.is_empty() {
            tracing::info!("configuration reloaded");
        } else {
            let left = left.join(", ");
            tracing::warn!("configuration reloaded, but for what waits for a restart: {left}");
        }
    }

    /// Goes on with a change of ports that has begun.
    pub(super) fn change_ports(&mut self) {
        let Self { port_change, live, pipeline, crew, .. } = self;
        if let Some(ports) = port_change.step(live, pipeline, crew.as_ref()) {
            tracing::info!("DNS is looked for on port {ports} from here on");
            self.config.capture.ports = ports;
        }
    }

    /// Adopts all but sinks and ports. Whether what records do not tell is in force.
    fn adopt_settings(&mut self, new: &Config) -> bool {
        if let Some(crew) = &self.crew {
            crew.reconfigure(new.pairing, new.connecting);
        }
        let reconfigured = self.pipeline.reconfigure(Changes {
            pairing: new.pairing,
            connecting: new.connecting,
            resolvers: new.resolvers.clone().into_iter().collect(),
            windows: new.windows,
            detect: new.detect.clone(),
            filters: new.filters.clone(),
            privacy: new.privacy.clone(),
        });
        let config = &mut self.config;
        (config.pairing, config.connecting) = (new.pairing, new.connecting);
        (config.windows, config.resolvers) = (new.windows, new.resolvers.clone());
        config.filters = new.filters.clone();
        config.drain_timeout = new.drain_timeout;
        if config.detect.is_some() && new.detect.is_some() {
            config.detect.clone_from(&new.detect);
        }
        match &reconfigured {
            Ok(()) => config.privacy = new.privacy.clone(),
            Err(why) => tracing::error!(
                "what records tell and the sinks stay as they were: the key of the pseudonyms {why}"
            ),
        }
        reconfigured.is_ok()
    }

    /// Opens the sinks that are new or have other settings, and has those that are not wanted any more
    /// deliver what they hold.
    fn adopt_sinks(&mut self, new: &Config) {
        let adopted = self.config.clone().with_sinks_of(new);
        let (before, after) = (self.config.sink_plans(), adopted.sink_plans());
        let detects = match (&self.config.detect, &adopted.detect) {
            (_, None) => Detects::No,
            (Some(_), Some(_)) => Detects::AsBefore,
            (None, Some(options)) => {
                Detects::Newly(Box::new(detection(&adopted, options.clone(), true)))
            }
        };
        if before != after {
            let sinks = self.pipeline.outbox().post().sinks();
            let names = sinks.iter().map(|sink| sink.name().to_owned()).collect::<Vec<_>>();
            let next = match successors(&names, &before, &after) {
                Ok(next) => next,
                Err(error) => {
                    let hint = self.write_hint();
                    tracing::error!("the sinks stay as they were: {error}{hint}");
                    return;
                }
            };
            let change = SinkChange { next, patience: adopted.drain_timeout, detects };
            let wanted = self.pipeline.replace_sinks(change);
            if let Some(crew) = &self.crew {
                crew.write(wanted);
            }
            // A sink of a name that had failed may be another.
            self.watch = Watch::default();
        }
        self.config = adopted;
    }

    /// What may lie behind a file that cannot be written.
    fn write_hint(&self) -> &'static str {
        if self.config.privileges.drop == Drop::Off {
            return "";
        }
        "; since privileges were given up, files can be opened only where the configuration named some at the \
         start: restart to write elsewhere"
    }
}

/// The sinks of these plans, those among them that stay, and those that wait for others to be closed.
/// `names` are of those that there are.
fn successors(names: &[String], before: &[Plan], after: &[Plan]) -> Result<Vec<Next>, SinkError> {
    let mut stays = vec![false; before.len()];
    let mut keep = |plan: &Plan| {
        let found = before.iter().zip(&stays).position(|(old, stays)| old == plan && !stays)?;
        stays[found] = true;
        Some(found)
    };
    let kept: Vec<_> = after.iter().map(&mut keep).collect();
    let staying = names.iter().zip(&stays).filter(|(_, stays)| **stays);
    let mut taken = Names::taken(staying.map(|(name, _)| name.as_str()));
    let open = |(plan, kept): (&Plan, Option<usize>)| {
        if let Some(number) = kept {
            return Ok(Next::Stays(number));
        }
        let in_the_way = |(old, stays): (&Plan, &bool)| !stays && old.collides_with(plan);
        let predecessor = before.iter().zip(&stays).position(in_the_way);
        let inherited = predecessor.and_then(|number| taken.take(&names[number]));
        let name = inherited.unwrap_or_else(|| taken.next(plan.kind()));
        match predecessor {
            Some(number) => Ok(Next::After(number, name, plan.clone())),
            None => plan.open(name).map(Next::New),
        }
    };
    after.iter().zip(kept).map(open).collect()
}

/// What of a configuration is not in force: sections and keys, as they are spelled. Every field is named, so
/// that none is forgotten.
fn left_over(now: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        node,
        region,
        capture,
        joining,
        kubernetes,
        metrics_listen,
        health_window,
        messages_wire,
        records_idn,
        privileges,
        takeover_socket,
        privacy,
        log,
        duration,
        // Part of `capture`.
        nice_is_set: _,
        // Adopted, the sinks as a whole.
        pairing: _,
        connecting: _,
        windows: _,
        detect: _,
        streams: _,
        sinks: _,
        output: _,
        kafka: _,
        alertmanager: _,
        kafka_patience: _,
        spool: _,
        rotation: _,
        resolvers: _,
        secret_files: _,
        filters: _,
        drain_timeout: _,
    } = new;
    // The rest of the options is compared under its own names.
    let now_capture = LiveOptions {
        ports: capture.ports.clone(),
        query_timeout: capture.query_timeout,
        shared: capture.shared,
        ..now.capture.clone()
    };
    let differs = [
        ("node", now.node != *node),
        ("region", now.region != *region),
        ("capture (but for ports)", now_capture != *capture),
        ("joining", now.joining != *joining),
        ("sinks", now.sink_plans() != new.sink_plans()),
        ("privacy", now.privacy != *privacy),
        ("kubernetes", now.kubernetes != *kubernetes),
        ("metrics.listen", now.metrics_listen != *metrics_listen),
        ("health.window", now.health_window != *health_window),
        ("messages.wire", now.messages_wire != *messages_wire),
        ("records.idn", now.records_idn != *records_idn),
        ("privileges", now.privileges != *privileges),
        ("takeover", now.takeover_socket != *takeover_socket),
        ("log", now.log != *log),
        ("duration", now.duration != *duration),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
