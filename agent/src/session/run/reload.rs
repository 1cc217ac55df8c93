//! SIGHUP: reloads the configuration and applies what can change while capture runs.

use super::super::signals::Waker;
use super::super::{detection, host_facts, log_indicators};
use super::Run;
use crate::capture::live::LiveOptions;
use crate::config::{
    Config, Drop, FileState, IndicatorConfig, Sources, file_state, read_indicators,
};
use crate::pipeline::{Control, DetectionChange, Settings, SinkChange};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use dnscribe_config::ConfigError;
use dnscribe_delivery::{SinkError, SinkReplacement, SinkWatch, open_changes};
use dnscribe_transaction::packet::ports::PortSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Change of the captured ports at run time without losing messages, in three steps: the flow stages also look for
/// DNS on the new ports; the programs capture the new ports only; once the rings are empty, the flow stages stop
/// looking for DNS on the old ports.
#[derive(Debug, Default, PartialEq)]
pub(super) enum PortChange {
    /// All stages and the programs have the same ports.
    #[default]
    Done,
    /// The flow stages are to look for DNS on these ports, too.
    Adding(PortSet),
    /// The flow stages are to forget other ports, once the rings are empty.
    Removing,
}

/// A configuration that was read again, and the sinks that it needs.
pub(super) struct Reloaded {
    config: Config,
    settings: Arc<Settings>,
    /// The sinks, if they change.
    sinks: Option<Vec<SinkReplacement>>,
}

/// Reason why nothing of a configuration is applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{} is not a regular file, and can be read at the start only", .0.display())]
    NotAFile(PathBuf),
    /// A sink cannot be opened, with the likely reason.
    #[error("{0}{1}")]
    Sink(SinkError, &'static str),
    #[error("the thread that reads it has failed; this is a bug, please report it")]
    Failed,
}

/// Time after which a warning says that a reload is not done yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two checks of the files of indicators.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// States of files.
type FileStates = Vec<(PathBuf, FileState)>;

/// What was read of files that have changed; none if they have not.
type Found = Option<Result<IndicatorConfig, ConfigError>>;

/// Reads the files of indicators again when they change. That is done in a thread of its own: a file system may block.
pub(super) struct IndicatorWatch {
    /// The files in use, as they were before they were read.
    known: FileStates,
    checking: Option<Receiver<Found>>,
    next: Instant,
    /// Why the files could not be read at the last check, which is logged once.
    problem: Option<String>,
}

impl IndicatorWatch {
    /// Watches files that were in these states when they were read.
    pub(super) fn new(known: FileStates) -> Self {
        Self { known, checking: None, next: Instant::now() + CHECK_INTERVAL, problem: None }
    }

    /// Returns the indicators if a file has changed and all could be read, and checks again if that is due. Wakes `waker`
    /// after a check.
    fn poll(&mut self, waker: &Waker) -> Option<IndicatorConfig> {
        if self.known.is_empty() {
            return None;
        }
        let found = self.checking.as_ref().map(Receiver::try_recv);
        if let Some(Ok(_) | Err(TryRecvError::Disconnected)) = &found {
            self.checking = None;
        }
        if self.checking.is_none() && Instant::now() >= self.next {
            self.next = Instant::now() + CHECK_INTERVAL;
            let (sender, receiver) = bounded(1);
            let (known, waker) = (self.known.clone(), waker.clone());
            let check = move || {
                let is_changed = known.iter().any(|(path, state)| file_state(path) != *state);
                let paths = known.into_iter().map(|(path, _)| path);
                // Fails if the agent ends.
                let _ = sender.send(is_changed.then(|| read_indicators(paths)));
                waker.wake();
            };
            // Without a thread, the next check is due after the interval.
            let started = thread::Builder::new().name("indicators".to_owned()).spawn(check);
            self.checking = started.is_ok().then_some(receiver);
        }
        let (read, problem) = match found?.ok()? {
            None => (None, None),
            Some(Ok(read)) => (Some(read), None),
            Some(Err(error)) => (None, Some(error.to_string())),
        };
        if let Some(problem) = problem.as_ref().filter(|_| self.problem != problem) {
            tracing::error!("the lists of indicators stay as they were: {problem}");
        }
        self.problem = problem;
        if let Some(IndicatorConfig { files, .. }) = &read {
            self.known.clone_from(files);
        }
        read
    }
}

