//! The part of a Kubernetes API server that a pod watch needs, over real HTTP: list and watch of
//! pods by node, with realistic responses. Unlike a real server, it can be made to fail in defined
//! ways.

use crate::lab::inside;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Interval at which watches poll for new events.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Bearer token that the server accepts at first.
pub const TOKEN: &str = "token-of-the-test";

/// Response mode of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Correct responses.
    Serve,
    /// Responds to every request with this HTTP status.
    Refuse(u16),
    /// Responds with an invalid body.
    Garbage,
    /// Never responds: requests hang.
    Hang,
}

/// The API server. Dropping it stops it.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    namespace: Option<PathBuf>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ended: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Bearer token that is accepted.
    token: String,
    version: u64,
    pods: Vec<Value>,
    /// Events, each with the resource version after it.
    events: Vec<(u64, Value)>,
    /// Oldest resource version that can still be watched from.
    oldest: u64,
    requests: Vec<String>,
    connections: Vec<TcpStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Api {
    /// Starts a server without pods on a free port.
    pub fn start() -> Result<Self> {
        Self::on(listen()?, None)
    }

    /// Starts a server in a network namespace.
    pub fn start_in(namespace: &Path) -> Result<Self> {
        Self::on(inside(namespace, listen)??, Some(namespace.to_owned()))
    }

    fn on(listener: TcpListener, namespace: Option<PathBuf>) -> Result<Self> {
        let address = listener.local_addr()?;
        let state = State {
            mode: Mode::Serve,
            token: TOKEN.to_owned(),
            version: 100,
            pods: Vec::new(),
            events: Vec::new(),
            oldest: 0,
            requests: Vec::new(),
            connections: Vec::new(),
        };
        let shared = Arc::new(Shared { ended: AtomicBool::new(false), state: Mutex::new(state) });
        let own = Arc::clone(&shared);
        let accept = move || {
            for stream in listener.incoming().flatten() {
                if own.ended.load(Ordering::SeqCst) {
                    return;
                }
                own.state().connections.extend(stream.try_clone().ok());
                let shared = Arc::clone(&own);
                // A client that disconnects is not an error.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        };
        Ok(Self { address, namespace, shared, thread: Some(thread::spawn(accept)) })
    }

    /// Address of the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the response mode and closes open watches.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.state().mode = mode;
        self.cut();
    }

    /// Accepts another token instead, and closes open watches.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.shared.state().token);
        self.cut();
    }

    /// Closes every connection.
    pub fn cut(&self) {
        for connection in self.shared.state().connections.drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Adds a pod or changes it.
    pub fn apply(&self, mut pod: Value) {
        let mut state = self.shared.state();
        state.version += 1;
        let version = state.version;
        pod["metadata"]["resourceVersion"] = version.to_string().into();
        let name = pod["metadata"]["name"].clone();
        let before = state.pods.len();
        state.pods.retain(|other| other["metadata"]["name"] != name);
        let kind = if state.pods.len() < before { "MODIFIED" } else { "ADDED" };
        state.events.push((version, json!({ "type": kind, "object": pod.clone() })));
        state.pods.push(pod);
    }

    /// Deletes a pod.
    pub fn delete(&self, name: &str) {
        let mut state = self.shared.state();
        state.version += 1;
        let version = state.version;
        let Some(place) = state.pods.iter().position(|pod| pod["metadata"]["name"] == name) else {
            return;
        };
        let mut pod = state.pods.remove(place);
        pod["metadata"]["resourceVersion"] = version.to_string().into();
        state.events.push((version, json!({ "type": "DELETED", "object": pod })));
    }

    /// Forgets all events so far: a watch from an older version gets "gone" (410).
    pub fn compact(&self) {
        let mut state = self.shared.state();
        state.version += 10;
        state.oldest = state.version;
        state.events.clear();
    }

    /// Requests so far: method and target.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// Writes a kubeconfig for this server.
    pub fn write_kubeconfig(&self, file: &Path) -> Result<()> {
        write_kubeconfig(file, &format!("http://{}", self.address), TOKEN)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts connections.
        let wake = || drop(TcpStream::connect(self.address));
        match &self.namespace {
            Some(namespace) => drop(inside(namespace, wake)),
            None => wake(),
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen as an API server")
}

/// Writes a kubeconfig for a server, with a token.
pub fn write_kubeconfig(file: &Path, server: &str, token: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "clusters": [{ "name": "test", "cluster": { "server": server } }],
        "users": [{ "name": "test", "user": { "token": token } }],
    });
    std::fs::write(file, config.to_string()).with_context(|| file.display().to_string())
}

/// Serves the requests of a connection in order.
fn serve(stream: &TcpStream, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while !shared.ended.load(Ordering::SeqCst) {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            break;
        }
        let (mut line, mut token) = (String::new(), None);
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("authorization: bearer ") {
                token = Some(value.trim().to_owned());
            }
            line.clear();
        }
        let target = first.split(' ').nth(1).context("no target")?.to_owned();
        let (mode, is_known) = {
            let mut state = shared.state();
            state.requests.push(target.clone());
            (state.mode, token.is_some_and(|token| token == state.token))
        };
        match mode {
            Mode::Hang => thread::sleep(Duration::from_mins(1)),
            Mode::Garbage => respond(stream, 200, "<html>It works!</html>")?,
            Mode::Refuse(code) => respond(stream, code, &status(code).to_string())?,
            Mode::Serve if !is_known => {
                respond(stream, 401, &status(401).to_string())?;
            }
            Mode::Serve if target.contains("watch=true") => watch(stream, shared, &target)?,
            Mode::Serve => {
                let state = shared.state();
                let items = on_node(state.pods.iter().cloned(), &target);
                let version = state.version.to_string();
                let list = json!({
                    "kind": "PodList", "apiVersion": "v1",
                    "metadata": { "resourceVersion": version }, "items": items,
                });
                drop(state);
                respond(stream, 200, &list.to_string())?;
            }
        }
    }
    Ok(())
}

