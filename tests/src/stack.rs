//! The system around the agent on this host, without containers: Kafka, Flink, the stores and their
//! monitoring, from package registries. Programs are stored below the target folder, data in a folder that
//! [`Stack::down`] removes.

pub mod clickhouse;
pub mod demo;
pub mod flink;
pub mod influxdb;
pub mod jobs;
pub mod monitoring;
pub mod service;
pub mod timescaledb;

use crate::kafka::Broker;
use anyhow::{Context as _, Result};
use demo::Demo;
use flink::Flink;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service::Service;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

/// File with what runs.
const STATE_FILE: &str = "stack.json";

/// A part of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Apache Kafka.
    Kafka,
    /// Apache Flink.
    Flink,
    /// `PostgreSQL` with `TimescaleDB`.
    TimescaleDb,
    /// `InfluxDB` 2.
    InfluxDb,
    /// A `ClickHouse` engine.
    ClickHouse,
    /// Alertmanager.
    Alertmanager,
    /// Prometheus.
    Prometheus,
}

impl Component {
    /// All parts in the order of their start.
    pub const ALL: [Self; 7] = [
        Self::Kafka,
        Self::Flink,
        Self::TimescaleDb,
        Self::InfluxDb,
        Self::ClickHouse,
        Self::Alertmanager,
        Self::Prometheus,
    ];

    /// Name for users.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Flink => "flink",
            Self::TimescaleDb => "timescaledb",
            Self::InfluxDb => "influxdb",
            Self::ClickHouse => "clickhouse",
            Self::Alertmanager => "alertmanager",
            Self::Prometheus => "prometheus",
        }
    }
}

/// What runs. Kafka keeps its own state file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    flink: Option<Flink>,
    timescaledb: Option<Service>,
    influxdb: Option<Service>,
    clickhouse: Option<Service>,
    alertmanager: Option<Service>,
    prometheus: Option<Service>,
    #[serde(default)]
    demo: Option<Demo>,
    /// Whether it ends within minutes.
    #[serde(default)]
    is_short_lived: bool,
}

impl State {
    /// Place of a component that consists of one process.
    const fn service(&mut self, component: Component) -> Option<&mut Option<Service>> {
        Some(match component {
            Component::TimescaleDb => &mut self.timescaledb,
            Component::InfluxDb => &mut self.influxdb,
            Component::ClickHouse => &mut self.clickhouse,
            Component::Alertmanager => &mut self.alertmanager,
            Component::Prometheus => &mut self.prometheus,
            Component::Kafka | Component::Flink => return None,
        })
    }
}

/// A component that has started.
enum Started {
    Kafka,
    Flink(Flink),
    Service(Component, Service),
}

/// The stack of one folder.
#[derive(Debug)]
pub struct Stack {
    folder: PathBuf,
    state: State,
}

