//! `/metrics`, `/healthz`, `/livez`, `/readyz`: a small HTTP server in a thread of its own.
//!
//! The numbers belong to the pipeline's thread, which hands them out when it is asked: a scrape
//! becomes a [`Request`] that the pipeline finds with [`Requests::try_next`] and answers. A pipeline
//! that does not answer in time is not healthy.

#![forbid(unsafe_code)]

mod alerts;
pub mod dictionary;
pub mod process;
pub mod render;
pub mod text;
pub mod transactions;

pub use render::{Build, Snapshot, render};
pub use transactions::{ResolverLabel, Seen, TransactionMetrics};

use crate::health::{Report, State as Found};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use crossbeam_channel::{Receiver, Sender};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a scrape waits for the pipeline.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many scrapes may wait at once.
const WAITING: usize = 8;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {error}")]
pub struct BindError {
    /// The address wanted.
    pub address: SocketAddr,
    /// The system's error.
    pub error: io::Error,
}

impl BindError {
    /// What the operator can do.
    pub const REMEDY: &str = "give a free address with --metrics-listen ADDR:PORT, or off";
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub enum Request {
    /// Wants the metrics, in Prometheus' format.
    Page(Reply<String>),
    /// Wants to know whether all is well.
    Health(Reply<Report>),
}

/// The way back to who asked.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers. Does nothing if who asked has gone away.
    pub fn send(self, answer: T) {
        // The asker's patience may have ended meanwhile.
        let _ = self.0.send(answer);
    }
}

/// Where the pipeline finds requests.
#[derive(Debug)]
pub struct Requests(Receiver<Request>);

impl Requests {
    /// The next request that waits, if any. Never waits itself.
    #[must_use]
    pub fn try_next(&self) -> Option<Request> {
        self.0.try_recv().ok()
    }
}

/// The running server; ends when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How far the agent has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Hooks are being attached, files opened.
    Starting,
    /// Every hook is attached, in the words given.
    Ready(String),
    /// A file is replayed: there is nothing to attach, and the pipeline waits for its input and its
    /// sinks.
    Replaying,
    /// The hooks are detached, the rest is being delivered.
    Stopping,
}

struct Shared {
    requests: Sender<Request>,
    /// Called when one waits.
    wake: Box<dyn Fn() + Send + Sync>,
    phase: Mutex<Phase>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Shared {
    fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the pipeline answers, or why there is no answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, &'static str> {
        let (reply, answer) = oneshot::channel();
        if self.requests.try_send(request(Reply(reply))).is_err() {
            return Err("too many requests at once");
        }
        (self.wake)();
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err("the pipeline does not answer"),
        }
    }
}

impl Server {
    /// Takes the address and serves it. Not ready until told so. `wake` is called for each request
    /// that waits, so that the pipeline need not look again and again.
    pub fn start(
        listen: SocketAddr,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Self, Requests), BindError> {
        let fail = |error| BindError { address: listen, error };
        let listener = TcpListener::bind(listen).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let (requests, waiting) = crossbeam_channel::bounded(WAITING);
        let phase = Mutex::new(Phase::Starting);
        let shared = Arc::new(Shared { requests, wake: Box::new(wake), phase });
        let (stop, stopped) = oneshot::channel();
        let router = router(Arc::clone(&shared));
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, router) => if let Err(error) = served {
                        tracing::error!(%error, "the metrics server has ended");
                    },
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("metrics".into()).spawn(work).map_err(fail)?;
        let server = Self { address, shared, stop: Some(stop), thread: Some(thread) };
        Ok((server, Requests(waiting)))
    }

    /// The address served, with the port that the system chose where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells what `/readyz` answers, and whether `/healthz` has a pipeline to ask.
    pub fn set_phase(&self, phase: Phase) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router).await
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(|| async { "dnscribe: /metrics /healthz /livez /readyz\n" }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

/// With the code for what is not as it should be.
fn unavailable(text: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.ask(Request::Page).await {
        Ok(text) => ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text).into_response(),
        Err(why) => unavailable(format!("{why}\n")),
    }
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let report = match shared.phase() {
        // Whoever restarts what is not healthy must let it start, and end, in its own time.
        Phase::Starting => Report::of_pipeline(Found::Ok, "starting"),
        Phase::Stopping => Report::of_pipeline(Found::Ok, "stopping"),
        phase => match (shared.ask(Request::Health).await, phase) {
            (Ok(report), _) => report,
            (Err(why), Phase::Replaying) => {
                let why = format!("{why}: it may wait for its input, or a sink");
                Report::of_pipeline(Found::Warn, &why)
            }
            (Err(why), _) => Report::of_pipeline(Found::Fail, why),
        },
    };
    if report.is_healthy() {
        report.to_string().into_response()
    } else {
        unavailable(report.to_string())
    }
}