/// Returns the pods of the node that a request names.
fn on_node(pods: impl Iterator<Item = Value>, target: &str) -> Vec<Value> {
    let wanted = |pod: &Value| {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        target.contains(&format!("fieldSelector=spec.nodeName%3D{node}"))
    };
    pods.filter(wanted).collect()
}

/// Returns the `Status` object that an API server sends with an HTTP status.
fn status(code: u16) -> Value {
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized"),
        403 => (
            "Forbidden",
            "pods is forbidden: User \"system:serviceaccount:dns:dnscribe\" cannot list resource \
             \"pods\" in API group \"\" at the cluster scope",
        ),
        410 => ("Expired", "too old resource version"),
        _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn respond(mut stream: &TcpStream, code: u16, body: &str) -> Result<()> {
    let octets = body.len();
    write!(
        stream,
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {octets}\r\n\r\n{body}"
    )?;
    Ok(())
}

/// Sends the pod events of a node until the connection or the server ends.
fn watch(mut stream: &TcpStream, shared: &Shared, target: &str) -> Result<()> {
    let since = target.split_once("resourceVersion=").context("no version to watch from")?.1;
    let since = since.split('&').next().unwrap_or(since);
    let mut sent: u64 = since.parse().context("not a version")?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    let mut push = |event: &Value| -> Result<()> {
        let line = format!("{event}\n");
        write!(stream, "{:x}\r\n{line}\r\n", line.len())?;
        Ok(())
    };
    if sent < shared.state().oldest {
        push(&json!({ "type": "ERROR", "object": status(410) }))?;
        write!(stream, "0\r\n\r\n")?;
        return Ok(());
    }
    while !shared.ended.load(Ordering::SeqCst) && shared.state().mode == Mode::Serve {
        let new: Vec<(u64, Value)> =
            shared.state().events.iter().filter(|(version, _)| *version > sent).cloned().collect();
        for (version, event) in new {
            sent = version;
            if !on_node(std::iter::once(event["object"].clone()), target).is_empty() {
                push(&event)?;
            }
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