/// A reload under way. Files are read and sinks opened in a thread of its own: either may block.
pub(super) struct Reload {
    done: Receiver<Result<Reloaded, ReloadError>>,
    /// When to warn that it is not done; none once that is said.
    late_at: Option<Instant>,
}

impl Reload {
    /// Starts to read the configuration again. `names` are those of the sinks in use. Wakes `waker` when done.
    fn start(
        sources: Sources,
        config: Config,
        names: Vec<String>,
        waker: Waker,
    ) -> io::Result<Self> {
        let (sender, done) = bounded(1);
        let work = move || {
            // Fails if the agent ends.
            let _ = sender.send(Reloaded::read(&sources, config, &names));
            waker.wake();
        };
        thread::Builder::new().name("reload".to_owned()).spawn(work)?;
        Ok(Self { done, late_at: Some(Instant::now() + PATIENCE) })
    }

    /// Returns the configuration once it is read and its sinks are open.
    fn poll(&self) -> Option<Result<Reloaded, ReloadError>> {
        match self.done.try_recv() {
            Ok(reloaded) => Some(reloaded),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ReloadError::Failed)),
        }
    }

    /// Returns once that it takes long.
    fn is_late(&mut self, now: Instant) -> bool {
        self.late_at.take_if(|at| now >= *at).is_some()
    }
}

impl Reloaded {
    /// Reads the configuration again, and opens the sinks in which it differs from `config`.
    fn read(sources: &Sources, config: Config, names: &[String]) -> Result<Self, ReloadError> {
        // Opening a pipe waits for somebody who writes to it.
        let irregular = sources
            .file
            .as_deref()
            .filter(|path| path.metadata().is_ok_and(|metadata| !metadata.is_file()));
        if let Some(path) = irregular {
            return Err(ReloadError::NotAFile(path.to_path_buf()));
        }
        let new = Config::load(sources)?;
        let (before, detected) = (config.sink_plans(), config.detect.is_some());
        let hint = write_hint(&config);
        let changed = config.with_sinks_of(&new);
        let after = changed.sink_plans();
        let is_changed = before != after || detected != changed.detect.is_some();
        let sinks = is_changed.then(|| open_changes(names, &before, &after)).transpose();
        let sinks = sinks.map_err(|error| ReloadError::Sink(error, hint))?;
        Ok(Self { settings: Arc::new(settings(&new)), config: new, sinks })
    }
}

impl Run {
    /// Starts a reload if a signal asks for one: reopens files, and reads the configuration again. Applies it once its
    /// sinks are open. One reload follows another. Never blocks.
    pub(super) fn reload(&mut self) {
        if self.signals.reload() {
            self.pipeline.router.reopen();
            self.reload_is_due = true;
        }
        if let Some(indicators) = self.indicator_watch.poll(&self.signals.waker) {
            self.apply(&Control::Match(Arc::clone(&indicators.table)));
            log_indicators(&indicators);
            self.config.indicators = indicators;
        }
        if let Some(reloaded) = self.reloading.as_ref().and_then(Reload::poll) {
            self.reloading = None;
            match reloaded {
                Ok(reloaded) => self.apply_reloaded(reloaded),
                Err(error) => tracing::error!("the configuration stays as it was: {error}"),
            }
        }
        if self.reloading.as_mut().is_some_and(|reload| reload.is_late(Instant::now())) {
            tracing::warn!(
                "the configuration is still being read and its sinks opened: until that is done, it stays as it was, \
                 and so it does after another SIGHUP"
            );
        }
        if self.reload_is_due && self.reloading.is_none() {
            self.reload_is_due = false;
            let names = self.pipeline.router.sinks.names();
            let (sources, waker) = (self.sources.clone(), self.signals.waker.clone());
            match Reload::start(sources, self.config.clone(), names, waker) {
                Ok(reload) => self.reloading = Some(reload),
                Err(error) => tracing::error!(
                    "the configuration stays as it was: cannot start a thread that reads it: {error}"
                ),
            }
        }
    }