impl Stack {
    /// Reads what was started before with this folder.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let folder = folder.canonicalize()?;
        let state = match fs::read(folder.join(STATE_FILE)) {
            Ok(text) => serde_json::from_slice(&text).context("an unreadable stack.json")?,
            Err(_) => State::default(),
        };
        Ok(Self { folder, state })
    }

    /// Reads a stack like [`Stack::open`], of a test: its processes spare what would pay only after minutes.
    pub fn for_test(folder: &Path) -> Result<Self> {
        let mut stack = Self::open(folder)?;
        stack.state.is_short_lived = true;
        Ok(stack)
    }

    /// Returns whether a component runs.
    #[must_use]
    pub fn runs(&self, component: Component) -> bool {
        let runs = |service: &Option<Service>| service.as_ref().is_some_and(Service::runs);
        match component {
            Component::Kafka => self.kafka().is_some(),
            Component::Flink => self.state.flink.as_ref().is_some_and(Flink::runs),
            Component::TimescaleDb => runs(&self.state.timescaledb),
            Component::InfluxDb => runs(&self.state.influxdb),
            Component::ClickHouse => runs(&self.state.clickhouse),
            Component::Alertmanager => runs(&self.state.alertmanager),
            Component::Prometheus => runs(&self.state.prometheus),
        }
    }

    /// Starts a component, or what of it does not run. The data and the address of an earlier start
    /// are kept, and Flink's jobs go on from their last checkpoint.
    pub fn start(&mut self, component: Component) -> Result<()> {
        self.start_all(&[component])
    }

    /// Starts components beside each other, each as [`Stack::start`] does.
    pub fn start_all(&mut self, components: &[Component]) -> Result<()> {
        let missing = components.iter().copied().filter(|component| !self.runs(*component));
        // Prometheus is given the addresses of others.
        let (last, first): (Vec<_>, Vec<_>) =
            missing.partition(|component| *component == Component::Prometheus);
        let mut result = Ok(());
        for together in [first, last] {
            let stack = &*self;
            let started: Vec<_> = thread::scope(|scope| {
                let start = |component| scope.spawn(move || stack.launch(component));
                let threads: Vec<_> = together.into_iter().map(start).collect();
                threads
                    .into_iter()
                    .map(|one| one.join().unwrap_or_else(|e| resume_unwind(e)))
                    .collect()
            });
            for one in started {
                match one {
                    Ok(started) => self.put(started),
                    Err(error) => result = Err(error),
                }
            }
        }
        self.save()?;
        result
    }

    /// Starts a component, or what of it does not run.
    fn launch(&self, component: Component) -> Result<Started> {
        let folder = self.folder.join(component.name());
        let previous = self.service(component).ok().map(|service| service.address);
        let service = match component {
            Component::Kafka => {
                Broker::resume(&folder)?.detach()?;
                return Ok(Started::Kafka);
            }
            Component::Flink => {
                let flink =
                    Flink::start(&folder, self.state.flink.as_ref(), self.state.is_short_lived)?;
                return Ok(Started::Flink(flink));
            }
            Component::TimescaleDb => timescaledb::start(&folder, previous)?,
            Component::InfluxDb => influxdb::start(&folder, previous)?,
            Component::ClickHouse => clickhouse::start(&folder, previous)?,
            Component::Alertmanager => monitoring::start_alertmanager(&folder, previous)?,
            Component::Prometheus => {
                let targets = self.state.flink.as_ref().map(Flink::metrics).unwrap_or_default();
                let alertmanager = self.state.alertmanager.as_ref().map(|service| service.address);
                monitoring::start_prometheus(&folder, previous, &targets, alertmanager)?
            }
        };
        Ok(Started::Service(component, service))
    }

    fn put(&mut self, started: Started) {
        match started {
            // It keeps its own state file.
            Started::Kafka => {}
            Started::Flink(flink) => self.state.flink = Some(flink),
            Started::Service(component, service) => {
                if let Some(place) = self.state.service(component) {
                    *place = Some(service);
                }
            }
        }
    }

    /// Starts what produces traffic, unless it runs. It needs root, the built agent and the programs of
    /// the lab.
    pub fn start_demo(&mut self) -> Result<()> {
        if let Some(demo) = &self.state.demo {
            if demo.runs() {
                return Ok(());
            }
            // One of its processes has ended.
            demo.stop()?;
        }
        let brokers = self.kafka().context("Kafka does not run")?;
        self.state.demo = Some(Demo::start(&self.folder.join("demo"), &brokers)?);
        self.save()
    }

    /// Ends what [`Stack::start_demo`] started.
    pub fn stop_demo(&mut self) -> Result<()> {
        if let Some(demo) = self.state.demo.take() {
            demo.stop()?;
        }
        self.save()
    }

    /// Address of the metrics of the demo's agent, if it runs.
    #[must_use]
    pub fn agent(&self) -> Option<String> {
        let agent = self.state.demo.as_ref().map(|demo| &demo.agent).filter(|one| one.runs())?;
        Some(format!("http://{}/metrics", agent.address))
    }

    /// Folder with the data and the log of a component.
    #[must_use]
    pub fn folder(&self, component: Component) -> PathBuf {
        self.folder.join(component.name())
    }

    /// Process of a component that consists of one process; Kafka's is [`Stack::broker`].
    pub fn service(&self, component: Component) -> Result<&Service> {
        match component {
            Component::TimescaleDb => self.state.timescaledb.as_ref(),
            Component::InfluxDb => self.state.influxdb.as_ref(),
            Component::ClickHouse => self.state.clickhouse.as_ref(),
            Component::Alertmanager => self.state.alertmanager.as_ref(),
            Component::Prometheus => self.state.prometheus.as_ref(),
            Component::Kafka | Component::Flink => None,
        }
        .with_context(|| format!("{} does not run", component.name()))
    }

    /// The broker, which runs on if it is [`Broker::detach`]ed.
    pub fn broker(&self) -> Result<Broker> {
        Broker::attach(&self.folder(Component::Kafka))
    }

    /// Ends every component and removes all data.
    pub fn down(self) -> Result<()> {
        if let Some(demo) = &self.state.demo {
            demo.stop()?;
        }
        if let Some(flink) = &self.state.flink {
            flink.stop()?;
        }
        Broker::down(&self.folder(Component::Kafka))?;
        // SIGINT ends PostgreSQL without waiting for its clients.
        let State { timescaledb, influxdb, clickhouse, alertmanager, prometheus, .. } = &self.state;
        for (service, signal) in [
            (timescaledb, Signal::INT),
            (influxdb, Signal::TERM),
            (clickhouse, Signal::TERM),
            (prometheus, Signal::TERM),
            (alertmanager, Signal::TERM),
        ] {
            if let Some(service) = service.as_ref().filter(|service| service.runs()) {
                // A test may have left it suspended.
                service.thaw()?;
                service.stop(signal)?;
            }
        }
        fs::remove_dir_all(&self.folder).context("cannot remove the stack's data")
    }

    /// Address of the broker, if it runs.
    #[must_use]
    pub fn kafka(&self) -> Option<String> {
        Broker::running(&self.folder(Component::Kafka))
    }

    /// The Flink cluster, if it was started.
    pub fn flink(&self) -> Result<&Flink> {
        self.state.flink.as_ref().context("Flink does not run: cargo xtask stack up")
    }

    /// Runs a statement in `TimescaleDB`; returns its rows, one a line with `|` between columns.
    pub fn timescaledb(&self, statement: &str) -> Result<String> {
        let server = self.state.timescaledb.as_ref().context("TimescaleDB does not run")?;
        timescaledb::query(&self.folder(Component::TimescaleDb), server, statement)
    }

    /// Kills Flink's task manager and starts another.
    pub fn restart_task_manager(&mut self) -> Result<()> {
        self.flink()?.task_manager().kill()?;
        self.start(Component::Flink)
    }

    /// Addresses of the components that run, by name.
    #[must_use]
    pub fn addresses(&self) -> Value {
        let mut addresses = serde_json::Map::new();
        for component in Component::ALL {
            if let Some(address) = self.address(component) {
                addresses.insert(component.name().to_owned(), address);
            }
        }
        Value::Object(addresses)
    }

    /// Address of a component as clients need it, if it runs.
    #[must_use]
    pub fn address(&self, component: Component) -> Option<Value> {
        let address = |service: &Option<Service>| {
            service.as_ref().filter(|service| service.runs()).map(|service| service.address)
        };
        Some(match component {
            Component::Kafka => json!(self.kafka()?),
            Component::Flink => {
                let flink = self.state.flink.as_ref().filter(|flink| flink.runs())?;
                json!(format!("http://{}", flink.address()))
            }
            Component::TimescaleDb => {
                let (name, address) = (timescaledb::DATABASE, address(&self.state.timescaledb)?);
                json!(format!("postgres://{name}@{address}/{name}"))
            }
            Component::InfluxDb => json!({
                "url": format!("http://{}", address(&self.state.influxdb)?),
                "org": influxdb::ORGANISATION,
                "bucket": influxdb::BUCKET,
                "token": influxdb::TOKEN,
            }),
            Component::ClickHouse => json!(format!("http://{}", address(&self.state.clickhouse)?)),
            Component::Alertmanager => {
                json!(format!("http://{}", address(&self.state.alertmanager)?))
            }
            Component::Prometheus => json!(format!("http://{}", address(&self.state.prometheus)?)),
        })
    }

    fn save(&self) -> Result<()> {
        fs::write(self.folder.join(STATE_FILE), serde_json::to_vec(&self.state)?)
            .context("cannot write stack.json")
    }
}
