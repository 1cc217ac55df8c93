//! Receivers of OTLP: an OpenTelemetry collector and Prometheus 3, built from the Go module proxy.

use crate::prometheus::start;
use crate::{agent, cache, environment, go, http, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// Must change whenever `tests/otel` does: the version of its collector.
const COLLECTOR: &str = "v0.165.0";
/// Prometheus 3.7.3.
const PROMETHEUS: &str = "v0.307.3";

/// Builds the programs if they are missing, which takes minutes.
///
/// # Errors
/// There is no Go, or a module cannot be downloaded.
pub fn prepare() -> Result<()> {
    collector().and_then(|_| prometheus()).map(drop)
}

fn collector() -> Result<PathBuf> {
    let folder = cache::folder("otelcol", COLLECTOR, |scratch| {
        let sources = environment::workspace().join("tests/otel");
        go::build(scratch, &sources, &go::PLAIN, ".", "otelcol")
    })?;
    Ok(folder.join("otelcol"))
}

pub(crate) fn prometheus() -> Result<PathBuf> {
    prometheus_with("prometheus-3", "")
}

/// Path of a Prometheus 3 that discovers its targets by the API of Kubernetes; builds it if it is missing.
///
/// # Errors
/// As [`prepare`].
pub fn prometheus_of_kubernetes() -> Result<PathBuf> {
    let plugin = "import _ \"github.com/prometheus/prometheus/discovery/kubernetes\"";
    prometheus_with("prometheus-3-kubernetes", plugin)
}

/// Path of a Prometheus 3 with these plugins in place of its own, which are clients of every cloud and take most of the time of a
/// build.
fn prometheus_with(name: &str, plugins: &str) -> Result<PathBuf> {
    let folder = cache::folder(name, PROMETHEUS, |scratch| {
        let sources = go::copy(scratch, "github.com/prometheus/prometheus", PROMETHEUS)?;
        fs::write(sources.join("plugins/plugins.go"), format!("package plugins\n\n{plugins}\n"))?;
        go::build(scratch, &sources, &go::PLAIN, "./cmd/prometheus", "prometheus")
    })?;
    Ok(folder.join("prometheus"))
}

/// A collector that writes what it receives to files. Dropping it kills it.
#[derive(Debug)]
pub struct Collector {
    folder: PathBuf,
    http: SocketAddr,
    grpc: SocketAddr,
    child: Option<Child>,
}

impl Collector {
    /// Creates a collector with free addresses, not started yet.
    ///
    /// # Errors
    /// There is no free address.
    pub fn new(folder: &Path) -> Result<Self> {
        let (http, grpc) = (agent::free_address()?, agent::free_address()?);
        Ok(Self { folder: folder.to_owned(), http, grpc, child: None })
    }

    /// Starts it and waits until it accepts connections.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start(&mut self) -> Result<()> {
        let file = |name: &str| json!({ "path": self.folder.join(name), "append": true, "flush_interval": "50ms" });
        let pipe =
            |name: &str| json!({ "receivers": ["otlp"], "exporters": [format!("file/{name}")] });
        let config = json!({
            "receivers": { "otlp": { "protocols": {
                "http": { "endpoint": self.http }, "grpc": { "endpoint": self.grpc },
            } } },
            "exporters": {
                "file/logs": file("logs"), "file/metrics": file("metrics"), "file/traces": file("traces"),
            },
            "service": {
                "telemetry": { "metrics": { "level": "none" } },
                "pipelines": { "logs": pipe("logs"), "metrics": pipe("metrics"), "traces": pipe("traces") },
            },
        });
        // JSON is YAML.
        let path = self.folder.join("otelcol.yaml");
        fs::write(&path, config.to_string())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(collector()?);
        command.arg(format!("--config=file:{}", path.display()));
        let ready =
            || [self.http, self.grpc].iter().all(|address| TcpStream::connect(address).is_ok());
        self.child = Some(start(&mut command, &self.folder.join("otelcol.log"), ready)?);
        Ok(())
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            shell::end(&mut child);
        }
    }

    /// The value of `--sink` for a protocol, `http` or `grpc`, with these signals.
    #[must_use]
    pub fn sink(&self, protocol: &str, signals: &str) -> String {
        let address = if protocol == "grpc" { self.grpc } else { self.http };
        format!("otlp:{protocol}://{address}#{signals}")
    }

    /// Returns the items of a signal so far: log records, metrics or spans, each with its resource as `resource`.
    ///
    /// # Errors
    /// A file is not what the collector writes.
    pub fn items(&self, signal: &str) -> Result<Vec<Value>> {
        let names = match signal {
            "logs" => ["resourceLogs", "scopeLogs", "logRecords"],
            "metrics" => ["resourceMetrics", "scopeMetrics", "metrics"],
            _ => ["resourceSpans", "scopeSpans", "spans"],
        };
        let text = fs::read_to_string(self.folder.join(signal)).unwrap_or_default();
        let mut items = Vec::new();
        for request in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let request = match request {
                Ok(request) => request,
                // The last one may be written just now.
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(error.into()),
            };
            let list =
                |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
            for resource in list(&request, names[0]) {
                for scope in list(&resource, names[1]) {
                    for mut item in list(&scope, names[2]) {
                        item["resource"] = resource["resource"].clone();
                        items.push(item);
                    }
                }
            }
        }
        Ok(items)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the attributes of an item as an object.