    /// Applies the settings that can change while running.
    fn apply_reloaded(&mut self, reloaded: Reloaded) {
        let Reloaded { config: new, settings, sinks } = reloaded;
        // In this order: no new sink gets fields that are to be masked.
        if self.apply_settings(&new, settings) {
            self.apply_sinks(&new, sinks);
        } else if let Some(sinks) = sinks {
            self.pipeline.router.sinks.discard(sinks);
        }
        if new.capture.ports != self.config.capture.ports {
            self.apply(&Control::AddPorts(new.capture.ports.clone()));
            self.port_change = PortChange::Adding(new.capture.ports.clone());
            self.change_ports();
        }
        let left = needs_restart(&self.config, &new);
        if left.is_empty() {
            tracing::info!("configuration reloaded");
        } else {
            let left = left.join(", ");
            tracing::warn!("configuration reloaded; these changes need a restart: {left}");
        }
    }

    /// Takes the next step of a change of ports if all controls have taken effect.
    pub(super) fn change_ports(&mut self) {
        if !self.runner.is_settled() {
            return;
        }
        let PortChange::Adding(ports) = std::mem::take(&mut self.port_change) else { return };
        if let Err(error) = self.capture.set_ports(&ports) {
            tracing::error!("the ports stay unchanged: the kernel refuses others: {error}");
            return;
        }
        self.port_change = PortChange::Removing;
        tracing::info!("capturing DNS on port {ports} from now on");
        self.apply(&Control::SetPorts(ports.clone()));
        self.config.capture.ports = ports;
    }

    /// Applies all settings but sinks and ports. Returns whether the rules of masking are in force.
    fn apply_settings(&mut self, new: &Config, settings: Arc<Settings>) -> bool {
        let control = Control::Reconfigure(settings);
        let reconfigured = self.runner.apply(&control, &mut self.capture, &mut self.pipeline);
        if self.config.indicators.files != new.indicators.files {
            self.indicator_watch = IndicatorWatch::new(new.indicators.files.clone());
            log_indicators(&new.indicators);
        }
        take_settings(&mut self.config, new);
        match &reconfigured {
            Ok(()) => self.config.privacy = new.privacy.clone(),
            Err(why) => {
                tracing::error!(
                    "masking and sinks stay unchanged: the key of the pseudonyms {why}"
                );
            }
        }
        reconfigured.is_ok()
    }

    /// Replaces the sinks by those that were opened, and flushes those that are not wanted any more.
    fn apply_sinks(&mut self, new: &Config, sinks: Option<Vec<SinkReplacement>>) {
        let changed = self.config.clone().with_sinks_of(new);
        match sinks {
            None if changed.messages_wire == self.config.messages_wire => {}
            None => {
                let options = self.pipeline.set_wire(changed.messages_wire);
                self.apply(&Control::Render(options));
            }
            Some(sinks) => {
                let detection = detection_change(&self.config, &changed);
                let flush_timeout = changed.drain_timeout;
                let wire = changed.messages_wire;
                let change = SinkChange { sinks, flush_timeout, detection, wire };
                let options = self.pipeline.replace_sinks(change);
                self.apply(&Control::Render(options));
                // The name of a sink that has failed may now be that of another.
                self.watch = SinkWatch::default();
            }
        }
        self.config = changed;
    }
}

/// Likely reason why a file cannot be written, as a phrase.
fn write_hint(config: &Config) -> &'static str {
    if config.privileges.drop == Drop::Off {
        return "";
    }
    "; since privileges were dropped, files can be opened only in directories of the configuration at the \
     start: restart to write elsewhere"
}