/// Whether the agent does its work, however much is lost: whoever restarts what is not alive would only
/// lose more.
async fn livez(State(shared): State<Arc<Shared>>) -> Response {
    match shared.phase() {
        Phase::Ready(_) => match shared.ask(Request::Health).await {
            Ok(_) => "alive\n".into_response(),
            Err(why) => unavailable(format!("not alive: {why}\n")),
        },
        Phase::Starting | Phase::Replaying | Phase::Stopping => "alive\n".into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.phase() {
        Phase::Ready(what) => format!("ready\n{what}\n").into_response(),
        Phase::Replaying => "ready\nreplay attaches nothing\n".into_response(),
        Phase::Starting => unavailable("not ready: starting\n".to_owned()),
        Phase::Stopping => unavailable("not ready: stopping\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// The status code and the body.
    fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(path != "/metrics" || !head.contains(" 200 ") || head.contains("version=0.0.4"));
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The next request, which is on its way.
    fn next(requests: &Requests) -> Request {
        loop {
            if let Some(request) = requests.try_next() {
                return request;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn serves_what_the_pipeline_answers() {
        let (rings, rung) = crossbeam_channel::unbounded();
        let wake = move || rings.send(()).unwrap();
        let (server, requests) = Server::start("127.0.0.1:0".parse().unwrap(), wake).unwrap();
        let address = server.address();
        assert_eq!(fetch(address, "/nothing").0, 404);
        let scrape = thread::spawn(move || fetch(address, "/metrics"));
        rung.recv().unwrap();
        let Some(Request::Page(reply)) = requests.try_next() else {
            panic!("asked for the metrics")
        };
        reply.send("a 1\n".into());
        assert_eq!(scrape.join().unwrap(), (200, "a 1\n".into()));
        assert_eq!(fetch(address, "/metrics").0, 503, "nobody answers");
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn is_ready_between_start_and_stop() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let address = server.address();
        let starting = (200, "ok\nok    pipeline  starting\n".to_owned());
        assert_eq!(fetch(address, "/healthz"), starting);
        assert_eq!(fetch(address, "/readyz"), (503, "not ready: starting\n".into()));
        server.set_phase(Phase::Ready("hook cgroup, attached at /".into()));
        let ready = (200, "ready\nhook cgroup, attached at /\n".into());
        assert_eq!(fetch(address, "/readyz"), ready);
        server.set_phase(Phase::Stopping);
        assert_eq!(fetch(address, "/readyz"), (503, "not ready: stopping\n".into()));
        assert_eq!(fetch(address, "/healthz").0, 200);
    }

    #[test]
    fn is_as_healthy_as_the_pipeline_says() {
        let (server, requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let address = server.address();
        server.set_phase(Phase::Ready(String::new()));
        for (found, code, first) in [(Found::Warn, 200, "ok\n"), (Found::Fail, 503, "unhealthy\n")]
        {
            let probe = thread::spawn(move || fetch(address, "/healthz"));
            let Request::Health(reply) = next(&requests) else { panic!("asked for the health") };
            reply.send(Report::of_pipeline(found, "why"));
            let (status, text) = probe.join().unwrap();
            assert_eq!(status, code);
            assert!(text.starts_with(first) && text.contains("why"), "{text}");
        }
        let (status, text) = fetch(address, "/healthz");
        assert_eq!(status, 503, "nobody answers");
        assert!(text.contains("fail  pipeline  the pipeline does not answer"), "{text}");
        server.set_phase(Phase::Replaying);
        let (status, text) = fetch(address, "/healthz");
        assert_eq!(status, 200, "nobody answers, for there may be nothing to read");
        assert!(text.contains("warn  pipeline  the pipeline does not answer: it may"), "{text}");
    }

    #[test]
    fn lives_as_long_as_the_pipeline_answers() {
        let (server, requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let address = server.address();
        assert_eq!(fetch(address, "/livez"), (200, "alive\n".into()));
        server.set_phase(Phase::Ready(String::new()));
        let probe = thread::spawn(move || fetch(address, "/livez"));
        let Request::Health(reply) = next(&requests) else { panic!("asked for the health") };
        reply.send(Report::of_pipeline(Found::Fail, "packets lost"));
        assert_eq!(probe.join().unwrap().0, 200, "a restart would not help");
        let told = "not alive: the pipeline does not answer\n".to_owned();
        assert_eq!(fetch(address, "/livez"), (503, told));
    }

    #[test]
    fn a_busy_port_is_an_error() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let error = Server::start(server.address(), || {}).unwrap_err();
        assert!(error.to_string().contains(&server.address().to_string()), "{error}");
        let exit = crate::exit::Exit::from(error);
        assert_eq!(exit.code(), 1);
        assert!(exit.to_string().contains("--metrics-listen"), "{exit}");
    }
}