#[must_use]
pub fn attributes(item: &Value) -> Value {
    let all = item["attributes"].as_array().into_iter().flatten();
    all.map(|one| (one["key"].as_str().unwrap_or_default().to_owned(), plain(&one["value"])))
        .collect()
}

/// Returns a value of OTLP's JSON as plain JSON.
fn plain(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|fields| fields.iter().next()) else {
        return Value::Null;
    };
    let list = |name: &str| inner[name].as_array().cloned().unwrap_or_default();
    match kind.as_str() {
        "intValue" => {
            let number = inner.as_str().and_then(|text| text.parse::<i64>().ok());
            number.map_or(Value::Null, Value::from)
        }
        "arrayValue" => list("values").iter().map(plain).collect(),
        "kvlistValue" => {
            let fields = list("values");
            let field = |one: &Value| {
                (one["key"].as_str().unwrap_or_default().to_owned(), plain(&one["value"]))
            };
            fields.iter().map(field).collect()
        }
        _ => inner.clone(),
    }
}

/// A Prometheus 3 that receives OTLP. Dropping it kills it.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    child: Child,
}

impl Receiver {
    /// Starts it and waits until it answers; its files are written to `folder`.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn up(folder: &Path) -> Result<Self> {
        let config = folder.join("prometheus.yml");
        fs::write(&config, "storage: { exemplars: { max_exemplars: 1000 } }\n")?;
        let address = agent::free_address()?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(prometheus()?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        command.arg("--web.enable-otlp-receiver");
        command.arg("--enable-feature=native-histograms,exemplar-storage");
        let child = start(&mut command, &folder.join("prometheus.log"), || {
            http::get(address, None, "/-/ready").is_ok_and(|(code, _)| code == 200)
        })?;
        Ok(Self { address, child })
    }

    /// The value of `--sink` for its metrics.
    #[must_use]
    pub fn sink(&self) -> String {
        format!("otlp:http://{}/api/v1/otlp#metrics", self.address)
    }

    /// Asks its API v1, such as `query?query=up`; returns `data`.
    ///
    /// # Errors
    /// It refuses the request.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let (status, body) = http::get(self.address, None, &format!("/api/v1/{path}"))?;
        let answer: Value =
            serde_json::from_str(&body).with_context(|| format!("{status}: {body}"))?;
        if answer["status"] != "success" {
            bail!("{path}: {answer}");
        }
        Ok(answer["data"].clone())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        shell::end(&mut self.child);
    }
}