/// What becomes of detection, which runs if a sink wants alerts, or if that is configured.
fn detection_change(now: &Config, new: &Config) -> DetectionChange {
    match (&now.detect, &new.detect) {
        (_, None) => DetectionChange::Off,
        (Some(_), Some(_)) => DetectionChange::Keep,
        (None, Some(options)) => {
            DetectionChange::Start(Box::new(detection(new, options.clone(), true)))
        }
    }
}

/// Notes that the [`settings`] of `new` other than masking are in force.
fn take_settings(config: &mut Config, new: &Config) {
    (config.pairing, config.connecting) = (new.pairing, new.connecting);
    (config.windows, config.resolvers) = (new.windows, new.resolvers.clone());
    config.filters = new.filters.clone();
    config.indicators = new.indicators.clone();
    config.drain_timeout = new.drain_timeout;
    if config.detect.is_some() && new.detect.is_some() {
        config.detect.clone_from(&new.detect);
    }
}

/// The settings of a configuration that all stages get at a reload.
fn settings(config: &Config) -> Settings {
    Settings {
        pairing: config.pairing,
        connections: config.connecting,
        resolvers: config.resolvers.clone().into_iter().collect(),
        windows: config.windows,
        detect: config.detect.clone().map(|options| (options, host_facts(config, true))),
        indicators: Arc::clone(&config.indicators.table),
        filters: config.filters.clone(),
        privacy: config.privacy.clone(),
    }
}

/// Sections and keys of a configuration that need a restart. Names every field, so that none is forgotten.
fn needs_restart(now: &Config, new: &Config) -> Vec<&'static str> {
    let Config {
        node,
        region,
        labels,
        capture,
        dnstap,
        dnstap_tls,
        // Part of `dnstap` below.
        dnstap_place: _,
        correlation,
        kubernetes,
        metrics_listen,
        health_window,
        // Applied with the sinks.
        messages_wire: _,
        records_idn,
        record_limits,
        privileges,
        privacy,
        log,
        duration,
        first_seen,
        // Part of `capture`.
        nice_is_set: _,
        // Applied, the sinks as a whole.
        pairing: _,
        connecting: _,
        windows: _,
        detect: _,
        streams: _,
        sinks: _,
        output: _,
        kafka: _,
        alertmanager: _,
        otlp: _,
        server_patience: _,
        spool: _,
        evidence: _,
        rotation: _,
        files: _,
        resolvers: _,
        secret_files: _,
        filters: _,
        indicators: _,
        drain_timeout: _,
    } = new;
    // Ports are applied.
    let (ports, encrypted) = (capture.ports.clone(), capture.encrypted.clone());
    let now_capture = LiveOptions { ports, encrypted, ..now.capture.clone() };
    let differs = [
        ("node", now.node != *node),
        ("region", now.region != *region),
        ("labels", now.labels != *labels),
        ("capture (but for ports)", now_capture != *capture),
        (
            "capture of encrypted DNS (its ports and resolvers)",
            now.capture.encrypted != capture.encrypted,
        ),
        ("capture.dnstap", now.dnstap != *dnstap || now.is_beside() != new.is_beside()),
        ("capture.dnstap_tls", now.dnstap_tls != *dnstap_tls),
        ("join", now.correlation != *correlation),
        ("sinks", now.sink_plans() != new.sink_plans()),
        ("privacy", now.privacy != *privacy),
        ("kubernetes", now.kubernetes != *kubernetes),
        ("metrics.listen", now.metrics_listen != *metrics_listen),
        ("health.window", now.health_window != *health_window),
        ("records.idn", now.records_idn != *records_idn),
        ("records.max_answers and max_bytes", now.record_limits != *record_limits),
        ("privileges", now.privileges != *privileges),
        ("log", now.log != *log),
        ("duration", now.duration != *duration),
        ("first_seen", now.first_seen != *first_seen),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
