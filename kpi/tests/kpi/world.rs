//! A store in a folder of its own, the program with its commands and its API, and events.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// The `OpenAPI` document.
static DOCUMENT: OnceLock<Value> = OnceLock::new();

fn retain(list: &mut Value, condition: impl Fn(&Value) -> bool) {
    list.as_array_mut().unwrap().retain(condition);
}

/// A store in a folder of its own, or elsewhere.
pub struct World {
    folder: tempfile::TempDir,
    data: String,
    environment: Vec<(&'static str, String)>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").to_str().unwrap().to_owned();
        Self { folder, data, environment: Vec::new() }
    }

    /// With its store elsewhere, which the environment describes.
    pub fn with_store(self, data: &str, environment: Vec<(&'static str, String)>) -> Self {
        Self { data: data.to_owned(), ..self.with_environment(environment) }
    }

    pub fn with_environment(mut self, environment: Vec<(&'static str, String)>) -> Self {
        self.environment.extend(environment);
        self
    }

    /// With a dictionary that has these KPIs alone, and those that they are made of: a test program needs seconds for all.
    pub fn with_kpis(names: &[&str]) -> Self {
        let mut dictionary: Value =
            serde_saphyr::from_str(include_str!("../../metrics.yaml")).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parts = |kpi: &Value| -> Vec<String> {
            let lists = ["plus", "minus", "over"].map(|list| kpi[list].as_array());
            let parts = lists.into_iter().flatten().flatten().chain([&kpi["samples"]]);
            parts.map(text).collect()
        };
        let mut wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut count = 0;
        while wanted.len() > count {
            count = wanted.len();
            for kpi in dictionary["kpis"].as_array().unwrap() {
                if wanted.contains(&text(&kpi["name"])) {
                    let parts = parts(kpi);
                    let kpis = parts.iter().filter_map(|part| part.strip_prefix("kpi:"));
                    wanted.extend(kpis.map(str::to_owned));
                }
            }
        }
        retain(&mut dictionary["kpis"], |kpi| wanted.contains(&text(&kpi["name"])));
        let kpis = dictionary["kpis"].as_array().unwrap();
        assert_eq!(kpis.len(), wanted.len(), "an unknown KPI: {names:?}");
        let measures: BTreeSet<String> = kpis.iter().flat_map(parts).collect();
        retain(&mut dictionary["measures"], |it| measures.contains(&text(&it["name"])));
        let counted = dictionary["measures"].as_array().unwrap().iter();
        let models: BTreeSet<String> =
            counted.map(|it| it["model"].as_str().unwrap_or("event").to_owned()).collect();
        retain(&mut dictionary["models"], |model| models.contains(&text(&model["name"])));
        let mut world = Self::new();
        let path = world.path("metrics.yaml");
        fs::write(&path, dictionary.to_string()).unwrap();
        world.environment = vec![("DNSCRIBE_KPI_DICTIONARY", path.to_str().unwrap().to_owned())];
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnscribe-kpi"));
        command.arg("--data").arg(&self.data).args(words).envs(self.environment.iter().cloned());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; returns its output.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Imports rows; returns what the command says, as JSON.
    pub fn import(&self, name: &str, rows: &[Value]) -> Value {
        let text: Vec<String> = rows.iter().map(Value::to_string).collect();
        self.import_text(name, &(text.join("\n") + "\n"))
    }

    pub fn import_text(&self, name: &str, text: &str) -> Value {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        let output = self.ok(&["import", path.to_str().unwrap(), "-o", "json"]);
        serde_json::from_str(&output).unwrap()
    }

    /// Writes the events of a sample registrar to a file and returns its path.
    pub fn sample(&self, days: u32, registrations: u32, words: &[&str]) -> String {
        let path = self.path("sample.ndjson").to_str().unwrap().to_owned();
        let (days, registrations) = (days.to_string(), registrations.to_string());
        let sized = ["sample", "--days", &days, "--registrations", &registrations, "--file", &path];
        self.ok(&[&sized, words].concat());
        path
    }

    /// Names of the files in a folder of the store and in its subfolders, such as `values`.
    pub fn files(&self, folder: &str) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let root = Path::new(&self.data).join(folder);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(&root).unwrap().to_owned());
                }
            }
        }
        found
    }

    pub fn compute(&self) {
        self.ok(&["compute"]);
    }

    /// Values of a KPI by their first day and slice.
    pub fn values(server: &Server, path: &str) -> BTreeMap<String, Value> {
        let (status, answer) = server.get(path);
        assert_eq!(status, 200, "{path}: {answer}");
        let values = answer["values"].as_array().unwrap().iter().map(|value| {
            let slices = value["by"].as_object().into_iter().flatten();
            let slices: String =
                slices.map(|(_, text)| ["/", text.as_str().unwrap_or("")].concat()).collect();
            (format!("{}{slices}", value["from"].as_str().unwrap()), value.clone())
        });
        values.collect()
    }

    /// Value of a KPI on a day, with its state.
    pub fn value(&self, kpi: &str, day: &str) -> (Value, String) {
        let server = self.serve(&["--no-auth"]);
        let values = Self::values(&server, &format!("/v1/kpis/{kpi}?from={day}&to={day}"));
        let value = values.values().next().unwrap();
        (value["value"].clone(), value["state"].as_str().unwrap().to_owned())
    }

    pub fn serve(&self, words: &[&str]) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(words).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let address = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, url)) = line.split_once("serving on ") {
                break url.split_once("://").unwrap().1.to_owned();
            }
            seen.push_str(&line);
        };
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, address }
    }
}

/// A running metrics API.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Server {
    /// A server that somebody else has started.
    pub fn of(child: Child, address: String) -> Self {
        Self { child, address }
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.request("GET", path, "");
        let answer = serde_json::from_str(&body).unwrap();
        if path.starts_with("/v1/") {
            self.check(path, status, &answer);
        }
        (status, answer)
    }

    /// Checks that an answer is what the `OpenAPI` document says of the path and the status.
    fn check(&self, path: &str, status: u16, answer: &Value) {
        let document = DOCUMENT.get_or_init(|| {
            serde_json::from_str(&self.request("GET", "/openapi.json", "").2).unwrap()
        });
        let path = path.split('?').next().unwrap();
        let template = match path.strip_prefix("/v1/kpis/").map(|rest| rest.split_once('/')) {
            Some(Some((_, part))) => format!("/v1/kpis/{{name}}/{part}"),
            Some(None) => "/v1/kpis/{name}".to_owned(),
            None => path.to_owned(),
        };
        let content =
            &document["paths"][template]["get"]["responses"][status.to_string()]["content"];
        assert!(content.is_object(), "{path} has no {status}");
        let mut kinds = content.as_object().unwrap().values();
        let mut schema = kinds.next().unwrap()["schema"].clone();
        schema["components"] = document["components"].clone();
        let fits = jsonschema::validate(&schema, answer);
        assert!(fits.is_ok(), "{path}: {fits:?}");
    }

    /// Returns status, headers and body.
    pub fn request(&self, method: &str, path: &str, header: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{header}\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }
}

/// Makes an event.
pub fn event(number: u32, kind: &str, at: &str, more: Value) -> Value {
    let mut event = json!({
        "event_id": format!("e{number}"), "business_key": format!("b{number}"), "event_type": kind,
        "event_ts": at, "source_system": "test", "domain": format!("d{number}.com"),
        "country": "DE", "channel": "web", "tier": "basic",
    });
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more);
    }
    event
}

pub fn is_near(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-9),
        _ => ours == theirs,
    }
}
